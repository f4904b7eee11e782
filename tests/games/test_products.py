"""Products by oneDNN, and a perceptron as one node of autograd: those of the definition, and nowhere else."""

import pytest
import torch
from torch import Generator

import robustgames as rg
from robustgames.games import MLP, GaussianMixtureGAN, perceptron_node, products
from robustgames.games.derivatives import jacobian_vector, vector_jacobian

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
ROWS, WIDTHS = 300, (70, 128, 96, 5)


@pytest.fixture
def amd(monkeypatch):
    """Take oneDNN for large products on any processor."""
    monkeypatch.setattr(products, "_is_slow_for_mkl", lambda: True)
    perceptron_node._pays.cache_clear()
    yield
    perceptron_node._pays.cache_clear()


def normal(*shape, seed=0):
    return torch.randn(shape, generator=Generator().manual_seed(seed))


def gap(found, expected):
    return float(((found - expected).norm() / expected.norm()).detach())


def is_node(output):
    return type(output.grad_fn).__name__ == "_NodeBackward"


# -- products ----------------------------------------------------------------------------------------------------
def test_the_products_are_those_of_float64(amd):
    h, w, b, g = normal(1, 256, 96), normal(1, 128, 96), normal(1, 1, 128), normal(1, 256, 128)
    layer = (h.double() @ w.double().mT + b.double()).relu()
    for build, expected in (
        (lambda out: products.linear(h, w, b, out, relu=True), layer),
        (lambda out: products.times(g, w, out), g.double() @ w.double()),
        (lambda out: products.outer(g, h, out), g.double().mT @ h.double()),
    ):
        out = torch.full(expected.shape, torch.nan)
        (call,) = build(out)
        assert call.func is products._write
        call()
        assert gap(out.double(), expected) < 1e-6


def test_small_products_several_runs_and_float64_are_left_to_torch(amd):
    assert products.by_onednn(128, 128, 128, normal(1))
    assert not products.by_onednn(127, 128, 128, normal(1))
    assert not products.by_onednn(10**6, 128, 32, normal(1))
    assert not products.by_onednn(128, 128, 128, normal(1).double())
    g = normal(2, 256, 128)
    assert products.outer(g, g, normal(2, 128, 128))[0].func is torch.bmm


def test_other_processors_keep_the_products_of_torch(monkeypatch):
    monkeypatch.setattr(products, "_is_slow_for_mkl", lambda: False)
    assert not products.by_onednn(512, 512, 512, normal(1))


def test_the_field_of_a_gan_is_the_same_by_both(amd, monkeypatch):
    game, fields = GaussianMixtureGAN(hidden=(128, 128), batch_size=256), []
    z, sample = game.initial((), Generator().manual_seed(0)), game.draw((), Generator().manual_seed(1))
    for fast in (True, False):
        monkeypatch.setattr(products, "_is_slow_for_mkl", lambda fast=fast: fast)
        game._passes._built.clear()
        fields.append(game.field(z, sample))
    exact = game.to(dtype=torch.float64).field(
        z.double(), type(sample)(sample.real.double(), sample.noise.double(), None)
    )
    assert not torch.equal(*fields)
    assert gap(*fields) < 1e-6 and max(gap(v.double(), exact) for v in fields) < 1e-6


# -- the node ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "elu"])
@pytest.mark.parametrize("last", [None, "tanh", "relu"])
def test_the_node_has_value_and_gradients_of_the_definition(amd, activation, last):
    net = MLP(WIDTHS, activation, last)
    weights = net.initial((), Generator().manual_seed(0), torch.float32).requires_grad_()
    inputs, g = normal(ROWS, 70).requires_grad_(), normal(ROWS, 5, seed=1)
    output = net(weights, inputs)
    assert is_node(output)
    exact = net.define(weights.double(), inputs.double())
    assert gap(output.double(), exact) < 1e-6
    expected = torch.autograd.grad(exact, (weights, inputs), g.double())
    for found, right in zip(torch.autograd.grad(output, (weights, inputs), g), expected, strict=True):
        assert gap(found, right) < 1e-6
    (alone,) = torch.autograd.grad(net(weights.detach(), inputs), inputs, g)
    assert gap(alone, expected[1]) < 1e-6
    (alone,) = torch.autograd.grad(net(weights, inputs.detach()).sum(), weights)  # an expanded gradient
    assert gap(alone, torch.autograd.grad(net.define(weights, inputs).sum(), weights)[0]) < 1e-6


