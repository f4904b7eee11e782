"""Evaluation of control policies: episodes, sweeps over perturbations, statistics over runs, figures."""

import json
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import mannwhitneyu, trim_mean
from scipy.stats import t as student
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import robustgames as rg
from robustgames.envs import uncertainty_set
from robustgames.evaluation.reliability import bootstrap, iqm, paired, probability_of_improvement
from robustgames.evaluation.robustness import Sweep, compare, cvar, sweep
from robustgames.evaluation.rollouts import control_env, play
from robustgames.figures.control import heat_maps, perturbation_curves

PENDULUM = "robustgames/ActionRobustPendulum-v0"
INVERTED = "robustgames/ActionRobustInvertedPendulum-v0"
HOPPER = "robustgames/ActionRobustHopper-v0"
FORCES = {"coupling": "force"}


def swing(observation):
    """Pump energy into the pendulum, then hold it: a fixed policy whose return depends on the mass."""
    cos, sin, speed = observation
    return np.array([np.clip(np.sign(speed) if cos < 0.9 else -5 * sin - speed, -1, 1)])


def still(observation):
    return np.zeros(1)


def balance(observation):
    return np.clip(observation @ np.array([[0.5], [4.0], [0.6], [0.6]]), -1, 1)


# -- episodes ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("settings", [{"alpha": 0.9}, {"alpha": 0.9, "coupling": "probabilistic"}, {"alpha": 0.0}])
def test_without_an_adversary_it_is_the_inner_env(settings):
    """Return by return what Stable-Baselines3 counts on the plain env, whatever share the adversary has."""

    class Model:
        def predict(self, observations, state=None, episode_start=None, deterministic=True):
            return np.array([2 * swing(o) for o in observations], np.float32), None  # Pendulum-v1 takes [-2, 2]

    played = play(PENDULUM, swing, episodes=3, seed=5, env_settings=settings)
    for k, total in enumerate(played.returns):
        plain = DummyVecEnv([lambda: Monitor(gym.make("Pendulum-v1"))])
        plain.seed(5 + k)
        theirs, _ = evaluate_policy(Model(), plain, n_eval_episodes=1)
        assert total == pytest.approx(theirs, abs=1e-6)  # to which the monitor rounds


def test_a_torch_module_plays_as_its_function_does_in_evaluation_mode():
    torch.manual_seed(0)
    actor = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1), torch.nn.Tanh())
    actor[0].eval()
    layers = [(actor[i].weight.detach().numpy().copy(), actor[i].bias.detach().numpy().copy()) for i in (0, 2)]

    def by_hand(observation):
        (first, a), (second, b) = layers
        return np.tanh(second @ (first @ observation + a) + b)

    wanted = play(PENDULUM, by_hand, episodes=2).returns
    np.testing.assert_allclose(play(PENDULUM, actor, episodes=2).returns, wanted, rtol=1e-4)
    np.testing.assert_allclose(play(PENDULUM, actor.double(), episodes=2).returns, wanted, rtol=1e-4)
    assert [part.training for part in actor] == [False, True, True, True]
    graph = actor.float().eval()  # a function may return a tensor with its graph
    np.testing.assert_allclose(play(PENDULUM, lambda o: graph(torch.as_tensor(o)), 2).returns, wanted, rtol=1e-4)
    assert len(sweep(actor, PENDULUM, {"mass": [1.0]}, episodes=2).returns) == 1


@pytest.mark.parametrize("settings", [FORCES, {"coupling": "dynamics"}, {"coupling": "observation", "eps": 0.3}])
def test_other_couplings_are_silent_without_an_adversary(settings):
    alone = play(HOPPER, lambda o: np.zeros(3), episodes=2, env_settings={"alpha": 0.0})
    coupled = play(HOPPER, lambda o: np.zeros(3), episodes=2, env_settings=settings)
    np.testing.assert_array_equal(alone.returns, coupled.returns)
    np.testing.assert_array_equal(alone.lengths, coupled.lengths)


