"""Searches for the worst point of an uncertainty set, and evaluations divided among processes."""

import json
import pickle
from dataclasses import replace
from itertools import islice

import gymnasium as gym
import numpy as np
import pytest

import robustgames as rg
from robustgames.agents import RobustDDPG
from robustgames.evaluation import box_search, cells
from robustgames.evaluation.box_search import BoxSearch
from robustgames.evaluation.robustness import sweep
from robustgames.evaluation.worst_case import WorstCase, worst_case
from robustgames.executors import executor
from robustgames.figures.control_axes import parallel_coordinates, slices

PENDULUM = "robustgames/ActionRobustPendulum-v0"
INVERTED = "robustgames/ActionRobustInvertedPendulum-v0"
SET = {"mass": (0.5, 2.0), "length": (0.5, 2.0)}


def swing(observation):
    cos, sin, speed = observation
    return np.array([np.clip(np.sign(speed) if cos < 0.9 else -5 * sin - speed, -1, 1)])


def still(observation):
    return np.zeros(1)


class Known(gym.Env):
    """One step, whose reward is a known function of mass, friction and damping."""

    perturbable = {"mass": "m", "friction": "f", "damping": "d"}  # noqa: RUF012
    observation_space, action_space = gym.spaces.Box(-1, 1, (1,)), gym.spaces.Box(-1, 1, (1,))
    m = f = d = 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        m, f, d = np.log([self.m, self.f, self.d])
        reward = (
            m - 2 * f + 10 * (d - 0.3) ** 2
        )  # least at the least mass, the largest friction, and damping e^0.3 = 1.35
        return np.zeros(1, np.float32), reward, True, False, {}


gym.register("test/Known-v0", entry_point=Known)
KNOWN = {"env_id": "test/Known-v0"}
ANY = "robustgames/ActionRobust-v0"


def search(function, dimension, budget, seed, first=()):
    found = BoxSearch(dimension, budget, seed, first)
    while points := found.ask():
        np.random.rand()  # a generator that is not the search's
        assert all((point >= 0).all() and (point <= 1).all() for point in points)
        found.tell(points, [function(point) for point in points])
    assert len(found.points) == len(found.values) == budget
    return found


# -- the search ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_corner_of_a_linear_function_is_found_with_and_without_a_look_at_the_corners(dimension, monkeypatch):
    slope = np.array([1.0, -2.0, 0.5])[:dimension]
    least = float(np.minimum(slope, 0).sum())
    assert min(search(lambda x: float(slope @ x), dimension, 60, 0).values) == least
    monkeypatch.setattr(box_search, "CORNERS", -1)
    alone = [min(search(lambda x: float(slope @ x), dimension, 200, seed).values) for seed in range(3)]
    assert alone == [least] * 3  # by CMA-ES alone, exactly on the boundary


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_a_minimum_inside_is_found(dimension):
    inside = np.array([0.31, 0.77, 0.52])[:dimension]
    for seed in range(3):
        found = search(lambda x: float(((x - inside) ** 2).sum()), dimension, 200, seed)
        assert np.abs(found.best - inside).max() < 0.01


def test_a_search_is_determined_by_its_seed_and_leaves_the_global_generator_alone():
    function = lambda x: float(np.sin(9 * x[0]) + x[1])  # noqa: E731
    np.random.seed(1)
    first = search(function, 2, 80, 5)
    drawn = np.random.get_state()[2]
    np.random.seed(2)
    assert np.array_equal(search(function, 2, 80, 5).points, first.points)
    assert np.random.get_state()[2] == drawn
    assert not np.array_equal(search(function, 2, 80, 6).points, first.points)


def test_points_of_the_user_come_first_and_equal_values_are_no_trouble():
    given = np.array([0.25, 0.5])
    found = search(lambda x: 1.0, 2, 100, 0, [given])
    assert np.array_equal(found.points[0], given) and np.array_equal(found.best, given)


# -- of a policy ---------------------------------------------------------------------------------------------
def test_the_worst_case_of_a_known_function_is_found_and_no_grid_is_worse():
    axes = {"mass": (0.5, 2.0), "friction": (0.25, 4.0), "damping": (0.5, 2.0)}
    least = np.log(0.5) - 2 * np.log(4.0)
    found = worst_case(still, ANY, axes, 200, episodes=1, env_settings=KNOWN)
    assert found.returns.shape == (1, 200, 1) and found.points.shape == (1, 200, 3)
    [point] = found.worst_points
    assert (point["mass"], point["friction"]) == (0.5, 4.0) and point["damping"] == pytest.approx(np.exp(0.3), rel=0.02)
    assert least <= found.per_run()["worst"][0] < least + 1e-3
    grid = sweep(still, ANY, {axis: np.geomspace(*ends, 4) for axis, ends in axes.items()}, 1, env_settings=KNOWN)
    assert found.per_run()["worst"][0] < grid.per_run()["worst"][0]
    assert found.points[0, 0].tolist() == [1, 1, 1]  # nominal