def test_a_penalty_on_the_slope_has_the_gradient_of_the_definition(amd):
    net = MLP((70, 128, 128, 1), "tanh")
    weights = net.initial((), Generator().manual_seed(0), torch.float32).requires_grad_()
    inputs = normal(ROWS, 70).requires_grad_()
    found = []
    for call in (net, net.define):
        (slope,) = torch.autograd.grad(call(weights, inputs).sum(), inputs, create_graph=True)
        found += torch.autograd.grad(slope.square().sum(), weights)
    assert is_node(net(weights, inputs)) and gap(*found) < 1e-5


class Critics(rg.ZeroSumGame):
    """Φ = mean of h_x(a) tanh(h_y(a)) of two perceptrons."""

    def __init__(self, plain):
        self.net, self.plain = MLP((70, 128, 128, 1), "tanh"), plain
        self.sizes = (self.net.size, self.net.size)

    def start(self, player, shape, generator):
        return self.net.initial(shape, generator, self.dtype)

    def payoff(self, x, y, sample):
        a = normal(ROWS, 70).expand(*x.shape[:-1], ROWS, 70)
        h = self.net.define if self.plain else self.net
        return (h(x, a) * h(y, a).tanh()).mean((-2, -1))


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_field_of_a_payoff_and_its_derivatives_are_those_of_the_definition(amd, shape):
    ours, plain = Critics(False), Critics(True)
    z, u = ours.initial(shape, Generator().manual_seed(0)), normal(*shape, sum(ours.sizes), seed=1)
    assert gap(ours.field(z), plain.field(z)) < 1e-6
    for product in (vector_jacobian(ours, z, None, u), jacobian_vector(ours, z, None, u)):
        assert bool(torch.isfinite(product[1]).all())
    for name in (vector_jacobian, jacobian_vector):
        assert gap(name(ours, z, None, u)[1], name(plain, z, None, u)[1]) < 1e-4  # float32, second derivatives


def test_a_change_in_place_before_the_backward_pass_is_seen(amd):
    net = MLP(WIDTHS)
    weights = net.initial((), Generator().manual_seed(0), torch.float32).requires_grad_()
    output = net(weights, normal(ROWS, 70))
    with torch.no_grad():
        weights.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_transforms_and_small_passes_are_left_to_the_definition(amd):
    net = MLP(WIDTHS)
    weights, inputs = net.initial((), Generator().manual_seed(0), torch.float32).requires_grad_(), normal(ROWS, 70)
    assert is_node(net(weights, inputs)) and not is_node(net(weights, inputs[:100]))
    assert not is_node(net(weights.double(), inputs.double()))
    with torch.no_grad():
        assert not net(weights, inputs).requires_grad
    normed = MLP(WIDTHS, norm=True)
    assert not is_node(normed(weights, inputs))
    total = torch.func.grad(lambda w: net(w, inputs).sum())(weights.detach())
    each = torch.func.vmap(lambda w: net(w, inputs))(torch.stack([weights.detach()] * 2))
    assert gap(total, torch.autograd.grad(net(weights, inputs).sum(), weights)[0]) < 1e-6
    assert gap(each[0], net(weights, inputs).detach()) < 1e-6
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(weights.detach(), torch.ones_like(weights))
        slope = torch.autograd.forward_ad.unpack_dual(net(dual, inputs)).tangent
    assert slope.shape == (ROWS, 5)


def test_a_prediction_has_the_same_bits_with_and_without_a_gradient(amd):
    net, generator = MLP((784, 64, 10)), torch.Generator().manual_seed(0)
    weights, inputs = net.initial((), generator, torch.float32), torch.rand(50, 784, generator=generator)
    with torch.no_grad():
        without = net(weights, inputs)
    with torch.inference_mode():
        assert torch.equal(net(weights, inputs), without)
    inputs.requires_grad_()
    assert torch.equal(net(weights, inputs).detach(), without)
