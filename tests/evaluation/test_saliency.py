"""Saliency maps against closed forms, captum against the midpoint rule, and measures with known values."""

import builtins

import pytest
import torch
from torch import nn

from robustgames.data import digits
from robustgames.errors import GameError
from robustgames.evaluation.saliency import (
    compare_saliency,
    deletion_area,
    input_gradient,
    insertion_area,
    integrated_gradients,
    measure,
    removal_curve,
    sparsity,
)

WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 3.0, -1.0], [2.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
X = torch.tensor([[0.2, 0.4, 0.6, 0.8], [1.0, 0.0, 0.5, 0.25]], dtype=torch.float64)
Y = torch.tensor([1, 2])


def linear(a):
    return a @ WEIGHT.T + 0.3


def smooth(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).double()


@pytest.fixture(scope="module")
def trained():
    data = digits()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data.train_images), data.train_labels).backward()
        optimizer.step()
    return net, data.test_images[:150], data.test_labels[:150]


# -- maps -----------------------------------------------------------------------------------------------------
def test_input_gradient_of_a_linear_model_is_its_row_whatever_the_input():
    torch.testing.assert_close(input_gradient(linear, X, Y), WEIGHT[Y])


def test_input_gradient_is_of_the_logit_in_the_input_and_leaves_the_weights_alone():
    net, x, y = smooth(), torch.rand(5, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    rows = torch.func.vmap(torch.func.jacrev(net))(x)
    torch.testing.assert_close(input_gradient(net, x, y), rows[torch.arange(5), y])
    assert all(p.grad is None for p in net.parameters())


def test_images_keep_their_shape_and_the_model_its_mode():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3))
    x, y = torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 2])
    with pytest.warns(UserWarning, match="training mode"):
        g = input_gradient(net, x, y)
    assert g.shape == x.shape and net.training and net[2].training
    torch.testing.assert_close(input_gradient(net.eval(), x, y), g)


def test_integrated_gradients_of_a_linear_model_are_exact():
    for baseline in (0.0, torch.full((4,), 0.25, dtype=torch.float64)):
        found = integrated_gradients(linear, X, Y, baseline, steps=1)
        torch.testing.assert_close(found, (X - baseline) * WEIGHT[Y], atol=1e-7, rtol=0)


