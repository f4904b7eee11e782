"""What the figures of attacks show, read back from their artists, and their numbers against closed forms."""

import importlib.util
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import same_color
from torch import nn

from robustgames.attacks import apgd, fgsm
from robustgames.data import digits
from robustgames.errors import GameError
from robustgames.evaluation.saliency import compare_saliency
from robustgames.experiment import GameExperiment
from robustgames.experiment.folder import write_config
from robustgames.figures import attacks as draw
from robustgames.figures.style import RIGHT, WRONG
from robustgames.figures.surfaces import loss_surface

WEIGHT = torch.tensor([0.5, -1.0, 0.25, 2.0], dtype=torch.float64)


@pytest.fixture(autouse=True)
def no_pyplot(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # an import of it is an error


def linear(a):
    margin = (a - 0.5) @ WEIGHT.to(a)
    return torch.stack([-margin, margin], 1) / 2


def interior(count=60):
    x = 0.3 + 0.4 * torch.rand(count, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = linear(x).argmax(1)
    return x, torch.where(torch.arange(count) % 10 == 0, 1 - y, y)  # a tenth is wrong from the start


@pytest.fixture(scope="module")
def trained():
    data = digits()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data.train_images), data.train_labels).backward()
        optimizer.step()
    return net, data.test_images[:100], data.test_labels[:100]


def texts(figure):
    return [part._suptitle.get_text() for part in figure.subfigs]


# -- digits -----------------------------------------------------------------------------------------------------
def test_digits_show_the_attacked_images_and_color_the_predictions(trained):
    net, x, y = trained
    attacks = {"FGSM": (fgsm, 0.05, "linf"), "APGD": (apgd, 1.0, "l1")}
    figure = draw.digits_under_attack({"net": net, "half": lambda a: net(a) / 2}, x, y, attacks)
    assert texts(figure) == ["net", "half"]
    chosen = draw.first_of_each_class(y, 10)
    assert y[chosen].tolist() == list(range(10))
    grid = np.array(figure.subfigs[0].axes).reshape(3, 10)
    assert [row[0].get_ylabel() for row in grid] == [
        "clean",
        "FGSM\n$|\\eta|_∞ \\leq 0.05$",
        "APGD\n$|\\eta|_1 \\leq 1$",
    ]
    shown = [x[chosen], fgsm(net, x[chosen], y[chosen], 0.05), apgd(net, x[chosen], y[chosen], 1.0, "l1")]
    for row, images in zip(grid, shown, strict=True):
        pictures = np.stack([axes.images[0].get_array().flatten() for axes in row])
        np.testing.assert_allclose(pictures, images, atol=1e-6)
        for axes, guess, label in zip(row, net(images).argmax(1).tolist(), range(10), strict=True):
            assert axes.get_title() == str(guess)
            assert same_color(axes.title.get_color(), RIGHT if guess == label else WRONG)
    colors = {axes.title.get_color() for axes in grid[1]}
    assert len(colors) == 2, "the attack should fool some of them, not all"


def test_first_of_each_class_takes_turns():
    y = torch.tensor([2, 2, 0, 2, 0, 1])
    assert draw.first_of_each_class(y, 6).tolist() == [2, 5, 0, 4, 1, 3]


# -- accuracy against eps -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_accuracy_of_a_linear_model_is_exact(norm, dual):
    x, y = interior()
    radii = [0.2, 0.0, 0.02, 0.05]  # in any order
    figure, numbers = draw.accuracy_against_eps({"linear": linear}, x, y, radii, norm, trained_at=0.05)
    margin = (2 * y - 1) * ((x - 0.5) @ WEIGHT)
    slope = torch.linalg.vector_norm(WEIGHT, dual)
    expected = [float((margin > eps * slope).double().mean()) for eps in sorted(radii)]
    assert expected[0] == 0.9 and 0 < expected[2] < expected[1], "the radii are chosen to separate images"
    assert numbers == {"eps": sorted(radii), "linear": pytest.approx(expected)}
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["linear"].get_xydata(), np.stack([sorted(radii), expected], 1))
    assert lines["trained at 0.05"].get_xdata() == [0.05, 0.05]
    band = axes.collections[0].get_paths()[0].get_extents()
    assert band.ymax == pytest.approx(0.9 + (0.9 * 0.1 / 60) ** 0.5)


