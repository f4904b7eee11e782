"""The Fréchet distance against closed forms and SciPy; tests of its features, class counts and copy ratios."""

import functools

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn
from torch.nn import functional

from robustgames.data import digits
from robustgames.data.images import ImageArray
from robustgames.errors import GameError
from robustgames.evaluation import frechet
from robustgames.evaluation.frechet import RealImages, class_balance, frechet_distance, image_metrics, nearest
from robustgames.evaluation.image_features import (
    Features,
    digits_features,
    mnist_features,
    random_features,
    trained_features,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def exactly(mean, covariance, count=200):
    """A sample whose mean and unbiased covariance are exactly these."""
    d = len(mean)
    rows = normal(count, d, seed=9)
    rows = rows - rows.mean(0)
    white = rows @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(rows.T))).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def by_scipy(a, b):
    a, b = a.numpy(), b.numpy()
    ca, cb = np.cov(a.T), np.cov(b.T)
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * scipy.linalg.sqrtm(ca @ cb).real)


# -- the distance ----------------------------------------------------------------------------------------------------
def test_gaussians_with_commuting_covariances_have_a_closed_form():
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    first, second = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 0.25, 1.0]).double()
    expected = 1 + 4 + 0.25 + (1 - 2) ** 2 + (2 - 0.5) ** 2 + (3 - 1) ** 2  # |Δμ|² + Σ (σa - σb)²
    a, b = exactly(mean, torch.diag(first)), exactly(torch.zeros(3).double(), torch.diag(second))
    assert frechet_distance(a, b).item() == pytest.approx(expected, rel=1e-12)


