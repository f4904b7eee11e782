"""M2TD3, soft M2TD3 and domain randomization: the published updates, their reductions, what episodes get, resuming."""

from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

import robustgames as rg
from robustgames.agents import M2TD3, DomainRandomizedTD3, RobustTD3, SoftM2TD3
from robustgames.agents.control.block_adam import BlockAdam
from robustgames.agents.control.candidates import Candidates
from robustgames.agents.control.policy_game import Fixed
from robustgames.agents.control.uncertainty_box import UncertaintyBox
from robustgames.agents.control.uncertainty_game import UncertainPolicies, UncertaintyGame
from robustgames.cli import main
from robustgames.games import MLP, Oracle
from robustgames.solvers import make_solver

PENDULUM, BATCH = "robustgames/ActionRobustPendulum-v0", "robustgames/RobustPendulum-v0"
BOX = "mass=0.5:2,length=0.5:1.5"
SMALL = {"hidden": (8, 8), "learning_starts": 20, "batch_size": 8}


# -- the published update, written with modules and optimizers ---------------------------------------------------------
class Transcription:
    """M2TD3 and soft M2TD3 of Tanabe et al. 2022: an optimizer for the actor, the critics and every candidate.

    Parameters of the env are in coordinates from -1 to 1.
    """

    def __init__(self, agent, generator):
        self.settings, self.generator, n = agent.settings, generator, agent.settings.candidates
        x, y = agent.game.split(agent.z[0])
        widths, d = agent.settings.hidden, agent.policies.further
        self.actor = load(net((3, *widths, 1), nn.Tanh()), x)
        self.critics = [net((3 + 1 + d, *widths, 1)) for _ in range(2)]
        for critic, flat in zip(self.critics, agent.practice.state["w"][0].chunk(2), strict=True):
            load(critic, flat)
        self.logits = [nn.Parameter(part.clone()) for part in y.view(n, d)]
        self.shares, self.length, self.updates = [1 / n] * n, 200, 0
        self.slow = [load(net((3, *widths, 1), nn.Tanh()), x), *(net((3 + 1 + d, *widths, 1)) for _ in range(2))]
        for slow, critic in zip(self.slow[1:], self.critics, strict=True):
            slow.load_state_dict(critic.state_dict())
        self.of_actor = torch.optim.Adam(self.actor.parameters(), 1e-3)
        self.of_critics = torch.optim.Adam([p for critic in self.critics for p in critic.parameters()], 1e-3)
        self.of_logits = [torch.optim.Adam([w], 1e-3) for w in self.logits]

    def update(self, s, played, after, rewards, continues):
        """Take one step of the critics, and every second time one of actor, worst candidate and targets."""
        a, c = played[:, :1], played[:, 1:]
        with torch.no_grad():
            noise = torch.randn((1, *played.shape), generator=self.generator)[0].mul(0.2).clamp(-0.5, 0.5)
            next_a = (self.slow[0](after) + noise[:, :1]).clamp(-1, 1)
            next_c = (c + noise[:, 1:]).clamp(-1, 1)
            value = torch.minimum(*(q(torch.cat([after, next_a, next_c], 1)) for q in self.slow[1:]))
            target = rewards + 0.99 * continues * value
        loss = sum(nn.functional.mse_loss(q(torch.cat([s, a, c], 1)), target) for q in self.critics)
        self.of_critics.zero_grad()
        loss.backward()
        self.of_critics.step()
        self.updates += 1
        if self.updates % 2 == 0:
            self.play(s)
            for slow, fast in zip(self.slow, [self.actor, *self.critics], strict=True):
                for p, q in zip(slow.parameters(), fast.parameters(), strict=True):
                    p.data.copy_(p.data * (1 - 0.005) + q.data * 0.005)

    def q(self, s, a, w):
        c = (2 * torch.sigmoid(w) - 1).expand(len(s), -1)
        return self.critics[0](torch.cat([s, a, c], 1)).mean()

    def play(self, s):
        losses = [-self.q(s, self.actor(s), w.detach()) for w in self.logits]
        worst = int(np.argmax([float(loss.detach()) for loss in losses]))
        loss = losses[worst]
        if self.settings.soft:
            loss = sum(p * each for p, each in zip(self.shares, losses, strict=True))
        against = self.q(s, self.actor(s).detach(), self.logits[worst])
        for objective, optimizer in ((against, self.of_logits[worst]), (loss, self.of_actor)):
            optimizer.zero_grad()
            objective.backward(inputs=optimizer.param_groups[0]["params"])
        self.of_logits[worst].step()
        self.of_actor.step()
        self.shares = [(1 - 1 / self.length) * p + (k == worst) / self.length for k, p in enumerate(self.shares)]