def test_a_fooled_image_stays_fooled_and_is_not_attacked_again():
    x, y = interior()
    seen = []

    def weak_when_large(model, a, b, eps, norm):
        seen.append(len(a))
        return a if eps > 0.1 else fgsm(model, a, b, eps, norm)

    _, numbers = draw.accuracy_against_eps({"linear": linear}, x, y, [0.05, 0.1, 0.2], attack=weak_when_large)
    share = numbers["linear"]
    assert share[0] > share[1] == share[2] and seen == [60, round(60 * share[0]), round(60 * share[1])]


def test_nothing_left_is_not_attacked():
    x, y = interior(8)
    _, numbers = draw.accuracy_against_eps({"linear": linear}, x, y, [0.5, 0.6])
    assert numbers["linear"] == [0.0, 0.0]


# -- the surface of the loss ---------------------------------------------------------------------------------------
def test_surface_of_a_linear_model_is_its_closed_form():
    x, eps = torch.full((1, 4), 0.5, dtype=torch.float64), 0.1
    seen = []

    def model(a):
        seen.append(a.detach().clone())
        return linear(a)

    figure, surfaces = loss_surface({"linear": model}, x, torch.tensor([1]), eps, points=5)
    surface = surfaces["linear"]
    worst = eps * float(WEIGHT.abs().sum())  # along s; t moves the margin by eps <w, r>
    s = torch.linspace(-1, 1, 5, dtype=torch.float64)
    expected = nn.functional.softplus(s * worst)  # log(1 + exp(-margin)), margin = -s eps |w|_1
    torch.testing.assert_close(surface[2], expected)
    assert float(surface.max()) == pytest.approx(float(expected[-1])), "nothing in the ball is worse"
    generator = torch.Generator().manual_seed(0)
    r = torch.randn(1, 4, generator=generator, dtype=torch.float64).sign()
    torch.testing.assert_close(surface[:, 2], nn.functional.softplus(-s * eps * float((r * WEIGHT).sum())))
    assert max(float((a - x).abs().max()) for a in seen) <= eps + 1e-12
    assert figure.axes[0].get_title() == f"linear: loss {float(surface.min()):.2g} … {float(surface.max()):.2g}"


def test_surfaces_share_a_scale_and_stay_in_ball_and_box(trained):
    net, x, y = trained
    seen = []

    def flat(a):
        seen.append(a.detach())
        return net(a) / 50

    figure, surfaces = loss_surface({"net": net, "flat": flat}, x[:1], y[:1], 0.3, points=7)
    top = max(float(surface.max()) for surface in surfaces.values())
    assert surfaces["flat"].max() < top / 2
    for axes in figure.axes:
        assert axes.get_zlim() == pytest.approx((0.0, top)) and axes.collections[0].get_clim() == (0.0, top)
    assert all(a.min() >= 0 and a.max() <= 1 and (a - x[:1]).abs().max() <= 0.3 + 1e-6 for a in seen)
    l2, _ = loss_surface({"flat": flat}, x[:1], y[:1], 0.5, "l2", points=3)
    assert (seen[-1] - x[:1]).norm(dim=1).max() == pytest.approx(0.5, abs=1e-5) and l2.axes[0].get_xlabel()


