"""Perturbations do what they say: closed forms, a recompiled model, copies, seeds, and axes that cannot act."""

import copy
import pickle
import warnings
from typing import ClassVar

import gymnasium as gym
import mujoco
import numpy as np
import pytest

import robustgames as rg
from robustgames.envs import UNCERTAINTY_SETS, Choice, LogUniform, Uniform, uncertainty_set
from robustgames.envs.control.mujoco_physics import contact_frictions
from robustgames.envs.control.perturbations import flat

HOPPER = "robustgames/ActionRobustHopper-v0"
MODELS = ["InvertedPendulum", "Hopper", "Walker2d", "HalfCheetah", "Ant", "Swimmer", "Reacher", "Humanoid"]


def make(name, **settings):
    return gym.make(f"robustgames/ActionRobust{name}-v0", **settings).unwrapped


def perturbed(env, perturbation, seed=0):
    return env.reset(seed=seed, options={"perturbation": perturbation})


def play(env, steps, seed=0):
    """Return the observations under random actions of the protagonist, resetting where an episode ends."""
    rng, zeros = np.random.default_rng(seed), np.zeros(env.action_space["adversary"].shape)
    seen = []
    for step in range(steps):
        action = {"protagonist": rng.uniform(-1, 1, env.action_space["protagonist"].shape), "adversary": zeros}
        observation, _, terminated, *_ = env.step(action)
        seen.append(env.reset(seed=step)[0] if terminated else observation)
    return np.array(seen)


def trajectory(name, perturbation, steps=100):
    env = make(name, alpha=0.0)
    perturbed(env, perturbation)
    return play(env, steps)


# -- friction -------------------------------------------------------------------------------------------
def test_friction_of_all_geoms_acts_on_hopper_and_that_of_the_floor_alone_does_not():
    nominal = trajectory("Hopper", None)
    assert np.abs(trajectory("Hopper", {"friction": 0.5}) - nominal).max() > 0.1
    assert np.array_equal(trajectory("Hopper", {"friction": {"world": 0.5}}), nominal)  # the published way
    assert np.abs(trajectory("Hopper", {"friction": {"world": 2.5}}) - nominal).max() > 0.1  # above the foot's 2.0


@pytest.mark.parametrize("name", MODELS)
def test_every_contact_of_a_simulation_is_foreseen(name):
    inner = make(name).inner
    inner.reset(seed=0)
    foreseen = {tuple(row[:1]) for row in contact_frictions(inner.model)}
    met = set()
    for _ in range(300):
        inner.step(inner.action_space.sample())
        met |= {(contact.friction[0],) for contact in inner.data.contact if contact.dim >= 3}
    assert met <= foreseen
    assert bool(foreseen) == (name in ("Hopper", "Walker2d", "HalfCheetah", "Ant", "Humanoid"))
    if name in ("Hopper", "Walker2d", "Ant", "HalfCheetah"):
        assert met


BALLS = """<mujoco><worldbody><geom name="floor" type="plane" size="9 9 1" friction="0.3" {floor}/>
<body name="ball"><freejoint/><geom size="0.1" friction="0.7" {ball}/>
<body name="arm" pos="0 0 1"><joint name="elbow"/><geom size="0.1" friction="2.0" {arm}/></body></body>
</worldbody>{end}</mujoco>"""


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, [0.7, 2.0]),  # floor with ball and with arm; ball and arm are parent and child
        ({"floor": 'priority="1"'}, [0.3, 0.3]),
        ({"ball": 'contype="0" conaffinity="0"'}, [2.0]),
        ({"arm": 'contype="2" conaffinity="2"'}, [0.7]),
        ({"floor": 'condim="1"', "ball": 'condim="1"', "arm": 'condim="1"'}, []),
        ({"end": '<contact><exclude body1="ball" body2="world"/></contact>'}, [2.0]),
        ({"end": '<option><flag filterparent="disable"/></option>'}, [0.7, 2.0, 2.0]),
        ({"end": '<option><flag contact="disable"/></option>'}, []),
    ],
)
def test_friction_follows_the_rules_of_contacts(attributes, expected):
    blank = dict.fromkeys(("floor", "ball", "arm", "end"), "")
    model = mujoco.MjModel.from_xml_string(BALLS.format(**{**blank, **attributes}))
    assert sorted(contact_frictions(model)[:, 0]) == expected


