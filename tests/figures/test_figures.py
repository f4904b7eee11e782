"""What the figures show, read back from their artists."""

import csv
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color
from stable_baselines3.common.logger import CSVOutputFormat

from robustgames import envs, evaluation, figures
from robustgames.agents import GameAgent
from robustgames.errors import GameError
from robustgames.evaluation import accuracies
from robustgames.evaluation.certificates import attack
from robustgames.figures import portraits, style
from robustgames.games import (
    MLP,
    AdversarialClassification,
    AlmostBilinear,
    Bilinear,
    DigitsAdversarial,
    Forsaken,
    MatrixGame,
    Noisy,
    Polar,
    Quadratic,
)
from robustgames.solvers import diagnostics, make_solver, trajectory


def test_evaluation_loads_no_matplotlib():
    names = [m.name for m in pkgutil.iter_modules(evaluation.__path__, "robustgames.evaluation.")]
    code = (
        f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\nprint('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(names) > 10 and done.stdout.strip() == "False"


def test_colors_are_those_of_the_style():
    for path in Path(style.__file__).parent.glob("*.py"):
        assert path.name == "style.py" or not re.findall(r"[\"']#[0-9A-Fa-f]{6}", path.read_text()), path


def portrait(game, lr=0.1, steps=30, z=((0.5, 0.2), (-0.3, 1.0)), dt=1.0):
    points = trajectory(make_solver("gda", lr=lr), game, torch.tensor(z), steps)
    return figures.phase_portrait(game, points, dt), points


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def cycles(figure):
    """{label: (line style, points)} of the cycles that are drawn."""
    lines = [line for line in figure.axes[0].lines if "cycle," in str(line.get_label())]
    return {line.get_label(): (line.get_linestyle(), line.get_xydata()) for line in lines}


@pytest.mark.parametrize(
    ("game", "expected"),
    [
        (Forsaken(), {"stable cycle, period 7.55": "-", "unstable cycle, period 7.17": "--"}),
        (AlmostBilinear(), {"stable cycle, period 6.29": "-"}),
        (Bilinear(), {}),  # a center: closed orbits everywhere, none of them isolated
    ],
    ids=repr,
)
def test_portrait_finds_the_cycles_of_the_flow(game, expected):
    drawn = cycles(portrait(game)[0])
    assert {label: style for label, (style, _) in drawn.items()} == expected


def test_cycles_of_the_polar_game_are_its_two_circles_whatever_the_noise():
    figure, _ = portrait(Noisy(Polar(), std=0.5))
    radii = {style: np.linalg.norm(points, axis=-1) for style, points in cycles(figure).values()}
    np.testing.assert_allclose(radii["-"], 1.0, atol=2e-3)
    np.testing.assert_allclose(radii["--"], 0.75, atol=2e-3)
    assert {"stable cycle, period 6.28", "unstable cycle, period 6.28"} <= set(legend(figure))


def test_portrait_draws_iterates_critical_point_names_and_arrows():
    game = Quadratic()
    figure, points = portrait(game)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), points[:, 0], rtol=1e-6)
    assert [line.get_xydata().tolist() for line in axes.lines if line.get_label() == "critical point"] == [[[0, 0]]]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("x (minimizer)", "y (maximizer)", repr(game))
    segments = [s for lines in axes.collections if isinstance(lines, LineCollection) for s in lines.get_segments()]
    a, b = np.stack([s[0] for s in segments]), np.stack([s[-1] for s in segments])
    assert cycles(figure) == {} and len(segments) > 20  # V = (-2x, -2y): every streamline lies on a ray
    np.testing.assert_allclose(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], 0, atol=1e-3)


def test_label_of_runs_states_the_period_in_time_or_iterates():
    figure, points = portrait(Polar(), steps=2000, lr=0.05, z=(0.5, 0.8), dt=0.05)
    cycle = diagnostics.limit_cycle(points, center=torch.zeros(2))
    assert f"run, 1 cycling (period {0.05 * cycle.period:.2f})" in legend(figure)
    in_iterates = portraits._label_runs(points.unsqueeze(1), 1, 1.0, torch.zeros(2))
    assert in_iterates == f"run, 1 cycling (period {cycle.period:.0f} iterates)"


