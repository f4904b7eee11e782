"""The batched cart and pole and the batched acrobot: Gymnasium's, an adversary, perturbations, ends one by one."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import robustgames as rg
from robustgames.agents.m2td3 import M2TD3
from robustgames.envs.control.acrobot import RobustAcrobotVectorEnv
from robustgames.envs.control.action_robust import ActionRobustEnv
from robustgames.envs.control.cartpole import RobustCartPoleVectorEnv
from robustgames.envs.control.inner import physics_of

N = 8
MAKE = {"CartPole-v1": RobustCartPoleVectorEnv, "Acrobot-v1": RobustAcrobotVectorEnv}
SCALES = {
    "CartPole-v1": [
        {},
        {"mass": {"pole": 3.0, "cart": 0.7}, "length": 0.6, "gravity": 1.4, "gain": 1.7},
        {"mass": 2.0},
    ],
    "Acrobot-v1": [{}, {"mass": 1.3, "length": 0.8, "gravity": 1.4, "gain": 1.7}, {"gravity": 0.5}],
}
CASES = [(env_id, scales) for env_id, every in SCALES.items() for scales in every]
BOTH = pytest.mark.parametrize("env_id", list(MAKE))


def make(env_id, n=N, alpha=0.0, coupling="probabilistic", **settings):
    return MAKE[env_id](n, alpha, coupling, **settings)


def preferences(env, steps, seed=0):
    g, shape = torch.Generator().manual_seed(seed), (steps, 2, env.num_envs, env.action_size)
    both = 2 * torch.rand(shape, generator=g, dtype=torch.float64) - 1
    return [{"protagonist": a, "adversary": b} for a, b in both.to(env.dtype)]


def peers(env_id, scales, n=N, **settings):
    made = [ActionRobustEnv(env_id, **{"alpha": 0.0, **settings}) for _ in range(n)]
    for peer in made:
        peer.reset(seed=0, options={"perturbation": scales})
    return made


# -- it is Gymnasium's -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("env_id", "scales"), CASES)
def test_every_step_is_gymnasiums(env_id, scales, dtype):
    """400 random steps of every env, each from the state that the batch reached: terminal ones and starts also."""
    env = make(env_id, dtype=dtype, max_episode_steps=150)
    env.reset(seed=3, options={"perturbation": scales})
    inner, ends = [peer.inner.unwrapped for peer in peers(env_id, scales)], 0
    for action in preferences(env, 400):
        before = env._state.clone()
        observed, reward, terminated, truncated, info = env.step(action)
        for i, peer in enumerate(inner):
            peer.state, peer.steps_beyond_terminated = before[i].numpy(), None
            after, paid, over, *_ = peer.step(int(action["protagonist"][i].argmax()))
            np.testing.assert_allclose(info["final_obs"][i], after, rtol=3e-7, atol=1e-7)  # theirs is float32
            assert (paid, over) == (reward[i].item(), bool(terminated[i]))
            if not over and not truncated[i]:
                np.testing.assert_allclose(env._state[i], peer.state, rtol=1e-12, atol=1e-12)
                assert torch.equal(observed[i], info["final_obs"][i])
            ends += over
    assert ends > 20 or env_id == "Acrobot-v1"


@BOTH
def test_a_whole_episode_is_gymnasiums_until_the_same_end(env_id):
    """A whole episode by a policy that reaches the end of an acrobot's, or by random pushes."""
    env = make(env_id, max_episode_steps=500)
    seen, _ = env.reset(seed=1)
    made = [gym.make(env_id) for _ in range(N)]
    for i, peer in enumerate(made):
        peer.reset(seed=0)
        peer.unwrapped.state = env._state[i].numpy().copy()
    lengths, generator = [0] * N, torch.Generator().manual_seed(0)
    for t in range(1, 501):
        if env_id == "Acrobot-v1":  # pump energy: a torque along the second joint's speed
            chosen = torch.where(seen[:, 5] > 0, 2, 0)
        else:
            chosen = torch.randint(2, (N,), generator=generator)
        wanted = 2.0 * torch.nn.functional.one_hot(chosen, env.action_size) - 1
        seen, reward, terminated, truncated, info = env.step({"protagonist": wanted, "adversary": wanted})
        for i in (i for i in range(N) if not lengths[i]):
            after, paid, over, cut, _ = made[i].step(int(chosen[i]))
            np.testing.assert_allclose(info["final_obs"][i], after, rtol=0, atol=1e-5)
            assert (paid, over, cut) == (reward[i].item(), bool(terminated[i]), bool(truncated[i]))
            if over or cut:
                lengths[i] = t
                assert env.ended()[i] == t and bool(info["_final_obs"][i])
    assert all(0 < length < 500 for length in lengths) and len(set(lengths)) > 2