# -- saliency --------------------------------------------------------------------------------------------------------
def test_saliency_figure_shows_maps_and_numbers(trained):
    net, x, y = trained
    weight = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    figure, numbers = draw.saliency_figure(net, lambda a: a @ weight.T, x, y, count=10)
    assert numbers == compare_saliency(net, lambda a: a @ weight.T, x, y)
    mean, error = numbers["robust"]["deletion"]
    assert f"area under deletion {mean:.3f} ± {error:.3f}" in texts(figure)[2] and "100" in texts(figure)[0]
    for label, axes in enumerate(figure.subfigs[2].axes):
        picture = axes.images[0]
        np.testing.assert_allclose(picture.get_array().flatten(), weight[label], rtol=1e-5)
        low, high = picture.get_clim()
        assert -low == high == pytest.approx(float(weight[label].abs().quantile(0.995)))


# -- errors ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x, y: draw.digits_under_attack({}, x, y), "no model by name"),
        (lambda x, y: draw.digits_under_attack(linear, x, y), "no model by name"),
        (lambda x, y: draw.digits_under_attack({"a": linear}, x[:, :3], y), r"images of shape \(3,\) cannot be drawn"),
        (lambda x, y: draw.accuracy_against_eps({"a": linear}, x, y, []), "0 radii"),
        (lambda x, y: draw.accuracy_against_eps({"a": linear}, x[:0], y[:0], [0.1]), "0 images"),
        (lambda x, y: draw.accuracy_against_eps({"a": linear}, x, y, [0.1], "l3"), "unknown norm 'l3'"),
        (lambda x, y: loss_surface({"a": linear}, x, y), "60 images: the surface is that of one"),
        (lambda x, y: draw.saliency_figure(linear, linear, x, y, "integral"), "did you mean integrated"),
    ],
)
def test_wrong_input_is_named(call, text):
    with pytest.raises(GameError, match=text):
        call(*interior())


# -- the script ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "scripts" / "lecture_figures.py"
    spec = importlib.util.spec_from_file_location("lecture_figures", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def run(folder, agent, env, steps, **settings):
    """Make a run folder; `train` would also write to TensorBoard, which imports pyplot."""
    experiment = GameExperiment(agent, env, env_settings=settings, steps=steps, runs=1, device="cpu")
    folder.mkdir()
    write_config(folder, asdict(experiment))
    experiment.make_agent().learn(steps, log_interval=steps).save(folder)
    return folder


def test_script_draws_two_runs(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)  # as where it is not installed: the figure is left out
    env = "robustgames/DigitsAdversarial-v0"
    folders = {
        "standard": run(tmp_path / "standard", "standard_training", env, 120, hidden=(32,)),
        "robust": run(tmp_path / "robust", "adversarial_training", env, 480, hidden=(32,)),
    }
    out = tmp_path / "figures"
    assert script.main(script.Options(**folders, out=out, count=40)) == 0
    names = ["accuracy_against_eps", "digits_under_attack", "loss_surface", "saliency_gradient"]
    assert sorted(path.stem for path in out.glob("*.png")) == names
    assert "no saliency_integrated.png: integrated gradients need captum" in capsys.readouterr().err
    numbers = json.loads((out / "numbers.json").read_text())
    shares = numbers["accuracy_against_eps"]
    assert shares["eps"][6] == 0.1 and numbers["images"] == 40
    assert shares["robust"][6] > shares["standard"][6], "robust training should help at the eps it trained at"
    assert numbers["saliency_gradient"]["robust"]["sparsity"]["standard_error"] > 0
    for count, image, text in (
        (40, 40, "image is one of them"),
        (1, 0, "2 images"),
        (400, 399, "0 … 359 are held out"),
    ):
        assert script.main(script.Options(**folders, out=out, count=count, image=image)) == 2
        assert text in capsys.readouterr().err


def test_script_refuses_runs_without_held_out_images(script, tmp_path, capsys):
    folder = run(tmp_path / "bilinear", "gda", "robustgames/Bilinear-v0", 4)
    assert script.main(script.Options(standard=folder, robust=folder, out=tmp_path / "out")) == 2
    assert "without held-out images" in capsys.readouterr().err and not (tmp_path / "out").exists()
