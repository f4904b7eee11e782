"""DDPG and TD3 with an adversary: what is stored, what a checkpoint holds, that they learn."""

import signal

import gymnasium as gym
import numpy as np
import pytest
import torch
from reference_ddpg import ReferenceDDPG, Settings
from torch import nn

import robustgames as rg
from robustgames.agents.control.wrapped import stored
from robustgames.agents.learning import Checkpoint
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3
from robustgames.checkpoints import load_checkpoint, save_checkpoint
from robustgames.evaluation.rollouts import play
from robustgames.solvers import make_solver
from robustgames.tensors import rebuild

PENDULUM = "robustgames/ActionRobustPendulum-v0"
SMALL = {"hidden": (8, 8), "learning_starts": 20, "batch_size": 8}


@pytest.mark.filterwarnings("error")
def test_observations_in_half_precision_are_stored_without_a_warning():
    out = np.zeros(2, np.float32)
    for values in ([1.0, 2.0], [30_000.0, 2.0]):  # the square of the last one overflows
        stored("the observation", np.array(values, np.float16), out, (2,))
        assert out.tolist() == values
    with pytest.raises(rg.GameError, match="not finite in float32"):
        stored("the observation", np.array([np.inf, 0.0], np.float16), out, (2,))


def test_the_adversarys_share_is_what_is_stored():
    """With alpha = 1 the executed action is the adversary's alone; with 0 it is the protagonist's."""
    for alpha, player in ((1.0, "adversary"), (0.0, "protagonist")):
        agent = RobustDDPG(PENDULUM, noise=0.0, env_settings={"alpha": alpha}, **SMALL).learn(21)
        frozen, before = agent.z.clone(), agent.ongoing.observe()[0]
        agent.learn(1, reset_num_timesteps=False)
        stored = agent.practice.replay._rows[agent.practice.replay.position - 1, 0, 3:4]
        agent.z = frozen
        assert torch.allclose(stored, torch.from_numpy(agent.predict(before, player=player)[0]), atol=1e-6)


def test_a_time_limit_is_no_end():
    agent = RobustDDPG(PENDULUM, runs=2, **SMALL).learn(250)
    assert [len(recent) for recent in agent.episodes] == [1, 1] and agent.episodes[0][0][1] == 200
    replay = agent.practice.replay
    assert replay.size == 250 and bool((replay._rows[:250, :, -1] == 1).all())
    step = replay._rows[199]  # the last of the episode: its s' is where it ended, not where the next began
    assert not torch.allclose(step[:, 4:7], replay._rows[200, :, :3])


HOW = [
    (RobustDDPG, PENDULUM, {}),
    (RobustTD3, PENDULUM, {"env_settings": {"coupling": "probabilistic", "perturbation": {"mass": (0.5, 2.0)}}}),
    (RobustDDPG, "robustgames/ActionRobustHopper-v0", {"exploration": "ou", "normalize": True}),
    (RobustDDPG, "robustgames/RobustPendulum-v0", {"exploration": "parameter", "layer_norm": True}),
]


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("steps", [0, 15, 200, 317])
@pytest.mark.parametrize(("agent_class", "env", "settings"), HOW)
def test_a_saved_run_goes_on_bit_for_bit_in_the_middle_of_an_episode_too(
    agent_class, env, settings, steps, runs, tmp_path
):
    solver = make_solver("extra_adam", lr=1e-3)
    first = agent_class(env, solver, seed=3, runs=runs, **SMALL, **settings).learn(steps)
    first.save(tmp_path)
    second = agent_class.load(tmp_path, env, env_settings=settings.get("env_settings"))
    for agent in (first, second):
        agent.learn(230, reset_num_timesteps=False)
    assert torch.equal(first.z, second.z) and first.num_timesteps == second.num_timesteps == steps + 230
    assert first.episodes == second.episodes and first.updates == second.updates