def test_a_given_env_keeps_its_coupling_and_plays_with_it():
    env = control_env(HOPPER, FORCES)
    before = env.unwrapped.coupling
    alone = play(env, lambda o: np.zeros(3), episodes=1)
    assert env.unwrapped.coupling is before
    pushed = play(env, lambda o: np.zeros(3), episodes=1, adversary=np.ones(2))
    assert pushed.returns != alone.returns
    np.testing.assert_array_equal(play(env, lambda o: np.zeros(3), episodes=1).returns, alone.returns)


def test_an_adversary_sees_the_truth():
    seen = []
    env = control_env(PENDULUM, {"coupling": "observation", "eps": 1.0})

    def adversary(observation):
        seen.append(observation)
        return np.ones(3)

    observed = []
    play(env, lambda o: (observed.append(o), np.zeros(1))[1], episodes=1, adversary=adversary)
    assert np.hypot(*np.array(seen)[:, :2].T) == pytest.approx(np.ones(200), abs=1e-5)  # cos² + sin² = 1
    assert np.abs(np.array(observed) - np.array(seen)) == pytest.approx(1.0, abs=1e-5)  # in every state


def test_what_cannot_be_played():
    for call, message in [
        (lambda: play(PENDULUM, still, episodes=0), "episodes is 0: a whole number of at least 1"),
        (lambda: play("robustgames/ActionRobustPendulun-v0", still), "did you mean robustgames/ActionRobustPendulum"),
        (lambda: play("Pendulum-v1", still), "has no adversary: pass one of robustgames/"),
        (lambda: play(PENDULUM, still, adversary="randon"), "did you mean random"),
        (
            lambda: play(control_env(PENDULUM), still, env_settings={"alpha": 0.1}),
            "which already exists",
        ),
        (lambda: play(PENDULUM, lambda o: np.zeros(2)), r"protagonist's action has shape \(2,\)"),
        (lambda: sweep([], PENDULUM), "no policy"),
        (lambda: sweep(still, PENDULUM, {"mass": ()}), "list at least one"),
        (lambda: sweep(still, PENDULUM, {"mass": (0.5, 1.0)}, episodes=0), "episodes is 0: a whole number"),
        (lambda: sweep(still, PENDULUM, {"mas": (1.0,)}), "did you mean mass"),
        (lambda: sweep(still, PENDULUM, "tesler-mass"), "did you mean tessler-mass"),
        (lambda: cvar(np.ones(3), 0.0), r"lies in \(0, 1\]"),
        (lambda: iqm(np.array([[np.nan]])), "must be finite"),
        (lambda: probability_of_improvement(np.ones((2, 3)), np.ones((2, 4))), "on 3 and 4 tasks"),
        (lambda: paired(np.ones(3), np.ones(2)), "one number per run"),
    ]:
        with pytest.raises(rg.GameError, match=message):
            call()


# -- sweeps --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def mass_noise():
    return sweep([swing, still], PENDULUM, "tessler-mass-noise", episodes=1, seed=3)


def test_mass_and_noise_both_vary_up_to_their_upper_corner(mass_noise):
    """Published code sweeps one of the two axes, and leaves out the corner."""
    grid = mass_noise.cells[0]
    assert mass_noise.returns.shape == (2, 11, 11, 1) and not mass_noise.idle
    assert all(len(np.unique(grid[:, j])) == 11 for j in range(11))
    # mass changes the return in every row; noise does in every column, where its coins differ
    assert all(len(np.unique(grid[i])) >= 10 for i in range(11))
    corner = play(PENDULUM, swing, 1, 3, {"mass": 2.0, "action_noise": 0.5}).returns
    assert grid[-1, -1] == corner and mass_noise.axes["mass"][-1] == 2.0 and mass_noise.axes["action_noise"][-1] == 0.5


