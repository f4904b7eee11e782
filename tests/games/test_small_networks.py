"""The convolutional classifier: its convolutions, its soft threshold, and its files."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

import robustgames as rg
from robustgames.games import MnistAdversarial, small_cnn
from robustgames.games.small_networks import stored_cnn


def test_the_network_with_a_threshold_is_its_formula():
    torch.manual_seed(0)
    net, x = small_cnn((2, 5, 3), 4, 0.4), torch.rand(6, 784)
    first, between, last, hidden, out = (part for part in net if hasattr(part, "weight"))
    h = (1 / (1 + torch.exp(-20 * (x - 0.4)))).view(6, 1, 28, 28)
    h = functional.conv2d(h, first.weight, first.bias, stride=2, padding=1).clamp_min(0)
    h = functional.conv2d(h, between.weight, between.bias, padding=1).clamp_min(0)
    h = functional.conv2d(h, last.weight, last.bias, stride=2, padding=1).clamp_min(0)
    h = (h.flatten(1) @ hidden.weight.T + hidden.bias).clamp_min(0)
    assert torch.allclose(net(x), h @ out.weight.T + out.bias, atol=1e-6)
    assert [tuple(c.weight.shape) for c in (first, between, last)] == [(2, 1, 4, 4), (5, 2, 3, 3), (3, 5, 4, 4)]


def test_pixels_stay_on_their_side_of_a_threshold_under_any_attack():
    front = small_cnn((2, 3), 4, 0.5)[:3]
    black, white = torch.zeros(1, 784), torch.ones(1, 784)
    assert (front(black + 0.3) < 0.018).all() and (front(white - 0.3) > 0.982).all()


def test_intervals_pass_the_threshold_exactly():
    """A monotone function of one pixel: its bounds are its values at the ends."""
    torch.manual_seed(0)
    net, x, y = small_cnn((2, 3), 4, 0.5), torch.rand(3, 784), torch.tensor([0, 1, 2])
    behind = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 28, 28)), *net[3:])
    low, high = (net[:3]((x + shift).clamp(0, 1)).flatten(1) for shift in (-0.01, 0.01))

    def margins(network, at, ends):
        graph = rg.games.tracing.trace(network, at)
        layers = graph.layers({**dict(network.named_parameters()), **dict(network.named_buffers())}.__getitem__)
        return rg.games.interval.margins(graph, layers, graph.bounds(layers, *ends), y)

    ends = ((x - 0.01).clamp(0, 1), (x + 0.01).clamp(0, 1))
    assert torch.allclose(margins(net, x[:1], ends), margins(behind, x[:1], (low, high)), atol=1e-5)


def test_a_threshold_is_no_weight_and_is_stored(tmp_path):
    settings = {"channels": (2, 3), "hidden": 4}
    plain, game = MnistAdversarial(**settings), MnistAdversarial(**settings, threshold=0.5)
    assert game.sizes == plain.sizes
    assert "threshold=0.5" in repr(game) and "threshold" not in repr(plain)
    assert game.fingerprint() != plain.fingerprint()
    network, path = small_cnn((2, 3), 4, 0.5, 60.0), tmp_path / "w.safetensors"
    save_file({name: tensor.half() for name, tensor in network.state_dict().items()}, path)
    x = torch.rand(4, 784)
    assert torch.allclose(stored_cnn(path, (2, 3), 4, 0.5)(x), network(x), atol=1e-2)  # the slope of the file
    with pytest.raises(rg.GameError, match="with the same channels, hidden and threshold"):
        stored_cnn(path, (2, 3), 4)
    start = MnistAdversarial(**settings, weights=str(path), threshold=0.5, slope=60.0)
    assert start.attacker.slope == 60.0
    for given, message in (  # the attacker behind another threshold than the network's would play another game
        ({"threshold": 0.5}, r"slope is 20, but the weights .* were trained with 60: give slope=60"),
        ({"threshold": 0.2, "slope": 60.0}, r"threshold is 0.2, but .* with 0.5: give threshold=0.5"),
    ):
        with pytest.raises(rg.GameError, match=message):
            MnistAdversarial(**settings, weights=str(path), **given)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.2, float("nan")])
def test_a_threshold_is_a_gray_level(level):
    with pytest.raises(rg.GameError, match=r"threshold is .*: a gray level between 0 and 1 is expected, e.g. 0.5"):
        MnistAdversarial(threshold=level)


def test_a_slope_is_that_of_a_threshold():
    for make in (MnistAdversarial, small_cnn):  # small_cnn left it out without a word
        with pytest.raises(rg.GameError, match=r"slope is 60.0: it is that of a threshold, so set one"):
            make(slope=60.0)
        with pytest.raises(rg.GameError, match=r"slope is -1.0: a positive number is expected"):
            make(threshold=0.5, slope=-1.0)


@pytest.mark.parametrize("channels", [(32,), (), (4, 0)])
def test_two_convolutions_are_the_least(channels):
    with pytest.raises(rg.GameError, match=r"channels are .*: those of two convolutions or more, e.g. \(32, 64\)"):
        MnistAdversarial(channels=channels)