# -- mass, gravity, damping, gain, numbers --------------------------------------------------------------
def compiled(env, scales):
    """Return a model compiled from the env's XML with masses and inertias given, and nothing else changed."""
    spec = mujoco.MjSpec.from_file(env.fullpath)
    base = spec.compile()
    for body in spec.bodies[1:]:
        scale = scales.get(body.name, 1.0)
        body.explicitinertial, body.fullinertia = True, [np.nan] * 6
        body.mass, body.inertia = base.body_mass[body.id] * scale, base.body_inertia[body.id] * scale
        body.ipos, body.iquat = base.body_ipos[body.id], base.body_iquat[body.id]
    spec.compiler.inertiafromgeom = 0
    return spec.compile()


@pytest.mark.parametrize(
    ("name", "scale"),
    [("Hopper", 1.5), ("Hopper", {"torso": 2.0, "foot": 0.5}), ("Walker2d", 0.5), ("InvertedPendulum", 1.5)],
)
def test_mass_equals_a_model_compiled_with_it(name, scale):
    ours, reference = make(name, alpha=0.0), make(name, alpha=0.0)
    inner = reference.inner
    names = {inner.model.body(i).name: scale for i in range(inner.model.nbody)}
    inner.model = compiled(inner, scale if isinstance(scale, dict) else names)
    inner.data = mujoco.MjData(inner.model)
    first, _ = perturbed(ours, {"mass": scale})
    assert np.abs(first - reference.reset(seed=0)[0]).max() < 1e-9
    assert np.abs(play(ours, 300) - play(reference, 300)).max() < 1e-9
    for field in ("body_mass", "body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0"):
        assert np.allclose(getattr(ours.inner.model, field), getattr(inner.model, field), rtol=1e-12, atol=0), field
    assert np.isclose(ours.inner.model.stat.meaninertia, inner.model.stat.meaninertia, rtol=1e-12)


def test_masses_alone_would_give_another_trajectory():
    naive = make("Hopper", alpha=0.0)
    naive.reset(seed=0)
    naive.inner.model.body_mass[:] *= 1.5
    naive.reset(seed=0)
    assert np.abs(play(naive, 300) - trajectory("Hopper", {"mass": 1.5}, 300)).max() > 0.1


def test_a_body_in_free_fall_has_the_scaled_gravity():
    env = make("Ant")
    perturbed(env, {"gravity": 0.4})
    model, data = env.inner.model, env.inner.data
    data.qpos[:], data.qvel[:] = env.inner.init_qpos, 0.0
    data.qpos[2], data.qpos[7:] = 5.0, model.jnt_range[1:].mean(1)  # in the air, and within the limits of its joints
    mujoco.mj_forward(model, data)
    assert data.qacc == pytest.approx([0, 0, -9.81 * 0.4] + [0] * 11, abs=1e-9)
    assert env.physics.nominal("gravity") == pytest.approx(9.81)


def test_half_the_gain_is_half_the_action():
    weak, nominal = make("Hopper", alpha=0.0), make("Hopper", alpha=0.0)
    perturbed(weak, {"gain": 0.5})
    nominal.reset(seed=0)
    action, zeros = np.array([0.5, -0.25, 1.0], np.float32), np.zeros(3)
    for _ in range(10):
        one, *_ = weak.step({"protagonist": action, "adversary": zeros})
        other, *_ = nominal.step({"protagonist": action / 2, "adversary": zeros})
        assert np.array_equal(one, other)


def test_damping_and_gain_of_single_joints():
    env = make("HalfCheetah")
    model = env.inner.model
    damping, gain = model.dof_damping.copy(), model.actuator_gainprm[:, 0].copy()
    perturbed(env, {"damping": {"bthigh": 2.0}, "gain": {"ffoot": 3.0}})
    changed = np.flatnonzero(model.dof_damping != damping)
    assert changed.tolist() == [model.joint("bthigh").dofadr[0]] and model.dof_damping[changed] == 2 * damping[changed]
    assert (model.actuator_gainprm[:, 0] / gain).tolist() == [1, 1, 1, 1, 1, 3]