class Forgets(gym.Env):
    """Starts from states that no seed repeats."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.random.default_rng().uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {}


def test_an_env_that_does_not_repeat_itself_begins_a_new_episode(tmp_path):
    gym.register("test/Forgets-v0", entry_point=Forgets, max_episode_steps=9)
    env, settings = "robustgames/ActionRobust-v0", {"env_id": "test/Forgets-v0"}
    RobustDDPG(env, env_settings=settings, **SMALL).learn(9 * 4).save(tmp_path)
    assert RobustDDPG.load(tmp_path, env, settings).episodes[0][-1] == (0.0, 9)
    agent = RobustDDPG(env, env_settings=settings, **SMALL)
    agent.ongoing.observe()
    agent.save(tmp_path)
    with pytest.warns(UserWarning, match="the env of run 0 does not repeat its episode; it begins a new one"):
        RobustDDPG.load(tmp_path, env, settings).learn(3)


def load(networks, flat):
    nn.utils.vector_to_parameters(flat.clone(), [p for net in networks for p in net.parameters()])


def reference_of(agent, generator):
    """Return the reference with the weights of an agent of one run."""
    s, episodes = agent.settings, agent.ongoing
    settings = Settings(s.gamma, s.tau, 1e-3, s.twin, s.smoothing, s.delay, episodes.coupling, *episodes.alphas)
    reference = ReferenceDDPG(3, 1, s.hidden, settings, generator)
    load([reference.actor], agent.game.split(agent.z[0])[0])
    load(reference.critics, agent.practice.state["w"][0])
    if agent.game.sizes[1]:
        load([reference.adversary], agent.game.split(agent.z[0])[1])
    reference.start()
    return reference


@pytest.mark.parametrize(("coupling", "alpha"), [("noisy", 0.0), ("noisy", 0.3), ("probabilistic", 0.3)])
@pytest.mark.parametrize("agent_class", [RobustDDPG, RobustTD3])
def test_it_is_the_reference_update_for_update(agent_class, coupling, alpha):
    played = {"alpha": alpha, "coupling": coupling}
    agent = agent_class(PENDULUM, env_settings=played, hidden=(16, 16), learning_starts=100, batch_size=16)
    assert (agent.game.sizes[1] == 0) == (alpha == 0)
    agent.learn(100)
    ours, plain = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    agent.oracle.generator, reference = ours, reference_of(agent, plain)
    start = agent.z.clone()
    for k in range(1, 41):
        agent.practice.learn(ours)
        if k % agent.settings.delay == 0:
            agent.z, agent.state = agent.solver.step(agent.oracle, agent.z, agent.state)
            agent.practice.follow(agent.z)
        batch = agent.practice.replay.sample(16, plain)
        s, a, after, rewards, continues = (part[0].clone() for part in batch[2:])
        reference.update(s, a, rewards, after, 1 - continues)
    players = [reference.actor, reference.adversary][: 1 + (alpha > 0)]
    for flat, modules in ((agent.z[0], players), (agent.practice.state["w"][0], reference.critics)):
        expected = torch.cat([nn.utils.parameters_to_vector(m.parameters()) for m in modules])
        assert torch.allclose(flat, expected, rtol=0, atol=2e-6)
    moved = agent.game.split((agent.z - start).abs())
    assert all(float(part.max()) > 0.01 for part in moved[: len(players)])


def test_what_was_learned_can_be_differentiated():
    agent = RobustTD3(PENDULUM, runs=2, exploration="ou", **SMALL).learn(40)
    sample, z = agent.game.draw((2,), agent.generator), agent.z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(agent.game.payoff(*agent.game.split(z), sample).sum(), z)
    x, y = agent.game.split(slope)
    assert torch.allclose(torch.cat([-x, y], -1), agent.game.field(agent.z, sample), atol=1e-6)
    agent.practice.learn(agent.generator)  # and training continues outside of `learn`
    agent.z, agent.state = agent.solver.step(agent.oracle, agent.z, agent.state)


@pytest.mark.parametrize("solver", ["adam", "extra_adam", "optimistic_adam"])
def test_a_rule_for_each_player_is_one_for_both_where_their_rates_agree(solver):
    settings = {"runs": 3, "env_settings": {"alpha": 0.3}, **SMALL}
    own, both = (
        RobustDDPG(PENDULUM, make_solver(solver, lr=1e-3, **more), **settings).learn(40)
        for more in ({}, {"lr_y": 1e-3})
    )
    assert torch.allclose(own.z, both.z, rtol=0, atol=1e-6)


def test_a_diverged_run_stops_no_other_and_all_diverged_raise():
    agent = RobustDDPG(PENDULUM, runs=2, **SMALL).learn(30)
    agent.z[0] = torch.nan
    before = agent.z[1].clone()
    agent.learn(20, reset_num_timesteps=False)
    assert bool(torch.isfinite(agent.z[1]).all()) and not torch.equal(agent.z[1], before)
    agent.z[1] = torch.nan
    with pytest.raises(rg.DivergedError, match=r"all runs diverged \(non-finite values\) by timestep 5"):
        agent.learn(20, reset_num_timesteps=False)
    alone = RobustDDPG(PENDULUM, **SMALL).learn(30)
    alone.z[0] = torch.nan
    with pytest.raises(rg.DivergedError, match=r"the run diverged \(non-finite values\) by timestep 30"):
        alone.learn(20, reset_num_timesteps=False)


def test_a_checkpoint_knows_its_share_and_coupling(tmp_path):
    RobustDDPG(PENDULUM, env_settings={"alpha": 0.3}, **SMALL).save(tmp_path)
    with pytest.raises(rg.GameError, match=r"coupling noisy with alpha \[0.3\], this env noisy with \[0.1\]"):
        RobustDDPG.load(tmp_path, PENDULUM)
    with pytest.raises(rg.GameError, match="unknown option of load 'noise'"):
        RobustDDPG.load(tmp_path, PENDULUM, {"alpha": 0.3}, noise=0.2)


def test_every_run_may_have_its_own_rate():
    rates = torch.tensor([[1e-6], [1e-3]])
    agent = RobustDDPG(PENDULUM, make_solver("adam", lr=rates), runs=2, **SMALL)
    start = agent.z.clone()
    moved = (agent.learn(60).z - start).abs().amax(-1)
    assert float(moved[0]) < 1e-4 < 1e-2 < float(moved[1])


def test_every_run_may_have_its_own_share():
    agent = RobustDDPG(PENDULUM, runs=2, env_settings={"alpha": [0.0, 1.0]}, noise=0.0, **SMALL).learn(30)
    before = torch.from_numpy(agent.ongoing.observe())
    expected = [agent.predict(before[i], player=p, run=i)[0] for i, p in enumerate(("protagonist", "adversary"))]
    agent._advance()
    stored = agent.practice.replay._rows[30, :, 3:4].numpy()
    assert np.allclose(stored, np.stack(expected), atol=1e-6)
    with pytest.raises(rg.GameError, match="alpha has 3 values for 2 runs"):
        RobustDDPG(PENDULUM, runs=2, env_settings={"alpha": [0.0, 0.1, 0.2]})


def test_runs_of_one_seed_begin_alike_whatever_the_adversary():
    settings = [{"alpha": 0.0}, {"alpha": 0.3}, {"alpha": 0.3, "coupling": "probabilistic"}]
    agents = [RobustTD3(PENDULUM, seed=4, env_settings=each, **SMALL) for each in settings]
    agents.append(RobustTD3(PENDULUM, seed=4, env_settings=settings[1], adversary="random", **SMALL))
    actors = [agent.game.split(agent.z)[0] for agent in agents]
    assert all(torch.equal(actors[0], other) for other in actors)
    critics = [agent.practice.state["w"] for agent in agents]
    assert all(torch.equal(critics[0], other) for other in critics)
    starts = [agent.ongoing.observe() for agent in agents]
    assert all(np.array_equal(starts[0], other) for other in starts)


def test_observations_are_scaled_by_their_running_statistics_and_frozen_in_evaluation():
    agent = RobustDDPG(PENDULUM, normalize=True, runs=2, **SMALL).learn(80)
    seen = agent.practice.replay._rows[:80, :, :3].double()
    assert agent.norm.count == 80 and torch.allclose(agent.norm.mean[:, 0], seen.mean(0))
    std = seen.std(0, unbiased=False)
    drawn = agent.practice._sample(torch.Generator().manual_seed(0))
    raw = agent.practice.replay.sample(8, torch.Generator().manual_seed(0))
    expected = ((raw.states - seen.mean(0).unsqueeze(1)) / std.unsqueeze(1)).clamp(-5, 5)
    assert torch.allclose(drawn.states.double(), expected, atol=1e-4)
    assert torch.equal(drawn.played[..., :3], drawn.states) and torch.equal(drawn.actions, raw.actions)
    before = agent.norm.mean.clone()
    action = agent.predict(np.array([1.0, 0.0, 2.0]), run=1)[0]
    scaled = (torch.tensor([1.0, 0.0, 2.0]) - seen.mean(0)[1]) / std[1]
    mu = agent.policies.actor(agent.game.split(agent.z[1])[0], scaled.float().clamp(-5, 5).unsqueeze(0))
    assert np.allclose(action, mu.detach()[0], atol=1e-5) and torch.equal(agent.norm.mean, before)


@pytest.mark.parametrize("settings", [{}, {"normalize": True}, {"layer_norm": True}])
def test_a_policy_is_what_predict_says_of_the_moment(settings):
    agent = RobustDDPG(PENDULUM, runs=2, **SMALL, **settings).learn(60)
    states = np.random.default_rng(0).uniform(-1, 1, (9, 3)).astype(np.float32)
    before = {player: agent.predict(states, player=player, run=1)[0] for player in agent.game.players}
    policies = {player: agent.policy(1, player) for player in agent.game.players}
    agent.learn(60, reset_num_timesteps=False)
    for player, policy in policies.items():
        assert np.allclose([policy(s) for s in states], before[player], atol=1e-6)
        assert not np.allclose(agent.predict(states, player=player, run=1)[0], before[player], atol=1e-6)
    with pytest.raises(rg.GameError, match="run is 2: there are 2, 0 to 1"):
        agent.policy(2)


def test_acting_alone_is_acting_in_a_batch():
    for adversary, alpha in (("learned", 0.3), ("learned", 0.0), ("random", 0.3)):
        agent = RobustDDPG(PENDULUM, env_settings={"alpha": alpha}, adversary=adversary, **SMALL).learn(30)
        assert agent.behavior.row_by_row
        state, start = np.array([0.3, -0.2, 1.0], np.float32), agent.generator.get_state()
        saved = agent.behavior.state
        alone = agent.behavior.act_alone(agent.z, state)
        agent.generator.set_state(start)
        agent.behavior.state = saved
        together = agent.behavior.act(agent.z, torch.from_numpy(state).view(1, 1, 3))
        assert np.allclose(alone, np.stack([t[0].numpy() for t in together]), atol=1e-6)


def test_parameter_noise_acts_with_disturbed_weights_and_holds_its_distance():
    agent = RobustDDPG(PENDULUM, exploration="parameter", noise=0.2, layer_norm=True, **SMALL).learn(230)
    state = agent.behavior.state
    assert not torch.equal(state["weights"], agent.z) and state["k"] == agent.updates
    own, _ = agent.behavior.act(agent.z, torch.zeros(1, 1, 3))
    x, _ = agent.game.split(state["weights"])
    assert torch.allclose(own, agent.policies.actor(x, torch.zeros(1, 1, 3)).squeeze(-2), atol=1e-6)
    assert set(agent.behavior.measures()) == {"parameter_noise"}


def test_the_batched_pendulum_is_learned_on_like_the_separate_ones():
    """Same starts, same actions: what is stored agrees to float precision."""
    batch = RobustDDPG("robustgames/RobustPendulum-v0", runs=3, **SMALL)
    separate = RobustDDPG(PENDULUM, runs=3, **SMALL)
    states = batch.ongoing.observe()
    angles = torch.stack([torch.atan2(states[:, 1], states[:, 0]), states[:, 2]], -1).double()
    for env, start in zip(separate.ongoing.envs, angles, strict=True):
        env.reset()
        env.unwrapped.inner.state = start.numpy().copy()
    batch.ongoing.env._angle, batch.ongoing.env._speed = angles.unbind(-1)
    separate.ongoing._now[:], separate.ongoing._started = states.numpy(), [True] * 3
    own, other = torch.rand(2, 20, 3, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for a, b in zip(own, other, strict=True):
        one, each = batch.ongoing.play(a, b), separate.ongoing.play(a, b)
        for t, array in zip(one[1:4], each[1:4], strict=True):
            assert np.allclose(t.numpy(), array, atol=1e-5)
    assert one.ended == each.ended == [False] * 3


@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
@pytest.mark.parametrize("solver", ["alt_adam", "extra_adam", "rmsprop", "mirror_gan"])
def test_any_solver_moves_both_players(solver, coupling):
    agent = RobustTD3(
        PENDULUM, make_solver(solver, lr=1e-3), env_settings={"coupling": coupling, "alpha": 0.3}, **SMALL
    )
    start = agent.z.clone()
    agent.learn(40)
    assert torch.isfinite(agent.z).all()
    assert all(not torch.equal(a, b) for a, b in zip(agent.game.split(agent.z), agent.game.split(start), strict=True))


def test_a_random_adversary_is_the_control():
    agent = RobustDDPG(PENDULUM, adversary="random", env_settings={"alpha": 1.0}, **SMALL).learn(60)
    stored = agent.practice.replay._rows[:60, 0, 3]
    assert agent.game.sizes[1] == 0 and float(stored.std()) > 0.3
    with pytest.raises(rg.GameError, match="draws its actions at random: it has no policy"):
        agent.predict(np.zeros(3), player="adversary")


def test_runs_are_independent_and_repeat():
    together = RobustDDPG(PENDULUM, seed=1, runs=3, **SMALL).learn(30)
    again = RobustDDPG(PENDULUM, seed=1, runs=3, **SMALL).learn(30)
    assert torch.equal(together.z, again.z) and not torch.equal(together.z[0], together.z[1])
    assert together.predict(np.zeros((5, 3)), run=2)[0].shape == (5, 1)


class Breaks(gym.Env):
    """Returns a non-finite reward in its fifth step."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), float("nan") if self.t == 5 else 0.0, False, False, {}


