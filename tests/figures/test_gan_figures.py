"""What the figures of generators show, read back from their artists; slerp against its closed form."""

import math
import sys

import numpy as np
import pytest
import torch
from matplotlib.collections import EllipseCollection

from robustgames.errors import GameError
from robustgames.figures import gans as draw
from robustgames.figures import images as grids

STD = 0.05
MEANS = torch.cartesian_prod(torch.arange(-2.0, 3.0), torch.arange(-2.0, 3.0))


@pytest.fixture(autouse=True)
def no_pyplot(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # an import of it is an error


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def samples(count=500, seed=0):
    index = torch.randint(len(MEANS), (count,), generator=rng(seed))
    return MEANS[index] + STD * torch.randn(count, 2, generator=rng(seed))


def panels(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def dots(axes, label="generated"):
    return next((line.get_xydata() for line in axes.lines if line.get_label() == label and len(line.get_xdata())), None)


def circles(axes):
    return [c for c in axes.collections if isinstance(c, EllipseCollection)]


def written(axes):
    return [text.get_text() for text in axes.texts]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


# -- samples ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (10, 4)])
def test_panels_are_rows_of_solvers_by_columns_of_steps(rows, columns):
    grid = {f"solver {i}": {10**j: samples(100, 4 * i + j) for j in range(columns)} for i in range(rows)}
    captions = {row: {step: f"{row} at {step}" for step in steps} for row, steps in grid.items()}
    figure = draw.samples_figure(grid, MEANS, STD, captions=captions)
    assert len(figure.axes) == rows * columns
    for k, axes in enumerate(figure.axes):
        i, j = divmod(k, columns)
        np.testing.assert_array_equal(dots(axes), grid[f"solver {i}"][10**j].double().numpy())
        assert axes.get_xlabel() == f"solver {i} at {10**j}"
        assert axes.get_title() == (f"step {10**j:,}" if i == 0 else "")
        assert axes.get_ylabel() == (f"solver {i}" if j == 0 else "")
    assert legend(figure) == ["modes, 3 std", "generated"]
    figure.canvas.draw()


@pytest.mark.parametrize("std", [0.0, STD, 1.5, torch.linspace(0.01, 0.5, 25)])
def test_window_holds_all_modes_and_their_circles(std):
    means = 100 * MEANS * torch.tensor([1.0, 0.2]) + 7  # wide and off center
    figure = draw.samples_figure({"a": samples(), "b": torch.full((5, 2), 1e6)}, means, std)
    for axes in figure.axes:
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        reach = 3 * torch.as_tensor(std).expand(25)
        assert left < (means[:, 0] - reach).min() and (means[:, 0] + reach).max() < right
        assert bottom < (means[:, 1] - reach).min() and (means[:, 1] + reach).max() < top
        assert right - left == pytest.approx(top - bottom)
        (drawn,) = circles(axes)
        np.testing.assert_array_equal(drawn.get_offsets(), means.numpy())
        np.testing.assert_allclose(drawn.get_widths(), 2 * reach.numpy(), rtol=1e-6)


def test_flat_panels_wrap_and_keep_their_names():
    figure = draw.samples_figure({f"solver {i}": samples(50, i) for i in range(7)}, MEANS, STD)
    assert [axes.get_title() for axes in figure.axes] == [f"solver {i}" for i in range(7)]
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 5)


def test_missing_steps_leave_a_hole():
    figure = draw.samples_figure({"a": {1: samples(), 2: samples()}, "b": {2: samples()}}, MEANS, STD)
    assert [dots(axes) is not None for axes in figure.axes] == [True, True, False, True]
    assert not figure.axes[2].spines["left"].get_visible() and figure.axes[2].get_ylabel() == "b"


def test_diverged_runs_are_marked_without_modes_or_caption():
    nan = torch.full((40, 2), float("nan"))
    figure = draw.samples_figure({"a": nan, "b": samples()}, MEANS, STD, captions={"a": "nan modes", "b": "25 modes"})
    first, second = figure.axes
    assert written(first) == ["diverged"] and dots(first) is None and circles(first) == []
    assert written(second) == [] and (first.get_xlabel(), second.get_xlabel()) == ("", "25 modes")
    assert first.get_xlim() == second.get_xlim() and legend(figure) == ["modes, 3 std", "generated"]
    everything = draw.samples_figure({"a": nan})
    assert written(everything.axes[0]) == ["diverged"] and everything.legends == []
    everything.canvas.draw()


def test_samples_that_are_not_drawn_are_counted():
    points = samples(100)
    points[:20] += 50
    points[20:30] = float("nan")
    points[30:31, 0] = float("inf")
    (axes,) = draw.samples_figure({"a": points}, MEANS, STD).axes
    assert written(axes) == ["20 % outside, 11 % not finite"] and len(dots(axes)) == 89
    points = samples(1000)
    points[0] = 9.0
    (axes,) = draw.samples_figure({"a": points}, MEANS, STD).axes
    assert written(axes) == ["1 % outside"], "one in a thousand is not rounded to none"


def test_only_the_first_samples_are_drawn():
    points = samples(4000)
    (axes,) = draw.samples_figure({"a": points}, MEANS, STD).axes
    np.testing.assert_array_equal(dots(axes), points[: draw.SHOWN_SAMPLES].double().numpy())


def test_data_without_modes_is_drawn_below_and_sets_the_window():
    angle = torch.linspace(0, 6, 500)
    real = torch.stack([angle.cos(), angle.sin()], -1) * 3 + 1
    figure = draw.samples_figure({"a": samples(), "b": 100 * samples()}, real=real)
    for axes in figure.axes:
        np.testing.assert_array_equal(dots(axes, "data"), real.double().numpy())
        assert axes.get_xlim()[0] < real[:, 0].min() and real[:, 1].max() < axes.get_ylim()[1] < 10
    alone = draw.samples_figure({"a": real, "b": real + 1}, window=(-1.0, 2.0, -3.0, 4.0))
    assert alone.axes[1].get_xlim() == (-1, 2) and alone.axes[1].get_ylim() == (-3, 4)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({}, "no samples to draw"),
        ({"a": {}}, "no samples to draw"),
        ({"a": torch.zeros(5, 3)}, r"shape \(5, 3\): they must be points of the plane \(N, 2\)"),
        ({"a": {1: torch.zeros(4, 5, 2)}}, r"shape \(4, 5, 2\).*of one run"),
    ],
)
def test_wrong_samples_are_named(wrong, text):
    with pytest.raises(GameError, match=text):
        draw.samples_figure(wrong)


