"""Logits of images that change in a window: those of the model, and the same search with fewer operations."""

import pytest
import torch
from torch import nn

from robustgames.attacks import Victim, local, square
from robustgames.attacks.local import local_logits
from robustgames.attacks.windows import Window

SHAPE = (2, 13, 11)


def chain(*features, classes=4):
    torch.manual_seed(0)
    features = nn.Sequential(*features)
    width = features(torch.zeros(1, *SHAPE)).flatten(1).shape[1]
    head = nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, classes))
    return nn.Sequential(features, nn.Flatten(), head).eval()


def trained(norm):
    """Return a normalization with statistics of its own."""
    for part in (norm.running_mean, norm.weight.data, norm.bias.data):
        part.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


CHAINS = {
    "strides": lambda: chain(nn.Conv2d(2, 5, 4, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(5, 6, 3, 2, 1), nn.ReLU()),
    "odd": lambda: chain(nn.Conv2d(2, 4, (3, 2), (2, 1), (0, 1), dilation=(1, 2), groups=2), nn.GELU()),
    "wide": lambda: chain(nn.Conv2d(2, 5, 5, 1, 4), nn.Sigmoid(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(5, 3, 1, 3)),
    "pools": lambda: chain(
        nn.Conv2d(2, 6, 3, bias=False), trained(nn.BatchNorm2d(6)), nn.ELU(), nn.AvgPool2d(2), nn.MaxPool2d(2, 1)
    ),
    "table": lambda: chain(nn.Identity()),
}


@pytest.mark.parametrize("name", CHAINS)
def test_local_logits_are_those_of_the_model_after_any_updates(name):
    model, generator = CHAINS[name]().double(), torch.Generator().manual_seed(1)
    images = torch.rand(6, *SHAPE, dtype=torch.float64)
    kept = images.clone()
    found = local_logits(Victim(model), images, SHAPE)
    assert found is not None
    for step in range(60):
        height, width = (int(torch.randint(1, 6, (), generator=generator)) for _ in range(2))
        top, left = (
            int(torch.randint(0, size - side + 1, (), generator=generator))
            for size, side in zip(SHAPE[1:], (height, width), strict=True)
        )
        window, values = Window(top, left, height, width), torch.rand(len(kept), SHAPE[0], height, width).double()
        trial = kept.clone()
        window.of(trial).copy_(values)
        logits, updates = found.logits(window, values)
        with torch.no_grad():
            torch.testing.assert_close(logits, model(trial), rtol=0, atol=1e-12)
        rows = torch.rand(len(kept)).lt(0.4).nonzero().squeeze(-1)
        found.accept(rows, updates)
        kept[rows] = trial[rows]
        if step == 30:
            rows = torch.tensor([0, 2, 3, 5])
            found.keep(rows)
            kept = kept[rows]


@pytest.mark.parametrize(
    "model",
    [
        lambda x: x.flatten(1),
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)),
        nn.Sequential(nn.Conv2d(2, 3, 3, padding="same", padding_mode="circular"), nn.Flatten(), nn.Linear(429, 4)),
        nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(286, 4)),
        nn.Sequential(nn.Flatten(2), nn.Linear(143, 4)),
    ],
)
def test_other_models_are_evaluated_as_they_are(model):
    if isinstance(model, nn.Module):
        model.eval()
    assert local_logits(Victim(model), torch.rand(3, *SHAPE), SHAPE) is None


def test_hooks_training_mode_and_other_precisions_are_respected():
    images = torch.rand(3, *SHAPE)
    assert local_logits(Victim(CHAINS["strides"](), torch.bfloat16), images, SHAPE) is None
    assert local_logits(Victim(CHAINS["strides"]().train()), images, SHAPE) is None
    hooked = CHAINS["strides"]()
    hooked[0][0].register_forward_hook(lambda *_: None)
    assert local_logits(Victim(hooked), images, SHAPE) is None


@pytest.mark.parametrize("name", CHAINS)
def test_square_searches_as_without_it_and_counts_the_same_passes(name, monkeypatch):
    model = CHAINS[name]().double()
    x = torch.rand(12, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        y = model(x).argmax(-1)
    here, there = Victim(model), Victim(model)
    found = square(here, x, y, 0.05, queries=400)
    monkeypatch.setattr(local, "_chain", lambda model: [])
    expected = square(there, x, y, 0.05, queries=400)
    assert here.forwards == pytest.approx(there.forwards, rel=0.02)  # ties are broken by rounding
    with torch.no_grad():
        assert torch.equal(model(found).argmax(-1) != y, model(expected).argmax(-1) != y)
    assert float((found - x).abs().max()) <= 0.05 + 1e-12
