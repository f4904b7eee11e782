"""The attacked networks, trained inside the benchmark and kept in memory, and the images."""

from __future__ import annotations

from functools import cache

import torch
from torch import Generator, Tensor, nn

from robustgames.attacks import pgd
from robustgames.data import mnist


def held_out(count: int, device: str) -> tuple[Tensor, Tensor]:
    """Return images of MNIST that no network was trained on."""
    data = mnist()
    chosen = torch.randperm(len(data.test_images), generator=Generator().manual_seed(0))[:count]
    return data.test_images[chosen].view(-1, 1, 28, 28).to(device), data.test_labels[chosen].to(device)


@cache
def natural(device: str) -> nn.Module:
    """Return the network trained on clean images."""
    return train(device, epochs=10, steps=0)


@cache
def adversarial(device: str, quick: bool) -> nn.Module:
    """Return the network trained by PGD-7 at eps = 0.3: about a minute."""
    return train(device, epochs=8 if quick else 28, steps=7)


def train(device: str, epochs: int, steps: int, eps: float = 0.3, batch: int = 100) -> nn.Module:
    """Return the small network of Wong et al. 2020, trained by Adam with a triangular rate and a ramp of eps."""
    model, data, generator = network(device), mnist(), Generator().manual_seed(0)
    images, labels = data.train_images.view(-1, 1, 28, 28).to(device), data.train_labels.to(device)
    total = epochs * (len(images) // batch)
    optimizer = torch.optim.Adam(model.parameters())
    attack = Generator(device).manual_seed(0)
    for k in range(total):
        if k % (len(images) // batch) == 0:
            order = torch.randperm(len(images), generator=generator)
        part, done = order[(k * batch) % (total // epochs * batch) :][:batch], k / total  # type: ignore[possibly-unbound]
        x, y = images[part], labels[part]
        radius = eps * min(1.0, 4 * done)
        if steps > 0 and radius > 0:
            x = pgd(model, x, y, radius, steps=steps, early="last", generator=attack)
        optimizer.param_groups[0]["lr"] = 2e-3 * min(done / 0.4, (1 - done) / 0.6)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def network(device: str) -> nn.Module:
    """Return the network at its start."""
    torch.manual_seed(0)
    features = [nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten()]
    head = [nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, 10)]
    return nn.Sequential(*features, *head).to(device)


def convolutions(width: int, device: str) -> nn.Module:
    """Return an untrained network of stride 1 for images of 3 x 32 x 32."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(width, 2 * width, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(2 * width * 64, 10)).to(device).eval()


def perceptron(device: str) -> nn.Module:
    """Return an untrained network 64-64-10."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device).eval()


def noise(shape: tuple[int, ...], count: int, device: str) -> tuple[Tensor, Tensor]:
    """Return random inputs and labels of ten classes."""
    generator = Generator().manual_seed(0)
    labels = torch.randint(10, (count,), generator=generator)
    return torch.rand(count, *shape, generator=generator).to(device), labels.to(device)