def test_the_same_seeds_give_the_same_numbers_in_every_cell_of_every_method(mass_noise):
    again = sweep(swing, PENDULUM, {"mass": (0.7, 1.2), "action_noise": (0.0, 0.25)}, episodes=1, seed=3)
    np.testing.assert_array_equal(again.cells[0], mass_noise.cells[0][np.ix_([2, 6], [0, 5])])
    other = sweep(swing, PENDULUM, {"mass": (0.7, 1.2), "action_noise": (0.0, 0.25)}, episodes=1, seed=4)
    assert (other.cells != again.cells).all()


def test_two_methods_have_the_same_initial_states_and_the_same_noise():
    drawn_by = {}
    for name, action in {"left": -1.0, "right": 1.0}.items():
        starts = drawn_by[name] = []
        env = control_env(PENDULUM)
        core, reset, replaced = env.unwrapped, env.unwrapped.reset, env.unwrapped._replaced

        def counted(starts=starts, reset=reset, **options):
            result = reset(**options)
            starts.append(result[0].tolist())
            return result

        def drawn(action, starts=starts, replaced=replaced):
            executed = replaced(action)
            starts.append(None if executed == action else executed.tolist())
            return executed

        core.reset, core._replaced = counted, drawn
        sweep(lambda o, a=action: np.array([a]), env, {"action_noise": (0.0, 0.3)}, episodes=2)
    assert drawn_by["left"] == drawn_by["right"]
    starts = [x for x in drawn_by["left"] if x is not None and len(x) == 3]
    assert starts[:2] == starts[2:] and starts[0] != starts[1]  # the same in both cells
    assert 0.2 < np.mean([x is not None for x in drawn_by["left"][-200:]]) < 0.4


def test_friction_is_idle_on_the_inverted_pendulum_and_never_an_axis():
    result = sweep(balance, INVERTED, "kamalaruban-friction-noise", episodes=1)
    assert list(result.axes) == ["action_noise"] and result.returns.shape == (1, 11, 1)
    assert result.idle == {"friction": "no two geoms of the model touch with friction"}
    with pytest.raises(rg.GameError, match="1 axes of the sweep act on InvertedPendulum-v5; friction is idle: no two"):
        heat_maps({"balance": result})
    with pytest.raises(rg.GameError, match="friction is idle: no two geoms"):
        perturbation_curves({"balance": result}, "friction")
    nothing = sweep(balance, INVERTED, "kamalaruban-friction", episodes=1)
    assert nothing.returns.shape == (1, 1) and nothing.per_run()["worst"] == nothing.per_run()["nominal"]
    with pytest.raises(rg.GameError, match="there is nothing to draw"):
        perturbation_curves({"balance": nothing})


def test_a_sweep_over_a_body_and_over_absolute_values():
    hopper = sweep(lambda o: np.zeros(3), HOPPER, "rarl-mass", episodes=1)
    assert list(hopper.axes) == ["mass of torso"] and len(np.unique(hopper.cells)) > 5
    grid = uncertainty_set("rrls-inverted-pendulum-1d")
    absolute = sweep(balance, INVERTED, grid, episodes=1)
    env = gym.make(INVERTED)
    kg = np.array(absolute.axes["mass of pole"]) * env.unwrapped.physics.nominal("mass", "pole")
    np.testing.assert_allclose(kg, grid.axes[("mass", "pole")])


def test_one_env_is_made_and_left_nominal():
    env = control_env(PENDULUM)
    calls = []
    sweep([swing, still], env, {"mass": (0.5, 2.0), "length": (1.0, 2.0)}, 1, progress=lambda *at: calls.append(at))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert env.unwrapped.perturbation == {} and env.unwrapped.inner.m == 1.0 and env.unwrapped.inner.l == 1.0