@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
@BOTH
def test_an_adversary_acts_as_in_the_single_env(env_id, coupling):
    env = make(env_id, alpha=0.4, coupling=coupling)
    env.reset(seed=1)
    made, acts = peers(env_id, None, alpha=0.4, coupling=coupling), 0
    for action in preferences(env, 60):
        before = env._state.clone()
        _, reward, _, _, info = env.step(action)
        for i, peer in enumerate(made):
            peer.inner.unwrapped.state, peer.inner.unwrapped.steps_beyond_terminated = before[i].numpy(), None
            own = {player: a[i].numpy() for player, a in action.items()}
            if coupling == "probabilistic":  # the coins are the batch's
                own = {player: own["adversary" if info["adversary_acted"][i] else "protagonist"] for player in own}
            observed, _, _, _, told = peer.step(own)
            assert np.array_equal(told["executed_action"], info["executed_action"][i])
            np.testing.assert_allclose(observed, info["final_obs"][i], rtol=0, atol=3e-6)
            acts += int(info["adversary_acted"][i])
    assert torch.equal(info["reward_adversary"], -reward)
    assert acts == 60 * N if coupling == "noisy" else 130 < acts < 260


def test_nominal_parameters_are_gymnasiums_and_those_of_an_env_of_ones_own_stay():
    for env_id in MAKE:
        fresh, scaled = gym.make(env_id).unwrapped, ActionRobustEnv(env_id)
        scaled.physics.set()
        inner, parameters = scaled.inner.unwrapped, scaled.physics.parameters
        for name, value in parameters.scaled(parameters.base, lambda *axis: 1.0).items():
            assert getattr(inner, name) == getattr(fresh, name) == value, name
    heavy = gym.make("CartPole-v1").unwrapped
    heavy.masscart, heavy.gravity = 3.0, 1.6
    physics = physics_of(heavy)
    physics.set({"mass": {"pole": 2.0}, "gravity": 0.5})
    assert (heavy.masscart, heavy.masspole, heavy.gravity) == (3.0, 0.2, 0.8) and heavy.total_mass == 3.2
    physics.set()
    assert (heavy.masspole, heavy.gravity, physics.nominal("mass")) == (0.1, 1.6, 3.1)
    physics = ActionRobustEnv("CartPole-v1").physics
    assert physics.names("mass") == ["cart", "pole"] and physics.nominal("mass", "pole") == 0.1
    for args, error in ((("mass", "wheel"), "no part 'wheel' of its mass"), (("damping",), "unknown axis 'damping'")):
        with pytest.raises(rg.GameError, match=error):
            physics.nominal(*args)


def test_gravity_of_an_acrobot_scales_the_number_in_gymnasiums_equations():
    """Torques and speeds of 0: the acceleration is that of gravity alone, and proportional to it."""
    env = make("Acrobot-v1", 2, perturbation={"gravity": [1.0, 2.5]})
    env.reset(seed=0, options={"state": (1.0, 0.5, 0.0, 0.0)})
    slopes = env._slope(env._state.T.contiguous(), torch.zeros(2))
    torch.testing.assert_close(slopes[2:, 1], 2.5 * slopes[2:, 0], rtol=1e-12, atol=0)
    pushed = env._slope(torch.tensor([[0.0], [0.0], [0.3], [0.2]]).double().expand(4, 2), torch.ones(2))
    torch.testing.assert_close(pushed[2:, 0], pushed[2:, 1], rtol=1e-12, atol=0)  # at rest below: no torque of gravity


# -- the protocol ------------------------------------------------------------------------------------------------
@BOTH
def test_starts_are_gymnasiums_and_limits_are_of_every_episode(env_id):
    env = make(env_id, 20_000, max_episode_steps=4)
    first, _ = env.reset(seed=0)
    half = {"CartPole-v1": 0.05, "Acrobot-v1": 0.1}[env_id]
    truncations = []
    for action in preferences(env, 5):
        _, _, _, truncated, info = env.step(action)
        truncations.append(bool(truncated.all()))
        assert env.ended() == [4 * int(over) for over in info["_final_obs"]]
    assert truncations == [False, False, False, True, False]
    env.reset(seed=1)
    for value in env._state.T:
        assert float(value.abs().max()) <= half + 1e-8
        assert abs(float(value.mean())) < 4 * half / 3**0.5 / 20_000**0.5
        assert float(value.var()) == pytest.approx(half**2 / 3, rel=0.04)
    assert first.numpy() in env.observation_space


@BOTH
def test_an_env_depends_neither_on_the_others_nor_on_their_ends(env_id):
    settings = {"perturbation": {"mass": (0.5, 2.0), "action_noise": 0.3}, "max_episode_steps": 40, "alpha": 0.3}
    few, many = (make(env_id, n, **settings) for n in (2, 5))
    assert torch.equal(few.reset(seed=[8, 9])[0], many.reset(seed=[1, 9, 8, 2, 3])[0][[2, 1]])
    for action in preferences(many, 130):
        found = few.step({player: a[[2, 1]] for player, a in action.items()}), many.step(action)
        for a, b in zip(*(step[:4] for step in found), strict=True):
            assert torch.equal(a, b[[2, 1]])
    assert torch.equal(few.perturbation["mass"], many.perturbation["mass"][[2, 1]])
    assert len(set(few.perturbation["mass"].tolist())) == 2


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
@BOTH
def test_copies_pickles_and_states_continue_bit_for_bit(env_id, clone):
    axis = {"CartPole-v1": {"mass": {"pole": (0.5, 2.0)}}, "Acrobot-v1": {"mass": (0.5, 2.0)}}[env_id]
    settings = {"alpha": 0.3, "perturbation": {**axis, "action_noise": 0.2}, "max_episode_steps": 30}
    env, loaded = make(env_id, **settings), make(env_id, **settings)
    env.reset(seed=4)
    played = preferences(env, 100)
    for action in played[:47]:
        env.step(action)
    twin = clone(env)
    loaded.load_state_dict(copy.deepcopy(env.state_dict()))
    for action in played[47:]:
        steps = [one.step(action) for one in (env, twin, loaded)]
        assert all(torch.equal(a, b) for other in steps[1:] for a, b in zip(steps[0][:4], other[:4], strict=True))
    assert env.ended() == twin.ended() == loaded.ended()