def test_a_broken_env_says_where_and_loses_nothing():
    gym.register("test/Breaks-v0", entry_point=Breaks, max_episode_steps=100)
    agent = RobustDDPG("robustgames/ActionRobust-v0", env_settings={"env_id": "test/Breaks-v0"}, **SMALL)
    with pytest.raises(rg.GameError, match=r"timestep 4, run 0, step 4 of the episode of seed \d+: .*nan"):
        agent.learn(50)
    assert agent.num_timesteps == 4 and agent.practice.replay.size == 4
    with pytest.raises(rg.GameError, match="timestep 8, run 0, step 4 of"):  # in a new episode
        agent.learn(50, reset_num_timesteps=False)


class Hangs(Breaks):
    """Hangs in its fifth step, until the user presses Ctrl-C twice."""

    def step(self, action):
        self.t += 1
        if self.t == 5:
            for _ in "ab":
                signal.raise_signal(signal.SIGINT)
        return np.full(2, self.t / 100, np.float32), 0.0, False, False, {}


@pytest.mark.parametrize("solver", ["adam", "extra_adam"])
def test_a_checkpoint_whose_moments_have_the_sign_of_descent_continues(tmp_path, solver):
    """Those of versions before the engines."""
    env = "robustgames/ActionRobustPendulum-v0"
    agent = RobustDDPG(env, solver, runs=2, engine="torch", **SMALL).learn(40)
    agent.save(tmp_path / "new")
    content = load_checkpoint(tmp_path / "new")
    del content["engine"], content["settings"]["engine"]
    moments = []

    def older(node, path):
        if path[-1:] != ("m",) or not isinstance(node, torch.Tensor):
            return node
        moments.append(path)
        return -node

    save_checkpoint(tmp_path / "old", rebuild(content, older))
    assert len(moments) >= 2  # of the players, and of the critic
    resumed = RobustDDPG.load(tmp_path / "old", env)
    assert torch.equal(resumed.learn(20, reset_num_timesteps=False).z, agent.learn(20, reset_num_timesteps=False).z)