def test_diverged_runs_are_cut_off_and_counted(tmp_path):
    figure, points = portrait(Bilinear(), lr=3.0, steps=200)
    assert not torch.isfinite(points[-1]).any()
    assert "2 runs, 2 diverged" in legend(figure)
    low, high = figure.axes[0].get_xlim()
    assert -4 < low < -1 and 1 < high < 4
    figures.save(figure, tmp_path / "new" / "portrait.png")
    assert (tmp_path / "new" / "portrait.png").read_bytes().startswith(b"\x89PNG")
    nothing = figures.phase_portrait(Polar(), torch.full((5, 3, 2), torch.nan))
    assert len(cycles(nothing)) == 2 and "3 runs, 3 diverged" in legend(nothing)


def test_matrix_game_is_drawn_by_first_probabilities():
    game = MatrixGame([[2.0, 0.0], [0.0, 1.0]])
    points = trajectory(make_solver("mirror_prox"), game, torch.tensor([0.2, 0.8, 0.7, 0.3]), 20)
    axes = figures.phase_portrait(game, points).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), points[:, [0, 2]], rtol=1e-6)
    assert axes.get_xlabel() == "first probability of x (minimizer)"
    plane = portraits._Plane(game)
    z = torch.tensor([0.2, 0.8, 0.7, 0.3]).double()
    ahead = game.project(z + 0.1 * game.field(z))
    torch.testing.assert_close(z[[0, 2]] + 0.1 * plane.field(z[[0, 2]]), ahead[[0, 2]])


def test_games_without_a_plane_are_refused():
    with pytest.raises(GameError, match="one number per player"):
        figures.phase_portrait(MatrixGame("rock_paper_scissors"), torch.zeros(3, 1, 6))
    assert not figures.has_portrait(Bilinear(n=2))


# -- learning curves -------------------------------------------------------------------------------------
def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = CSVOutputFormat(str(path))
    for row in rows:
        writer.write(row, {key: () for key in row})
    writer.close()
    return path


def rows(times, scale=1.0):
    return [
        {
            "time/timesteps": t,
            "game/payoff": scale * (t - 20),
            "game_std/payoff": 1.0 + t,
            "game/distance": 10.0**-t,
            "time/fps": 7,
        }
        for t in times
    ]


def test_learning_curves_plot_the_columns(tmp_path):
    first = {"time/timesteps": 0, "game/payoff": -20.0, "game_std/payoff": 1.0}  # the writer leaves the new cell empty
    path = write(tmp_path / "progress.csv", [first, *rows([10, 20, 30]), {"eval/clean_accuracy": 0.5}])
    panels = {axes.get_title("left"): axes for axes in figures.learning_curves(path).axes}
    assert list(panels) == ["game/distance", "game/payoff"]
    payoff, distance = panels["game/payoff"], panels["game/distance"]
    np.testing.assert_array_equal(payoff.lines[0].get_xydata(), [[0, -20], [10, -10], [20, 0], [30, 10]])
    np.testing.assert_array_equal(distance.lines[0].get_ydata(), [np.nan, 1e-10, 1e-20, 1e-30])
    assert (payoff.get_yscale(), distance.get_yscale()) == ("linear", "log")
    assert payoff.get_xlabel() == "oracle calls"
    band = payoff.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (-21.0, 41.0) and not distance.collections


def test_parts_of_a_resumed_run_are_one_curve(tmp_path):
    whole = write(tmp_path / "progress.csv", rows([0, 10, 20, 30]))
    rest = write(tmp_path / "progress-20.csv", rows([20, 30, 40]))
    figure = figures.learning_curves([rest, whole])
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [0, 10, 20, 30, 40])
    assert len(figure.axes[0].lines) == 1 and not figure.legends


def test_runs_in_different_folders_are_compared(tmp_path):
    paths = [write(tmp_path / name / "s0" / "progress.csv", rows([0, 10], i)) for i, name in enumerate(("gda", "adam"))]
    figure = figures.learning_curves(paths)
    assert legend(figure) == ["gda/s0", "adam/s0"]
    np.testing.assert_array_equal([line.get_ydata() for line in figure.axes[1].lines], [[0, 0], [-20, -10]])


