"""Control with an adversary: the checkers, the couplings in closed form, limits, views, and bad input."""

import copy
import subprocess
import sys
import warnings
from dataclasses import dataclass

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test, parallel_seed_test
from stable_baselines3 import TD3
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import robustgames as rg
from robustgames.cli.listing import describe
from robustgames.envs import (
    COUPLINGS,
    BodyForce,
    Coupling,
    DynamicsShift,
    NoisyAction,
    ObservationShift,
    Play,
    ProbabilisticAction,
    control_ids,
    uncertainty_set,
)
from robustgames.envs.control.inner import _quiet as quiet
from robustgames.envs.control.uncertainty_sets import RARL_FORCES, RARL_HEEL_FORCES
from robustgames.envs.parallel import ParallelGame
from robustgames.envs.registration import CONTROL
from robustgames.evaluation.rollouts import play as play_episodes

IDS = [id for id in control_ids() if id.startswith("robustgames/")]
ANY = "robustgames/ActionRobust-v0"


def make(env_id="Pendulum-v1", **settings):
    return gym.make(ANY, env_id=env_id, **settings).unwrapped


def joint(env, protagonist=0.0, adversary=0.0):
    shapes = {player: env.action_space[player].shape for player in env.unwrapped.players}
    values = {"protagonist": protagonist, "adversary": adversary}
    return {player: np.broadcast_to(values[player], shape).astype(np.float32) for player, shape in shapes.items()}


# -- conformance ----------------------------------------------------------------------------------------
def test_the_ids():
    assert set(IDS) == {*CONTROL, ANY} and len(IDS) == 13
    assert not set(IDS) & set(rg.game_ids())
    assert describe("robustgames/ActionRobustHopper-v0") == "Hopper-v5, and an adversary."
    assert describe(ANY) == "Any env_id= with continuous or finitely many actions, and an adversary."


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_accepts_the_env(id, recwarn):
    check_env(gym.make(id).unwrapped, skip_render_check=True)
    assert [str(w.message) for w in recwarn if "infinity" not in str(w.message)] == []


@pytest.mark.filterwarnings("ignore:.*Box observation space m")
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_gymnasium_accepts_every_coupling(coupling):
    check_env(make("Hopper-v5", coupling=coupling), skip_render_check=True)
    if coupling != "force":
        check_env(make("Pendulum-v1", coupling=coupling), skip_render_check=True)


@pytest.mark.parametrize("id", IDS)
def test_stable_baselines_accepts_both_views(id):
    for player, other in (("protagonist", "adversary"), ("adversary", "protagonist")):
        env = gym.make(id)
        for opponent in (np.zeros(env.action_space[other].shape), "random"):
            sb3_check_env(rg.PlayerView(env, player, opponent))


@pytest.mark.parametrize(
    ("id", "coupling"),
    [(id, "noisy") for id in IDS] + [(ANY, "delayed_observation"), (ANY, "dynamics")],
)
def test_pettingzoo_accepts_the_parallel_game(id, coupling):
    parallel_api_test(ParallelGame(gym.make(id, coupling=coupling)), num_cycles=60)
    parallel_seed_test(lambda: ParallelGame(gym.make(id, coupling=coupling)), num_cycles=30)


@pytest.mark.parametrize("player", ["protagonist", "adversary"])
@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
def test_td3_of_stable_baselines_takes_steps_on_either_side(player, coupling):
    view = rg.PlayerView(gym.make(ANY, coupling=coupling), player, "random")
    model = TD3("MlpPolicy", view, learning_starts=20, batch_size=16, policy_kwargs={"net_arch": [16]}, seed=0)
    before = torch.nn.utils.parameters_to_vector(model.actor.parameters()).clone()
    model.learn(50)
    after = torch.nn.utils.parameters_to_vector(model.actor.parameters())
    assert model.num_timesteps == 50 and torch.isfinite(after).all() and not torch.equal(before, after)


def test_importing_the_package_builds_no_env_and_loads_no_simulator():
    code = "import sys, robustgames, gymnasium as gym; gym.spec('robustgames/ActionRobustHopper-v0'); print("
    code += "[m for m in ('mujoco', 'pygame', 'gymnasium.envs.mujoco.hopper_v5') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# -- α = 0, and the reward ------------------------------------------------------------------------------
