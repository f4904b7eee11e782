"""The convolutional classifier: its soft thresholds, and its files."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

import robustgames as rg
from robustgames.games import MnistAdversarial, small_cnn
from robustgames.games.small_networks import stored_cnn

LEVELS = (0.31, 0.5, 0.69)


def test_the_network_with_thresholds_is_its_formula():
    torch.manual_seed(0)
    net, x = small_cnn(2, 3, 4, LEVELS), torch.rand(5, 784)
    first, second, hidden, last = net[3], net[5], net[8], net[10]
    channels = torch.stack([1 / (1 + torch.exp(-20 * (x - t))) for t in LEVELS], 1).view(5, 3, 28, 28)
    h = functional.conv2d(channels, first.weight, first.bias, stride=2, padding=1).clamp_min(0)
    h = functional.conv2d(h, second.weight, second.bias, stride=2, padding=1).clamp_min(0)
    h = (h.flatten(1) @ hidden.weight.T + hidden.bias).clamp_min(0)
    assert torch.allclose(net(x), h @ last.weight.T + last.bias, atol=1e-6)
    assert first.weight.shape == (2, 3, 4, 4)


def test_pixels_stay_on_their_side_of_a_threshold_under_any_attack():
    front = small_cnn(2, 3, 4, (0.31, 0.69))[:3]
    black, white = torch.zeros(1, 784), torch.ones(1, 784)
    low, high = (front(black + shift).flatten(2).unbind(1) for shift in (0.0, 0.3))
    assert (low[0] < 0.5).all() and (high[0] < 0.5).all() and (high[1] < 0.001).all()
    low, high = (front(white - shift).flatten(2).unbind(1) for shift in (0.3, 0.0))
    assert (low[1] > 0.5).all() and (low[0] > 0.999).all() and (high[1] > 0.99).all()


def test_intervals_pass_the_thresholds_exactly():
    """A monotone function of one pixel: its bounds are its values at the ends."""
    torch.manual_seed(0)
    net, x, y = small_cnn(2, 3, 4, LEVELS), torch.rand(3, 784), torch.tensor([0, 1, 2])
    behind = torch.nn.Sequential(torch.nn.Unflatten(1, (3, 28, 28)), *net[3:])
    low, high = (net[:3]((x + shift).clamp(0, 1)).flatten(1) for shift in (-0.01, 0.01))
    graph = rg.games.tracing.trace(behind, x[:1].repeat(1, 3))
    layers = graph.layers(dict(behind.named_parameters()).__getitem__)
    expected = rg.games.interval.margins(graph, layers, graph.bounds(layers, low, high), y)
    whole = rg.games.tracing.trace(net, x[:1])
    layers = whole.layers(dict(net.named_parameters()).__getitem__)
    found = whole.bounds(layers, (x - 0.01).clamp(0, 1), (x + 0.01).clamp(0, 1))
    assert torch.allclose(rg.games.interval.margins(whole, layers, found, y), expected, atol=1e-5)


def test_a_game_has_the_thresholds_in_its_weights_and_files(tmp_path):
    settings = {"channels": (2, 3), "hidden": 4}
    plain, game = MnistAdversarial(**settings), MnistAdversarial(**settings, thresholds=[0.31, 0.69])
    assert game.sizes[0] - plain.sizes[0] == 2 + 2 + 2 * 16  # slopes, shifts, and the weights of one more channel
    assert "thresholds=(0.31, 0.69)" in repr(game) and "thresholds" not in repr(plain)
    network = small_cnn(2, 3, 4, (0.31, 0.69))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    x = torch.rand(4, 784)
    assert torch.equal(stored_cnn(tmp_path / "w.safetensors", 2, 3, 4, (0.2, 0.8))(x), network(x))
    with pytest.raises(rg.GameError, match="with the same channels, hidden and thresholds"):
        stored_cnn(tmp_path / "w.safetensors", 2, 3, 4)


@pytest.mark.parametrize("levels", [(0.0,), (0.5, 1.0), (-0.2,)])
def test_thresholds_are_gray_levels(levels):
    with pytest.raises(rg.GameError, match=r"thresholds are .*: gray levels between 0 and 1 are expected"):
        MnistAdversarial(thresholds=levels)