def test_a_search_that_knows_the_grid_is_never_better_than_it_and_beats_it_between_its_points():
    grid = sweep(swing, PENDULUM, {axis: (0.5, 1.0, 2.0) for axis in SET}, episodes=2)
    index = np.unravel_index(grid.cells[0].argmin(), grid.cells[0].shape)
    point = {axis: values[i] for (axis, values), i in zip(grid.axes.items(), index, strict=True)}
    alone = worst_case(swing, PENDULUM, SET, 2, episodes=2, known=[point, {"mass": 9.0, "length": 1.0}])
    assert alone.per_run()["worst"] == grid.per_run()["worst"]  # bit for bit: the same starts
    found = worst_case(swing, PENDULUM, SET, 60, episodes=2, known=[point])
    assert found.per_run()["worst"] < grid.per_run()["worst"] - 50
    again = WorstCase.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.worst_points == found.worst_points and repr(again) == repr(found)
    assert np.isnan(found.summary()["fresh"].low)  # one run
    assert found.fresh.shape == (1, 2) and not np.isin(found.fresh, found.returns).any()  # other starts


def test_every_run_begins_with_its_worst_point_of_a_grid_of_other_axes():
    def up(observation):
        return np.ones(1)

    axes, settings = {"mass": (0.5, 2.0), "damping": (0.5, 2.0)}, {"env_settings": KNOWN}
    grid = sweep([still, up], ANY, {"mass": (0.5, 1.0, 2.0), "friction": (1.0, 8.0)}, 1, **settings)
    assert grid.per_run()["worst"][0] < -3  # at a friction of 8, which the set does not contain
    found = worst_case([still, up], ANY, axes, 2, episodes=1, known=grid, **settings)
    assert found.points.tolist() == [[[1.0, 1.0], [0.5, 1.0]]] * 2
    assert found.per_run()["worst"] == pytest.approx([np.log(0.5) + 0.9] * 2, abs=1e-12)
    other = replace(grid, returns=grid.returns * np.array([1, -1]).reshape(2, 1, 1, 1))  # whose second run fails at 2
    found = worst_case([still, up], ANY, axes, 2, episodes=1, known=other, **settings)
    assert found.points[:, 1].tolist() == [[0.5, 1.0], [2.0, 1.0]]
    lone = worst_case(
        still, ANY, axes, 3, episodes=1, known=[{"mass": 0.5}, {"friction": 2.0}, {"damping": 2}], **settings
    )
    assert lone.points[0].tolist() == [[1.0, 1.0], [0.5, 1.0], [1.0, 2.0]]
    with pytest.raises(rg.GameError, match="known has 2 runs and policies 1: pass the sweep of these policies"):
        worst_case(still, ANY, axes, 3, episodes=1, known=grid, **settings)


def test_idle_axes_are_left_out_and_noises_are_searched_from_zero():
    found = worst_case(still, INVERTED, {"friction": (0.5, 2.0), "action_noise": (0.0, 0.5)}, 5, episodes=1)
    assert found.idle == {"friction": "no two geoms of the model touch with friction"}
    assert list(found.axes) == ["action_noise"] and found.points[0, 0] == 0.0
    kilograms = worst_case(still, INVERTED, "rrls-inverted-pendulum-1d", 3, episodes=1)
    assert list(kilograms.axes) == ["mass of pole"]


def test_an_interrupted_search_continues_and_another_policy_does_not_believe_it(tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total):
        if done == 17:
            raise Stopped

    journal, calls = tmp_path / "new" / "journal.jsonl", []
    settings = {"budget": 30, "episodes": 1}
    whole = worst_case(swing, PENDULUM, SET, **settings)
    with pytest.raises(Stopped):
        worst_case(swing, PENDULUM, SET, journal=journal, progress=stop, **settings)
    with journal.open("a") as file:
        file.write('{"run": 0, "numb')  # cut off by a kill
    kept = journal.read_bytes()

    def counted(observation):
        calls.append(1)
        return swing(observation)

    again = worst_case(counted, PENDULUM, SET, journal=journal, **settings)
    assert np.array_equal(again.returns, whole.returns) and np.array_equal(again.points, whole.points)
    assert len(calls) == 200 * (1 + 30 - 17 + 1)  # the nominal point, what was left, and other starts
    assert not journal.exists()
    journal.write_bytes(kept)
    other = worst_case(still, PENDULUM, SET, journal=journal, **settings)
    assert np.array_equal(other.returns, worst_case(still, PENDULUM, SET, **settings).returns)