@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
@pytest.mark.parametrize("id", IDS)
def test_without_an_adversary_it_is_the_inner_env_bit_for_bit(id, coupling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo logs a warning about HalfCheetah's XML to a file where it is
    env = gym.make(id, alpha=0.0, coupling=coupling)
    inner = gym.make(env.unwrapped.env_id)
    finite = isinstance(inner.action_space, gym.spaces.Discrete)
    half = 1 if finite else (inner.action_space.high - inner.action_space.low) / 2
    shape = env.action_space["protagonist"].shape
    rng = np.random.default_rng(0)
    assert np.array_equal(env.reset(seed=3)[0], inner.reset(seed=3)[0])
    for _ in range(60):
        action = rng.uniform(-1, 1, shape).astype(np.float32)
        *ours, info = env.step(joint(env, action, rng.uniform(-1, 1)))
        *theirs, _ = inner.step(int(action.argmax()) if finite else half * action)
        assert np.array_equal(ours[0], theirs[0]) and ours[1:] == theirs[1:]
        assert type(ours[1]) is float and not info["adversary_acted"]
        if ours[2] or ours[3]:
            assert np.array_equal(env.reset()[0], inner.reset()[0])


def test_the_adversary_gets_the_negative_reward():
    env = gym.make(ANY)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(joint(env))
    assert reward < 0 and info["reward_adversary"] == -reward
    rewards = {}
    for player in ("protagonist", "adversary"):
        view = rg.PlayerView(ANY, player, [0.0])
        view.reset(seed=0)
        rewards[player] = view.step(np.zeros(1))[1]
    assert rewards == {"protagonist": reward, "adversary": -reward}
    game = ParallelGame(ANY)
    game.reset(seed=0)
    assert game.step({"protagonist": [0.0], "adversary": [0.0]})[1] == rewards


# -- couplings of actions -------------------------------------------------------------------------------
def test_noisy_executes_the_mixture():
    env = make("Hopper-v5", alpha=0.25)
    env.reset(seed=0)
    own, other = np.array([1.0, -0.5, 0.25]), np.array([-1.0, 1.0, 0.5])
    info = env.step({"protagonist": own, "adversary": other})[4]
    assert info["executed_action"].tolist() == [0.5, -0.125, 0.3125] and info["adversary_acted"]
    assert info["executed_action"].dtype == np.float32
    assert env.inner.data.ctrl.tolist() == [0.5, -0.125, 0.3125]


def test_actions_are_stretched_over_the_inner_box_and_clipped():
    env = make(alpha=0.5)
    env.reset(seed=0)
    info = env.step(joint(env, 1.0, 0.5))[4]
    assert info["executed_action"].tolist() == [0.75] and env.inner.last_u == 1.5  # the box is [-2, 2]
    assert env.step(joint(env, 40.0, -40.0))[4]["executed_action"].tolist() == [0.0]
    assert make("Humanoid-v5", alpha=1.0).reset(seed=0)[1]["perturbation"] == {}


def test_probabilistic_executes_one_of_the_two_with_its_frequency():
    env = make(coupling="probabilistic", alpha=0.3)
    env.reset(seed=0)
    coins = []
    for _ in range(5000):
        info = env.step(joint(env, 0.5, -0.75))[4]
        assert info["executed_action"].tolist() == ([-0.75] if info["adversary_acted"] else [0.5])
        coins.append(info["adversary_acted"])
    assert abs(np.mean(coins) - 0.3) < 4 * np.sqrt(0.21 / 5000)
    assert abs(np.corrcoef(coins[1:], coins[:-1])[0, 1]) < 0.06


def test_coins_follow_the_seed_and_nothing_else():
    def coins(seed, action):
        env = make(coupling="probabilistic", alpha=0.5)
        env.reset(seed=seed)
        return [env.step(joint(env, action, 0.0))[4]["adversary_acted"] for _ in range(40)]

    assert coins(1, 0.3) == coins(1, -0.9) != coins(2, 0.3)
    for alpha, expected in ((0.0, {False}), (1.0, {True})):
        env = make(coupling="probabilistic", alpha=alpha)
        env.reset(seed=0)
        assert {env.step(joint(env))[4]["adversary_acted"] for _ in range(50)} == expected


# -- force, dynamics, observation -----------------------------------------------------------------------
def test_a_force_gives_the_momentum_of_newtons_law():
    speeds = []
    for adversary in (0.0, [1.0, -0.5, 0.25]):
        env = make("Ant-v5", coupling="force", bound=2.0)
        env.reset(seed=0)
        model, data = env.inner.model, env.inner.data
        data.qpos[2], data.qpos[7:], data.qvel[:] = 5.0, model.jnt_range[1:].mean(1), 0.0
        env.step(joint(env, 0.0, adversary))
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        speeds.append(data.subtree_linvel[1].copy())
    gained = model.body_mass.sum() * (speeds[1] - speeds[0])  # F t; the armature of the joints takes a little
    assert gained == pytest.approx(np.array([2.0, -1.0, 0.5]) * env.inner.dt, rel=0.03, abs=1e-3)


def test_a_force_changes_the_state_is_renewed_and_cleared():
    env, calm = (make("Hopper-v5", coupling="force") for _ in range(2))
    env.reset(seed=0), calm.reset(seed=0)
    assert env.action_space["adversary"].shape == (2,)
    pushed, *_, info = env.step(joint(env, 0.0, [1.0, -0.5]))
    still, *_ = calm.step(joint(calm))
    assert not np.array_equal(pushed, still)
    forces = env.inner.data.xfrc_applied
    torso = env.inner.model.body("torso").id
    assert forces[torso].tolist() == [5.0, 0.0, -2.5, 0.0, 0.0, 0.0] and np.count_nonzero(forces) == 2
    assert info["executed_action"].tolist() == [0.0, 0.0, 0.0]
    env.step(joint(env, 0.0, [0.0, 1.0]))
    assert forces[torso].tolist() == [0.0, 0.0, 5.0, 0.0, 0.0, 0.0]
    env.coupling.clear(env)
    assert not forces.any()
    env.step(joint(env, 0.0, 1.0))
    assert np.array_equal(env.reset(seed=0)[0], calm.reset(seed=0)[0]) and not forces.any()
    assert np.array_equal(env.step(joint(env))[0], calm.step(joint(calm))[0])


def test_forces_of_the_literature_fit_their_models():
    for name, settings in RARL_FORCES.items():
        env = make(f"{name}-v5", coupling="force")
        assert env.action_space["adversary"].shape == (len(settings["plane"]),)
        env.reset(seed=0)
        env.step(joint(env, 0.0, 1.0))
        assert env.inner.data.xfrc_applied.max() == settings["bound"]
        calm = make(f"{name}-v5", coupling="force")
        for axis in range(len(settings["plane"])):  # every axis of the force moves the model
            push = np.eye(len(settings["plane"]))[axis]
            one, other = env.reset(seed=0)[0], calm.reset(seed=0)[0]
            for _ in range(3):
                one, *_ = env.step(joint(env, 0.0, push))
                other, *_ = calm.step(joint(calm))
            assert not np.array_equal(one, other), (name, axis)
    heels = make("HalfCheetah-v5", coupling=BodyForce(**RARL_HEEL_FORCES["HalfCheetah"]))
    assert heels.action_space["adversary"].shape == (4,)
    heels.reset(seed=0)
    heels.step(joint(heels, 0.0, [0.2, 0.4, -0.6, -0.8]))
    applied = [heels.inner.data.body(foot).xfrc_applied[[0, 2]] for foot in ("bfoot", "ffoot")]
    assert np.concatenate(applied) == pytest.approx([1.0, 2.0, -3.0, -4.0])


def test_dynamics_follow_the_adversary_within_its_bounds():
    scales = {"mass": {"torso": (0.5, 2.5)}, "friction": (0.2, 1.0)}
    env = make("Hopper-v5", coupling="dynamics", scales=scales)
    model = env.inner.model
    torso, foot = env.physics.nominal("mass", "torso"), model.geom("foot_geom").friction[0]
    env.reset(seed=0, options={"perturbation": {"mass": 2.0}})
    for action, mass, friction in (([-1, 1], 0.5, 1.0), ([1, -1], 2.5, 0.2), ([0, 0.5], 1.5, 0.8), ([9, 9], 2.5, 1.0)):
        info = env.step(joint(env, 0.0, action))[4]
        assert model.body("torso").mass == pytest.approx(2.0 * torso * mass, rel=1e-6)  # times the episode's 2.0
        assert model.geom("foot_geom").friction[0] == pytest.approx(foot * friction, rel=1e-6)
        assert info["adversary_scales"]["mass"] == pytest.approx({"torso": mass})
        assert info["adversary_scales"]["friction"] == pytest.approx(friction)
        assert info["perturbation"] == {"mass": 2.0}
    env.reset()
    assert model.body("torso").mass == pytest.approx(2.0 * torso) and model.geom("foot_geom").friction[0] == foot


def test_an_adversary_plays_a_set_of_the_literature():
    pendulum = make("InvertedPendulum-v5")
    scales = uncertainty_set("rrls-inverted-pendulum-2d").bounds(pendulum)
    env = make("InvertedPendulum-v5", coupling="dynamics", scales=scales)
    env.reset(seed=0)
    env.step(joint(env, 0.0, [1.0, -1.0]))
    assert [env.inner.model.body(b).mass[0] for b in ("pole", "cart")] == pytest.approx([31.0, 1.0])


def test_a_delayed_shift_is_within_eps_and_the_adversary_sees_the_truth():
    env, plain = make(coupling="delayed_observation", eps=(0.1, 0.2, 0.5)), make(alpha=0.0)
    assert np.array_equal(env.reset(seed=0)[0], plain.reset(seed=0)[0])
    for _ in range(20):  # nothing adds up
        seen, *_, info = env.step(joint(env, 0.3, [1.0, -0.5, 0.2]))
        truth, *_ = plain.step(joint(plain, 0.3))
        assert seen - truth == pytest.approx([0.1, -0.1, 0.1], abs=1e-6)
        assert np.array_equal(info["observations"]["adversary"], truth) and env.observation_space.contains(seen)
    assert env.observation_space.high == pytest.approx([1.1, 1.2, 8.5])
    game = ParallelGame(gym.make(ANY, coupling="delayed_observation", eps=0.5))
    game.reset(seed=0)
    both, *_ = game.step({"protagonist": [0.0], "adversary": [1.0, 1.0, 1.0]})
    assert both["protagonist"] - both["adversary"] == pytest.approx([0.5] * 3)


def test_views_give_the_adversary_the_true_observation():
    seen = []
    view = rg.PlayerView(
        gym.make(ANY, coupling="delayed_observation", eps=0.5),
        "protagonist",
        lambda o: seen.append(o.copy()) or np.ones(3),
    )
    start, _ = view.reset(seed=0)
    first, *_ = view.step(np.zeros(1))
    view.step(np.zeros(1))
    assert np.array_equal(seen[0], start) and seen[1] == pytest.approx(first - 0.5)


def test_the_adversary_of_an_sa_mdp_shifts_the_state_that_the_protagonist_sees_now():
    """From the first state on; the transition depends on the action alone that the shifted state leads to."""
    gain, eps = np.array([[0.3, -0.5, 0.1]]), np.array([0.1, 0.2, 0.5])
    policy, adversary = lambda o: np.clip(gain @ o, -1, 1), lambda o: np.sign(o)
    plain, total, truth = gym.make("Pendulum-v1"), 0.0, []
    state, _ = plain.reset(seed=3)
    for _ in range(200):
        truth.append(state)
        state, reward, *_ = plain.step(2 * policy((state + eps * np.sign(state)).astype(np.float32)).astype(np.float32))
        total += reward
    settings = {"coupling": "observation", "eps": tuple(eps)}
    against = play_episodes(ANY, policy, 1, seed=3, adversary=adversary, env_settings=settings)
    assert against.returns[0] == pytest.approx(total, rel=1e-6)
    assert play_episodes(ANY, policy, 1, seed=3, env_settings=settings).returns != against.returns
    for player, other, own in (("protagonist", adversary, policy), ("adversary", policy, adversary)):
        view, seen, sum_of_rewards, over = rg.PlayerView(gym.make(ANY, **settings), player, other), [], 0.0, False
        observation, _ = view.reset(seed=3)
        while not over:
            seen.append(observation)
            observation, reward, _, over, _ = view.step(own(observation))
            sum_of_rewards += reward
        assert sum_of_rewards == pytest.approx(total if player == "protagonist" else -total, rel=1e-6)
        shift = eps * np.sign(truth) if player == "protagonist" else np.zeros(3)
        np.testing.assert_allclose(seen, truth + shift, atol=1e-4)
        assert view.observation_space.contains(seen[0])


def test_a_shift_that_nobody_saw_is_told_and_simultaneous_players_are_refused():
    env = make(coupling="observation", eps=0.5)
    env.reset(seed=0)
    env.perceived(np.ones(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.step(joint(env, 0.0, [1.0, 1.0, 1.0]))
        env.step(joint(env, 0.0, [0.0, 0.0, 0.0]))
    with pytest.warns(UserWarning, match=r"did not see the shift of its observation: .* call env.unwrapped.perceived"):
        env.step(joint(env, 0.0, [1.0, 1.0, 1.0]))
    with pytest.raises(rg.GameError, match="coupling='delayed_observation'"):
        ParallelGame(gym.make(ANY, coupling="observation"))
    wrapped = gym.wrappers.RescaleObservation(gym.make(ANY, coupling="observation"), np.float32(-1), np.float32(1))
    with pytest.raises(rg.GameError, match="RescaleObservation changes observations after the adversary's shift"):
        rg.PlayerView(wrapped, "adversary", opponent=[0.0]).reset()
    for wrap in (lambda e: gym.wrappers.FrameStackObservation(e, 3), gym.wrappers.TimeAwareObservation):
        with pytest.raises(rg.GameError, match="Observation changes observations after the adversary's shift"):
            play_episodes(wrap(gym.make(ANY, coupling="observation")), lambda o: np.zeros(1), 1, adversary=np.ones(3))


@dataclass(frozen=True)
class Reversal(Coupling):
    """The adversary turns the action around, or not."""

    def shape(self, env):
        return (1,)

    def apply(self, env, action, adversary):
        turned = bool(adversary[0] > 0)
        return Play(-action if turned else action, turned)


def test_a_coupling_of_ones_own():
    env = make(coupling=Reversal())
    env.reset(seed=0)
    assert env.step(joint(env, 0.5, 1.0))[4]["executed_action"].tolist() == [-0.5]
    info = env.step(joint(env, 0.5, -1.0))[4]
    assert info["executed_action"].tolist() == [0.5] and not info["adversary_acted"]


# -- limits, settings, views ----------------------------------------------------------------------------
def limits(env):
    found = []
    while isinstance(env, gym.Wrapper):
        found += [env._max_episode_steps] if isinstance(env, gym.wrappers.TimeLimit) else []
        env = env.env
    return found


@pytest.mark.parametrize("id", IDS)
def test_there_is_exactly_one_time_limit(id):
    env = gym.make(id)
    assert limits(env) == [gym.spec(env.unwrapped.env_id).max_episode_steps] == [env.spec.max_episode_steps]
    assert limits(env.unwrapped.inner) == []
    assert limits(gym.make(id, max_episode_steps=7)) == [7]
    assert limits(gym.make(env.spec)) == limits(env)
    assert gym.make(env.spec).unwrapped.env_id == env.unwrapped.env_id


def test_any_id_keeps_its_limit():
    assert limits(gym.make(ANY, env_id="Reacher-v5")) == [50]
    env = gym.make(ANY, env_id="Pendulum-v1")
    env.reset(seed=0)
    ends = [env.step(joint(env))[2:4] for _ in range(200)]
    assert ends == [(False, False)] * 199 + [(False, True)]


class Drift(gym.Env):
    """x+ = x + a; what it observes and pays can be broken on purpose."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, broken="", action_space=None):
        self.broken, self.steps = broken, 0
        self.action_space = action_space or self.action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2) * (np.nan if self.broken == "reset" else 1), {}

    def step(self, action):
        self.steps += 1
        late = self.steps == 3
        observation = np.array([0.0, np.nan if late and self.broken == "observation" else 1.0])
        reward = {"reward": np.nan, "infinite": np.inf}.get(self.broken, 0.0) if late else 0.0
        return observation, reward, False, False, {}


gym.register("couplings/Drift-v0", entry_point=Drift)
gym.register(
    "couplings/Wrapped-v0",
    entry_point=Drift,
    additional_wrappers=(gym.wrappers.RescaleAction.wrapper_spec(min_action=-3.0, max_action=1.0),),
)


class Telling(Drift):
    """Observes one array that it fills in every step, and tells rewards and observations in words of its own."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.zeros(2)
        return self.state, {"observations": self.state, "other": 1}

    def step(self, action):
        self.state += action
        terms = {"rewards": {"distance": -1.0}, "observations": np.ones(2)}
        return self.state, -float(self.state @ self.state), False, False, terms


gym.register("couplings/Telling-v0", entry_point=Telling, max_episode_steps=5)


def test_words_of_the_inner_env_are_not_those_of_the_players():
    env = gym.make(ANY, env_id="couplings/Telling-v0", alpha=0.25)
    info = env.reset(seed=0)[1]
    assert set(info) == {"inner_observations", "other", "perturbation"}
    info = env.step(joint(env))[4]
    assert info["inner_rewards"] == {"distance": -1.0} and not {"rewards", "observations"} & set(info)
    play_episodes(env, lambda o: np.zeros(1), 1, adversary=lambda o: np.tanh(o[:1]))
    view = rg.PlayerView(env, "adversary", opponent=lambda o: np.ones(1))
    view.reset(seed=0)
    assert view.step(np.ones(1))[1] == 2.0  # minus the reward, -(1 + 1)


def test_an_observation_stays_what_it_was():
    def changing(observation):
        observation += 1.0
        return np.zeros(1)

    env = gym.make(ANY, env_id="couplings/Telling-v0", alpha=0.0)
    first, _ = env.reset(seed=0)
    second = env.step(joint(env, 0.5))[0]
    assert first.tolist() == [0.0, 0.0] and second.tolist() == [0.5, 0.5]
    assert play_episodes(env, changing, 1).returns == 0.0  # the state is that of the env


class Outside(Drift):
    """Observes what its space does not hold."""

    observation_space = gym.spaces.Box(-0.5, 0.5, (2,), np.float32)


gym.register("couplings/Outside-v0", Outside)


@pytest.mark.parametrize("coupling", ["observation", "delayed_observation"])
def test_an_observation_outside_of_its_space_is_shifted_like_any_other(coupling):
    env = make("couplings/Outside-v0", coupling=coupling, eps=0.25)
    env.reset(seed=0)
    shift = np.float32([0.5, -0.5])
    seen, *_ = env.step({"protagonist": [0.0], "adversary": shift})  # the observation is [0, 1]
    if coupling == "observation":
        assert env.perceived(np.zeros(2)).tolist() == [0.0, 1.0]
        seen = env.perceived(shift)
    assert seen.tolist() == [0.125, 0.875] and seen.dtype == np.float32


def test_an_env_without_a_limit_has_none_and_registered_wrappers_stay():
    assert limits(gym.make(ANY, env_id="couplings/Drift-v0")) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RescaleAction of this Gymnasium makes float64 boxes
        env = make("couplings/Wrapped-v0")
    assert env.inner.action_space.low == [-3.0] and isinstance(env.inner, gym.wrappers.RescaleAction)


def test_settings_reach_the_inner_env():
    assert make(g=5.0).inner.g == 5.0
    assert make("Hopper-v5", healthy_reward=7.0, alpha=0.2).inner._healthy_reward == 7.0
    env = make("Hopper-v5", coupling="force", bodies=("foot", "leg"), bound=3.0, plane="x", healthy_reward=2.0)
    assert env.coupling == BodyForce(("foot", "leg"), "x", 3.0) and env.inner._healthy_reward == 2.0
    assert make(alpha=0.2).coupling == NoisyAction(0.2) and make().coupling == NoisyAction(0.1)
    assert make(coupling=ProbabilisticAction(0.4)).coupling.alpha == 0.4
    assert make(coupling="observation", eps=0.1).coupling == ObservationShift(0.1)


def test_spaces_are_named_and_the_protagonist_comes_first():
    space = make("Walker2d-v5").action_space
    assert list(space) == ["protagonist", "adversary"]
    assert all(box == gym.spaces.Box(-1.0, 1.0, (6,), np.float32) for box in space.values())


def test_rendering_is_the_inner_envs():
    pytest.importorskip("pygame")
    env = gym.make(ANY, render_mode="rgb_array")
    view = rg.PlayerView(env, "protagonist", [0.0])
    view.reset(seed=0)
    assert view.render().shape == (500, 500, 3) and view.render_mode == "rgb_array"
    assert env.unwrapped.metadata["render_fps"] == 30
    view.close()


def test_a_random_opponent_follows_the_seed_of_its_view():
    def play(seed):
        view = rg.PlayerView(gym.make(ANY, alpha=1.0), "protagonist", "random")
        view.reset(seed=seed)
        return [view.step(np.zeros(1))[4]["executed_action"][0] for _ in range(200)]

    actions = play(0)
    assert actions == play(0) != play(1)
    assert abs(np.mean(actions)) < 0.15 and abs(np.var(actions) - 1 / 3) < 0.08


def test_views_can_be_copied_and_vectorized():
    view = rg.PlayerView(gym.make(ANY), "adversary", [0.25])
    view.reset(seed=0)
    twin = copy.deepcopy(view)
    assert np.array_equal(view.step(np.ones(1))[0], twin.step(np.ones(1))[0])
    envs = gym.make_vec(ANY, num_envs=3, vectorization_mode="sync", coupling="probabilistic", alpha=0.5)
    envs.reset(seed=0)
    *_, infos = envs.step(envs.action_space.sample())
    assert infos["executed_action"].shape == (3, 1) and infos["reward_adversary"].shape == (3,)


# -- bad input ------------------------------------------------------------------------------------------
gym.register("couplings/Dict-v0", entry_point=Drift, kwargs={"action_space": gym.spaces.Dict(a=Drift.action_space)})
gym.register("couplings/Unbounded-v0", entry_point=Drift, kwargs={"action_space": gym.spaces.Box(-np.inf, 1.0, (1,))})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"env_id": "CartPole-v1", "alpha": 2.0}, "alpha is 2.0"),
        ({"env_id": "couplings/Dict-v0"}, r"has actions Dict\(.*\): pass an env with a Box"),
        (
            {"env_id": "couplings/Unbounded-v0"},
            "has unbounded actions .* register it with bounds, entry_point=.*TransformAction",
        ),
        ({"env_id": ANY}, r"has actions Dict\('protagonist'"),
        ({"env_id": "Pendulm-v1"}, "unknown env_id 'Pendulm-v1': did you mean Pendulum-v1"),
        ({"env_id": "Hopper-v9"}, "unknown env_id 'Hopper-v9': did you mean Hopper-v"),
        ({"env_id": "no_such_module:Env-v0"}, r"gym.make\('no_such_module:Env-v0'\) failed: No module named"),
        ({"env_id": 3}, "env_id is 3: pass the id of a registered env"),
        ({"alpha": 1.5}, r"alpha is 1.5: the adversary's share lies in \[0, 1\], e.g. alpha=0.1"),
        ({"alpha": -0.1, "coupling": "probabilistic"}, "alpha is -0.1: the adversary's share"),
        ({"alpha": float("nan")}, "alpha is nan: the adversary's share"),
        ({"coupling": "nosy"}, "unknown coupling 'nosy': did you mean noisy"),
        (
            {"coupling": "force", "alpha": 0.1},
            "alpha=0.1 has no meaning in coupling 'force': it takes bodies, plane, bound",
        ),
        ({"coupling": NoisyAction(0.2), "alpha": 0.1}, r"alpha=0.1 cannot change NoisyAction\(alpha=0.2\)"),
        ({"alhpa": 0.1}, "unknown setting of Pendulum-v1 'alhpa': did you mean alpha"),
        ({"coupling": "force"}, "Pendulum-v1 has no bodies to push: coupling='force' needs a MuJoCo env"),
        (
            {"coupling": "force", "env_id": "Pusher-v5"},
            "no default body to push in Pusher-v5: pass bodies=, some of r_shoulder",
        ),
        ({"coupling": "force", "env_id": "Hopper-v5", "bodies": ("feet",)}, "unknown body 'feet': did you mean foot"),
        ({"coupling": "force", "env_id": "Hopper-v5", "bodies": ["world"]}, "unknown body 'world': "),
        ({"coupling": "force", "plane": "xw"}, "plane is 'xw': name world axes, e.g. 'xz'"),
        ({"coupling": "force", "bound": 0.0}, "bound is 0.0: the largest force is positive"),
        ({"coupling": "dynamics", "scales": {}}, "scales are empty: give bounds"),
        ({"coupling": "dynamics", "scales": {"mas": (1, 2)}}, "unknown axis of the dynamics 'mas': did you mean mass"),
        ({"coupling": "dynamics", "scales": {"action_noise": (0, 1)}}, "unknown axis of the dynamics 'action_noise'"),
        ({"coupling": "dynamics", "scales": {"mass": 2.0}}, r"scales of mass are 2.0: give \(low, high\)"),
        ({"coupling": "dynamics", "scales": {"mass": (0.0, 2.0)}}, "mass is 0.0: a relative scale is positive"),
        (
            {"coupling": "dynamics", "scales": {"friction": (0.5, 2)}},
            "cannot act through friction on Pendulum-v1: the env",
        ),
        ({"coupling": "observation", "eps": -1.0}, "eps is -1.0: the largest shift is finite and not negative"),
        ({"coupling": "observation", "eps": (0.1, 0.2)}, "eps has 2 components: observations of Pendulum-v1 have"),
        ({"perturbation": {"mass": -1.0}}, "mass is -1.0: a relative scale is positive"),
    ],
)
def test_wrong_settings_are_told_in_one_line(settings, message):
    with pytest.raises(rg.GameError, match=message) as caught:
        gym.make(ANY, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"protagonist": [0.0], "adversary": [0.0, 0.0]}, r"the adversary's action has shape \(2,\): expected \(1,\)"),
        ({"protagonist": 0.0, "adversary": [0.0]}, r"the protagonist's action has shape \(\): expected \(1,\)"),
        ({"protagonist": [0.0]}, "pass both, {'protagonist': a, 'adversary': b}"),
        ([0.0, 0.0], r"action is \[0.0, 0.0\]: pass both"),
        ({"protagonist": [np.nan], "adversary": [0.0]}, r"the protagonist's action is \[nan\]: expected numbers in"),
        ({"protagonist": [0.0], "adversary": [np.inf]}, r"the adversary's action is \[inf\]: expected numbers in"),
        ({"protagonist": None, "adversary": [0.0]}, r"the protagonist's action has shape \(\): expected \(1,\)"),
        ({"protagonist": ["left"], "adversary": [0.0]}, r"action is \['left'\]: expected an array of numbers of shape"),
    ],
)
def test_wrong_actions_are_told_in_one_line(action, message):
    env = make()
    env.reset(seed=0)
    state = env.inner.state.copy()
    with pytest.raises(rg.GameError, match=message):
        env.step(action)
    assert np.array_equal(env.inner.state, state)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            "observation",
            r"couplings/Drift-v0 returned observation \[ 0. nan\] at step 3 after action \[0.5\], perturbation \{",
        ),
        ("reward", r"couplings/Drift-v0 returned reward nan at step 3 after action \[0.5\]"),
        ("infinite", r"couplings/Drift-v0 returned reward inf at step 3"),
        ("reset", r"couplings/Drift-v0 returned observation \[nan nan\] at reset"),
    ],
)
def test_what_is_no_number_is_named(broken, message):
    env = make("couplings/Drift-v0", broken=broken, alpha=0.0)
    with pytest.raises(rg.GameError, match=message) as caught:
        env.reset(seed=0, options={"perturbation": {"action_noise": 0.0}})
        for _ in range(3):
            env.step(joint(env, 0.5))
    assert "\n" not in str(caught.value)
    if broken != "reset":
        env.reset()
        assert env.step(joint(env))[1] == 0.0