def test_integrated_gradients_are_complete():
    net, x, y = smooth(), torch.rand(7, 6, dtype=torch.float64), torch.arange(7) % 3
    b = torch.rand(1, 6, dtype=torch.float64)
    way = (net(x) - net(b)).gather(1, y.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(integrated_gradients(net, x, y, b).sum(1), way, atol=1e-6, rtol=0)
    assert (input_gradient(net, x, y) * (x - b)).sum(1).sub(way).abs().max() > 1e-3, "one gradient is not complete"


def test_integrated_gradients_agree_with_the_midpoint_rule():
    net, x, y = smooth(), torch.rand(4, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    points = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    mean = torch.stack([input_gradient(net, t * x, y) for t in points]).mean(0)
    torch.testing.assert_close(integrated_gradients(net, x, y), x * mean, atol=1e-6, rtol=0)


def test_more_images_than_fit_at_once_are_the_same_map():
    net, x = smooth(), torch.rand(30, 6, dtype=torch.float64)
    y = torch.arange(30) % 3
    whole = integrated_gradients(net, x, y, steps=300)  # 13 images at a time
    torch.testing.assert_close(whole[20:], integrated_gradients(net, x[20:], y[20:], steps=300))


def test_without_captum_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("captum"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(GameError, match=r'need captum: pip install "robustgames\[saliency\]"$'):
        integrated_gradients(linear, X, Y)
    assert input_gradient(linear, X, Y).shape == X.shape


# -- measures -------------------------------------------------------------------------------------------------
def test_gini_index_of_known_vectors():
    p = 8
    one = torch.zeros(p, dtype=torch.float64)
    one[3] = -7.0
    ramp = torch.arange(1, p + 1, dtype=torch.float64)
    rows = torch.stack([torch.ones(p).double(), one, ramp, -1e-30 * ramp, torch.zeros(p).double()])
    slope = (p - 1) / (3 * p)  # Σ (2k - p - 1) k / (p Σ k)
    expected = torch.tensor([0.0, 1 - 1 / p, slope, slope, 0.0], dtype=torch.float64)
    torch.testing.assert_close(sparsity(rows), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(sparsity(rows.view(5, 1, 2, 4).flip(-1)), expected, atol=1e-12, rtol=0)


def test_removal_curve_of_a_linear_model():
    x, weight = torch.ones(1, 3, dtype=torch.float64), torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)

    def two(a):
        return torch.stack([torch.zeros(len(a), dtype=a.dtype), a @ weight], 1)

    y = torch.tensor([1])
    left = torch.tensor([4.0, 1.0, -1.0, 0.0], dtype=torch.float64).sigmoid()  # without 3, then 2, then -1
    torch.testing.assert_close(removal_curve(two, x, y, weight.view(1, 3), levels=3).squeeze(1), left)
    put = torch.tensor([0.0, 3.0, 5.0, 4.0], dtype=torch.float64).sigmoid()
    torch.testing.assert_close(removal_curve(two, x, y, weight.view(1, 3), levels=3, insert=True).squeeze(1), put)
    area = (left[:-1] + left[1:]).sum() / 6
    torch.testing.assert_close(deletion_area(two, x, y, weight.view(1, 3), levels=3), area.view(1))
    area = (put[:-1] + put[1:]).sum() / 6
    torch.testing.assert_close(insertion_area(two, x, y, weight.view(1, 3), levels=3), area.view(1))


def test_curves_of_all_images_at_once_are_those_of_each_alone():
    net, x, y = smooth(), torch.rand(5, 6, dtype=torch.float64), torch.arange(5) % 3
    score = torch.rand(5, 6, dtype=torch.float64)
    alone = torch.cat([removal_curve(net, x[i : i + 1], y[i : i + 1], score[i : i + 1], levels=4) for i in range(5)], 1)
    torch.testing.assert_close(removal_curve(net, x, y, score, levels=4), alone)


def test_more_levels_than_pixels_change_no_area():
    score = X.flip(1)
    areas = [deletion_area(linear, X, Y, score, levels=levels) for levels in (4, 40)]
    torch.testing.assert_close(areas[0], areas[1])


def test_a_gradient_map_beats_a_random_one(trained):
    net, x, y = trained
    found = integrated_gradients(net, x, y)
    values = measure(net, x, y, found)
    gain = values["deletion_gain"]
    assert float(gain.mean()) > 5 * float(gain.std()) / len(x) ** 0.5 > 0
    chance = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(values["deletion"] + gain, deletion_area(net, x, y, chance))
    assert float(values["insertion_gain"].mean()) > 0.1
    worst = deletion_area(net, x, y, -found)
    assert float(worst.mean()) > float(values["deletion"].mean()) + 0.2, "the least important pixels first"


def test_comparison_is_paired(trained):
    net, x, y = trained
    half = nn.Sequential(net[0], net[1], nn.Linear(64, 10, bias=False))
    half[2].weight.data = net[2].weight.data / 2
    found = compare_saliency(net, half, x, y)
    assert found["difference"]["sparsity"] == pytest.approx((0.0, 0.0), abs=1e-6), "half the slope, the same map"
    mean, error = found["standard"]["deletion"]
    area = deletion_area(net, x, y, input_gradient(net, x, y).abs()).double()
    assert (mean, error) == pytest.approx((float(area.mean()), float(area.std()) / len(x) ** 0.5))
    assert found["difference"]["deletion"][0] == pytest.approx(found["robust"]["deletion"][0] - mean)


# -- errors ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: input_gradient(linear, X, Y.double()), "labels are torch.float64"),
        (lambda: input_gradient(linear, X, torch.tensor([0, 3])), "the model has 3 classes"),
        (lambda: integrated_gradients(linear, X, Y, steps=0), "steps is 0"),
        (lambda: integrated_gradients(linear, X, Y, torch.zeros(3)), r"the baseline has shape \(3,\)"),
        (lambda: integrated_gradients(linear, X, torch.tensor([0, 3])), "the model has 3 classes"),
        (lambda: deletion_area(linear, X, Y, X[:, :2]), r"the map has shape \(2, 2\)"),
        (lambda: deletion_area(linear, X, Y, X, levels=0), "levels is 0"),
        (lambda: compare_saliency(linear, linear, X[:1], Y[:1]), "pass at least 2"),
        (lambda: compare_saliency(linear, linear, X, Y, "gradent"), "did you mean gradient"),
    ],
)
def test_wrong_input_is_named(call, text):
    with pytest.raises(GameError, match=text):
        call()