# -- the critic ------------------------------------------------------------------------------------------------------
def test_critic_is_evaluated_on_the_window_and_drawn_the_right_way_round():
    evaluated = []

    def critic(points):
        evaluated.append(points)
        return 10 * points[:, :1] + points[:, 1:]  # (N, 1), steeper in x

    figure = draw.critic_figure(critic, (-1.0, 3.0, 0.0, 2.0), samples(), MEANS, STD, "a critic")
    (points,) = evaluated
    assert points.amin(0).tolist() == [-1, 0] and points.amax(0).tolist() == [3, 2]
    axes = panels(figure)[0]
    assert axes.get_xlim() == (-1, 3) and axes.get_ylim() == (0, 2) and axes.get_title(loc="left") == "a critic"
    filled = axes.collections[0]
    assert filled.levels[0] <= -10 and filled.levels[-1] >= 32 and len(filled.levels) > 5
    for line in (path for level in axes.collections[1].get_paths() for path in level.to_polygons(closed_only=False)):
        slope = np.diff(line[:, 0]).sum() / np.diff(line[:, 1]).sum()
        assert slope == pytest.approx(-0.1, abs=1e-3), "level sets of 10 x + y"
    np.testing.assert_array_equal(dots(axes), samples().double().numpy())
    assert len(circles(axes)) == 1 and len(figure.axes) == 2 and legend(figure) == ["modes, 3 std", "generated"]