def test_large_samples_approach_the_distance_of_the_gaussians():
    a, b = normal(200_000, 2, seed=1) * 2 + 1, normal(200_000, 2, seed=2)
    assert frechet_distance(a, b).item() == pytest.approx(2 * (2 - 1) ** 2 + 2 * 1, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_matrix_square_root_of_scipy_agrees(seed):
    a, b = normal(300, 8, seed=seed) @ normal(8, 8, seed=seed + 50), normal(250, 8, seed=seed + 90) + 1
    assert frechet_distance(a, b).item() == pytest.approx(by_scipy(a, b), rel=1e-9)


def test_distance_is_symmetric_scales_and_does_not_see_rotations():
    a, b = normal(60, 5, seed=1) @ normal(5, 5, seed=3), normal(80, 5, seed=2) + 1
    q = torch.linalg.qr(normal(5, 5, seed=4)).Q
    distance = frechet_distance(a, b)
    shift = torch.arange(5.0).double()
    torch.testing.assert_close(frechet_distance(b, a), distance)
    torch.testing.assert_close(frechet_distance(a @ q + shift, b @ q + shift), distance)
    torch.testing.assert_close(frechet_distance(3 * a, 3 * b), 9 * distance)


def test_singular_covariances_cost_no_digits():
    a = normal(10, 64)  # 10 rows span 9 dimensions of 64
    assert frechet_distance(a, a).item() <= 1e-12
    assert frechet_distance(a, a + 0.5).item() == pytest.approx(64 * 0.25, rel=1e-12)
    assert frechet_distance(a, 3 * a - 2 * a.mean(0)).item() == pytest.approx(4 * a.var(0).sum().item(), rel=1e-12)
    point = torch.ones(5, 64).double()  # no variance at all: what is left is the mean and the other's variance
    expected = (a.mean(0) - 1).square().sum() + a.var(0).sum()
    torch.testing.assert_close(frechet_distance(a, point), expected)


def test_orthogonal_supports_add_their_variances():
    a, b = torch.zeros(2, 50, 4).double()
    a[:, 0], b[:, 3] = normal(50, seed=1), normal(50, seed=2)
    expected = a.mean(0).square().sum() + b.mean(0).square().sum() + a[:, 0].var() + b[:, 3].var()
    torch.testing.assert_close(frechet_distance(a, b), expected)


def test_runs_side_by_side_are_runs_alone():
    a, b = normal(2, 3, 40, 6), normal(50, 6, seed=1)
    together = frechet_distance(a, b)
    assert together.shape == (2, 3) and together.dtype == torch.float64
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(together[i, j], frechet_distance(a[i, j], b))
    torch.testing.assert_close(frechet_distance(a.float(), b.float()), together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
def test_diverged_runs_are_nan_and_leave_the_others(value):
    a, b = normal(3, 40, 6), normal(50, 6, seed=1)
    clean = frechet_distance(a, b)
    a[1, 5, 2] = value
    distance = frechet_distance(a, b)
    assert distance[1].isnan()
    torch.testing.assert_close(distance[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize(("a", "b"), [((1, 3), (5, 3)), ((5, 3), (5, 4)), ((3,), (5, 3))])
def test_shapes_that_have_no_distance_are_named(a, b):
    with pytest.raises(GameError, match=r"features have shapes .*must be .* N, M >= 2"):
        frechet_distance(torch.zeros(a), torch.zeros(b))


# -- features --------------------------------------------------------------------------------------------------------
def test_classifier_of_the_digits_is_accurate_and_always_the_same():
    state = torch.get_rng_state()
    features = digits_features()
    assert features.accuracy > 0.95
    data = digits()

    def build():
        return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))

    again = trained_features("digits", data, build, lr=1e-2)
    assert torch.equal(torch.get_rng_state(), state), "the global generator moved"
    images = 2 * data.test_images - 1
    assert torch.equal(features(images), again(images)) and features is digits_features()
    share = (features.logits(features(images)).argmax(-1) == data.test_labels).float().mean()
    assert share.item() == features.accuracy


def test_unit_of_features_is_the_variance_of_real_images():
    data = digits()
    train = 2 * data.train_images - 1
    for features in (digits_features(), random_features(train, 8)):
        phi = features(train)
        assert phi.shape == (len(train), 64) and not phi.requires_grad
        assert phi.double().var(0).sum().item() == pytest.approx(1, rel=1e-5)
        torch.testing.assert_close(features(train.view(3, 479, 64)), phi.view(3, 479, 64))
        point = phi.mean(0).expand(10, -1)
        assert frechet_distance(point, phi).item() == pytest.approx(1, rel=1e-5)


def test_features_see_pixels_from_zero_to_one():
    seen = []

    class Spy(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images

    Features("spy", Spy(), torch.tensor([[-1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]))
    assert torch.equal(seen[0], torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.0, 0.5]]))


def test_random_features_depend_on_their_seed_alone():
    images = 2 * torch.rand(30, 3 * 16 * 16, generator=rng()) - 1
    first, again, other = (random_features(images, 16, 3, seed)(images) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.allclose(first, other) and first.shape == (30, 64)
    with pytest.raises(GameError, match="768 numbers are not 1 channels of 16 x 16 pixels"):
        random_features(images, 16)


@pytest.mark.slow
def test_classifier_of_mnist_is_accurate():
    features = mnist_features()
    assert features.accuracy > 0.95 and features is mnist_features() and features.name == "mnist"


# -- copies ----------------------------------------------------------------------------------------------------------
def test_nearest_is_found_in_parts_and_exactly(monkeypatch):
    images, real = normal(2, 7, 5), normal(9, 5, seed=1)
    monkeypatch.setattr(frechet, "PAIRS", 30)  # 3 images at a time
    distance, index = nearest(images, real)
    expected = torch.linalg.vector_norm(images.unsqueeze(-2) - real, dim=-1).min(-1)
    torch.testing.assert_close(distance, expected.values)
    assert torch.equal(index, expected.indices)
    far = real.float() + 1000
    assert torch.equal(nearest(far[[4, 2]], far)[0], torch.zeros(2)), "a copy is at distance 0, whatever its norm"


# -- all of them -----------------------------------------------------------------------------------------------------
@functools.cache
def real():
    return frechet.real_digits()


@functools.cache
def random_real():
    return RealImages(real().train, real().held_out, random_features(real().train, 8))


def blurred(images):
    picture = images.view(-1, 1, 8, 8)
    return functional.avg_pool2d(picture, 3, 1, 1, count_include_pad=False).flatten(1)


def noise(count=1000, seed=1):
    return 2 * torch.rand(count, 64, generator=rng(seed)) - 1


@pytest.mark.parametrize("kind", [real, random_real])
def test_distance_orders_real_before_blurred_before_noise(kind):
    reference = kind()
    name = f"frechet_{reference.features.name}"
    assert name == ("frechet_digits" if kind is real else "frechet_random")
    found = [
        image_metrics(x, reference) for x in (reference.train, blurred(reference.train), noise(len(reference.train)))
    ]
    first, second, third = (metrics[name].item() for metrics in found)
    assert 20 * first < second and 2 * second < third
    assert found[0]["frechet_floor"].item() == pytest.approx(first, rel=1e-6), "all training images are the floor"
    assert found[2]["frechet_ceiling"].item() == pytest.approx(third, rel=0.05), "noise reaches the ceiling"


def test_distance_grows_with_noise_on_the_images():
    levels = [0.0, 0.25, 0.5, 1.0]
    images = [(real().train + s * torch.randn(real().train.shape, generator=rng(2))).clamp(-1, 1) for s in levels]
    distances = [real().frechet(x).item() for x in images]
    assert distances == sorted(distances) and distances[1] > 2 * distances[0]


def test_fewer_images_have_a_higher_floor():
    floors = [real().bounds(count)[0] for count in (50, 200, 1437)]
    assert floors[0] > 2 * floors[1] > 4 * floors[2] > 0


def test_copies_of_training_images_are_flagged_and_noise_is_not():
    copies, new = image_metrics(real().train[:500], real()), image_metrics(noise(), real())
    assert copies["nearest_mean"] == copies["nearest_low"] == 0
    assert new["nearest_mean"] > 2 and new["nearest_low"] > 2
    held_out = image_metrics(real().held_out, real())
    assert held_out["nearest_mean"].item() == held_out["nearest_low"].item() == 1
    half = torch.cat([real().train[:500], noise(500)])  # the mean of a generator that copies at times hides it
    assert image_metrics(half, real())["nearest_low"] == 0 and image_metrics(half, real())["nearest_mean"] > 1


def test_classes_of_the_images_are_counted():
    labels = digits().train_labels
    everything = image_metrics(real().train, real())
    assert everything["classes"] == 10
    assert everything["class_entropy"].item() == pytest.approx(np.log(10), abs=1e-3)
    half = image_metrics(real().train[labels < 5], real())
    assert half["classes"] == 5 and half["class_entropy"].item() == pytest.approx(np.log(5), abs=1e-2)
    assert image_metrics(real().train[:1].expand(100, -1), real())["class_entropy"] == 0


def test_a_class_counts_from_one_percent_on():
    index = torch.tensor([0] * 97 + [1] * 2 + [2])  # 1 % is not more than 1 %
    balance = class_balance(functional.one_hot(index, 4).double())
    shares = torch.tensor([0.97, 0.02, 0.01]).double()
    assert balance["classes"] == 2
    torch.testing.assert_close(balance["class_entropy"], -(shares * shares.log()).sum())


def test_runs_are_measured_separately_and_diverged_ones_are_nan():
    generated = torch.stack([real().train[:300], noise(300), noise(300, seed=2)])
    generated[2, 7, 3] = float("nan")
    metrics = image_metrics(generated, real())
    for name, value in metrics.items():
        assert value.shape == (3,)
        if name not in ("frechet_floor", "frechet_ceiling"):
            assert value.isnan().tolist() == [False, False, True], name
    for i in range(2):
        for name, value in image_metrics(generated[i], real()).items():
            torch.testing.assert_close(metrics[name][i], value, rtol=1e-4, atol=1e-6)
    grid = image_metrics(generated[:2].view(2, 1, 300, 64).double(), real())
    assert all(value.shape == (2, 1) for value in grid.values())


def test_a_copy_in_double_precision_measures_the_same():
    other = real().to(dtype=torch.float64)
    first, second = image_metrics(noise(200), real()), image_metrics(noise(200), other)
    assert other.train.dtype == torch.float64 and first.keys() == second.keys()
    for name in ("frechet_digits", "nearest_mean", "frechet_floor"):
        assert first[name].item() == pytest.approx(second[name].item(), rel=1e-4), name


def test_images_without_labels_are_measured_in_random_features():
    data = digits()
    reference = frechet.real_images(ImageArray(data.train_images, None, data.test_images), count=100)
    assert reference.train.shape == reference.held_out.shape == (100, 64) and reference.features.name == "random"
    metrics = image_metrics(reference.train, reference)
    assert set(metrics) == {"frechet_random", "frechet_floor", "frechet_ceiling", "nearest_mean", "nearest_low"}
    assert metrics["frechet_random"].item() == pytest.approx(metrics["frechet_floor"].item(), rel=1e-4)
    assert metrics["frechet_floor"] < metrics["frechet_ceiling"] / 10
    with pytest.raises(GameError, match=r"0 images are held out.*held_out=0.1"):
        frechet.real_images(ImageArray(data.train_images))


@pytest.mark.parametrize("offset", [0, 128])
def test_folders_of_dark_or_of_bright_images_are_measured(offset):
    pixels = offset + torch.randint(128, (40, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    reference = frechet.real_images(ImageArray(pixels[:20], None, pixels[20:]))
    metrics = image_metrics(reference.held_out, reference)
    assert metrics["frechet_random"].item() == pytest.approx(0, abs=1e-9) and metrics["frechet_floor"] > 0
    assert metrics["nearest_mean"].item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: image_metrics(torch.zeros(10, 63), real()),
            r"shape \(10, 63\): as the real ones they must be \(..., N, 64\)",
        ),
        (
            lambda: RealImages(real().train, real().held_out[:1], digits_features()),
            r"\(1, 64\): each must have at least 2",
        ),
        (lambda: RealImages(digits().train_images, real().held_out, digits_features()), r"lie in \[0, 1\].* 2 \*"),
    ],
)
def test_wrong_input_is_named(call, text):
    with pytest.raises(GameError, match=text):
        call()