def test_pendulum_scales_its_own_numbers():
    env = make("Pendulum", alpha=0.0)
    observation, info = perturbed(env, {"mass": 2.0, "length": 0.5, "gravity": 0.8})
    assert (env.inner.m, env.inner.l, env.inner.g) == (2.0, 0.5, 8.0)
    after, *_ = env.step({"protagonist": [0.25], "adversary": [0.0]})
    acceleration = 3 * 8.0 / (2 * 0.5) * observation[1] + 3.0 / (2.0 * 0.25) * 0.5
    assert after[2] == pytest.approx(observation[2] + 0.05 * acceleration, abs=1e-5)
    assert info["perturbation"] == {"mass": 2.0, "length": 0.5, "gravity": 0.8}


class Cart(gym.Env):
    """x+ = x + a / weight, from 0; reward -x². What a user's own env looks like."""

    perturbable: ClassVar = {"mass": "weight"}
    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Box(-2.0, 4.0, (1,), np.float32)

    def __init__(self, weight=3.0):
        self.weight = weight

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.zeros(1)
        return self.x, {}

    def step(self, action):
        self.x = self.x + action / self.weight
        return self.x, -float(self.x @ self.x), False, False, {}


gym.register("perturbations/Cart-v0", entry_point=Cart)


def test_an_env_of_ones_own_says_what_can_be_scaled():
    env = gym.make("robustgames/ActionRobust-v0", env_id="perturbations/Cart-v0", alpha=0.0, weight=2.0).unwrapped
    perturbed(env, {"mass": 4.0})
    assert env.acts("mass") and env.why_idle("gravity") == "the env has no gravity"
    seen, reward, *_ = env.step({"protagonist": [1.0], "adversary": [0.0]})  # 1.0 is the upper end of the box, 4
    assert seen == [0.5] and reward == -0.25
    Cart.perturbable = {"mass": "wieght"}
    try:
        with pytest.raises(rg.GameError, match=r"perturbable names 'wieght' for mass: Cart has no such number"):
            gym.make("robustgames/ActionRobust-v0", env_id="perturbations/Cart-v0")
    finally:
        Cart.perturbable = {"mass": "weight"}


class Restoring(Cart):
    def reset(self, *, seed=None, options=None):
        self.weight = 3.0
        return super().reset(seed=seed)


gym.register("perturbations/Restoring-v0", entry_point=Restoring)


def test_a_reset_that_overwrites_a_scale_is_told_once(recwarn):
    env = gym.make("robustgames/ActionRobust-v0", env_id="perturbations/Restoring-v0").unwrapped
    env.reset(seed=0)
    assert not recwarn
    reason = r"reset\(\) of perturbations/Restoring-v0 sets weight to 3.0 where it was 6"
    with pytest.warns(UserWarning, match=f"the perturbation of mass is lost: {reason}"):
        env.reset(options={"perturbation": {"mass": 2.0}})
    recwarn.clear()
    env.reset(options={"perturbation": {"mass": 3.0}})
    assert not recwarn
    own = gym.make("robustgames/ActionRobust-v0", env_id="perturbations/Cart-v0").unwrapped
    own.reset(options={"perturbation": {"mass": 2.0}})
    assert not recwarn


# -- nominal, persistent, restored ----------------------------------------------------------------------
def arrays(model):
    found = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {name: value.copy() for name, value in found.items() if isinstance(value, np.ndarray)} | {
        "gravity": model.opt.gravity.copy(),
        "meaninertia": model.stat.meaninertia,
    }


@pytest.mark.parametrize("name", ["Hopper", "HalfCheetah", "Humanoid"])
def test_scales_do_not_compound_and_none_restores_every_array(name):
    env = make(name)
    model = env.inner.model
    before = arrays(model)
    everything = {"mass": 1.5, "friction": 0.5, "gravity": 0.9, "damping": 2.0, "gain": 0.7}
    for _ in range(3):
        perturbed(env, everything)
        play(env, 3)
    assert np.array_equal(model.body_mass, before["body_mass"] * 1.5)
    assert np.array_equal(model.geom_friction, before["geom_friction"] * 0.5)
    env.reset(options={"perturbation": {"mass": 2.0}})  # replaces: friction is nominal again
    assert np.array_equal(model.geom_friction, before["geom_friction"])
    env.reset(options={"perturbation": None})
    after = arrays(model)
    assert [key for key in before if not np.array_equal(before[key], after[key])] == []