def net(widths, last=None):
    """Return linear layers with ReLU between them."""
    layers = [part for p, q in pairwise(widths) for part in (nn.Linear(p, q), nn.ReLU())]
    return nn.Sequential(*layers[:-1], *([] if last is None else [last]))


def load(module, flat):
    nn.utils.vector_to_parameters(flat.clone(), list(module.parameters()))
    return module


@pytest.mark.parametrize("agent_class", [M2TD3, SoftM2TD3])
def test_it_is_the_published_update_for_30_updates(agent_class):
    agent = agent_class(PENDULUM, uncertainty=BOX, hidden=(16, 16), learning_starts=400, batch_size=16, final=0.1)
    agent.learn(400)
    ours, plain = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    agent.oracle.generator, reference = ours, Transcription(agent, plain)
    start, shares, worst = agent.z.clone(), [], set()
    for k in range(1, 31):
        agent.practice.learn(ours)
        if k % 2 == 0:
            agent.z, agent.state = agent.solver.step(agent.oracle, agent.z, agent.state)
            agent.practice.follow(agent.z)
            agent.candidates.follow([200])
            worst.add(int(agent.candidates.worst[0]))
        batch = agent.practice.replay.sample(16, plain)
        reference.update(*(part[0].clone() for part in batch[2:]))
        shares.append(torch.tensor(reference.shares))
    x, y = agent.game.split(agent.z[0])
    vector = nn.utils.parameters_to_vector
    critics = torch.cat([vector(q.parameters()) for q in reference.critics])
    slow = torch.cat([vector(q.parameters()) for q in reference.slow[1:]])
    for found, expected in (
        (x, vector(reference.actor.parameters())),
        (y, torch.cat(list(reference.logits))),
        (agent.practice.state["w"][0], critics),
        (agent.practice.state["target"][0], slow),
        (agent.practice.target[0, : len(x)], vector(reference.slow[0].parameters())),
    ):
        assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    assert torch.allclose(agent.candidates.shares[0].float(), shares[-1].float(), atol=1e-7)
    moved = (y - agent.game.split(start[0])[1]).view(5, 2).abs().amax(-1)
    assert {k for k, by in enumerate(moved.tolist()) if by > 0} == worst and float(moved.max()) > 5e-3


@pytest.mark.parametrize("value", [1.0, 1.5])
def test_with_a_box_of_one_point_it_is_td3_to_the_last_bit(value):
    small = {**SMALL, "learning_starts": 200, "engine": "torch", "runs": 2, "seed": 4}
    found = M2TD3(PENDULUM, uncertainty=f"mass={value}:{value}", **small).learn(230)
    there = {"alpha": 0.0, "perturbation": {"mass": value}}
    plain = RobustTD3(PENDULUM, env_settings=there, **small).learn(230)
    assert found.updates == plain.updates == 30 and torch.equal(found.z, plain.z)
    assert torch.equal(found.practice.state["w"], plain.practice.state["w"])


# -- the game --------------------------------------------------------------------------------------------------------
class Toy:
    """Q(s, a, c) = -(a - c)²/2 - (a - 0.3)² + (c + 0.2)² without weights: a saddle in a and c."""

    size = 0

    def __call__(self, weights, inputs):
        a, c = inputs[..., 1:2], inputs[..., 2:3]
        return -((a - c) ** 2) / 2 - (a - 0.3) ** 2 + (c + 0.2) ** 2

    def initial(self, shape, generator, dtype):
        return torch.empty(*shape, 0, dtype=dtype)


