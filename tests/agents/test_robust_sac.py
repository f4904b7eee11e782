"""Soft actor-critic with an adversary: its updates, its density, its checkpoints, and what it learns."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from reference_sac import ReferenceSAC, Settings
from scipy.optimize import linprog
from stable_baselines3 import SAC
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import nn
from torch.distributions import Normal, TanhTransform

import robustgames as rg
from robustgames import cli
from robustgames.agents import RobustSAC
from robustgames.agents.control.soft_game import FixedSoft, SoftPolicyGame, SoftSample
from robustgames.agents.control.squashed import in_heads, squash
from robustgames.agents.control.stochastic_policies import StochasticPolicies, mean_network, mean_weights
from robustgames.evaluation.rollouts import play
from robustgames.games import MLP, Oracle
from robustgames.solvers import make_solver
from robustgames.tensors import Movable

PENDULUM, BATCH = "robustgames/ActionRobustPendulum-v0", "robustgames/RobustPendulum-v0"
SMALL = {"hidden": (8, 8), "learning_starts": 20, "batch_size": 8}


def rows(seed, *shape, kind=torch.float64):
    return torch.randn(shape, dtype=kind, generator=torch.Generator().manual_seed(seed))


# -- the squashed Gaussian -----------------------------------------------------------------------------------------
def test_the_density_is_that_of_torch_distributions():
    heads, noise = rows(0, 6, 9, 4).clamp(max=2), rows(1, 6, 9, 2)
    drawn, (mean, log_std) = squash(heads, noise), heads.chunk(2, -1)
    gaussian, u = Normal(mean, log_std.exp()), mean + log_std.exp() * noise
    expected = gaussian.log_prob(u) - TanhTransform().log_abs_det_jacobian(u, u.tanh())
    assert torch.allclose(drawn.log_prob, expected.sum(-1, keepdim=True), rtol=0, atol=1e-12)
    naive = (gaussian.log_prob(u) - torch.log(1 - u.tanh() ** 2)).sum(-1, keepdim=True)
    small = (u.abs() < 4).all(-1, keepdim=True)  # else 1 - tanh² u has few digits left
    assert bool(small.any()) and torch.allclose(drawn.log_prob[small], naive[small], rtol=0, atol=1e-10)


def test_the_density_is_exact_where_tanh_rounds_to_one():
    """log(1 - tanh² u) -> 2 log 2 - 2 |u|: its logarithm would be -inf in float32 from |u| = 9 on."""
    for mean in (-40.0, 15.0):
        drawn = squash(torch.tensor([[mean, -1.0]]), torch.tensor([[0.5]]))
        u = mean + 0.5 * np.exp(-1.0)
        expected = -0.125 + 1 - 0.5 * np.log(2 * np.pi) - 2 * np.log(2) + 2 * abs(u)
        assert abs(float(drawn.actions)) == 1.0 and float(drawn.log_prob) == pytest.approx(expected, abs=1e-5)


def test_the_written_gradient_is_that_of_autograd():
    heads, noise, g, t = 3 * rows(0, 5, 7, 6), rows(1, 5, 7, 3), rows(2, 5, 7, 3), rows(3, 5, 1, 1).exp()
    heads[0, 0, 3], heads[0, 1, 4] = 2.5, -21.0  # out of the bounds of log σ
    drawn = squash(heads.requires_grad_(), noise)
    (expected,) = torch.autograd.grad((drawn.actions * g).sum() - (t * drawn.log_prob).sum(), heads)
    found = in_heads(drawn, g, t)
    assert torch.allclose(found, expected, rtol=0, atol=1e-7)  # that of softplus is rounded to 1 from 20 on
    assert float(found[0, 0, 3]) == float(found[0, 1, 4]) == 0


# -- the game ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("player", [None, 0, 1])
@pytest.mark.parametrize("adversary", ["learned", "random", "none"])
@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
@pytest.mark.parametrize("heads", [1, 2])
def test_the_written_passes_are_autograd(coupling, adversary, player, heads):
    actor, critic = MLP((3, 8, 4)), MLP((5, 8, 1))
    shares = torch.tensor(0.0 if adversary == "none" else [0.0, 0.2, 1.0]).double()
    policies = StochasticPolicies(actor, MLP((3, 8, 4)) if adversary == "learned" else None, shares, coupling)
    games = [SoftPolicyGame(policies, critic, None, fast=fast).to(dtype=torch.float64) for fast in (True, False)]
    sample = SoftSample(rows(1, 3, 9, 3), rows(2, 3, heads * critic.size), rows(3, 3, 9, 4), rows(4, 3, 2).exp())
    z = rows(0, 3, sum(games[0].sizes))
    passed, plain = (game.field(z, sample, player) for game in games)
    assert torch.allclose(passed, plain, rtol=0, atol=1e-12)
    (values, fields) = zip(*(game.evaluate(z, sample) for game in games), strict=True)
    assert torch.allclose(values[0][0], values[1][0]) and torch.allclose(*fields, rtol=0, atol=1e-12)
    assert player == 1 or float(passed.abs().max()) > 0.1


class Square(Movable):
    """Q(s, a) = a²: the one-state example of Tessler et al., as a critic without weights."""

    size = 0

    def __call__(self, weights, inputs):
        return inputs[..., -1:] ** 2

    def initial(self, shape, generator, dtype):
        return torch.empty((*shape, 0), dtype=dtype)


ALPHA = 0.3
GRID = np.linspace(-1, 1, 81)


def payoffs(own, other):
    return ((1 - ALPHA) * own[:, None] + ALPHA * other) ** 2


def test_the_noisy_game_has_a_value_in_mixed_strategies_only():
    """r(a) = a²: deterministic max-min (1 - 2α)², min-max (1 - α)²; the linear program of mixed ones has (1 - α)²."""
    table = payoffs(GRID, GRID)
    assert table.min(1).max() == pytest.approx((1 - 2 * ALPHA) ** 2)
    assert table.max(0).min() == pytest.approx((1 - ALPHA) ** 2)
    n = len(GRID)
    columns = np.hstack([-table.T, np.ones((n, 1))])  # v <= Σ p_i r_ij for all j
    best = linprog([*np.zeros(n), -1], columns, np.zeros(n), [[*np.ones(n), 0]], [1], [(0, 1)] * n + [(None, None)])
    assert -best.fun == pytest.approx((1 - ALPHA) ** 2, abs=1e-9)


@pytest.mark.parametrize(("solver", "lr"), [("adam", 0.01), ("extra_adam", 0.03)])
def test_stochastic_policies_find_that_value(solver, lr):
    """Each policy is held against its best response. The protagonist has more than any deterministic one, 0.16."""
    policy = MLP((1, 2))
    policies = StochasticPolicies(policy, policy, ALPHA, "noisy")
    source = FixedSoft(policies, torch.ones(128, 1), torch.tensor([1e-2, 1e-2]))
    game = SoftPolicyGame(policies, Square(), source, final=3e-3)
    oracle, scheme = Oracle(game, (4,), torch.Generator().manual_seed(0)), make_solver(solver, lr=lr)
    z = oracle.initial()
    state = scheme.init(oracle, z)
    for _ in range(300):
        z, state = scheme.step(oracle, z, state)
    noise = torch.special.ndtri(torch.linspace(5e-4, 1 - 5e-4, 1000))  # quantiles
    drawn = torch.stack([noise, noise], -1).expand(4, 1000, 2)
    own, other = (
        one.actions.squeeze(-1).numpy() for one in policies.sample(*game.split(z), torch.ones(4, 1000, 1), drawn)
    )
    for a, b in zip(own, other, strict=True):
        lower, upper = payoffs(a, GRID).mean(0).min(), payoffs(GRID, b).mean(1).max()
        assert 0.4 < lower < 0.49 < upper < 0.54, (lower, upper)


# -- updates -------------------------------------------------------------------------------------------------------
def load(module, flat):
    nn.utils.vector_to_parameters(flat.clone(), module.parameters())


def flat(*modules):
    return torch.cat([nn.utils.parameters_to_vector(m.parameters()) for m in modules]).detach()


def next_update(agent, ours, plain):
    """Take an update of the agent, and return the transitions and the noise that it was made of."""
    agent.practice.learn(ours)
    agent.z, agent.state = agent.solver.step(agent.oracle, agent.z, agent.state)
    agent.practice.follow(agent.z)
    size, k = agent.settings.batch_size, agent.policies.action_size
    batch = agent.practice.replay.sample(size, plain)
    noise = [torch.randn(1, size, 2 * k, generator=plain)[0] for _ in range(2)]
    s, a, after, rewards, continues = (part[0].clone() for part in batch[2:])
    return s, a, rewards, after, 1 - continues, *noise


@pytest.mark.parametrize(("coupling", "alpha"), [("noisy", 0.0), ("noisy", 0.2), ("probabilistic", 0.2)])
def test_it_is_the_reference_update_for_update(coupling, alpha):
    played = {"alpha": alpha, "coupling": coupling}
    agent = RobustSAC(PENDULUM, env_settings=played, hidden=(16, 16), learning_starts=100, batch_size=16, tau=0.01)
    agent.learn(100)
    reference = ReferenceSAC(3, 1, (16, 16), Settings(tau=0.01, coupling=coupling, alpha=alpha))
    players = [reference.actor, reference.adversary][: 1 + (alpha > 0)]
    for module, weights in zip(players, agent.game.split(agent.z[0]), strict=False):
        load(module, weights)
    load(reference.critics, agent.practice.state["w"][0])
    reference.start()
    ours, plain = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    agent.oracle.generator, start = ours, agent.z.clone()
    for _ in range(30):
        reference.update(*next_update(agent, ours, plain))
    state = agent.practice.state
    assert torch.allclose(agent.z[0], flat(*players), rtol=0, atol=1e-5)
    assert torch.allclose(state["w"][0], flat(reference.critics), rtol=0, atol=1e-5)
    assert torch.allclose(state["target"][0], flat(reference.targets), rtol=0, atol=1e-5)
    logs = reference.log_t.detach()[: 1 + (alpha > 0)]
    assert torch.allclose(state["log_temperatures"][0, : len(logs)], logs, rtol=0, atol=1e-5)
    assert float((agent.z - start).abs().max()) > 0.01 and float(logs.abs().min()) > 0.01


def test_an_update_without_an_adversary_is_that_of_stable_baselines3(monkeypatch):
    hidden, batch_size = (16, 16), 32
    agent = RobustSAC(
        PENDULUM, env_settings={"alpha": 0.0}, hidden=hidden, learning_starts=100, batch_size=batch_size, tau=0.005
    ).learn(100)
    peer = SAC(
        "MlpPolicy", gym.make("Pendulum-v1"), learning_rate=1e-3, policy_kwargs={"net_arch": list(hidden)}, device="cpu"
    )
    peer.set_logger(configure(None, []))
    peer.critic.optimizer.param_groups[0]["eps"] /= 2  # its loss is half of ours: Adam's steps are the same then
    both = nn.Linear(16, 2)
    load(nn.ModuleList([peer.actor.latent_pi, both]), agent.z[0])
    for head, weight, bias in zip((peer.actor.mu, peer.actor.log_std), both.weight, both.bias, strict=True):
        head.weight.data, head.bias.data = weight.detach().clone().view(1, -1), bias.detach().clone().view(1)
    for critic in (peer.critic, peer.critic_target):
        load(critic, agent.practice.state["w"][0])
    ours, plain = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    agent.oracle.generator, start = ours, agent.z.clone()
    s, a, rewards, after, dones, next_noise, noise = next_update(agent, ours, plain)
    noises = [noise[:, :1], next_noise[:, :1]]  # in the order of its draws
    monkeypatch.setattr(Normal, "rsample", lambda self, *_: self.loc + self.scale * noises.pop(0))
    monkeypatch.setattr(peer.replay_buffer, "sample", lambda *_, **__: ReplayBufferSamples(s, a, after, dones, rewards))
    peer.train(1, batch_size)
    state, actor = agent.practice.state, peer.actor
    last = torch.cat([actor.mu.weight, actor.log_std.weight]), torch.cat([actor.mu.bias, actor.log_std.bias])
    expected = torch.cat([flat(actor.latent_pi), *(part.flatten() for part in last)]).detach()
    assert not noises and torch.allclose(agent.z[0], expected, rtol=0, atol=1e-5)
    assert torch.allclose(state["w"][0], flat(peer.critic), rtol=0, atol=1e-5)
    assert torch.allclose(state["target"][0], flat(peer.critic_target), rtol=0, atol=1e-5)
    assert float(state["log_temperatures"][0, 0]) == pytest.approx(float(peer.log_ent_coef.detach()), abs=1e-5)
    assert float((agent.z - start).abs().max()) > 9e-4 and float(peer.log_ent_coef.detach()) == pytest.approx(
        -1e-3, abs=1e-5
    )


# -- runs, checkpoints ---------------------------------------------------------------------------------------------
HOW = [
    (PENDULUM, "adam", {}),
    (PENDULUM, "extra_adam", {"delay": 2, "env_settings": {"coupling": "probabilistic"}, "normalize": True}),
    (BATCH, "adam", {"twin": False, "noise": 0.1, "env_settings": {"alpha": 0.0}}),
]


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize(("env", "solver", "settings"), HOW)
def test_a_saved_run_goes_on_bit_for_bit_in_the_middle_of_an_episode_too(env, solver, settings, runs, tmp_path):
    first = RobustSAC(env, make_solver(solver, lr=1e-3), seed=3, runs=runs, **SMALL, **settings).learn(117)
    first.save(tmp_path)
    second = RobustSAC.load(tmp_path, env, env_settings=settings.get("env_settings"))
    for agent in (first, second):
        agent.learn(120, reset_num_timesteps=False)
    states = [agent.practice.state for agent in (first, second)]
    assert torch.equal(first.z, second.z) and torch.equal(*(state["log_temperatures"] for state in states))
    moments = [state["temperature_rule"] for state in states]
    assert torch.equal(moments[0]["m"], moments[1]["m"]) and moments[0]["k"] == moments[1]["k"] > 0
    assert first.episodes == second.episodes and first.num_timesteps == second.num_timesteps == 237


@pytest.mark.parametrize("env", [PENDULUM, BATCH])
def test_a_run_is_the_same_alone_and_next_to_others(env):
    """Also next to runs with an adversary if it has none; up to the last bits of batched products."""
    many = RobustSAC(env, seed=5, runs=3, env_settings={"alpha": [0.3, 0.0, 0.3]}, **SMALL)
    few = RobustSAC(env, seed=5, runs=2, env_settings={"alpha": 0.3}, **SMALL)
    plain = RobustSAC(env, seed=5, runs=2, env_settings={"alpha": 0.0}, **SMALL)
    for agent in (many, few, plain):
        agent.learn(45)
    x = many.game.sizes[0]
    assert torch.allclose(many.z[0], few.z[0], rtol=0, atol=1e-5)
    assert torch.allclose(many.z[1, :x], plain.z[1], rtol=0, atol=1e-5)
    temperatures = [agent.practice.learning.temperatures(agent.practice.state) for agent in (many, few, plain)]
    assert torch.allclose(temperatures[0][0], temperatures[1][0], atol=1e-6)
    assert torch.allclose(temperatures[0][1], temperatures[2][1], atol=1e-6) and float(temperatures[0][1, 1]) == 0
    assert not torch.equal(many.z[0], many.z[2])


@pytest.mark.parametrize("place", ["follow_", "tune_", "step_"])
def test_a_failed_update_is_owed_and_taken_bit_for_bit(place, tmp_path, monkeypatch):
    whole, agent = (RobustSAC(PENDULUM, seed=3, runs=2, **SMALL) for _ in "ab")
    owner = type(agent.practice.learning)
    original = getattr(owner, place)

    def fails(self, *args):
        result = original(self, *args)
        if agent.num_timesteps == 36:
            raise MemoryError("no memory left")
        return result

    monkeypatch.setattr(owner, place, fails)
    with pytest.raises(MemoryError):
        agent.learn(45)
    monkeypatch.setattr(owner, place, original)
    assert agent.num_timesteps == 36 and agent.updates == 15
    agent.save(tmp_path)
    whole.learn(45)
    for left in (agent, RobustSAC.load(tmp_path, PENDULUM)):
        assert torch.equal(left.learn(9, reset_num_timesteps=False).z, whole.z)
        assert torch.equal(left.practice.state["log_temperatures"], whole.practice.state["log_temperatures"])


def test_a_diverged_run_stops_no_other():
    agent = RobustSAC(PENDULUM, runs=2, **SMALL).learn(30)
    agent.z[0] = agent.practice.target[0] = torch.nan
    agent.learn(10, reset_num_timesteps=False)
    temperatures = agent.practice.learning.temperatures(agent.practice.state)
    assert torch.isfinite(agent.z[1]).all() and torch.isfinite(temperatures[1]).all()
    agent.z[1] = torch.nan
    with pytest.raises(rg.DivergedError, match=r"all runs diverged"):
        agent.learn(10, reset_num_timesteps=False)


# -- playing, logs, settings ---------------------------------------------------------------------------------------
def test_an_action_is_that_of_the_mean_or_drawn():
    agent = RobustSAC(PENDULUM, runs=2, hidden=(8, 8), learning_starts=20, batch_size=8).learn(40)
    state = np.array([0.6, 0.8, 1.0], np.float32)
    heads = agent.policies.actor(agent.game.split(agent.z[1])[0], torch.from_numpy(state).unsqueeze(0))
    mean, spread = float(heads[0, 0]), float(heads[0, 1].exp())
    assert agent.predict(state, run=1)[0][0] == pytest.approx(np.tanh(mean), abs=1e-6)
    assert agent.policy(1)(state)[0] == pytest.approx(np.tanh(mean), abs=1e-6)
    kept = agent.generator.get_state()
    drawn = agent.predict(np.tile(state, (4000, 1)), deterministic=False, run=1)[0]
    u = np.arctanh(drawn.clip(-1 + 1e-6, 1 - 1e-6).astype(np.float64))
    assert u.mean() == pytest.approx(mean, abs=0.1 * spread) and u.std() == pytest.approx(spread, rel=0.1)
    draw = agent.policy(1, "adversary", deterministic=False)
    assert draw(state) != draw(state) and torch.equal(agent.generator.get_state(), kept)


def test_the_mean_is_a_network_of_its_own():
    net = MLP((3, 8, 4), norm=True)
    w, s = rows(0, 2, net.size), rows(1, 2, 5, 3)
    assert torch.equal(mean_network(net)(mean_weights(net, w), s), net(w, s)[..., :2].tanh())


def test_what_is_logged():
    agent = RobustSAC(PENDULUM, env_settings={"alpha": 0.2}, **SMALL).learn(40)
    found = agent._objectives()
    assert {
        f"train/{name}_of_{player}" for name in ("q", "entropy", "temperature") for player in agent.game.players
    } < set(found)
    x, y = agent.game.split(agent.z)
    noise = agent.policies.draw((1, 8), torch.Generator().manual_seed(agent.seed), torch.float32)
    drawn = agent.policies.sample(x, y, agent.practice.states, noise)
    assert torch.allclose(found["train/entropy_of_adversary"], -drawn[1].log_prob.mean())
    alone = RobustSAC(PENDULUM, env_settings={"alpha": 0.0}, **SMALL).learn(40)._objectives()
    assert not [name for name in alone if "adversary" in name]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0: it must be a number > 0"),
        ({"temperature": -1.0, "temperature_lr": 0.0}, "temperature is -1.0: it must be a number >= 0"),
        ({"temperature_lr": -1.0}, "temperature_lr is -1.0: a rate > 0"),
        ({"target_entropy": float("nan")}, "target_entropy is nan: a number"),
        ({"target_entropy": -2.0, "temperature_lr": 0.0}, "target_entropy is -2.0: temperature_lr=0 keeps"),
        ({"target_entropy": 0.7}, "target_entropy is 0.7: it must be below 0.693, the entropy of uniform actions"),
        (
            {"engine": "native"},
            "engine is native: it knows the updates of CriticTraining, and this is Soft.*engine='auto' takes torch",
        ),
        ({"temprature": 1.0}, "did you mean temperature"),
    ],
)
def test_settings_that_cannot_be_used(settings, message):
    pytest.importorskip("numba")
    with pytest.raises(rg.GameError, match=message):
        RobustSAC(PENDULUM, **settings)


def test_a_temperature_without_a_rate_stays_also_at_0():
    for temperature in (0.0, 0.3):
        agent = RobustSAC(PENDULUM, temperature=temperature, temperature_lr=0.0, **SMALL).learn(40)
        assert torch.isfinite(agent.z).all()
        expected = torch.full((1, 2), temperature)
        assert torch.allclose(agent.practice.learning.temperatures(agent.practice.state), expected)


def test_networks_that_are_no_stochastic_policies():
    for net in (MLP((3, 4, 3)), MLP((3, 4, 2), last="tanh")):
        with pytest.raises(rg.GameError, match="it needs 2k"):
            StochasticPolicies(net)


def test_it_trains_from_the_command_line(tmp_path, capsys):
    small = "--steps 300 --runs 1 --learning-starts 200 --batch-size 8 --hidden 8 8"
    words = f"train robust_sac {PENDULUM} {small} --set alpha=0.2 --out {tmp_path}"
    assert cli.main(words.split()) == 0
    assert "return_under_adversary" in capsys.readouterr().out.replace(" ", "_")


@pytest.mark.slow
def test_it_swings_the_pendulum_up_in_6000_steps_on_4_of_5_seeds():
    agent = RobustSAC(PENDULUM, seed=0, runs=5, env_settings={"alpha": 0.0}).learn(6000, log_interval=6000)
    returns = [play(PENDULUM, agent.policy(run), episodes=10, seed=1000).returns.mean() for run in range(5)]
    assert sum(r >= -200 for r in returns) >= 4, returns