def test_a_perturbation_stays_until_another_is_given_and_close_takes_it_back():
    env = make("Pendulum")
    perturbed(env, {"mass": 2.0})
    assert env.reset(seed=1)[1]["perturbation"] == {"mass": 2.0} and env.inner.m == 2.0
    env.set_perturbation({"length": 0.5})
    assert (env.inner.m, env.inner.l) == (1.0, 0.5)
    assert env.step({"protagonist": [0.0], "adversary": [0.0]})[4]["perturbation"] == {"length": 0.5}
    assert env.reset()[1]["perturbation"] == {"length": 0.5}
    env.close()
    assert (env.inner.m, env.inner.l) == (1.0, 1.0)


def test_other_options_reach_the_inner_env():
    env = make("Pendulum")
    observation, _ = env.reset(seed=0, options={"x_init": 0.0, "y_init": 0.0, "perturbation": {"mass": 1.1}})
    assert observation.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("name", ["Pendulum", "Hopper", "Ant", "Humanoid"])
def test_copies_go_on_where_the_original_is(name, duplicate):
    env = gym.make(f"robustgames/ActionRobust{name}-v0", coupling="probabilistic", alpha=0.5)
    scale = {"mass": Uniform(1.5, 2.5), "gravity": 0.9, "action_noise": 0.2, "observation_noise": 0.01}
    perturbed(env, scale)
    play(env.unwrapped, 3)
    twin = duplicate(env)
    assert twin.unwrapped.perturbation == env.unwrapped.perturbation
    assert np.array_equal(play(env.unwrapped, 20, seed=1), play(twin.unwrapped, 20, seed=1))
    assert env.reset()[1]["perturbation"] == twin.reset()[1]["perturbation"]  # the same stream of draws, too
    twin.reset(options={"perturbation": None})
    nominal = make(name).physics.nominal("mass")
    model = getattr(env.unwrapped.inner, "model", None)
    mass = env.unwrapped.inner.m if model is None else model.body_mass.sum()
    assert mass / nominal == pytest.approx(env.unwrapped.perturbation["mass"])  # the original kept its own
    twin_model = getattr(twin.unwrapped.inner, "model", None)
    assert (twin.unwrapped.inner.m if twin_model is None else twin_model.body_mass.sum()) == pytest.approx(nominal)


def test_a_shallow_copy_shares_the_inner_env():
    env = make("Hopper")
    env.reset(seed=0)
    twin = copy.copy(env)
    assert twin.inner is env.inner
    env.step({"protagonist": np.ones(3), "adversary": np.ones(3)})
    assert np.array_equal(twin.inner.state_vector(), env.inner.state_vector())


# -- distributions --------------------------------------------------------------------------------------
def test_reset_with_a_seed_repeats_what_is_drawn():
    source = {"mass": (0.5, 2.0), "friction": LogUniform(0.5, 2.0), "gravity": Choice((0.9, 1.1))}
    env, other = make("Hopper", perturbation=source), make("Hopper", perturbation=source)
    first = env.reset(seed=7)[1]["perturbation"]
    assert env.reset()[1]["perturbation"] != first
    assert env.reset(seed=7)[1]["perturbation"] == first == other.reset(seed=7)[1]["perturbation"]
    assert env.inner.model.body_mass.sum() == pytest.approx(first["mass"] * env.physics.nominal("mass"))


def test_draws_do_not_repeat_the_initial_state_of_the_inner_env():
    env = make("Pendulum", perturbation={"mass": (0.5, 1.5)})
    for seed in range(5):
        _, info = env.reset(seed=seed)
        angle = env.inner.state[0] / np.pi / 2 + 0.5  # uniform on [0, 1]: the first draw of the inner env
        assert abs(info["perturbation"]["mass"] - 0.5 - angle) > 1e-3


def test_distributions_have_their_quantiles():
    rng = np.random.default_rng(0)
    uniform, logs = Uniform(0.5, 2.0), LogUniform(0.5, 2.0)
    draws = np.array([[uniform.draw(rng), logs.draw(rng)] for _ in range(4000)])
    assert np.abs(np.median(draws, 0) - [1.25, 1.0]).max() < 0.04
    assert draws.min() >= 0.5 and draws.max() <= 2.0
    assert {Choice((1.0, 3.0)).draw(rng) for _ in range(30)} == {1.0, 3.0}