@pytest.mark.parametrize(("solver", "lr"), [("adam", 0.02), ("gda", 0.1), ("extragradient", 0.1)])
def test_solvers_reach_the_saddle_of_a_quadratic_critic(solver, lr):
    """In a it is concave, in c convex; ∂a: -(a - c) - 2 (a - 0.3) = 0, ∂c: (a - c) + 2 (c + 0.2) = 0."""
    saddle = torch.linalg.solve(torch.tensor([[-3.0, 1.0], [1.0, 1.0]]), torch.tensor([-0.6, -0.4]))
    policies = UncertainPolicies(MLP((1, 1), last="tanh"), count=1, further=1)
    game = UncertaintyGame(policies, Toy(), Fixed(torch.zeros(4, 1)), Candidates(3, 1, 1, torch.device("cpu")))
    oracle = Oracle(game, (3,))
    made = make_solver(solver, lr=lr)
    z = oracle.initial()
    state = made.init(oracle, z)
    for _ in range(1500):
        z, state = made.step(oracle, z, state)
    x, y = game.split(z)
    found = torch.cat([policies.actor(x, torch.zeros(3, 1, 1)).squeeze(-1), policies.coordinates(y).squeeze(-1)], -1)
    assert torch.allclose(found, saddle.expand(3, 2), atol=2e-3)