def test_a_copied_pendulum_continues_also():
    env = gym.make_vec("robustgames/RobustPendulum-v0", num_envs=3, coupling="probabilistic", max_episode_steps=5)
    env.reset(seed=0)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(env)))
    for action in preferences(env, 12):
        assert torch.equal(env.step(action)[0], twin.step(action)[0])


class NoWaiting(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.name() not in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero"), func.name()
        return func(*args, **(kwargs or {}))


@BOTH
def test_no_step_waits_for_a_gpu_and_a_cpu_draws_the_same(env_id, monkeypatch):
    settings = {"perturbation": {"mass": (0.5, 2.0), "action_noise": 0.1}, "max_episode_steps": 25, "alpha": 0.2}
    env, skips = make(env_id, **settings), make(env_id, **settings)
    for one in (env, skips):
        one.reset(seed=0)
    monkeypatch.setattr(env, "_skips", False)  # as on a GPU
    played = preferences(env, 60)
    expected = [skips.step(action)[0] for action in played]
    with NoWaiting():
        found = [env.step(action)[0] for action in played]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


# -- perturbations -------------------------------------------------------------------------------------------------
def test_parts_are_per_env_and_drawn_anew_in_every_episode():
    env = make("CartPole-v1", 3, max_episode_steps=5)
    given = {"mass": {"pole": [0.5, 1.0, 2.0], "cart": (0.9, 1.1)}, "gain": 2.0}
    _, info = env.reset(seed=0, options={"perturbation": given})
    mass = info["perturbation"]["mass"]
    assert mass["pole"].tolist() == [0.5, 1.0, 2.0] and info["perturbation"]["gain"].tolist() == [2.0] * 3
    infos = [env.step(action)[4] for action in preferences(env, 6)]
    assert torch.equal(infos[4]["perturbation"]["mass"]["cart"], mass["cart"])
    assert not (infos[5]["perturbation"]["mass"]["cart"] == mass["cart"]).any()
    assert torch.equal(env.perturbation["mass"]["pole"], mass["pole"])
    assert env.reset(options={"perturbation": None})[1] == {"perturbation": {}}


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda: RobustCartPoleVectorEnv(2, env_id="Acrobot-v1"), "only CartPole-v1 is batched here"),
        (
            lambda: make("CartPole-v1", perturbation={"damping": 0.5}),
            "damping has no effect on the batched cart",
        ),
        (lambda: make("CartPole-v1", perturbation={"mass": {"wheel": 1.0}}), "unknown name in mass 'wheel'"),
        (lambda: make("Acrobot-v1", perturbation={"mass": {"pole": 1.0}}), "names no parts of it"),
        (lambda: make("CartPole-v1", perturbation={"gain": 1e5}), r"gain is 100000: take scales in \[0.001, 1000\]"),
        (lambda: make("CartPole-v1", perturbation={"mass": {"pole": [1.0, 1e-9]}}), "mass:pole"),
        (lambda: make("Acrobot-v1", 2, perturbation={"length": (0.05, 1.0)}), "make an acrobot more than 100 times"),
        (lambda: ActionRobustEnv("Acrobot-v1", perturbation={"length": 0.05}).reset(seed=0), "more than 100 times as"),
        (lambda: make("CartPole-v1").step({}), "step before reset"),
        (lambda: ready().step(dict.fromkeys(("protagonist", "adversary"), torch.zeros(N, 1))), r"expected \(8, 2\)"),
        (lambda: ready().reset(options={"state": (0.0, 0.0)}), r"state has shape \(2,\): expected \(4,\) or \(8, 4\)"),
        (lambda: rg.RobustTD3("robustgames/RobustCartPole-v0", env_settings={"alpha": 0.0}), r"Discrete\(2\)"),
        (
            lambda: M2TD3("robustgames/RobustCartPole-v0", env_settings={"alpha": 0.0}, uncertainty="length=0.5:2"),
            r"CartPole-v1 has actions Discrete\(2\)",
        ),
    ],
)
def test_wrong_input_is_refused(act, error):
    with pytest.raises(rg.GameError, match=error):
        act()


def ready():
    env = make("CartPole-v1")
    env.reset(seed=0)
    return env
