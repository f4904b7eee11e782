"""Bounds of outputs over boxes: exact on affine networks, never beaten, refused where layers are unknown."""

import pytest
import torch
from torch import nn

from robustgames.certificates import output_bounds
from robustgames.errors import GameError
from robustgames.games.networks import MLP


def drawn(widths, seed=0, scale=1.0, **options):
    net = MLP(widths, **options)
    weights = net.initial((), torch.Generator().manual_seed(seed), torch.float32)
    return net.as_module(scale * weights)


def boxes(n, p, radius, seed=1):
    generator = torch.Generator().manual_seed(seed)
    center = torch.randn(n, p, generator=generator)
    return center - radius, center + radius * torch.rand(n, p, generator=generator)


@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_an_affine_network_has_the_exact_bounds(method):
    """[w·c - |w|·r, w·c + |w|·r], and tanh of them, since it increases."""
    low, high = boxes(20, 4, 0.3)
    net = nn.Linear(4, 2)
    center, radius = (low + high).double() / 2, (high - low).double() / 2
    middle, reach = center @ net.weight.T.double() + net.bias.double(), radius @ net.weight.T.double().abs()
    for module, f in ((net, lambda t: t), (nn.Sequential(net, nn.Tanh()), torch.tanh)):
        found = output_bounds(module, low, high, method)
        for bound, exact in zip(found, (f(middle - reach), f(middle + reach)), strict=True):
            torch.testing.assert_close(bound, exact.detach(), rtol=0, atol=3e-6)
        assert (found[0] <= f(middle - reach)).all() and (found[1] >= f(middle + reach)).all()


@pytest.mark.parametrize("options", [{"last": "tanh"}, {"activation": "tanh"}, {}])
def test_no_input_of_1000_leaves_the_bounds_and_crown_is_not_looser_than_intervals(options):
    net = drawn((3, 32, 32, 2), scale=1.5, **options)
    low, high = boxes(30, 3, 0.4)
    loose, tight = output_bounds(net, low, high, "ibp"), output_bounds(net, low, high)
    inside = torch.rand(1000, 30, 3, generator=torch.Generator().manual_seed(2))
    inside[::2] = inside[::2].round()  # half of them corners
    outputs = net(low + inside * (high - low)).double()
    assert (outputs >= tight[0]).all() and (outputs <= tight[1]).all()
    assert (tight[0] >= loose[0]).all() and (tight[1] <= loose[1]).all()
    assert (tight[1] - tight[0]).mean() < 0.6 * (loose[1] - loose[0]).mean()
    half = output_bounds(net, *((low + high) / 2 + 0.5 * (end - (low + high) / 2) for end in (low, high)))
    assert ((outputs < half[0]) | (outputs > half[1])).any()  # the control: half of the radius is beaten


def test_a_box_of_one_point_has_its_output():
    net, points = drawn((3, 16, 2), last="tanh"), torch.randn(10, 3)
    low, high = output_bounds(net, points, points)
    torch.testing.assert_close(high, net(points).double(), rtol=0, atol=1e-5)
    assert (high - low).max() < 2e-5


def test_refusals():
    net, zero = drawn((3, 8, 1)), torch.zeros(1, 3)
    with pytest.raises(GameError, match="unknown method 'milp'"):
        output_bounds(net, zero, zero, "milp")
    with pytest.raises(GameError, match="a box is empty"):
        output_bounds(net, zero + 1, zero)
    with pytest.raises(GameError, match=r"boxes have ends of shape \(N, p\)"):
        output_bounds(net, zero[0], zero[0])
    with pytest.raises(GameError, match="LayerNorm"):
        output_bounds(drawn((3, 8, 8, 1), norm=True), zero, zero)
    hooked = nn.Sequential(nn.Linear(3, 1))
    hooked[0].register_forward_hook(lambda module, inputs, output: output + 1)
    with pytest.raises(GameError, match="hooks"):
        output_bounds(hooked, zero, zero)