def test_wrong_opponents_are_told():
    with pytest.raises(rg.GameError, match="unknown opponent 'rnd': did you mean random"):
        rg.PlayerView(ANY, "protagonist", "rnd")
    with pytest.raises(rg.GameError, match="the strategy set of 'y' is unbounded: a random opponent needs a box"):
        rg.PlayerView("robustgames/Bilinear-v0", "x", "random", bound=1.0)
    assert DynamicsShift().scales == {"mass": (0.5, 2.0)}


def test_mujocos_warnings_are_filtered_inside_of_the_block_only():
    """Nested and overlapping blocks restore the handler that was there; other warnings reach it."""
    outer, inner, seen = quiet("HalfCheetah-v5"), quiet("Ant-v5"), []
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(seen.append)
    try:
        outer.__enter__()
        inner.__enter__()
        handler = mujoco.get_mju_user_warning()
        handler("settotalmass is deprecated")
        handler("something else")
        outer.__exit__(None, None, None)
        assert seen == ["something else"] and mujoco.get_mju_user_warning() == handler
        inner.__exit__(None, None, None)
        assert mujoco.get_mju_user_warning() == seen.append
        with quiet("Pendulum-v1"):
            assert mujoco.get_mju_user_warning() == seen.append
        with quiet("Ant-v5"):
            mujoco.set_mju_user_warning(print)
        assert mujoco.get_mju_user_warning() is print  # installed inside of the block: it stays
    finally:
        mujoco.set_mju_user_warning(before)


