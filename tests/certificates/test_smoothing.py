"""Randomized smoothing: radii against the closed form of a linear model, intervals against scipy, and attacks."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import robustgames as rg
from robustgames.certificates import Smoothing, certify, clopper_pearson
from robustgames.certificates.verdicts import lower_bound
from robustgames.data import digits


def linear(width=6, classes=2, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(width, classes).requires_grad_(False)


@pytest.mark.parametrize("trials", [1, 20, 1000])
def test_clopper_pearson_is_that_of_scipy(trials):
    for successes in sorted({0, 1, trials // 3, trials - 1, trials}):
        expected = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
        assert clopper_pearson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)
        one_sided = stats.binomtest(successes, trials, alternative="greater").proportion_ci(0.999, "exact")
        assert float(lower_bound(np.array(successes), trials, 0.001)) == pytest.approx(one_sided.low, abs=1e-12)


@pytest.mark.parametrize(
    ("successes", "trials", "level", "said"),
    [
        (11, 10, 0.95, "successes is 11: a number from 0 to trials = 10"),  # (nan, 1) before
        (-1, 10, 0.95, "successes is -1"),
        (0, -1, 0.95, "trials = -1"),
        (5, 10, 95, "level is 95"),  # (nan, nan) before
        (5, 10, 1.0, "level is 1.0"),
        (5, 10, float("nan"), "level is nan"),
    ],
)
def test_an_interval_of_impossible_numbers_is_refused(successes, trials, level, said):
    with pytest.raises(rg.GameError, match=said):
        clopper_pearson(successes, trials, level)
    assert clopper_pearson(0, 0) == (0.0, 1.0)  # no image says nothing


def test_the_lower_bound_is_wrong_as_rarely_as_it_says():
    """The chance of a bound above the truth, summed over all outcomes, is at most alpha and not far below it."""
    for p in (0.5, 0.8, 0.97):
        chances = stats.binom(200, p).pmf(np.arange(201))
        wrong = chances[lower_bound(np.arange(201), 200, 0.05) > p].sum()
        assert 0.01 < wrong <= 0.05


def test_radii_of_a_linear_model_reach_its_distance_and_never_pass_it():
    """With two classes and noise σ the probability is Φ(margin / (σ |w|)): the radius is the distance to the plane."""
    net, x = linear(), torch.rand(400, 6, generator=torch.Generator().manual_seed(0))
    z = net(x)
    y, gap = z.argmax(-1), (z[:, 0] - z[:, 1]).abs()
    distance = gap / (net.weight[0] - net.weight[1]).norm()
    found = certify(net, x, y, 0.4, "l2", "smoothing", sigma=0.3, draws=20_000, alpha=0.001)
    assert (found.radius > distance + 1e-6).double().mean() <= 0.005  # alpha is 0.001 for each image
    reached = distance < 0.6  # beyond, 20,000 draws cannot show so large a probability
    assert (found.radius[reached] > 0.85 * distance[reached] - 0.02).all() and reached.sum() > 50
    assert torch.equal(found.certified, found.radius > 0.4)
    assert not found.falsified.any() and found.unknown.sum() == (found.radius <= 0.4).sum() > 20


def test_few_draws_abstain_and_a_wrong_class_is_falsified():
    net, x = linear(), torch.rand(60, 6, generator=torch.Generator().manual_seed(1))
    y = net(x).argmax(-1)
    few = certify(net, x, y, 0.0, "l2", "smoothing", draws=9, alpha=0.001)  # 0.001^(1/9) < 1/2
    assert few.unknown.all() and (few.radius == 0).all()
    most = 0.25 * stats.norm.ppf(0.001 ** (1 / 50))
    some = certify(net, x, y, 0.0, "l2", "smoothing", draws=50)
    assert float(some.radius.max()) == pytest.approx(most) and some.certified.any()
    wrong = certify(net, x, 1 - y, 0.0, "l2", "smoothing", draws=50)
    assert torch.equal(wrong.falsified, some.certified) and not wrong.certified.any() and (wrong.radius == 0).all()


def test_the_seed_decides_and_the_global_generator_stays():
    net, x = linear(), torch.rand(30, 6, generator=torch.Generator().manual_seed(1))
    y, before = net(x).argmax(-1), torch.get_rng_state()
    first, again = (certify(net, x, y, 0.1, "l2", "smoothing", draws=500) for _ in range(2))
    other = certify(net, x, y, 0.1, "l2", "smoothing", draws=500, seed=1)
    assert torch.equal(first.margin, again.margin) and not torch.equal(first.margin, other.margin)
    assert torch.equal(before, torch.get_rng_state())


def test_no_attack_on_the_smoothed_classifier_beats_the_radius_in_1000_tries():
    """PGD with EOT at the certified radii; the vote at each point found is judged by 2,000 new draws."""
    data, sigma = digits(), 0.25
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        noisy = data.train_images + sigma * torch.randn_like(data.train_images)
        nn.functional.cross_entropy(net(noisy), data.train_labels).backward()
        optimizer.step()
    net.requires_grad_(False)
    x, y = data.test_images[:250], data.test_labels[:250]
    found = certify(net, x, y, 0.2, "l2", "smoothing", sigma=sigma, draws=2000)
    kept = found.radius > 0
    assert kept.sum() > 200
    x, y, radius = x[kept], y[kept], found.radius[kept]
    judge, tries, fooled_beyond = Smoothing(sigma=sigma), 0, 0
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        for scale in (1.0, 3.0) if seed == 0 else (1.0,):
            attacked = rg.attacks.pgd(
                lambda a: net(a + sigma * torch.randn_like(a)),
                x, y, (scale * radius).float(), "l2", steps=10, eot=8, generator=generator, loss="margin",
            )  # fmt: skip
            votes = judge.votes(net, attacked, 2000, generator).double()
            own = votes.gather(1, y.unsqueeze(1)).squeeze(1)
            rival = votes.scatter(1, y.unsqueeze(1), 0).amax(1)
            # another class is ahead by more than chance: 5 standard deviations of the difference of two counts
            fooled = rival - own > 5 * (rival + own).sqrt()
            if scale == 1:
                tries += len(x)
                assert not fooled.any()
            else:
                fooled_beyond += int(fooled.sum())
    assert tries >= 1000 and fooled_beyond > 50  # the attack is able: at three times the radius it succeeds