def test_a_second_ctrl_c_stops_an_env_that_hangs_and_its_step_is_dropped(tmp_path):
    gym.register("test/Hangs-v0", entry_point=Hangs, max_episode_steps=100)
    env, settings = "robustgames/ActionRobust-v0", {"env_id": "test/Hangs-v0"}
    agent = RobustDDPG(env, runs=2, env_settings=settings, exploration="ou", **SMALL)
    with pytest.raises(KeyboardInterrupt):
        agent.learn(50, callback=Checkpoint(tmp_path, 1000))
    for left in (agent, RobustDDPG.load(tmp_path, env, settings)):
        assert left.num_timesteps == left.practice.replay.size == 4
        left.learn(3, reset_num_timesteps=False)
        assert left.num_timesteps == left.practice.replay.size == 7
        assert torch.equal(left.practice.replay._rows[4, :, :2], torch.zeros(2, 2))  # the start of a new episode


@pytest.mark.parametrize(("agent_class", "env", "settings"), HOW)
@pytest.mark.parametrize("place", ["store", "critic", "players", "native"])
def test_a_second_ctrl_c_never_splits_an_update(agent_class, env, settings, place, tmp_path, monkeypatch):
    engine = "torch" if place in ("critic", "players") else "native"
    whole, agent = (agent_class(env, seed=3, runs=2, engine=engine, **SMALL, **settings) for _ in "ab")
    owner, name = {
        "native": (agent.engine, "step"),
        "store": (agent.practice.replay, "add"),
        "critic": (agent.practice, "learn"),
        "players": (agent.practice, "draw"),
    }[place]
    original = getattr(owner, name)

    def pressed(*args):
        if agent.num_timesteps >= 39:
            for _ in "abc":
                signal.raise_signal(signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(owner, name, pressed)
    with pytest.raises(KeyboardInterrupt):
        agent.learn(60, callback=Checkpoint(tmp_path, 1000))
    done = agent.num_timesteps
    assert done == agent.practice.replay.size and done in (39, 40)
    monkeypatch.setattr(owner, name, original)
    resumed = agent_class.load(tmp_path, env, env_settings=settings.get("env_settings"))
    whole.learn(60)
    for left in (agent, resumed):
        assert torch.equal(left.learn(60 - done, reset_num_timesteps=False).z, whole.z)


class Raises(Breaks):
    """Raises in its fifth step."""

    def step(self, action):
        result = super().step(action)
        if self.t == 5:
            raise ZeroDivisionError("the simulator gave up")
        return result


def test_an_env_that_raises_leaves_a_checkpoint_to_go_on_from(tmp_path):
    gym.register("test/Raises-v0", entry_point=Raises, max_episode_steps=100)
    env, settings = "robustgames/ActionRobust-v0", {"env_id": "test/Raises-v0"}
    agent = RobustDDPG(env, runs=2, env_settings=settings, **SMALL)
    with pytest.raises(rg.GameError, match="raised ZeroDivisionError: the simulator gave up"):
        agent.learn(50, callback=Checkpoint(tmp_path, 1000))
    loaded = RobustDDPG.load(tmp_path, env, settings)
    assert loaded.num_timesteps == 4 and loaded.practice.replay.size == 4
    assert loaded.learn(3, reset_num_timesteps=False).num_timesteps == 7


def test_a_random_adversary_without_a_share_is_told():
    with pytest.warns(UserWarning, match="adversary is random, but alpha is 0: nothing disturbs the protagonist"):
        RobustDDPG(PENDULUM, env_settings={"alpha": 0.0}, adversary="random", **SMALL)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: RobustDDPG("Pendulum-v1"), "has no adversary: pass an id such as"),
        (lambda: RobustDDPG(PENDULUM, runs=0), "runs is 0: at least one run"),
        (lambda: RobustDDPG(PENDULUM, batchsize=3), "unknown setting 'batchsize': did you mean batch_size"),
        (lambda: RobustDDPG(PENDULUM, delay=0), "delay is 0: it must be a whole number of at least 1"),
        (lambda: RobustDDPG(PENDULUM, noise=-1.0), "noise is -1.0: both are >= 0"),
        (lambda: RobustDDPG(PENDULUM, adversary="none"), "unknown adversary 'none'"),
        (lambda: RobustDDPG(PENDULUM, env_settings={"alpha": 1.5}), "alpha"),
        (lambda: RobustDDPG(gym.make(PENDULUM), runs=2), "serves one run: pass its id"),
        (
            lambda: RobustDDPG(PENDULUM, env_settings={"coupling": "observation"}),
            "for others, let the players learn in turns",
        ),
        (lambda: RobustDDPG(PENDULUM, **SMALL).learn(-1), "total_timesteps is -1"),
        (lambda: RobustDDPG(PENDULUM, buffer_size=1000), "learning_starts is 1000 and buffer_size 1000"),
        (lambda: RobustDDPG(PENDULUM, hidden=64), r"hidden is 64: the widths of the hidden layers, e.g. \(64, 64\)"),
        (lambda: RobustDDPG(PENDULUM, seed=-1), "seed is -1: it must be a whole number >= 0"),
        (lambda: RobustDDPG(PENDULUM, exploration="parameter", noise=0.0), "parameter noise holds a distance > 0"),
        (lambda: RobustDDPG(PENDULUM, final=-1.0), "final is -1.0"),
        (lambda: RobustDDPG(PENDULUM, make_solver("adam", average="uniform")), "leave average out"),
        (lambda: RobustDDPG(PENDULUM).predict(np.zeros((2, 2))), r"observation has shape \(2, 2\): expected \(3,\)"),
        (lambda: RobustDDPG("robustgames/ActionRobustPendlum-v0"), "did you mean robustgames/ActionRobustPendulum-v0"),
    ],
)
def test_impossible_settings_are_refused(make, error):
    with pytest.raises(rg.GameError, match=error):
        make()