def test_learning_curves_of_an_agent(tmp_path):
    from stable_baselines3.common.logger import configure

    agent = GameAgent(envs.make("robustgames/Quadratic-v0", runs=3, device="cpu"), make_solver("gda", lr=0.1))
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(50)
    figure = figures.draw_all(agent.game, agent.z, progress=tmp_path / "progress.csv")["learning_curves"]
    with open(tmp_path / "progress.csv") as file:
        table = list(csv.DictReader(file))
    names = [axes.get_title("left").replace(" ", "_") for axes in figure.axes]
    assert sorted(names) == sorted(n for n in table[0] if n.startswith(("game/", "eval/")))
    for name, axes in zip(names, figure.axes, strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), [float(row[name]) for row in table])


@pytest.mark.parametrize(
    ("name", "last", "scale"),
    [
        ("eval/distance", 0.3, "log"),  # from 1: a rate is read as a slope
        ("game/residual", 0.3, "log"),
        ("eval/last_duality_gap", 0.3, "log"),
        ("eval/distance", 0.4, "linear"),
        ("eval/distance", 0.0, "linear"),
        ("game/payoff", 0.3, "linear"),
        ("game/payoff", 0.005, "log"),
    ],
)
def test_rates_are_read_on_logarithmic_axes(tmp_path, name, last, scale):
    path = write(tmp_path / "progress.csv", [{"time/timesteps": t, name: v} for t, v in ((0, 1.0), (9, last))])
    assert figures.learning_curves(path).axes[0].get_yscale() == scale


def test_learning_curves_say_what_they_show(tmp_path):
    path = write(tmp_path / "progress.csv", [{**row, "eval/gap": row["time/timesteps"]} for row in rows([0, 10])])
    figure = figures.learning_curves(path, "gda (lr=0.1)\nBilinear-v0, 5 runs", runs=5)
    assert figure.get_suptitle() == "gda (lr=0.1)\nBilinear-v0, 5 runs"
    below = figure.get_supxlabel().splitlines()
    assert below[0] == "line: mean over 5 runs, band: ± one standard deviation"
    assert below[1].startswith("game/: the last iterate") and "eval/: the point that a result reports" in below[1]
    single = write(tmp_path / "b" / "progress.csv", [{"time/timesteps": t, "game/payoff": t} for t in (0, 1)])
    assert figures.learning_curves(single).get_supxlabel() == ""


def test_compared_runs_may_be_named(tmp_path):
    paths = [write(tmp_path / name / "progress.csv", rows([0, 10], i)) for i, name in enumerate(("a", "b"))]
    figure = figures.learning_curves(paths, names=["GDA", "Adam"], runs=3)
    assert legend(figure) == ["GDA", "Adam"] and figure.get_supxlabel() == ""
    assert figure.legends[0].get_title().get_text() == "line: mean over 3 runs, band: ± one standard deviation"
    with pytest.raises(GameError, match="2 folders, one name for each"):
        figures.learning_curves(paths, names=["GDA"])


def test_constant_metrics_have_no_panel(tmp_path):
    flat = {"train/diverged_runs": 0, "rollout/ep_len_mean": 200}
    table = [{"time/timesteps": t, **flat, "rollout/ep_rew_mean": -t} for t in (1, 2)]
    panels = figures.learning_curves(write(tmp_path / "progress.csv", table)).axes
    assert [axes.get_title("left") for axes in panels] == ["return of recent episodes"]
    both = figures.learning_curves(write(tmp_path / "b" / "progress.csv", [{"time/timesteps": 1, **flat}])).axes
    assert len(both) == 2  # with nothing else to draw


def test_values_that_come_at_some_logs_are_connected_and_paired(tmp_path):
    table = [{"time/timesteps": t, "rollout/ep_rew_mean": -t} for t in range(6)]
    for t, value in ((1, -5.0), (4, -2.0)):
        table[t] |= {"eval/return": value, "eval/return_under_adversary": value - 1}
    figure = figures.learning_curves(write(tmp_path / "progress.csv", table))
    panel = next(axes for axes in figure.axes if "alone" in axes.get_title("left"))
    alone, against = panel.lines
    np.testing.assert_array_equal(alone.get_xydata()[np.isfinite(alone.get_ydata())], [[1, -5], [4, -2]])
    assert (
        np.isnan(alone.get_ydata()).sum() == 2 and alone.get_marker() == "o"
    )  # before the first value, after the last
    assert against.get_linestyle() == "--" and np.nanmin(against.get_ydata()) == -6 and len(figure.axes) == 2
    assert panel.get_xlabel() == "env steps"


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "time/timesteps,game/x\nzero,1\n", "time/timesteps\n1\n"])
def test_files_that_are_no_curves_are_refused(tmp_path, text):
    (tmp_path / "progress.csv").write_text(text)
    with pytest.raises(GameError, match=r"progress\.csv"):
        figures.learning_curves(tmp_path / "progress.csv")