def test_critics_that_are_constant_or_not_finite_are_drawn():
    flat = draw.critic_figure(lambda points: torch.full((len(points),), 3.0), (-1, 1, -1, 1))
    levels = panels(flat)[0].collections[0].levels
    assert levels[0] < 3 < levels[-1]
    flat.canvas.draw()
    diverged = draw.critic_figure(lambda points: points[:, 0] * float("nan"), (-1, 1, -1, 1), samples(), MEANS, STD)
    assert written(diverged.axes[0]) == ["diverged"] and len(diverged.axes) == 1
    half = draw.critic_figure(lambda points: points[:, 0].log(), (-1, 1, -1, 1))  # NaN on the left half
    assert panels(half)[0].collections[0].levels[-1] >= 0 and written(half.axes[0]) == []
    half.canvas.draw()


# -- images ----------------------------------------------------------------------------------------------------------
def picture(figure):
    return figure.axes[0].images[0].get_array()


def cell(drawn, row, column, side, gap=1, top=0):
    y, x = row * (side + gap) + top, column * (side + gap)
    return drawn[y : y + side, x : x + side]


def test_grid_shows_each_image_in_its_place():
    images = 2 * torch.rand(10, 64, generator=rng()) - 1
    images[3] = 5.0  # beyond the range: white
    drawn = picture(grids.image_grid(images, 8, title="digits"))
    assert drawn.shape == (3 * 9, 4 * 9, 3)
    for i, image in enumerate(images):
        expected = ((image + 1) / 2).clamp(0, 1).view(8, 8, 1).expand(8, 8, 3)
        np.testing.assert_allclose(cell(drawn, i // 4, i % 4, 8), expected, rtol=1e-6)
    assert (cell(drawn, 2, 2, 8) == 1).all() and (drawn[8] == 1).all(), "white between images and where there are none"


def test_colors_are_channels_first():
    image = torch.full((1, 3, 16, 16), -1.0)
    image[:, 2, :, 8:] = 1.0  # blue on the right
    drawn = picture(grids.image_grid(image.flatten(1), 16, channels=3))
    np.testing.assert_array_equal(drawn[4, 4], [0, 0, 0])
    np.testing.assert_array_equal(drawn[4, 12], [0, 0, 1])


def test_nearest_images_are_below_those_generated():
    images, near = torch.full((5, 64), -0.5), torch.full((5, 64), 0.5)
    figure = grids.image_grid(images, 8, columns=3, nearest=near)
    drawn, tall = picture(figure), 2 * 9 + 1
    assert drawn.shape == (2 * tall, 3 * 9, 3)
    for i in range(5):
        top = (i // 3) * tall
        assert (cell(drawn, 0, i % 3, 8, top=top) == 0.25).all() and (cell(drawn, 1, i % 3, 8, top=top) == 0.75).all()
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["generated", "nearest in training"] * 2
    at = axes.get_yticks()
    assert [drawn[int(y), 3, 0] for y in at] == [0.25, 0.75] * 2


def test_images_that_are_not_finite_are_gray_and_a_diverged_run_is_marked():
    images = torch.zeros(4, 64)
    images[1, 5] = float("nan")
    figure = grids.image_grid(images, 8)
    assert (cell(picture(figure), 0, 1, 8) == np.float32(0.8)).all() and written(figure.axes[0]) == []
    for nearest in (None, torch.zeros(4, 64)):
        diverged = grids.image_grid(images * float("nan"), 8, nearest=nearest)
        assert written(diverged.axes[0]) == ["diverged"] and len(diverged.axes[0].images) == 0
        diverged.canvas.draw()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: grids.image_grid(torch.zeros(4, 63), 8), r"\(4, 63\): it must be \(N, 64\) for 1 x 8 x 8 pixels"),
        (lambda: grids.image_grid(torch.zeros(0, 64), 8), r"\(0, 64\)"),
        (lambda: grids.image_grid(torch.zeros(2, 4, 64), 8), r"\(2, 4, 64\).*of one run"),
        (lambda: grids.image_grid(torch.zeros(4, 128), 8, channels=2), "channels is 2: it must be 1"),
        (lambda: grids.image_grid(torch.zeros(4, 64), 8, nearest=torch.zeros(3, 64)), r"nearest has shape \(3, 64\)"),
        (lambda: grids.image_grid(torch.zeros(4, 64), 8, columns=0), "columns is 0"),
        (lambda: grids.interpolation_figure(lambda w: w, 64, 8, steps=1), "steps 1, latent 64"),
    ],
)
def test_wrong_images_are_named(call, text):
    with pytest.raises(GameError, match=text):
        call()


