"""Paths of runs: in portraits, on simplices, in animations."""

import io

import numpy as np
import pytest
import torch
from matplotlib.colors import same_color
from PIL import Image

from robustgames import figures
from robustgames.errors import GameError
from robustgames.figures import animation
from robustgames.figures.style import LIGHT
from robustgames.games import GAN, MLP, Bilinear, MatrixGame, Quadratic
from robustgames.games.densities import GaussianMixture
from robustgames.solvers import make_solver, trajectory


def circles(runs, radius=1.0, points=50):
    angle = torch.linspace(0, 6, points).view(-1, 1, 1)
    phase = torch.arange(runs).view(1, -1, 1) / runs
    return radius * torch.cat([(angle + phase).cos(), (angle + phase).sin()], -1)


def entries(figure):
    legend = figure.legends[0]
    return dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))


def by_gid(axes, gid):
    return [line for line in axes.lines if line.get_gid() == gid]


def test_ten_runs_have_ten_colors_and_the_legend_shows_them():
    figure = figures.phase_portrait(Bilinear(), circles(12), with_cycles=False)
    paths = by_gid(figure.axes[0], "path")
    assert len(paths) == 10 and len({line.get_color() for line in paths}) == 10
    assert "10 of 12 runs" in entries(figure)
    figure.canvas.draw()
    shown = {line.get_color() for line in figure.legends[0].findobj(type(paths[0]))}
    assert {line.get_color() for line in paths} <= shown


def test_the_evaluated_average_is_drawn():
    path = circles(2)
    average = path.cumsum(0) / torch.arange(1, 51).view(-1, 1, 1)
    figure = figures.phase_portrait(Bilinear(), path, average=average, with_cycles=False, title="gda\nBilinear")
    axes = figure.axes[0]
    drawn = by_gid(axes, "average")
    np.testing.assert_allclose([line.get_xydata() for line in drawn], average.transpose(0, 1), rtol=1e-6)
    [end] = [line.get_xydata()[0] for line in by_gid(axes, "average end")[:1]]
    np.testing.assert_allclose(end, average[-1, 0], rtol=1e-6)
    assert "average, evaluated" in entries(figure) and axes.get_title() == "gda\nBilinear"
    assert all(same_color(line.get_color(), LIGHT.palette[i]) for i, line in enumerate(drawn))


@pytest.mark.parametrize("far", [2.0, 9.0])
def test_the_window_holds_the_whole_path_of_a_run_that_stays(far):
    """The starts are at distance 1; a path that reaches `far` times as far is not cut off."""
    path = circles(3) * torch.linspace(1, far, 50).view(-1, 1, 1)
    axes = figures.phase_portrait(Bilinear(), path, with_cycles=False).axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    low, high = path.amin((0, 1)), path.amax((0, 1))
    assert left < low[0] and right > high[0] and bottom < low[1] and top > high[1]
    assert right - left < 1.8 * (high - low).max()


def test_simplices_show_both_players_from_corner_to_corner():
    game = MatrixGame("rock_paper_scissors")
    rock, paper = torch.eye(3)[0], torch.eye(3)[1]
    path = torch.stack([torch.cat([rock, paper]), torch.cat([paper, rock])]).unsqueeze(1)
    figure = figures.simplex_figure(game, path, average=path.cumsum(0) / torch.tensor([1.0, 2.0]).view(-1, 1, 1))
    assert len(figure.axes) == 2
    for axes, points in zip(figure.axes, ([[0, 0], [1, 0]], [[1, 0], [0, 0]]), strict=True):
        np.testing.assert_allclose(by_gid(axes, "path")[0].get_xydata(), points, atol=1e-12)
        np.testing.assert_allclose(by_gid(axes, "average")[0].get_xydata()[-1], [0.5, 0], atol=1e-12)
        assert {"rock", "paper", "scissors"} <= {text.get_text() for text in axes.texts}
        [star] = [line for line in axes.lines if line.get_label() == "equilibrium"]
        np.testing.assert_allclose(star.get_xydata(), [[0.5, 0.75**0.5 / 3]], atol=1e-6)
    assert [axes.get_title() for axes in figure.axes] == ["x (minimizer)", "y (maximizer)"]
    assert {"run", "start", "end", "average, evaluated", "equilibrium"} == set(entries(figure))
    assert list(figures.draw_all(game, path[-1], path)) == ["simplices"]


def test_a_simplex_is_shaded_by_what_the_opponent_gains():
    """max_j (xᵀA)_j of rock-paper-scissors is 1 at every corner and 0 at the center."""
    axes = figures.simplex_figure(MatrixGame("rock_paper_scissors"), torch.full((2, 1, 6), 1 / 3)).axes[0]
    levels = axes.collections[0].levels
    assert levels[0] == 0 and 0.9 < levels[-1] <= 1.2


def test_other_games_have_no_simplices():
    assert not figures.has_simplices(MatrixGame([[1.0, 0.0], [0.0, 1.0]])) and not figures.has_path(Bilinear(n=2))
    with pytest.raises(GameError, match="three actions a player"):
        figures.simplex_figure(Quadratic(), torch.zeros(2, 1, 2))


# -- animations ------------------------------------------------------------------------------------------
def test_paths_grow_in_an_animation():
    game = Quadratic()
    points = trajectory(make_solver("gda", lr=0.1), game, torch.tensor([[1.0, 0.5], [-1.0, 0.5]]), 30)
    film = animation.path_film(game, points, title="gda")
    shown = np.stack(film.frames).astype(int)
    new = (np.abs(shown - shown[0]).sum(-1) > 60).sum((1, 2))  # pixels that differ from the first frame
    assert shown.dtype == int and (np.diff(new) >= 0).all() and new[-1] > 2 * new[5] > 0
    picture = Image.open(io.BytesIO(film.gif()))
    assert picture.is_animated and picture.size == film.frames[0].shape[1::-1]


def test_what_a_gan_generates_is_animated():
    game = GAN(MLP((2, 4, 2)), MLP((2, 4, 1)), GaussianMixture.ring(), latent=2)
    z = game.initial((), torch.Generator().manual_seed(0))
    frames = {step: animation.generated(game, step * z) for step in (1, 50)}
    assert frames[1].shape == (1000, 2)
    film = animation.generated_film(game, frames, "adam")
    assert (film.frames[0] != film.frames[1]).any() and (film.frames[1] == film.frames[-1]).all()