def test_bodies_draw_for_themselves():
    env = make("Hopper")
    _, info = perturbed(env, {"mass": {"torso": (0.5, 2.0), "foot": (0.5, 2.0)}})
    drawn = {name: info["perturbation"][f"mass:{name}"] for name in ("torso", "foot")}
    assert drawn["torso"] != drawn["foot"]
    assert env.inner.model.body("foot").mass == pytest.approx(5.315575 * drawn["foot"], rel=1e-5)


# -- noise ----------------------------------------------------------------------------------------------
def test_action_noise_replaces_the_action_with_its_probability():
    env = make("Pendulum", alpha=0.0)
    perturbed(env, {"action_noise": 0.3})
    executed = np.array(
        [env.step({"protagonist": [0.5], "adversary": [0.0]})[4]["executed_action"] for _ in range(4000)]
    )
    replaced = executed[executed != 0.5]
    assert abs(len(replaced) / 4000 - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)
    assert abs(replaced.mean()) < 0.07 and abs(replaced.var() - 1 / 3) < 0.03
    perturbed(env, {"action_noise": 0.0})
    assert env.step({"protagonist": [0.5], "adversary": [0.0]})[4]["executed_action"] == 0.5


def test_observation_noise_has_its_deviation_and_the_adversary_sees_the_truth():
    env = make("Hopper", alpha=0.0)
    observation, info = perturbed(env, {"observation_noise": 0.2})
    truth = make("Hopper", alpha=0.0).reset(seed=0)[0]
    assert np.array_equal(info["observations"]["adversary"], truth)
    assert np.array_equal(info["observations"]["protagonist"], observation)
    errors = [np.subtract(*env.reset(seed=i)[1]["observations"].values()) for i in range(300)]
    assert np.std(errors) == pytest.approx(0.2, rel=0.06) and abs(np.mean(errors)) < 0.02
    state = env.inner.state_vector()
    env.step({"protagonist": np.zeros(3), "adversary": np.zeros(3)})
    plain = make("Hopper", alpha=0.0)
    plain.reset(seed=299)
    assert np.array_equal(plain.inner.state_vector(), state)  # the state itself has no noise


def test_noisy_observations_stay_in_the_space():
    env = make("Pendulum")
    perturbed(env, {"observation_noise": 1.0})
    for _ in range(50):
        assert env.observation_space.contains(env.step({"protagonist": [0.0], "adversary": [0.0]})[0])


# -- axes that cannot act -------------------------------------------------------------------------------
IDLE = {
    "InvertedPendulum": {"friction", "length"},
    "Hopper": {"length"},
    "Walker2d": {"length"},
    "HalfCheetah": {"length"},
    "Ant": {"length"},
    "Swimmer": {"friction", "gravity", "damping", "length"},  # a plane, no contacts, joints without damping
    "Reacher": {"friction", "gravity", "length"},
    "Humanoid": {"length"},
    "Pendulum": {"friction", "damping", "gain"},
}


@pytest.mark.parametrize("name", IDLE)
def test_an_axis_that_cannot_act_says_so_and_changes_nothing(name):
    axes = ["mass", "friction", "gravity", "damping", "gain", "length", "action_noise", "observation_noise"]
    env = make(name)
    assert {axis for axis in axes if not env.acts(axis)} == IDLE[name]
    nominal = trajectory(name, None, 40)
    for axis in IDLE[name]:
        with pytest.warns(UserWarning, match=f"{axis} has no effect on {env.env_id}: "):
            assert np.array_equal(trajectory(name, {axis: 0.5}, 40), nominal), axis


@pytest.mark.parametrize("name", ["InvertedPendulum", "Hopper", "Swimmer", "Reacher", "Humanoid"])
def test_an_axis_that_acts_changes_the_trajectory(name):
    nominal = trajectory(name, None, 60)
    for axis in {"mass", "friction", "gravity", "damping", "gain"} - IDLE[name]:
        assert np.abs(trajectory(name, {axis: 0.5}, 60) - nominal).max() > 1e-6, axis