# -- digits ----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained():
    solver = make_solver("standard_training", lr=1e-3)
    agent = GameAgent(envs.make("robustgames/DigitsAdversarial-v0", runs=2, device="cpu"), solver, seed=0)
    while agent.steps < 80:  # without the attacks that `learn` runs for its curves
        with torch.no_grad():
            agent.z, agent.state = solver.step(agent.oracle, agent.z, agent.state)
        agent.steps += 1
    return agent


def test_digit_grid_colors_the_predictions(trained):
    figure = figures.digit_grid(trained.game, trained.z)
    grid = np.array(figure.axes).reshape(3, 10)
    clean, noise, attacked = (np.stack([axes.images[0].get_array().flatten() for axes in row]) for row in grid)
    np.testing.assert_allclose(clean + noise, attacked, atol=1e-6)
    assert abs(noise).max() <= 0.1 + 1e-6 and attacked.min() >= 0 and attacked.max() <= 1
    assert grid[1, 0].images[0].get_clim() == (-0.1, 0.1)
    game, weights = trained.game, trained.z[0, : trained.game.sizes[0]]
    for row, pictures, truth in ((grid[0], clean, True), (grid[2], attacked, False)):
        predicted = game.logits(weights, torch.from_numpy(np.asarray(pictures))).argmax(-1).tolist()
        for label, (axes, guess) in enumerate(zip(row, predicted, strict=True)):
            text = axes.get_title()
            assert text == (f"{guess} (true {label})" if truth else str(guess))
            assert same_color(axes.title.get_color(), style.RIGHT if guess == label else style.WRONG)
    assert len({axes.title.get_color() for axes in grid[2]}) == 2, "the attack should fool some of them, not all"


def test_digit_grid_attacks_as_the_certificate_does(trained):
    game = trained.game.held_out
    x = trained.z[0, : game.sizes[0]]
    attacked = game.images + attack(game, x, 5).view(game.images.shape)
    right = [game.logits(x, images).argmax(-1) == game.labels for images in (game.images, attacked)]
    assert float((right[0] & right[1]).float().mean()) == float(accuracies(game, x, attack_steps=5)["pgd5_accuracy"])


def test_digit_grid_without_attacker_or_square():
    images, labels = torch.rand(6, 9), torch.arange(6) % 3
    game = AdversarialClassification(images, labels, MLP((9, 3)), eps=0.0)
    z = torch.zeros(sum(game.sizes))
    pictures = np.array(figures.digit_grid(game, z, count=4).axes).reshape(3, 4)
    np.testing.assert_array_equal(pictures[1, 0].images[0].get_array(), np.zeros((3, 3)))
    flat = AdversarialClassification(torch.rand(6, 8), labels, MLP((8, 3)))
    with pytest.raises(GameError, match="square"):
        figures.digit_grid(flat, torch.zeros(sum(flat.sizes)))
    assert figures.draw_all(flat, torch.zeros(sum(flat.sizes))) == {}


def test_draw_all_draws_what_applies_without_pyplot(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # an import of it is an error
    path = write(tmp_path / "progress.csv", rows([0, 10]))
    assert list(figures.draw_all(Polar(), torch.zeros(4, 2), progress=path)) == ["phase_portrait", "learning_curves"]
    assert list(figures.draw_all(trained.game, trained.z)) == ["digits"]
    assert figures.draw_all(Bilinear(n=3), torch.zeros(6)) == {}
    assert isinstance(trained.game, DigitsAdversarial)


def test_digits_are_attacked_in_the_norm_of_the_game():
    game = DigitsAdversarial(eps=2.0, norm="l2", hidden=(8,))
    z = game.initial((), torch.Generator().manual_seed(0))
    drawn = np.array(figures.digit_grid(game, z, count=4).axes).reshape(3, 4)
    for axes in drawn[1]:  # in ℓ∞ this radius does not exist
        assert 0.5 < np.linalg.norm(axes.images[0].get_array()) <= 2.0 + 1e-5