def test_json_keeps_a_sweep(mass_noise):
    again = Sweep.from_dict(json.loads(json.dumps(mass_noise.to_dict())))
    np.testing.assert_array_equal(again.returns, mass_noise.returns)
    assert (again.axes, again.env, again.seed, again.source) == (
        mass_noise.axes,
        "Pendulum-v1",
        3,
        uncertainty_set("tessler-mass-noise").source,
    )


# -- what a sweep comes to -----------------------------------------------------------------------------------
def by_hand():
    cells = np.array([[[8.0, 7.0], [6.0, 1.0]], [[4.0, 9.0], [2.0, 3.0]]])  # 2 runs, mass x noise
    returns = np.stack([cells - 0.5, cells + 0.5], -1)
    return Sweep("Toy-v0", {"mass": (0.5, 1.5), "action_noise": (0.0, 0.1)}, returns)


def test_summaries_of_a_grid_by_hand():
    runs = by_hand().per_run(level=0.5)
    assert by_hand().nominal_point == {"mass": 1.5, "action_noise": 0.0}  # by ratio 1.5 is nearer to 1 than 0.5
    assert runs["nominal"].tolist() == [6.0, 2.0]
    assert runs["mean"].tolist() == [5.5, 4.5]
    assert runs["worst"].tolist() == [1.0, 2.0]
    assert runs["cvar"].tolist() == [3.5, 2.5]
    assert by_hand().summary(0.5)["cvar"].estimate == 3.0


def test_cvar_lies_between_worst_and_mean():
    values = np.random.default_rng(0).normal(size=(5, 121))
    np.testing.assert_allclose(cvar(values, 1.0), values.mean(1))
    np.testing.assert_allclose(cvar(values, 1 / 121), values.min(1))
    np.testing.assert_allclose(cvar(values, 1e-9), values.min(1))
    ordered = np.sort(values, 1)
    np.testing.assert_allclose(cvar(values, 0.1), (ordered[:, :12].sum(1) + 0.1 * ordered[:, 12]) / 12.1)
    levels = [cvar(values, level)[0] for level in np.linspace(0.01, 1, 50)]
    assert (np.diff(levels) >= -1e-12).all()


def test_paired_differences_count_wins():
    worse = by_hand()
    better = Sweep(worse.env, worse.axes, worse.returns + np.array([1.0, 3.0]).reshape(2, 1, 1, 1))
    for name, result in compare(better, worse).items():
        assert (result.difference.estimate, result.wins, result.ties, result.runs) == (2.0, 2, 0, 2), name
        assert np.isnan([result.difference.low, result.difference.high, result.p_value]).all()  # of two runs
        assert str(result) == "2, better in 2 of 2 runs"
    assert compare(worse, worse)["mean"].ties == 2
    with pytest.raises(rg.GameError, match="differ in seed"):
        compare(worse, Sweep(worse.env, worse.axes, worse.returns, seed=1))
    with pytest.raises(rg.GameError, match="as many runs and episodes"):
        compare(worse, Sweep(worse.env, worse.axes, worse.returns[:1]))


# -- statistics ----------------------------------------------------------------------------------------------
def test_the_bootstrap_of_a_mean_is_the_normal_interval_for_many_runs():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    [mean] = bootstrap(values)
    half = 1.96 * values.std() / 20
    assert mean.estimate == pytest.approx(values.mean())
    assert [mean.low, mean.high] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.1 * half)
    assert bootstrap(values) == [mean] == bootstrap(values, seed=1)  # moments of the resampled mean are known
    [drawn] = bootstrap(values, statistic=np.mean)
    assert [drawn.low, drawn.high] == pytest.approx([mean.low, mean.high], abs=0.1 * half)
    assert bootstrap(values, statistic=np.mean) == [drawn] != bootstrap(values, statistic=np.mean, seed=1)[0]


def test_one_run_has_no_interval():
    [only] = bootstrap(np.array([5.0]))
    assert only.estimate == 5.0 and np.isnan([only.low, only.high]).all()