class Wide(gym.Env):
    """Actions without bounds; the observation is the corner (1, 1) of its box at first, then the action."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.ones(2, np.float32), {}

    def step(self, action):
        return np.full(2, action[0], np.float32).clip(-1, 1), float(action[0]), False, False, {}


class Bounded(Wide):
    """With actions in [-1, 1]."""

    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)


def test_the_advice_for_unbounded_actions_works():
    gym.register("test/Wide-v0", Wide)
    with pytest.raises(rg.GameError, match=r"has unbounded actions .* entry_point=lambda") as caught:
        gym.make("robustgames/ActionRobust-v0", env_id="test/Wide-v0")
    gym.register("test/Narrow-v0", eval(str(caught.value).split("entry_point=")[1], {"gymnasium": gym}))
    env = gym.make("robustgames/ActionRobust-v0", env_id="test/Narrow-v0", alpha=0.0)
    env.reset(seed=0)
    assert env.step({"protagonist": [0.25], "adversary": [1.0]})[1] == 0.25


def test_observation_noise_on_a_bounded_space_is_not_clipped():
    """In a corner of the box a clipped noise of deviation 0.1 has mean -0.04 and deviation 0.06."""
    gym.register("test/Bounded-v0", Bounded)
    env = gym.make("robustgames/ActionRobust-v0", env_id="test/Bounded-v0")
    assert env.observation_space == Bounded.observation_space
    errors = []
    for i in range(2000):
        observation, _ = env.reset(seed=i, options={"perturbation": {"observation_noise": 0.1}})
        assert env.observation_space.contains(observation)
        errors.append(observation - 1)
    assert abs(np.mean(errors)) < 4 * 0.1 / np.sqrt(4000) and np.std(errors) == pytest.approx(0.1, rel=0.05)
    env.reset(options={"perturbation": None})
    assert env.observation_space == Bounded.observation_space
    for noise in ({"observation_noise": (0.0, 0.1)}, {"observation_noise": 0.1}):
        noisy = gym.make("robustgames/ActionRobust-v0", env_id="test/Bounded-v0", perturbation=noise)
        assert not noisy.observation_space.is_bounded("below") and not noisy.observation_space.is_bounded("above")
    shifted = gym.make("robustgames/ActionRobust-v0", env_id="test/Bounded-v0", coupling="delayed_observation", eps=0.5)
    assert float(shifted.observation_space.high[0]) == 1.5
    shifted.reset(options={"perturbation": {"observation_noise": 0.1}})
    assert shifted.observation_space.contains(shifted.step({"protagonist": [0.0], "adversary": [1.0, 1.0]})[0])


class Picture(Bounded):
    """Observes an image."""

    observation_space = gym.spaces.Box(0, 255, (2, 2, 1), np.uint8)

    def reset(self, *, seed=None, options=None):
        return np.full((2, 2, 1), 200, np.uint8), {}


def test_networks_do_not_train_on_images_of_0_to_255():
    gym.register("test/Picture-v0", Picture)
    with pytest.raises(rg.GameError, match=r"observes images in 0 … 255.*RescaleObservation") as caught:
        rg.RobustDDPG("robustgames/ActionRobust-v0", env_settings={"env_id": "test/Picture-v0"})
    env = gym.make("robustgames/ActionRobust-v0", env_id="test/Picture-v0")
    scaled = eval(str(caught.value).split("pass ")[1], {**vars(gym.wrappers), "np": np, "env": env})
    np.testing.assert_allclose(scaled.reset(seed=0)[0], np.full(4, 200 / 255), rtol=1e-6)
