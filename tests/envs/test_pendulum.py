"""The batched pendulum: Gymnasium's, an adversary, perturbations, and the protocol of a vector env."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch.utils._python_dispatch import TorchDispatchMode

import robustgames as rg
from robustgames.envs.control.action_robust import ActionRobustEnv
from robustgames.envs.control.pendulum import RobustPendulumVectorEnv
from robustgames.envs.control.perturbations import Choice

KINDS = {"float32": torch.float32, "float64": torch.float64}
N = 6


def actions(steps, n=N, dtype="float32", seed=0, size=1.3):
    g = torch.Generator().manual_seed(seed)
    both = (2 * torch.rand(steps, 2, n, 1, generator=g, dtype=torch.float64) - 1) * size
    return [{"protagonist": a, "adversary": b} for a, b in both.to(KINDS[dtype])]


def play(env, steps, **settings):
    found = [env.step(a) for a in actions(steps, env.num_envs, **settings)]
    return [torch.stack(parts) for parts in list(zip(*found, strict=True))[:4]], [step[4] for step in found]


# -- it is Gymnasium's -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("dtype", "seen", "exact"), [("float32", 5e-7, 1e-12), ("float64", 1e-12, 1e-12)])
@pytest.mark.parametrize("scales", [{}, {"mass": 1.7, "length": 0.6, "gravity": 1.3}])
def test_an_episode_is_gymnasiums(scales, dtype, seen, exact):
    env = RobustPendulumVectorEnv(N, alpha=0.0, dtype=dtype)
    observation, _ = env.reset(seed=3, options={"perturbation": scales})
    peers = [gym.make("Pendulum-v1").unwrapped for _ in range(N)]
    for i, peer in enumerate(peers):
        peer.reset(seed=0)
        peer.state = np.array([env._angle[i], env._speed[i]])
        peer.m, peer.l, peer.g = scales.get("mass", 1.0), scales.get("length", 1.0), 10 * scales.get("gravity", 1.0)
        assert np.allclose(peer._get_obs(), observation[i], atol=1e-7)
    for action in actions(200, dtype=dtype):
        _, reward, _, _, info = env.step(action)
        for i, peer in enumerate(peers):
            torque = (2 * action["protagonist"][i].clamp(-1, 1)).numpy()
            expected = peer.step(torque)[1]
            angle, speed = peer.state
            assert np.allclose(info["final_obs"][i], [np.cos(angle), np.sin(angle), speed], rtol=0, atol=seen)
            assert reward[i].item() == pytest.approx(expected, rel=1e-6 if dtype == "float32" else exact)


@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
def test_an_episode_with_an_adversary_is_that_of_the_single_env(coupling):
    env = RobustPendulumVectorEnv(N, alpha=0.3, coupling=coupling)
    scales = {"mass": 1.5, "gravity": 0.5}
    env.reset(seed=1, options={"perturbation": scales})
    peers = [ActionRobustEnv("Pendulum-v1", alpha=0.3, coupling=coupling) for _ in range(N)]
    for i, peer in enumerate(peers):
        peer.reset(seed=0, options={"perturbation": scales})
        peer.inner.unwrapped.state = np.array([env._angle[i], env._speed[i]])
    for action in actions(200):
        _, reward, _, _, info = env.step(action)
        for i, peer in enumerate(peers):
            own = {player: a[i].numpy() for player, a in action.items()}
            if coupling == "probabilistic":  # the coins are the batch's
                own = {player: own["adversary" if info["adversary_acted"][i] else "protagonist"] for player in own}
            observed, paid, _, _, told = peer.step(own)
            assert np.array_equal(told["executed_action"], info["executed_action"][i])
            assert np.allclose(observed, info["final_obs"][i], rtol=0, atol=1e-6)
            assert paid == pytest.approx(reward[i].item(), rel=1e-5)
            assert told["reward_adversary"] == pytest.approx(info["reward_adversary"][i].item(), rel=1e-5)


# -- the protocol ------------------------------------------------------------------------------------------------
def test_nothing_terminates_and_all_are_truncated_at_the_limit_with_their_last_observation_kept():
    env = RobustPendulumVectorEnv(N, max_episode_steps=30)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    env.reset(seed=0)
    (observed, _, terminated, truncated), infos = play(env, 70)
    assert not bool(terminated.any()) and truncated.all(1).nonzero().flatten().tolist() == [29, 59]
    assert torch.equal(truncated.any(1), truncated.all(1))
    for t, info in enumerate(infos):
        final, over = info["final_obs"], t in (29, 59)
        assert torch.equal(info["_final_obs"], truncated[t])
        assert torch.equal(final, observed[t]) != over  # apart exactly where an episode has begun
        if over:
            assert float(observed[t][:, 2].abs().max()) <= 1.0  # a first speed lies in [-1, 1]


def test_a_new_episode_starts_as_gymnasiums_do():
    env = RobustPendulumVectorEnv(20_000, max_episode_steps=1)
    env.reset(seed=0)
    env.step(actions(1, 20_000)[0])
    for value, half in ((env._angle, np.pi), (env._speed, 1.0)):
        assert float(value.abs().max()) <= half
        assert abs(float(value.mean())) < 4 * half / 3**0.5 / 20_000**0.5
        assert float(value.var()) == pytest.approx(half**2 / 3, rel=0.03)


def test_the_seed_decides_everything():
    def episode(seed):
        env = RobustPendulumVectorEnv(N, 0.5, "probabilistic", {"mass": (0.5, 2.0), "action_noise": 0.3}, 20)
        env.reset(seed=seed)
        parts, _ = play(env, 50)
        return parts[0]

    assert torch.equal(episode(4), episode(4)) and not torch.equal(episode(4), episode(5))
    env = RobustPendulumVectorEnv(N)
    first, again = env.reset(seed=1)[0], env.reset()[0]
    assert not torch.equal(first, again) and torch.equal(env.reset(seed=1)[0], first)


def test_spaces_hold_what_comes():
    env = RobustPendulumVectorEnv(N, dtype="float64")
    observation, _ = env.reset(seed=0)
    assert observation.numpy() in env.observation_space and env.single_observation_space.shape == (3,)
    assert list(env.single_action_space) == ["protagonist", "adversary"] == list(env.players)
    sample = env.action_space.sample()
    assert {a.shape for a in sample.values()} == {(N, 1)}
    observed, reward, *_ = env.step({player: torch.from_numpy(a) for player, a in sample.items()})
    assert observed.dtype == reward.dtype == torch.float64 and reward.shape == (N,)


def test_a_start_can_be_given():
    env = RobustPendulumVectorEnv(N, alpha=0.0)
    upright, _ = env.reset(seed=0, options={"state": (0.0, 0.0)})
    assert torch.equal(upright, torch.tensor([[1.0, 0.0, 0.0]]).expand(N, 3))
    nothing = {player: torch.zeros(N, 1) for player in env.players}
    assert torch.equal(env.step(nothing)[1], torch.zeros(N))  # balanced, and free of charge


class NoWaiting(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.name() not in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero"), func.name()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
def test_no_step_waits_for_the_device(coupling):
    env = RobustPendulumVectorEnv(N, 0.2, coupling, {"mass": (0.5, 2.0), "action_noise": 0.1}, max_episode_steps=3)
    env.reset(seed=0)
    played = actions(7)
    with NoWaiting():
        for action in played:
            env.step(action)


# -- couplings and perturbations -----------------------------------------------------------------------------------
def test_noisy_actions_mix_by_the_share_of_each_env():
    env = RobustPendulumVectorEnv(3, alpha=[0.0, 0.25, 1.0])
    env.reset(seed=0)
    action = {"protagonist": torch.full((3, 1), 7.0), "adversary": torch.full((3, 1), -1.0)}
    info = env.step(action)[4]
    assert info["executed_action"].flatten().tolist() == [1.0, 0.5, -1.0]  # beyond 1 is cut off
    assert info["adversary_acted"].tolist() == [False, True, True]


def test_probabilistic_actions_are_one_players_each_and_the_adversarys_by_its_share():
    n = 20_000
    env = RobustPendulumVectorEnv(n, alpha=0.3, coupling="probabilistic")
    env.reset(seed=0)
    action = {"protagonist": torch.full((n, 1), 0.5), "adversary": torch.full((n, 1), -0.5)}
    info = env.step(action)[4]
    acted, executed = info["adversary_acted"], info["executed_action"].squeeze(-1)
    assert torch.equal(executed, torch.where(acted, -0.5, 0.5))
    assert abs(float(acted.double().mean()) - 0.3) < 4 * (0.3 * 0.7 / n) ** 0.5


def test_action_noise_replaces_by_uniform_actions_with_the_probability_of_each_env():
    n = 20_000
    noise = torch.cat([torch.zeros(n // 2), torch.full((n // 2,), 0.4)])
    env = RobustPendulumVectorEnv(n, alpha=0.0, perturbation={"action_noise": noise})
    env.reset(seed=0)
    action = {player: torch.full((n, 1), 0.5) for player in env.players}
    executed = env.step(action)[4]["executed_action"].squeeze(-1)
    quiet, noisy = executed.chunk(2)
    replaced = noisy[noisy != 0.5]
    assert bool((quiet == 0.5).all()) and abs(len(replaced) / (n / 2) - 0.4) < 4 * (0.24 / (n / 2)) ** 0.5
    assert float(replaced.abs().max()) <= 1 and float(replaced.var()) == pytest.approx(1 / 3, rel=0.05)


def test_perturbations_are_per_env_persist_and_are_drawn_anew_where_bounds_are_given():
    masses = torch.tensor([0.5, 1.0, 2.0])
    env = RobustPendulumVectorEnv(3, alpha=0.0, max_episode_steps=5)
    _, info = env.reset(seed=0, options={"perturbation": {"mass": masses, "length": (0.9, 1.1)}, "state": (1.0, 0.0)})
    drawn = info["perturbation"]["length"]
    assert torch.equal(info["perturbation"]["mass"], masses.double()) and len(set(drawn.tolist())) == 3
    assert bool(((drawn >= 0.9) & (drawn <= 1.1)).all())
    (observed, *_), infos = play(env, 5)
    assert len(set(observed[0, :, 2].tolist())) == 3
    play(env, 1)
    assert torch.equal(infos[-1]["perturbation"]["length"], drawn) and not torch.equal(
        env.perturbation["length"], drawn
    )
    assert torch.equal(env.perturbation["mass"], masses.double())
    env.reset()
    assert torch.equal(env.perturbation["mass"], masses.double())
    env.reset(options={"perturbation": None})
    assert env.perturbation == {}


def test_a_heavier_pendulum_is_pushed_less_and_falls_alike():
    env = RobustPendulumVectorEnv(2, alpha=0.0, perturbation={"mass": [1.0, 2.0]}, dtype="float64")
    env.reset(seed=0, options={"state": (0.0, 0.0)})
    pushed = env.step({player: torch.ones(2, 1) for player in env.players})[0]
    assert pushed[:, 2].tolist() == pytest.approx([3.0 * 2 * 0.05, 1.5 * 2 * 0.05])  # θ'' = 3 torque / (m l²)
    env.reset(options={"state": (1.0, 0.0)})
    falling = env.step({player: torch.zeros(2, 1) for player in env.players})[0]
    assert falling[0, 2] == falling[1, 2] == pytest.approx(15 * np.sin(1.0) * 0.05)  # θ'' = 3 g sin θ / (2 l)


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda: RobustPendulumVectorEnv(0), "num_envs is 0"),
        (lambda: RobustPendulumVectorEnv(2, alpha=1.5), r"alpha is 1.5: the adversary's share lies in \[0, 1\]"),
        (lambda: RobustPendulumVectorEnv(2, alpha=[0.1, 0.2, 0.3]), r"alpha has shape \(3,\): pass one number"),
        (lambda: RobustPendulumVectorEnv(2, coupling="force"), "the coupling is BodyForce: it must be noisy or probab"),
        (lambda: RobustPendulumVectorEnv(2, dtype="float16"), "unknown dtype 'float16': did you mean float"),
        (lambda: RobustPendulumVectorEnv(2, env_id="Hopper-v5"), "only Pendulum-v1 is batched"),
        (lambda: RobustPendulumVectorEnv(2, perturbation={"mass": 0.0}), "mass is 0.0: a relative scale is"),
        (
            lambda: RobustPendulumVectorEnv(2, perturbation={"mas": 1.0}),
            "axis of a perturbation 'mas': did you mean mass",
        ),
        (lambda: RobustPendulumVectorEnv(2, perturbation={"mass": (2.0, 0.5)}), "the lower first"),
        (lambda: RobustPendulumVectorEnv(2, perturbation={"action_noise": 1.2}), "action_noise is 1.2: a probability"),
        (lambda: RobustPendulumVectorEnv(2).step({}), "step before reset"),
        (lambda: ready().step({"protagonist": torch.zeros(2, 1)}), "pass the actions of both"),
        (lambda: ready().step(dict.fromkeys(("protagonist", "adversary"), torch.zeros(2))), r"shape \(2,\): expected"),
        (lambda: ready().reset(options={"states": 1}), "unknown option of reset 'states': did you mean state"),
        (lambda: ready().reset(options={"state": torch.zeros(3, 2)}), r"state has shape \(3, 2\): expected \(2,\)"),
    ],
)
def test_wrong_input_is_refused(act, error):
    with pytest.raises(rg.GameError, match=error):
        act()


def ready():
    env = RobustPendulumVectorEnv(2)
    env.reset(seed=0)
    return env


def test_parameters_whose_acceleration_overflows_are_refused():
    """3 / (m l²) in float32 would be infinite, and infinity times a torque of 0 is NaN, in all later observations."""
    for tiny in (
        {"mass": 1e-20, "length": 1e-10},
        {"mass": (1e-39, 2.0)},
        {"length": [1.0, 1e-20]},
        {"mass": Choice((1.0, 1e-39))},
        {"length": 1e-310},
        {"gravity": 1e308, "length": 1e-5},
    ):
        with pytest.raises(rg.GameError, match=r"accelerate the pendulum beyond torch\.float32"):
            RobustPendulumVectorEnv(num_envs=2, perturbation=tiny)
    env = RobustPendulumVectorEnv(num_envs=2, perturbation={"mass": 1e-30, "length": 1e-3})
    env.reset(seed=0, options={"state": (0.0, 0.0)})
    observation, reward, *_ = env.step({"protagonist": torch.tensor([[0.0], [1.0]]), "adversary": torch.zeros(2, 1)})
    assert observation[0].tolist() == [1.0, 0.0, 0.0]  # at rest above, without torque
    assert float(observation[1, 2]) == 8.0 and reward.tolist() == pytest.approx([0.0, -0.001 * 1.8**2])