@pytest.mark.parametrize("stratified", [False, True])
def test_interquartile_mean_is_scipys(stratified):
    scores = np.random.default_rng(2).normal(size=(8, 5))
    found = iqm(scores, stratified)
    assert found.estimate == pytest.approx(trim_mean(scores, 0.25, axis=None))
    assert found.low < found.estimate < found.high
    np.random.rand()
    assert iqm(scores, stratified) == found and iqm(scores, stratified, seed=1) != found


@pytest.mark.parametrize("stratified", [False, True])
def test_probability_of_improvement_is_the_mann_whitney_count(stratified):
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 5, (8, 4)).astype(float), rng.integers(0, 4, (6, 4)).astype(float)
    counts = [mannwhitneyu(x[:, k], y[:, k]).statistic / 48 for k in range(4)]
    found = probability_of_improvement(x, y, stratified)
    assert found.estimate == pytest.approx(np.mean(counts)) and 0 <= found.low < found.estimate < found.high <= 1
    assert probability_of_improvement(y, x).estimate == pytest.approx(1 - found.estimate)


def test_rliables_numbers_are_ours():
    """Computed once by rliable 1.2: the interquartile mean and the probability of improvement of these scores."""
    x, y = np.random.default_rng(4).normal(size=(2, 7, 3))
    for stratified in (False, True):
        assert iqm(x, stratified).estimate == pytest.approx(-0.08985350344225425, abs=1e-12)
        assert probability_of_improvement(x, y, stratified).estimate == pytest.approx(0.489795918367347, abs=1e-12)


def test_interquartile_mean_by_hand():
    """Of n scores the lowest and the highest n // 4 are left out, whichever run and task they belong to."""
    assert iqm(np.array([[9.0, -7.0, 3.0], [1.0, 2.0, 100.0]])).estimate == (1 + 2 + 3 + 9) / 4
    assert iqm(np.array([[1.0], [2.0], [6.0]])).estimate == 3.0


@pytest.mark.parametrize("stratified", [False, True])
def test_standard_errors_are_those_of_scipys_bootstrap(stratified):
    """Whole runs as paired samples, or every task as a separate sample: equal up to Monte Carlo error."""
    scores = np.random.default_rng(7).normal(size=(12, 3)) + np.arange(12)[:, None]
    theirs = scipy_bootstrap(
        tuple(scores.T),
        lambda *tasks: trim_mean(np.concatenate(tasks), 0.25),
        paired=not stratified,
        vectorized=False,
        n_resamples=4000,
        method="percentile",
        random_state=np.random.default_rng(0),  # `rng` since scipy 1.15
    ).standard_error
    ours = iqm(scores, stratified)
    half = student.ppf(0.975, 11) * theirs * np.sqrt(12 / 11)
    assert [ours.low, ours.high] == pytest.approx([ours.estimate - half, ours.estimate + half], abs=0.14 * half)


def test_cells_of_one_policy_are_no_independent_runs():
    """Where a run shifts all of its cells, resampling cell by cell makes the interval too narrow; runs do not."""
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(10, 1)) + 0.1 * rng.normal(size=(10, 121))
    whole, split = iqm(scores), iqm(scores, stratified=True)
    assert split.high - split.low < 0.4 * (whole.high - whole.low)
    mean_of_runs = bootstrap(scores.mean(1))[0]
    assert whole.high - whole.low > 0.7 * (mean_of_runs.high - mean_of_runs.low)


def test_statistics_leave_the_global_generator_alone():
    np.random.seed(0)
    expected = np.random.RandomState(0).rand()
    iqm(np.arange(12.0).reshape(4, 3), stratified=True)
    assert np.random.rand() == expected
    assert "arch" not in sys.modules  # which rliable needs, and cannot import with pandas 3


