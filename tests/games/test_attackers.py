"""The attacker who plays behind a threshold: the same ball, in what the network sees of it."""

import pytest
import torch

import robustgames as rg
from robustgames.evaluation.certificates import accuracies, attack
from robustgames.games import AdversarialClassification, MnistAdversarial, Network, Oracle
from robustgames.games.attackers import BehindThreshold, ImageBatch
from robustgames.games.threat import ThreatModel

EPS, LEVEL = 0.3, 0.5


SLOPES = pytest.mark.parametrize("slope", [20.0, 60.0, 160.0])


def h(pixels, slope=20.0):
    return torch.sigmoid(slope * (pixels - LEVEL))


class LinearBehind(torch.nn.Module):
    """Two classes, whose scores are linear behind the threshold."""

    def __init__(self, weight, more=0):
        super().__init__()
        self.weight, self.more = torch.nn.Parameter(weight.clone()), more

    def forward(self, x):
        score = (h(x) * self.weight).sum(-1)
        return torch.stack([score + self.more, -score], -1)


@pytest.fixture
def batch():
    images = torch.rand(6, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images[0], images[1] = 0.0, 1.0
    return ImageBatch(images, torch.zeros(6, dtype=torch.long), torch.arange(6))


def attacker(batch, slope=20.0):
    return BehindThreshold(ThreatModel("linf", EPS), batch.images, len(batch.images), LEVEL, slope)


@SLOPES
def test_its_ends_are_the_corners_of_the_ball_and_its_zero_is_the_image(batch, slope):
    play, a = attacker(batch, slope), batch.images
    one = EPS * torch.ones(play.size, dtype=torch.float64)
    for y, expected in ((one, (a + EPS).clamp(0, 1)), (-one, (a - EPS).clamp(0, 1)), (0 * one, a)):
        found = play.attacked(y, batch)
        assert torch.allclose(h(found, slope), h(expected, slope), atol=1.1e-6)
        if slope == 20:
            assert torch.allclose(found, expected, atol=1e-12)


@SLOPES
def test_every_perturbation_of_the_ball_is_one_of_its_strategies_and_no_other_one(batch, slope):
    """y from η by the formula of the docstring, solved for y; the network sees of it what it sees of a + η."""
    play, a = attacker(batch, slope), batch.images
    low, high = (a - EPS).clamp(0, 1), (a + EPS).clamp(0, 1)
    wanted = low + (high - low) * torch.rand(a.shape, dtype=a.dtype, generator=torch.Generator().manual_seed(1))
    at, up, down, goal = (h(pixels, slope) for pixels in (a, high, low, wanted))
    side = torch.where(wanted >= a, up - at, at - down)
    y = torch.where(side > 0, (goal - at) / side, 0.0)
    assert y.abs().max() <= 1 + 1e-9
    assert torch.allclose(h(play.attacked(EPS * y.flatten(), batch), slope), goal, atol=1.1e-6)
    if slope == 20:
        assert torch.allclose(play.attacked(EPS * y.flatten(), batch), wanted, atol=1e-9)
    drawn = 2 * torch.rand(play.size, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 1
    found = play.attacked(EPS * drawn, batch)
    assert bool((found >= low).all()) and bool((found <= high).all())


@SLOPES
def test_single_precision_stays_in_ball_and_box(batch, slope):
    batch = batch._replace(images=batch.images.float())
    play, a = attacker(batch, slope), batch.images
    y = (2 * torch.rand(play.size, generator=torch.Generator().manual_seed(2)) - 1).sign()
    found = play.attacked(EPS * y, batch)
    assert found.min() >= 0 and found.max() <= 1 and (found - a).abs().max() <= EPS + 1e-6
    corners = (a + EPS * y.view(a.shape)).clamp(0, 1)
    assert torch.allclose(h(found, slope), h(corners, slope), atol=5e-6)
    if slope == 20:
        assert torch.allclose(found, corners, atol=2e-6)
    low, high = (a - EPS).clamp(0, 1), (a + EPS).clamp(0, 1)
    crosses = (low < LEVEL) & (high > LEVEL)
    for at in (torch.zeros_like(y), EPS * y.abs(), -EPS * y.abs()):  # it is nowhere stuck on one side
        at.requires_grad_(True)
        (gradient,) = torch.autograd.grad(h(play.attacked(at, batch), slope).sum(), at)
        up, down = (h(end, slope) - h(a, slope) for end in (high, low))
        expected = torch.where(at.view(a.shape) >= 0, up, -down)
        visible = (expected > 1e-3) & crosses
        assert bool(torch.isfinite(gradient).all()) and 50 < visible.sum() <= crosses.sum()
        assert torch.allclose(EPS * gradient.view(a.shape)[visible], expected[visible], rtol=0.1)


@SLOPES
def test_the_gradient_in_y_is_that_behind_the_threshold(batch, slope):
    """For a function that is linear in h, ∂/∂y = weight x range of h on that side / eps, also at corners, where h' is
    0."""
    play, a = attacker(batch, slope), batch.images
    weight = torch.randn(a.shape, dtype=a.dtype, generator=torch.Generator().manual_seed(3))
    for sign in (0.999, -0.999):
        y = torch.full((play.size,), sign * EPS, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad((weight * h(play.attacked(y, batch), slope)).sum(), y)
        end = (a + EPS * (1 if sign > 0 else -1)).clamp(0, 1)
        found, expected = EPS * gradient.view(a.shape), weight * (h(end, slope) - h(a, slope)).abs()
        if slope > 20:  # where h is below 1e-6 at both ends the derivative is lost
            assert torch.allclose(found, expected, atol=5e-6)
            continue
        assert torch.allclose(found[2:], expected[2:], atol=1e-9)
        assert torch.equal(found.sign(), weight.sign())  # black and white pixels too find the way to their other end
        assert torch.allclose(found[:2], expected[:2], atol=2e-7)


def test_four_steps_from_any_start_find_the_best_response_of_a_classifier_linear_behind_it(batch):
    """Phi grows with the wrong margin, which is linear in h: the best y are the corners along its signs."""
    weight = torch.randn(50, generator=torch.Generator().manual_seed(4))

    images = batch.images.float()
    network = Network(LinearBehind(weight))
    game = AdversarialClassification(images, batch.labels, network, EPS, 6, threshold=LEVEL)
    oracle = Oracle(game, (), torch.Generator().manual_seed(0))
    z, sample = oracle.initial(), ImageBatch(images, batch.labels, batch.index)
    oracle.draw()
    oracle.sample = sample
    for _ in range(4):
        y = game.split(z)[1] + 0.8 * EPS * oracle(z, 1).sign()
        z = oracle.place(z, 1, y)
    best = torch.where(weight < 0, (images + EPS).clamp(0, 1), (images - EPS).clamp(0, 1))
    expected = -(h(best) * weight).sum(-1)
    found = -(h(game.attacker.attacked(game.split(z)[1], sample)) * weight).sum(-1)
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("settings", [{"norm": "l2", "eps": 1.5}, {"attacker": "universal"}])
def test_it_is_for_single_images_in_linf(settings):
    with pytest.raises(rg.GameError, match=r"threshold is 0\.5: it is for attacks of single images in linf"):
        MnistAdversarial(threshold=0.5, **settings)


def test_minibatches_are_divided_with_it():
    game = MnistAdversarial(channels=(2, 3), hidden=4, threshold=0.5, batch_size=8, starts="patches")
    narrow = game.narrowed(3)
    assert narrow.attacker.threshold == 0.5 and narrow.sizes == (game.sizes[0], 3 * 784)
    y = game.start(1, (2,), torch.Generator().manual_seed(0))
    assert y.shape == (2, 8 * 784) and y.abs().max() <= game.eps and (y.abs() == game.eps).double().mean() > 0.5


def test_pgd_of_the_learning_curve_plays_behind_the_threshold_too(batch):
    """In pixels its steps stop where h' underflows; in y the worst corner is found, here of a sharper threshold."""
    weight = torch.randn(50, generator=torch.Generator().manual_seed(4))
    images = batch.images.float()

    game = AdversarialClassification(
        images, batch.labels, Network(LinearBehind(weight, 18)), EPS, None, threshold=LEVEL
    )
    eta = attack(game, weight.expand(2, 50), 40).view(2, 6, 50)
    assert eta.abs().max() <= EPS + 1e-6 and (images + eta).min() >= 0 and (images + eta).max() <= 1
    best = torch.where(weight < 0, (images + EPS).clamp(0, 1), (images - EPS).clamp(0, 1))
    wrong = (h(best) * weight).sum(-1) < -9
    assert torch.equal((h(images + eta) * weight).sum(-1) < -9, wrong.expand(2, -1)) and 0 < wrong.sum() < 6
    shares = accuracies(game, weight.expand(2, 50), 40)
    assert shares["pgd40_accuracy"].tolist() == pytest.approx(2 * [float((~wrong).double().mean())])
