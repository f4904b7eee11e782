"""Rows that pass in parts: the values of one pass, in the same order and count."""

import pytest
import torch
from torch import nn

from robustgames import attacks
from robustgames.attacks import Victim, victim


def model():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 5)]
    return nn.Sequential(*layers).double().eval()


@pytest.mark.parametrize(
    "attack",
    [
        lambda *args: attacks.pgd(*args, 0.1, steps=5),
        lambda *args: attacks.apgd_targeted(*args, 0.1, steps=5, classes=2),
        lambda *args: attacks.fab(*args, 0.1, steps=5, classes=3),
    ],
    ids=["pgd", "targeted", "fab"],
)
def test_attacks_agree_and_count_alike(attack, monkeypatch):
    x, y = torch.rand(50, 1, 8, 8, dtype=torch.float64), torch.arange(50) % 5
    whole, parts = Victim(model()), Victim(model())
    expected = attack(whole, x, y)
    monkeypatch.setattr(victim, "CACHE", 20 * 6 * 64 * 8)  # 20 rows of the first layer: 3 parts of 17
    sizes, network = [], model()
    network.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    attack(Victim(network), x, y)
    assert 17 in sizes and max(sizes[1:]) <= 20
    torch.testing.assert_close(attack(parts, x, y), expected, rtol=0, atol=1e-12)
    assert (parts.forwards, parts.backwards) == (whole.forwards, whole.backwards)


def test_a_function_gets_all_rows_since_it_may_know_them_by_their_places(monkeypatch):
    """The classifiers of several runs side by side are one function, whose first rows are those of the first run."""
    x, y = torch.rand(50, 1, 8, 8, dtype=torch.float64), torch.arange(50) % 5
    network, scale = model(), torch.linspace(1, 2, 50, dtype=torch.float64).view(50, 1)
    monkeypatch.setattr(victim, "CACHE", 20 * 6 * 64 * 8)
    attacked = attacks.pgd(lambda rows: scale * network(rows), x, y, 0.1, steps=5)
    monkeypatch.setattr(victim, "CACHE", 10**9)
    torch.testing.assert_close(attacked, attacks.pgd(lambda rows: scale * network(rows), x, y, 0.1, steps=5))


def test_rows_of_large_layers_pass_two_first_and_then_so_few_that_no_layer_needs_new_pages(monkeypatch):
    """The graph of a photo holds some 100 MiB, and of 20 in one pass 2 GiB."""
    x, y = torch.rand(9, 1, 8, 8, dtype=torch.float64), torch.arange(9) % 5
    expected = attacks.pgd(model(), x, y, 0.1, steps=5)
    monkeypatch.setattr(victim, "CACHE", 8 * 64 * 8)  # the inputs are larger
    monkeypatch.setattr(victim, "FRESH", 4 * 6 * 64 * 8)  # four rows of the first layer
    sizes, network = [], model()
    network.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    for count in (9, 2, 1):
        sizes.clear()
        found = attacks.pgd(Victim(network), x[:count], y[:count], 0.1, steps=5)
        torch.testing.assert_close(found, attacks.pgd(model(), x[:count], y[:count], 0.1, steps=5), rtol=0, atol=1e-12)
        assert sizes == {9: [2, 3, 3, 1] + 5 * [3, 3, 3], 2: 6 * [2], 1: 6 * [1]}[count]
    torch.testing.assert_close(attacks.pgd(Victim(network), x, y, 0.1, steps=5), expected, rtol=0, atol=1e-12)