def test_the_warning_comes_once_and_names_the_reason():
    env = make("InvertedPendulum")
    with pytest.warns(UserWarning, match="friction has no effect on InvertedPendulum-v5: no two geoms of the model"):
        perturbed(env, {"friction": 0.5, "mass": 1.5})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        perturbed(env, {"friction": 0.6})
        perturbed(make("InvertedPendulum"), {"friction": 1.0})


def test_reasons():
    cheetah = make("HalfCheetah")
    floor = {"world": 0.5}  # every geom has 0.4, so the cheetah's own coefficient rules
    assert (
        cheetah.why_idle("friction", floor)
        == "a contact takes the larger friction of its two geoms, here the other one's"
    )
    assert cheetah.acts("friction", {"world": 1.5})
    assert make("Reacher").why_idle("mass", {"target": 2.0}) == "it changes no acceleration of the model"
    assert make("Reacher").acts("mass", {"body1": 2.0})


# -- named sets -----------------------------------------------------------------------------------------
def test_the_grids_of_the_papers():
    fine = (
        0.5,
        0.55,
        0.6,
        0.65,
        0.7,
        0.75,
        0.8,
        0.85,
        0.9,
        0.95,
        1.0,
        1.1,
        1.2,
        1.3,
        1.4,
        1.5,
        1.6,
        1.7,
        1.8,
        1.9,
        2.0,
    )
    coarse = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    noise = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
    assert uncertainty_set("tessler-mass").axes == {"mass": fine}
    assert uncertainty_set("tessler-mass-noise").axes == {"mass": coarse, "action_noise": noise}
    assert uncertainty_set("kamalaruban-friction").axes == {"friction": fine}
    assert uncertainty_set("kamalaruban-friction-noise").axes == {"friction": coarse, "action_noise": noise}
    assert uncertainty_set("kamalaruban-mass-friction").axes == {"mass": coarse, "friction": coarse}
    points = uncertainty_set("kamalaruban-mass-friction").points()
    assert len(points) == 121 and len({tuple(p.values()) for p in points}) == 121
    assert points[0] == {"mass": 0.5, "friction": 0.5} and points[-1] == {"mass": 2.0, "friction": 2.0}


def test_both_axes_of_mass_and_noise_reach_the_env():
    env = make("Hopper", alpha=0.0)
    seen = {}
    for point in uncertainty_set("tessler-mass-noise").points():
        if point["mass"] in (0.5, 2.0) and point["action_noise"] in (0.0, 0.5):
            perturbed(env, point)
            seen[tuple(point.values())] = play(env, 30)
    cells = list(seen.values())
    assert len(cells) == 4
    for i in range(4):
        for j in range(i):
            assert np.abs(cells[i] - cells[j]).max() > 1e-3


def test_the_absolute_sets_reach_their_upper_corner():
    grid, env = uncertainty_set("rrls-hopper-3d"), make("Hopper", alpha=0.0)
    assert grid.shape == (10, 10, 10)
    points = grid.points(env)
    assert len(points) == 1000
    model = env.inner.model
    for point, friction, torso, thigh in ((points[0], 0.1, 0.1, 0.1), (points[-1], 3.0, 3.0, 4.0)):
        perturbed(env, point)
        assert model.body("torso").mass == pytest.approx(torso) and model.body("thigh").mass == pytest.approx(thigh)
        assert contact_frictions(model)[:, 0].max() == pytest.approx(friction)
        met = set()
        for _ in range(100):
            env.step({"protagonist": np.zeros(3), "adversary": np.zeros(3)})
            feet = [c for c in env.inner.data.contact if model.geom("foot_geom").id in c.geom]
            met |= {round(float(c.friction[0]), 9) for c in feet}
        assert met == {friction}  # what the foot feels is the coefficient of the set


RRLS = {  # what _change_params of rrls/envs writes: the rows of geom_friction, and the bodies of the masses
    "rrls-hopper-3d-published": (0, (1, 2)),
    "rrls-walker2d-3d-published": (0, (1, 2)),
    "rrls-half-cheetah-3d-published": (slice(None), (1, 2)),
    "rrls-ant-3d-published": (None, (1, 2, 5)),
    "rrls-inverted-pendulum-2d-published": (None, (2, 1)),
    "rrls-humanoid-standup-3d-published": (None, (1, 6, 7)),
}