def copied_and_backwards(workers):
    """Return an executor in this process that does what several do: it copies jobs, and they end in another order."""

    def perform(function, jobs):
        running = []
        while True:
            running += list(islice(jobs, workers - len(running)))
            if not running:
                return
            job = running.pop()
            yield job, function(pickle.loads(pickle.dumps(job)))

    return perform


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_processes_change_no_number(processes, monkeypatch):
    if not processes:
        monkeypatch.setattr(cells, "executor", lambda n: copied_and_backwards(3 * n) if n > 1 else executor(n))
    agent = RobustDDPG(PENDULUM, seed=0)
    policies = [agent.policy(), RobustDDPG(PENDULUM, seed=1, normalize=True).policy(), swing]
    grid = {"mass": (0.5, 2.0), "action_noise": (0.0, 0.3)}
    alone, divided = (sweep(policies, PENDULUM, grid, 2, workers=workers) for workers in (1, 2))
    assert np.array_equal(alone.returns, divided.returns)
    first, second = (worst_case(policies, PENDULUM, SET, 12, 1, workers=workers) for workers in (1, 2))
    for name in ("points", "returns", "fresh"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: sweep([lambda o: np.zeros(1)], PENDULUM, {"mass": (1, 2)}, workers=2), "the policy cannot be sent"),
        (lambda: sweep(still, PENDULUM, {"mass": (1, 2)}, workers=0), "workers is 0: at least one process"),
        (lambda: worst_case(still, PENDULUM, {"mass": (0.5, 2)}, 0), "budget is 0: at least one point"),
        (lambda: worst_case(still, PENDULUM, {"mass": (2.0, 2.0)}), "mass is 2 everywhere in the set: give bounds"),
        (lambda: worst_case(still, PENDULUM, {"friction": (0.5, 2)}), "no axis of the set acts on this env: friction"),
        (lambda: worst_case([], PENDULUM, SET), "no policy: pass one"),
    ],
)
def test_wrong_input_is_refused_in_one_line(call, error):
    with pytest.raises(rg.GameError, match=error) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_without_the_library_the_error_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cma", None)
    with pytest.raises(rg.GameError, match=r"pip install 'robustgames\[search\]'"):
        worst_case(still, PENDULUM, SET)


# -- figures -------------------------------------------------------------------------------------------------
def test_slices_show_the_worst_point_in_three_planes():
    returns = np.arange(24.0).reshape(1, 2, 3, 4, 1)
    returns[0, 1, 0, 2] = -5.0
    axes = {"mass": (0.5, 1.0), "length": (0.5, 1.0, 2.0), "gravity": (0.5, 1.0, 1.5, 2.0)}
    figure = slices({"a": rg.evaluation.robustness.Sweep("Toy-v0", axes, returns)})
    shown = [panel.images[0].get_array() for panel in figure.axes[:3]]
    cells = returns[0, ..., 0]
    for drawn, plane in zip(shown, (cells[:, :, 2], cells[:, 0, :], cells[1]), strict=True):
        np.testing.assert_array_equal(drawn, plane.T)
    assert [panel.get_title(loc="left") for panel in figure.axes[:3]] == [
        "relative gravity 1.5",
        "relative length 0.5",
        "relative mass 1",
    ]


def test_parallel_coordinates_have_a_line_for_every_point():
    points, returns = np.array([[[0.5, 0.0], [2.0, 0.2], [1.0, 0.4]]]), np.array([[[3.0], [1.0], [2.0]]])
    axes = {"mass": (0.5, 2.0), "action_noise": (0.0, 0.4)}
    found = WorstCase("Toy-v0", axes, points, returns, np.zeros((1, 1)))
    [panel] = parallel_coordinates({"a": found}).axes
    lines = np.array(panel.collections[0].get_segments())[..., 1]
    np.testing.assert_allclose(lines, [[0, 0, 1], [0.5, 1, 0.5], [1, 0.5, 0]])  # the best first
    np.testing.assert_allclose(panel.lines[0].get_ydata(), [1, 0.5, 0])