# -- walks in latent space -------------------------------------------------------------------------------------------
def test_slerp_walks_at_even_angles_on_the_sphere():
    a, b = torch.tensor([3.0, 0.0, 0.0]).double(), torch.tensor([0.0, 3.0, 0.0]).double()
    t = torch.linspace(0, 1, 7).double()
    angle = t * math.pi / 2
    expected = 3 * torch.stack([angle.cos(), angle.sin(), 0 * angle], -1)
    torch.testing.assert_close(grids.slerp(a, b, t), expected)


def test_slerp_keeps_norms_where_the_line_loses_them():
    a, b = torch.randn(2, 200, 64, generator=rng(), dtype=torch.float64)
    t = torch.linspace(0, 1, 9).double()
    way = grids.slerp(a, b, t)
    assert way.shape == (200, 9, 64)
    torch.testing.assert_close(way[:, 0], a)
    torch.testing.assert_close(way[:, -1], b)
    lengths = [torch.linalg.vector_norm(c, dim=-1, keepdim=True) for c in (a, b)]
    expected = (1 - t) * lengths[0] + t * lengths[1]
    torch.testing.assert_close(torch.linalg.vector_norm(way, dim=-1), expected)
    middle = torch.linalg.vector_norm((a + b) / 2, dim=-1).mean().item()
    assert middle == pytest.approx(math.sqrt(64 / 2), rel=0.03), "√(d/2): no draw of 64 normal numbers is that short"
    assert expected.mean().item() == pytest.approx(math.sqrt(64), rel=0.03)


@pytest.mark.parametrize("b", [[2.0, 4.0], [-1.0, -2.0], [1.0, 2.0], [0.0, 0.0]])
def test_slerp_takes_the_line_where_no_circle_is_one(b):
    a, b, t = torch.tensor([1.0, 2.0]), torch.tensor(b), torch.linspace(0, 1, 5)
    torch.testing.assert_close(grids.slerp(a, b, t), torch.lerp(a, b, t.unsqueeze(-1)))


def test_interpolation_draws_one_way_per_row():
    seen = []

    def generate(noise):
        seen.append(noise)
        return torch.tanh(noise)

    state = torch.get_rng_state()
    figure = grids.interpolation_figure(generate, 64, 8, rows=3, steps=5, generator=rng(4))
    assert torch.equal(torch.get_rng_state(), state)
    (noise,) = seen
    assert noise.shape == (15, 64) and noise.dtype == torch.float32
    drawn = picture(figure)
    assert drawn.shape == (3 * 9, 5 * 9, 3)
    for i, image in enumerate(torch.tanh(noise)):
        expected = ((image + 1) / 2).view(8, 8, 1).expand(8, 8, 3)
        np.testing.assert_allclose(cell(drawn, i // 5, i % 5, 8), expected, rtol=1e-6)
    first, last = noise.view(3, 5, 64)[:, 0], noise.view(3, 5, 64)[:, -1]
    torch.testing.assert_close(torch.stack([first, last]), torch.randn(2, 3, 64, generator=rng(4)))
    diverged = grids.interpolation_figure(lambda noise: noise * float("nan"), 64, 8)
    assert written(diverged.axes[0]) == ["diverged"]