@pytest.mark.parametrize("name", RRLS)
def test_a_published_set_is_what_the_published_code_does(name):
    grid, (friction, bodies) = uncertainty_set(name), RRLS[name]
    env = gym.make("robustgames/ActionRobust-v0", env_id=grid.env_id, alpha=0.0).unwrapped
    point, values = grid.points(env)[-1], [values[-1] for values in grid.axes.values()]
    bounds = [(each[0], each[-1]) for each in uncertainty_set(name.removesuffix("-published")).axes.values()]
    assert values == pytest.approx([np.arange(low, high, (high - low) / 10)[9] for low, high in bounds])
    inner = gym.make(grid.env_id).unwrapped
    masses = iter(values)
    if friction is not None:
        inner.model.geom_friction[friction, 0] = next(masses)
    for body in bodies:
        inner.model.body_mass[body] = next(masses)
    perturbed(env, point)
    inner.reset(seed=0)
    assert np.allclose(env.inner.model.body_mass, inner.model.body_mass, rtol=1e-12, atol=0)
    assert np.allclose(contact_frictions(env.inner.model), contact_frictions(inner.model), rtol=1e-12, atol=0)
    for untouched in ("body_inertia", "body_invweight0", "dof_invweight0", "dof_M0"):
        assert np.array_equal(getattr(env.inner.model, untouched), getattr(inner.model, untouched))
    rng, high = np.random.default_rng(0), inner.action_space.high
    for _ in range(20):
        unit = rng.uniform(-1, 1, high.shape).astype(np.float32)
        own = env.step({"protagonist": unit, "adversary": np.zeros_like(unit)})[0]
        np.testing.assert_allclose(own, inner.step(high * unit)[0], rtol=1e-6, atol=1e-6)


def test_masses_alone_leave_the_inertias_and_all_that_follows_and_can_be_taken_back():
    env = make("Hopper", alpha=0.0)
    model, nominal = env.inner.model, copy.deepcopy(env.inner.model)
    perturbed(env, {"mass_alone": {"torso": 2.0}})
    assert model.body("torso").mass == pytest.approx(2 * nominal.body("torso").mass)
    for name in ("body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0"):
        assert np.array_equal(getattr(model, name), getattr(nominal, name))
    perturbed(env, {"mass_alone": 2.0, "mass": 1.5})
    both = model.body_mass.copy()
    consistent = copy.deepcopy(env.inner.model)
    perturbed(env, {"mass": 1.5})
    assert np.allclose(both, 3 * nominal.body_mass) and np.array_equal(consistent.dof_M0, model.dof_M0)
    perturbed(env, None)
    for name in ("body_mass", "body_inertia", "body_subtreemass", "dof_M0"):
        assert np.array_equal(getattr(model, name), getattr(nominal, name))


@pytest.mark.parametrize("name", UNCERTAINTY_SETS)
def test_every_named_set_fits_its_env(name):
    grid = uncertainty_set(name)
    env = gym.make("robustgames/ActionRobust-v0", env_id=grid.env_id or "Hopper-v5").unwrapped
    points = grid.points(env)
    assert len(points) == np.prod(grid.shape)
    for point in (points[0], points[-1]):
        assert perturbed(env, point)[1]["perturbation"] == flat(point) and env.perturbation == point
    drawn = perturbed(env, grid.bounds(env))[1]["perturbation"]
    assert set(drawn) == set(flat(points[0]))


# -- vectors, errors ------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_envs_draw_a_perturbation_each_and_report_it(mode):
    source = {"mass": (0.5, 2.0)}
    envs = gym.make_vec(HOPPER, num_envs=2, vectorization_mode=mode, perturbation=source)
    _, infos = envs.reset(seed=0)
    drawn = infos["perturbation"]["mass"]
    assert (
        drawn[0] != drawn[1]
        and drawn[0] == make("Hopper", perturbation=source).reset(seed=0)[1]["perturbation"]["mass"]
    )
    *_, infos = envs.step(envs.action_space.sample())
    assert np.array_equal(infos["perturbation"]["mass"], drawn) and infos["executed_action"].shape == (2, 3)
    envs.close()