def test_a_checkpoint_of_another_agent_is_refused(tmp_path):
    RobustDDPG(PENDULUM, **SMALL).save(tmp_path)
    with pytest.raises(rg.GameError, match="is of RobustDDPG, not RobustTD3"):
        RobustTD3.load(tmp_path, PENDULUM)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "native"])
def test_ddpg_swings_the_pendulum_up_in_6000_steps_on_20_of_24_seeds(engine):
    found = []  # 22 when this was written; other roundings are other samples
    for seed in range(3):
        settings = {"hidden": (128, 128), "smoothing": 0.2, "engine": engine}
        agent = RobustDDPG(PENDULUM, seed=seed, runs=8, env_settings={"alpha": 0.0}, **settings)
        agent.learn(6000, log_interval=6000)
        found += [play(PENDULUM, agent.policy(run), episodes=10, seed=1000).returns.mean() for run in range(8)]
    assert sum(r > -200 for r in found) >= 20, found


@pytest.mark.slow
def test_td3_holds_the_inverted_pendulum_by_50000_steps_on_4_of_5_seeds():
    env = "robustgames/ActionRobustInvertedPendulum-v0"
    agent = RobustTD3(env, seed=0, runs=5, env_settings={"alpha": 0.0}).learn(50_000, log_interval=50_000)
    returns = [play(env, agent.policy(run), episodes=10, seed=1000).returns.mean() for run in range(5)]
    assert sum(r >= 900 for r in returns) >= 4, returns