@pytest.mark.parametrize("soft", [False, True])
def test_written_out_passes_are_autograd_of_the_losses(soft):
    policies = UncertainPolicies(MLP((3, 8, 8, 2), last="tanh"), count=4, further=2)
    critic, shares = MLP((7, 8, 8, 1)), Candidates(5, 4, 2, torch.device("cpu"))
    shares.shares = torch.rand(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(-1)
    weights, states = torch.randn(critic.size), torch.randn(16, 3)
    games = [
        UncertaintyGame(policies, critic, Fixed(states, weights), shares, soft, final=None, fast=fast)
        for fast in (True, False)
    ]
    generator = torch.Generator().manual_seed(1)
    z, sample = games[0].initial((5,), generator), games[0].draw((5,), generator)
    (rewards, v), (expected, w) = (game.evaluate(z, sample) for game in games)
    assert torch.allclose(v, w, atol=1e-6) and all(
        torch.allclose(a, b, atol=1e-6) for a, b in zip(rewards, expected, strict=True)
    )
    for player in range(2):
        assert torch.equal(games[0].field(z, sample, player), games[0].split(v)[player])
    own, worst = games[0].split(v)[1].view(5, 4, 2), shares.worst
    still = torch.ones(5, 4, dtype=torch.bool).scatter(1, worst.unsqueeze(1), False)
    assert bool((own[still] == 0).all()) and bool((own[~still] != 0).all())
    if not soft:  # then it is a zero-sum game of one payoff
        z = z.requires_grad_()
        (slope,) = torch.autograd.grad(games[1].payoff(*games[1].split(z), sample).sum(), z)
        x, y = games[1].split(slope)
        assert torch.allclose(torch.cat([-x, y], -1), v, atol=1e-6)


def test_a_block_that_stays_does_not_age():
    """Two optimizers, one of which is called in every third step, are one BlockAdam."""
    rule, z = BlockAdam(0.1, width=2), torch.zeros(4)
    state, parts = rule.init(z), [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    adams = [torch.optim.Adam([part], 0.1, maximize=True) for part in parts]
    generator = torch.Generator().manual_seed(0)
    for k in range(9):
        v = torch.randn(4, generator=generator)
        v[2:] *= k % 3 == 0
        z, state = rule.step(z, v, state, generator)
        for i, (part, adam) in enumerate(zip(parts, adams, strict=True)):
            part.grad = v.chunk(2)[i].clone()
            if i == 0 or k % 3 == 0:
                adam.step()
    assert torch.allclose(z, torch.cat([part.detach() for part in parts]), atol=1e-6)


# -- candidates --------------------------------------------------------------------------------------------------------
def test_candidates_that_are_near_or_seldom_the_worst_are_drawn_again():
    found = Candidates(2, 4, 1, torch.device("cpu"))
    c = np.array([[0.1], [0.9], [0.15], [-0.5]])
    assert found.stale(c, 0, distance=0.1, share=0.05) == [0]
    found.shares[1] = torch.tensor([0.5, 0.04, 0.26, 0.2])
    assert found.stale(c, 1, 0.01, 0.05) == [1] and found.stale(c, 0, 0.01, 0.05) == []
    y = found.renew(torch.zeros(4), 1, [1], np.random.default_rng(0))
    assert (y != 0).tolist() == [False, True, False, False]
    share = 0.96 / 3  # the mean of the others, then all add up to 1
    assert torch.allclose(found.shares[1], torch.tensor([0.5, share, 0.26, 0.2]).double() / (0.96 + share))
    found.worst = torch.tensor([2, 3])
    found.follow([10, 5])
    assert torch.allclose(found.shares[0], torch.tensor([0.225, 0.225, 0.325, 0.225]).double())


def test_a_candidate_that_is_drawn_again_has_no_past():
    agent = M2TD3(PENDULUM, uncertainty=BOX, **SMALL).learn(100)
    n, before = agent.game.sizes[0], agent.state["y"]
    moved = [k for k in range(5) if float(before["counts"][0, k]) > 0]
    assert moved
    agent._renew(0, moved[:1], np.random.default_rng(0))
    own, after = slice(2 * moved[0], 2 * moved[0] + 2), agent.state["y"]
    assert float(after["counts"][0, moved[0]]) == 0 and not bool(after["m"][0, own].any())
    changed = (before["m"] != after["m"])[0].view(5, 2).any(-1).nonzero().flatten().tolist()
    assert changed in ([moved[0]], []) and agent.state["x"] is not None and agent.z.shape[-1] == n + 10


def test_domain_randomization_is_uniform_in_the_box_and_nobody_sees_it():
    agent = DomainRandomizedTD3(BATCH, runs=1500, uncertainty=BOX, buffer_size=30, **SMALL)
    values = []
    for _ in range(2):
        agent.ongoing.observe()
        values.append(agent.ongoing.box.values(agent.ongoing.coordinates))
        drawn = agent.env.perturbation
        assert np.allclose(np.stack([drawn["mass"], drawn["length"]], -1), values[-1])
        agent.ongoing.abandon()
    for axis, (low, high) in enumerate([(0.5, 2.0), (0.5, 1.5)]):
        assert kstest(np.concatenate(values)[:, axis], "uniform", (low, high - low)).pvalue > 0.01
    assert not np.allclose(*values) and abs(np.corrcoef(np.concatenate(values).T)[0, 1]) < 0.06
    assert agent.policies.actor.widths[0] == 3 and agent.practice.learning.critic.widths[0] == 4
    seeing = M2TD3(PENDULUM, uncertainty=BOX, **SMALL)
    assert seeing.policies.actor.widths[0] == 3 and seeing.practice.learning.critic.widths[0] == 6


def test_an_episode_has_a_candidate_by_its_share_with_noise():
    agent = M2TD3(PENDULUM, uncertainty="mass=0.5:2", spread=0.0, least_distance=0.0, least_share=0.0, **SMALL)
    agent.learn(30)
    agent.candidates.shares[0] = torch.tensor([0.0, 0.7, 0.0, 0.3, 0.0])
    chosen = np.array([agent._choose(0, np.random.default_rng(k))[0] for k in range(400)])
    c = agent._coordinates(0)[:, 0]
    counts = [(np.abs(chosen - value) < 1e-9).sum() for value in c]
    assert counts[0] == counts[2] == counts[4] == 0 and abs(counts[1] - 280) < 40 and counts[1] + counts[3] == 400
    noisy = M2TD3(PENDULUM, uncertainty="mass=0.5:2", spread=1.0, final_spread=0.2, spread_steps=40, **SMALL).learn(40)
    assert noisy.spread == pytest.approx(0.6)
    assert noisy.learn(40, reset_num_timesteps=False).spread == pytest.approx(0.2)


def test_the_replay_has_the_parameters_that_were_set():
    agent = M2TD3(PENDULUM, uncertainty=BOX, **SMALL).learn(450)
    core = agent.ongoing._cores[0]
    now = agent.ongoing.box.values(agent.practice.replay._rows[449, 0, 4:6].double().numpy())
    assert np.allclose(now, [core.perturbation["mass"], core.perturbation["length"]], atol=1e-6)
    assert core.inner.unwrapped.m == pytest.approx(now[0], abs=1e-6)
    each = agent.practice.replay._rows[:450, 0, 4:6]
    assert len(each.unique(dim=0)) == 3 and bool((each[0] == each[199]).all()) and bool((each[199] != each[200]).any())


# -- as all agents -----------------------------------------------------------------------------------------------------
HOW = [
    (M2TD3, PENDULUM, {"solver": "extra_adam"}),
    (SoftM2TD3, BATCH, {"normalize": True}),
    (M2TD3, "robustgames/ActionRobustInvertedPendulum-v0", {"uncertainty": "rrls-inverted-pendulum-2d-published"}),
    (DomainRandomizedTD3, PENDULUM, {"engine": "torch"}),
]


@pytest.mark.parametrize("steps", [200, 317])
@pytest.mark.parametrize(("agent_class", "env", "settings"), HOW)
def test_a_saved_run_continues_bit_for_bit(agent_class, env, settings, steps, tmp_path):
    first = agent_class(env, seed=3, runs=2, **{"uncertainty": BOX, **SMALL, **settings}).learn(steps)
    first.save(tmp_path)
    second = agent_class.load(tmp_path, env)
    assert np.array_equal(first.ongoing.coordinates, second.ongoing.coordinates)
    for agent in (first, second):
        agent.learn(230, reset_num_timesteps=False)
    assert torch.equal(first.z, second.z) and first.episodes == second.episodes
    assert np.array_equal(first.ongoing.coordinates, second.ongoing.coordinates)
    if agent_class is not DomainRandomizedTD3:
        assert torch.equal(first.candidates.shares, second.candidates.shares)


@pytest.mark.parametrize("env", [PENDULUM, BATCH])
def test_a_run_does_not_depend_on_the_others(env):
    both, alone = (M2TD3(env, uncertainty=BOX, runs=runs, seed=2, **SMALL).learn(430) for runs in (2, 1))
    assert torch.allclose(both.z[:1], alone.z, atol=1e-4)
    assert np.allclose(both.ongoing.coordinates[0], alone.ongoing.coordinates[0], atol=1e-4)
    assert not torch.equal(both.candidates.shares[0], both.candidates.shares[1])


WRONG = [
    ({"uncertainty": "mas=0.5:2"}, "unknown axis or set of the uncertainty 'mas': did you mean mass"),
    ({"uncertainty": "mass=2:0.5"}, "the uncertainty has mass=2:0.5: two bounds, the lower first"),
    ({"uncertainty": "mass=0.5"}, "two bounds"),
    ({"uncertainty": " "}, "the uncertainty is empty"),
    ({"uncertainty": "mass=-1:1"}, "mass is -1.0: a relative scale is positive"),
    ({"uncertainty": "mass=0.5,2"}, "the uncertainty is 'mass=0.5,2': a colon joins two bounds, e.g. mass=0.5:2"),
    ({"uncertainty": "friction=0.5:2"}, "friction has no effect on Pendulum-v1"),
    ({"uncertainty": "mass:torso=0.5:2"}, "this env names no parts of it"),
    ({"uncertainty": "rrls-hopper-1d"}, "in kg and coefficients of Hopper-v5, and the env is Pendulum-v1"),
    ({"env_settings": {"alpha": 0.2}}, "alpha is 0.2: here the adversary sets parameters"),
    ({"env_settings": {"coupling": "observation"}}, "the coupling is ObservationShift: it must be noisy or probab"),
    ({"env_settings": {"coupling": "wind"}}, "unknown coupling 'wind'"),
    ({"candidates": 0}, "candidates is 0"),
    ({"least_share": 0.2}, "least_share is 0.2 with 5 candidates"),
    ({"spread": -1.0}, "spread is -1.0"),
    ({"final_spread": 0.5}, "final_spread is 0.5 and spread_steps 0: the noise does not fall"),
    (
        {"adversary": "random"},
        "adversary is random: the candidates learn; parameters that are drawn at random are dr_td3",
    ),
    ({"engine": "native"}, "engine is native: it knows the updates of TemporalDifference, and this is Uncertain"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_bad_input_is_refused(wrong, message):
    with pytest.raises(rg.GameError, match=message):
        M2TD3(PENDULUM, **wrong)


def test_the_batch_refuses_what_it_does_not_have():
    with pytest.raises(rg.GameError, match="friction has no effect on the batched pendulum"):
        M2TD3(BATCH, uncertainty="friction=0.5:2")


def test_the_box_is_exact_at_its_ends_and_takes_bodies():
    env = gym.make("robustgames/ActionRobustInvertedPendulum-v0")
    box = UncertaintyBox("rrls-inverted-pendulum-2d", env)
    kg = [env.unwrapped.physics.nominal("mass", body) for body in ("pole", "cart")]
    found = [box.perturbation(np.full(2, end))["mass"] for end in (-1.0, 1.0)]
    assert np.allclose([[m["pole"] * kg[0], m["cart"] * kg[1]] for m in found], [[1, 1], [31, 11]])
    assert np.allclose(box.values(box.nominal), 1.0) or np.all(box.values(box.nominal) >= box.low)


@pytest.mark.parametrize(
    "agent", ["m2td3", *(pytest.param(name, marks=pytest.mark.slow) for name in ("soft_m2td3", "dr_td3"))]
)
def test_the_command_line_trains_resumes_and_evaluates_them(agent, tmp_path, capsys):
    small = "--steps 60 --runs 2 --hidden 8 8 --batch-size 8 --learning-starts 20 --evaluations 2"
    words = f"train {agent} {PENDULUM} --uncertainty {BOX} {small} --engine torch --out {tmp_path}"
    assert main(words.split()) == 0
    run = next(tmp_path.rglob("config.yaml")).parent
    text = next(run.glob("progress*.csv")).read_text()
    assert ("train/worst_mass" in text) == ("train/share_of_worst" in text) == (agent != "dr_td3")
    assert main(f"train --resume {run} --steps 80".split()) == 0
    assert main(f"evaluate {run} --grid mass=0.5,2 --episodes 1".split()) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("agent", "given", "spread"), [("soft_m2td3", {}, 30), ("soft_m2td3", {"spread_steps": 7}, 7), ("m2td3", {}, 0)]
)
def test_the_noise_of_a_soft_run_decreases_over_half_of_its_steps(agent, given, spread):
    from robustgames.experiment.control import ControlExperiment

    run = ControlExperiment(agent, PENDULUM, settings={**SMALL, "uncertainty": BOX, **given}, steps=60)
    assert run.make_agent().settings.spread_steps == spread


@pytest.mark.parametrize(("words", "spread"), [("", 30), ("--spread-steps 1000000", 1_000_000)])
def test_so_it_does_from_the_command_line_and_when_the_run_is_extended(words, spread, tmp_path, capsys):
    from robustgames.experiment import read

    small = "--runs 1 --hidden 8 8 --batch-size 8 --learning-starts 20 --evaluations 2"
    assert main(f"train soft_m2td3 {PENDULUM} {words} {small} --steps 60 --out {tmp_path}".split()) == 0
    run = next(tmp_path.rglob("config.yaml")).parent
    assert read(run).make_agent().settings.spread_steps == spread
    assert main(f"train --resume {run} --steps 80".split()) == 0
    assert read(run).make_agent().settings.spread_steps == spread  # the config repeats the run that was extended
    capsys.readouterr()


def test_a_wrong_axis_is_one_line(capsys):
    assert main(f"train m2td3 {PENDULUM} --uncertainty mas=0.5:2".split()) == 2
    assert "did you mean mass" in capsys.readouterr().err


# -- noise on actions, short episodes, the env's own perturbation ------------------------------------------------------
class Square(gym.Env):
    """One step, r = -a²."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), -(float(action[0]) ** 2), True, False, {}


def test_the_critic_sees_what_noise_on_actions_costs():
    if "test/Square-v0" not in gym.registry:
        gym.register("test/Square-v0", Square, max_episode_steps=1)
    soon = {"learning_starts": 300, "batch_size": 64, "hidden": (32,), "critic_lr": 1e-2, "candidates": 2}
    env = {"env_id": "test/Square-v0"}
    agent = M2TD3("robustgames/ActionRobust-v0", env_settings=env, uncertainty="action_noise=0:0.9", **soon).learn(900)
    critic, states = agent.practice.learning.first(agent.practice.state), torch.zeros(1, 1, 1)
    found = [
        float(agent.game.critic(critic, torch.cat([states, torch.zeros(1, 1, 1), torch.full((1, 1, 1), c)], -1)))
        for c in (-1.0, 1.0)
    ]
    np.testing.assert_allclose(found, [0.0, -0.9 / 3], atol=0.1)  # E a² = 1/3 if a uniform action replaces 0


def test_shares_stay_a_distribution_if_all_that_is_left_is_drawn_again():
    candidates = Candidates(1, 3, 1, torch.device("cpu"))
    candidates.worst[:] = 1
    candidates.follow([1])  # an episode of one step
    assert candidates.shares.tolist() == [[0.0, 1.0, 0.0]]
    candidates.renew(torch.zeros(3), 0, [1, 0, 2], np.random.default_rng(0))
    np.testing.assert_allclose(candidates.shares[0], 1 / 3)


def test_other_bodies_of_the_envs_own_perturbation_stay():
    env, own = "robustgames/ActionRobustInvertedPendulum-v0", {"mass": {"cart": 2.0}}
    settings = {"env_settings": {"perturbation": own}, "uncertainty": "mass:pole=0.5:2", "engine": "torch"}
    agent = DomainRandomizedTD3(env, **settings, **SMALL).learn(2)
    masses = agent.env.unwrapped.perturbation["mass"]
    assert masses["cart"] == 2.0 and 0.5 <= masses["pole"] <= 2.0
    settings["env_settings"] = {"perturbation": {"mass": 2.0}}
    with pytest.raises(rg.GameError, match="has mass, and the uncertainty mass:pole"):
        DomainRandomizedTD3(env, **settings, **SMALL)


@pytest.mark.parametrize("batched", [False, True], ids=["env", "batch"])
def test_an_env_that_was_lent_to_an_agent_begins_its_next_episodes_as_before(batched):
    id, own = "robustgames/RobustPendulum-v0", {"gravity": 0.9}
    kind = {"vectorization_mode": "vector_entry_point", "num_envs": 2} if batched else {}
    env = (gym.make_vec if batched else gym.make)(id, alpha=0.0, perturbation=own, **kind)
    agent = M2TD3(env, uncertainty="mass=1.5:2", learning_starts=10, batch_size=4, hidden=(8, 8), seed=0)
    agent.learn(30)
    now = env.unwrapped.perturbation
    assert (torch.as_tensor(now["mass"]) >= 1.5).all()  # the episode that it is in goes on with its parameters
    _, info = env.reset(seed=3)
    assert list(info["perturbation"]) == ["gravity"]