@pytest.mark.parametrize(
    ("perturbation", "message"),
    [
        (1.5, r"perturbation is 1.5: pass a dict of axes, e.g. \{'mass': 1.5\}"),
        ({"masss": 1.5}, "unknown axis of a perturbation 'masss': did you mean mass"),
        ({"mass": 0.0}, "mass is 0.0: a relative scale is positive and finite, 1.0 is nominal"),
        ({"mass": -1}, "mass is -1.0: a relative scale is positive"),
        ({"friction": float("nan")}, "friction is nan: a relative scale is positive and finite"),
        ({"gravity": float("inf")}, "gravity is inf: a relative scale is positive and finite"),
        ({"mass": {"torso": 0.0}}, "mass of torso is 0.0: a relative scale"),
        ({"mass": {"tors": 2.0}}, "unknown name in mass 'tors': did you mean torso"),
        ({"damping": {"torso": 2.0}}, "unknown name in damping 'torso'"),
        ({"gravity": {"torso": 2.0}}, "this env names no parts of it, pass one number, e.g. gravity=0.5"),
        ({"mass": (2.0, 0.5)}, "bounds 2.0 and 0.5: give finite ones, the lower first"),
        ({"mass": (0.0, 1.0)}, "mass is 0.0: a relative scale is positive"),
        ({"mass": Choice((1.0, -2.0))}, "mass is -2.0: a relative scale is positive"),
        ({"mass": "heavy"}, r"mass is 'heavy': pass a number, \(low, high\) or a distribution"),
        ({"mass": True}, "mass is True: pass a number"),
        ({"mass:tors": 2.0}, "unknown name in mass 'tors': did you mean torso"),
        ({"mas:torso": 2.0}, "unknown axis of a perturbation 'mas': did you mean mass"),
        ({"mass": 2.0, "mass:torso": 2.0}, "mass is given as a whole and for a part, name all parts"),
        ({"mass:torso": 2.0, "mass": 2.0}, "mass is given as a whole and for a part, name all parts"),
        ({"mass": [1, 2, 3]}, r"mass is \[1, 2, 3\]: pass a number"),
        ({"action_noise": 1.5}, r"action_noise is 1.5: a probability lies in \[0, 1\]"),
        ({"action_noise": float("nan")}, "action_noise is nan: a probability"),
        ({"observation_noise": -0.1}, "observation_noise is -0.1: a standard deviation is finite and not negative"),
    ],
)
def test_wrong_perturbations_are_told_in_one_line(perturbation, message):
    env = make("Hopper")
    perturbed(env, {"mass": 1.5})
    with pytest.raises(rg.GameError, match=message) as caught:
        perturbed(env, perturbation)
    assert "\n" not in str(caught.value)
    assert env.reset()[1]["perturbation"] == {"mass": 1.5}  # nothing was lost


def test_other_errors():
    for wrong, message in (
        (lambda: uncertainty_set("tesler-mass"), "unknown uncertainty set 'tesler-mass': did you mean tessler-mass"),
        (lambda: uncertainty_set("rrls-hopper-1d").points(), "in kg and coefficients of Hopper-v5: pass env="),
        (lambda: uncertainty_set("rrls-ant-1d").points(make("Pendulum")), "of Ant-v5, and the env is Pendulum-v1"),
        (
            lambda: uncertainty_set("rrls-walker2d-2d").points(make("Hopper")),
            "of Walker2d-v5, and the env is Hopper-v5",
        ),
        (lambda: LogUniform(0.0, 1.0), "the lower end must be positive"),
        (lambda: Choice(()), "Choice of no values"),
        (lambda: make("Hopper").acts("masss"), "unknown axis of a perturbation 'masss': did you mean mass"),
        (lambda: make("Hopper").physics.nominal("gain"), "unknown axis 'gain'"),
    ):
        with pytest.raises(rg.GameError, match=message):
            wrong()


def test_no_line_about_settotalmass_is_printed_or_logged(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = make("HalfCheetah")
    copy.deepcopy(env), pickle.loads(pickle.dumps(env))
    captured = capfd.readouterr()
    assert "settotalmass" not in captured.out + captured.err and list(tmp_path.iterdir()) == []