# -- figures -------------------------------------------------------------------------------------------------
def test_heat_maps_share_one_scale_and_say_what_they_show(mass_noise):
    worse = Sweep(mass_noise.env, mass_noise.axes, mass_noise.returns - 50.0)
    figure = heat_maps({"A": mass_noise, "B": worse})
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2 and {axes.images[0].get_clim() for axes in panels} == {
        (worse.cells.mean(0).min(), mass_noise.cells.mean(0).max())
    }
    assert figure.get_suptitle() == "Pendulum-v1, return (framed: nominal), 2 runs × 1 episode"
    shown = np.array([text.get_text().replace("−", "-") for text in panels[0].texts], float).reshape(11, 11)
    np.testing.assert_allclose(shown, mass_noise.cells.mean(0), atol=0.51)
    np.testing.assert_array_equal(panels[0].images[0].get_array(), mass_noise.cells.mean(0).T)
    [frame] = panels[0].patches
    assert frame.get_xy() == (4.5, -0.5)  # mass 1.0 is the sixth value


def test_large_returns_are_written_in_thousands_and_four_panels_are_two_by_two():
    large = Sweep("Toy-v0", by_hand().axes, by_hand().returns * 9960.0)
    figure = heat_maps(dict.fromkeys("ABCD", large))
    panels = [axes for axes in figure.axes if axes.images]
    assert {axes.get_subplotspec().get_geometry()[:2] for axes in panels} == {(2, 2)}
    assert [text.get_text() for text in panels[0].texts] == ["60", "80", "40", "20"]
    assert figure.get_suptitle() == "Toy-v0, return in thousands (framed: nearest to nominal), 2 runs × 2 episodes"


def test_curves_are_means_over_runs_in_their_band(mass_noise):
    figure = perturbation_curves({"A": mass_noise}, "mass")
    [axes] = figure.axes
    line = next(line for line in axes.lines if line.get_label() == "A")
    np.testing.assert_allclose(line.get_ydata(), mass_noise.cells[:, :, 0].mean(0))
    assert axes.get_title("left") == "Pendulum-v1, return at action_noise 0, 2 runs × 1 episode"
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == mass_noise.cells[:, :, 0].min() and band.max() == mass_noise.cells[:, :, 0].max()
    with pytest.raises(rg.GameError, match="unknown axis of the sweep 'massive': did you mean mass"):
        perturbation_curves({"A": mass_noise}, "massive")
    with pytest.raises(rg.GameError, match="different envs or grids"):
        heat_maps({"A": mass_noise, "B": by_hand()})
    with pytest.raises(rg.GameError, match="no sweep by name"):
        heat_maps({})


def test_an_axis_whose_trajectories_are_equal_is_listed_as_idle():
    """Only the foot of Hopper touches the ground, and a contact takes its friction of 2, the larger one."""
    policy, env = (lambda o: np.full(3, 0.1)), "robustgames/ActionRobustHopper-v0"
    grid = {("friction", "world"): (0.5, 0.7, 1.0), "mass": (0.5, 1.0)}
    result = sweep(policy, env, grid, episodes=2)
    assert list(result.axes) == ["mass"] and result.returns.shape == (1, 2, 2)
    assert result.idle == {"friction of world": "its 3 values give the same trajectories, bit for bit"}
    assert result.nominal_point == {"mass": 1.0}
    assert np.array_equal(sweep(policy, env, {"mass": (0.5, 1.0)}, episodes=2).returns, result.returns)


def test_equal_returns_of_different_trajectories_are_not_idle():
    """Every step of the inverted pendulum pays 1 until it falls: a policy that balances it is robust, not idle."""
    env = gym.make("robustgames/ActionRobustInvertedPendulum-v0", max_episode_steps=3)
    result = sweep(lambda o: np.clip([o[1]], -1, 1), env, {"mass": (0.9, 1.0)}, episodes=1)
    assert result.returns.tolist() == [[[3.0], [3.0]]]
    assert list(result.axes) == ["mass"] and result.idle == {}
