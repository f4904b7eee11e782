"""BPDA: the exact value of a step, the gradient of its substitute, and the defense that it breaks."""

import pytest
import torch
from torch import nn

from robustgames.attacks import BPDA, evaluate, pgd
from robustgames.data.corruptions import corrupt
from robustgames.errors import GameError


def quantize(x):
    return (8 * x).round() / 8


def linear():
    torch.manual_seed(0)
    return nn.Linear(64, 2)


def data(model):
    x = quantize(torch.rand(60, 64, generator=torch.Generator().manual_seed(0)))
    return x, model(x).argmax(-1)


def test_the_value_is_exact_and_the_gradient_that_of_the_substitute():
    x = torch.rand(5, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(5, 7, dtype=torch.float64)
    y = BPDA(quantize)(x)
    assert torch.equal(y, quantize(x))
    assert torch.equal(torch.autograd.grad((weight * y).sum(), x)[0], weight)
    (g,) = torch.autograd.grad((weight * BPDA(quantize, lambda x: x**2)(x)).sum(), x)
    assert torch.allclose(g, 2 * weight * x.detach())
    assert torch.equal(BPDA(lambda x: x.mul_(0))(x), torch.zeros_like(x)) and bool((x > 0).all())  # works on a copy


def test_pgd_fails_on_quantization_without_it_and_succeeds_with_it():
    net = linear()
    plain = nn.Sequential(Quantize(), net)
    x, y = data(plain)
    with pytest.warns(UserWarning, match="no gradient"):
        masked = evaluate(plain, x, y, 0.125, attacks=["pgd"])
    opened = evaluate(nn.Sequential(BPDA(quantize), net), x, y, 0.125, attacks=["pgd"])
    assert masked.robust_accuracy > 0.8  # its random start fools a few
    # eps is a whole step of the quantization: the corners of the ball are levels, so the linear worst case is exact
    w = net.weight[1] - net.weight[0]
    worst = x + 0.125 * torch.where((y == 0).unsqueeze(-1), w.sign(), -w.sign())
    exact = plain(worst.clamp(0, 1)).argmax(-1) == y
    assert opened.robust_accuracy <= float(exact.double().mean()) + 0.02 < masked.robust_accuracy - 0.5
    assert not plain(opened.x_adv).argmax(-1)[~opened.robust & opened.clean].eq(y[~opened.robust & opened.clean]).any()


def test_pgd_gets_through_jpeg():
    def jpeg(x):
        return corrupt(x.view(-1, 1, 8, 8), "jpeg_compression", 1).view(-1, 64)

    net, images = linear(), torch.rand(40, 64, generator=torch.Generator().manual_seed(1))
    y = net(jpeg(images)).argmax(-1)
    found = {}
    for name, step in (("masked", Jpeg(jpeg)), ("opened", BPDA(jpeg))):
        model = nn.Sequential(step, net)
        x_adv = pgd(model, images, y, 0.1, "linf", 20) if name == "opened" else images
        found[name] = float((net(jpeg(x_adv)).argmax(-1) == y).double().mean())
    assert found["masked"] == 1 and found["opened"] < 0.4


class Quantize(nn.Module):
    def forward(self, x):
        return quantize(x)


class Jpeg(nn.Module):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, x):
        return self.step(x)


def test_shapes_that_differ_are_refused():
    with pytest.raises(GameError, match="pass a substitute with the shape of the step"):
        BPDA(lambda x: x.flatten(1))(torch.rand(2, 3, 4))
    assert BPDA(lambda x: x.flatten(1), lambda x: x.flatten(1))(torch.rand(2, 3, 4)).shape == (2, 12)
