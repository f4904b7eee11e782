"""Corruptions: closed forms, JPEG against Pillow, order of the severities, seeds, ranges, shapes."""

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from robustgames.data.corruptions import CORRUPTIONS, SEVERITIES, STANDARD, as_images, corrupt, kinds_of
from robustgames.data.corruptions.blur import smooth
from robustgames.data.corruptions.weather import cloud
from robustgames.errors import GameError
from robustgames.evaluation.under_corruption import under_corruption

KINDS = list(CORRUPTIONS)
GENERATOR = torch.Generator


def pictures(channels, height, width, count=6):
    """Return smooth random images."""
    generator, blank = GENERATOR().manual_seed(0), torch.zeros(count, 1, height, width)
    return torch.cat([cloud(blank, 1.5, generator) for _ in range(channels)], 1)


def suits(kind, channels):
    return kind != "saturate" or channels == 3


@pytest.mark.parametrize("kind", KINDS)
def test_range_shape_type_and_seed(kind):
    for channels, height, width in ((1, 8, 8), (1, 5, 9), (3, 32, 32), (3, 33, 20)):
        if not suits(kind, channels):
            continue
        x = pictures(channels, height, width, 3).double()
        for severity in (1, 5):
            y, again = (corrupt(x, kind, severity, GENERATOR().manual_seed(3)) for _ in range(2))
            assert y.shape == x.shape and y.dtype == x.dtype and torch.equal(y, again)
            assert float(y.min()) >= 0 and float(y.max()) <= 1 and bool(torch.isfinite(y).all())
            assert not torch.equal(x, y)
    assert corrupt(x[:0], kind, 1).shape == x[:0].shape


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "saturate"])  # whose levels go down and up
def test_severity_is_distance(kind):
    for channels, side in ((1, 28), (3, 32)):
        x = pictures(channels, side, side)
        far = [float((corrupt(x, kind, s, GENERATOR().manual_seed(1)) - x).norm()) for s in SEVERITIES]
        assert all(a < b for a, b in pairwise(far)), (kind, far)


def test_closed_forms_of_brightness_contrast_saturation_and_fog():
    x = pictures(3, 16, 16).double()
    gray = x[:, :1]
    assert torch.allclose(corrupt(gray, "brightness", 3), (gray + 0.3).clamp_max(1), atol=1e-12)
    y, value = corrupt(x, "brightness", 2), x.amax(1, keepdim=True)
    assert torch.allclose(y.amax(1, keepdim=True), (value + 0.2).clamp_max(1))
    assert torch.allclose(y * value, x * y.amax(1, keepdim=True), atol=1e-9)  # ratios of channels are kept
    mean = x.mean((-2, -1), keepdim=True)
    assert torch.allclose(corrupt(x, "contrast", 4), mean + 0.1 * (x - mean), atol=1e-12)
    assert torch.allclose(corrupt(x, "saturate", 1), value - 0.3 * (value - x), atol=1e-12)
    most = corrupt(x, "saturate", 5)
    assert torch.allclose(most.amax(1, keepdim=True), value) and float(most.amin(1).mean()) < 0.02
    for level, severity in ((0.3, 1), (2.5, 5)):
        f = cloud(x, 1.7, GENERATOR().manual_seed(7))
        assert torch.allclose(corrupt(x, "fog", severity, GENERATOR().manual_seed(7)), (x + level * f) / (1 + level))


def test_noise_has_its_moments():
    x = torch.full((1, 1, 400, 400), 0.5, dtype=torch.float64)
    standard = 1 / 400
    for severity, sigma in zip((1, 2), (0.08, 0.12), strict=True):
        noise = corrupt(x, "gaussian_noise", severity) - x
        assert float(noise.std()) == pytest.approx(sigma, rel=0.01) and abs(float(noise.mean())) < 4 * sigma * standard
        noise = corrupt(x, "speckle_noise", severity) - x
        assert float(noise.std()) == pytest.approx((0.15, 0.2)[severity - 1] / 2, rel=0.01)
    photons = corrupt(x, "shot_noise", 1)
    assert float(photons.var()) == pytest.approx(0.5 / 60, rel=0.03)
    assert torch.allclose((60 * photons).round(), 60 * photons)
    share = (corrupt(x, "impulse_noise", 4) != x).double().mean()
    assert float(share) == pytest.approx(0.17, abs=4 * (0.17 * 0.83) ** 0.5 * standard)


def test_blur_spreads_a_point_by_its_variance_and_keeps_constants():
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[..., 20, 20] = 1
    at = torch.arange(41, dtype=torch.float64) - 20
    for sigma in (0.1, 0.7, 3.0):
        line = smooth(point, sigma)[0, 0].sum(0)
        assert float(line.sum()) == pytest.approx(1) and float((line * at**2).sum()) == pytest.approx(
            sigma**2, rel=1e-3
        )
    flat = torch.full((2, 3, 20, 20), 0.3, dtype=torch.float64)
    for kind in (
        "gaussian_blur",
        "defocus_blur",
        "motion_blur",
        "zoom_blur",
        "glass_blur",
        "pixelate",
        "elastic_transform",
    ):
        assert torch.allclose(corrupt(flat, kind, 5), flat)
    blocks = corrupt(pictures(1, 16, 16).double(), "pixelate", 5)  # a quarter of the resolution: blocks of 4 x 4
    means = pictures(1, 16, 16).double().view(6, 4, 4, 4, 4).mean((2, 4))
    assert torch.allclose(blocks, means.repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(channels):
    # Pillow works in whole numbers, so a coefficient at a half may be rounded otherwise, which changes its block
    height, width = 29, 37
    generator = GENERATOR().manual_seed(0)
    x = (255 * torch.rand(4, channels, height, width, generator=generator)).round() / 255
    for severity, quality in zip(SEVERITIES, (25, 18, 15, 10, 7), strict=True):
        ours = (255 * corrupt(x, "jpeg_compression", severity)).round().permute(0, 2, 3, 1).numpy()
        theirs = []
        for image in (255 * x).round().byte().permute(0, 2, 3, 1).numpy():
            buffer = io.BytesIO()
            Image.fromarray(image.squeeze()).save(buffer, "JPEG", quality=quality, subsampling=0)
            theirs.append(np.asarray(Image.open(buffer)).reshape(height, width, channels))
        apart = np.abs(ours - np.stack(theirs))
        assert (apart > 2).mean() < 0.03 and apart.mean() < 0.5, (quality, apart.mean())
        assert np.abs(255 * x.permute(0, 2, 3, 1).numpy() - ours).mean() > 20  # it changes much


def test_names_and_errors():
    assert kinds_of("all") == STANDARD == kinds_of(("all", "fog")) and len(STANDARD) == 15
    x = torch.rand(2, 1, 8, 8)
    for call, said in (
        (lambda: corrupt(x, "frog", 1), "did you mean fog"),
        (lambda: corrupt(x, "fog", 6), "severity is 6"),
        (lambda: corrupt(x, "saturate", 1), "the images are gray"),
        (lambda: corrupt(x[0], "fog", 1), "floats"),
        (lambda: corrupt(2 * x + 1, "fog", 1), r"must be in \[0, 1\]"),
        (lambda: under_corruption(lambda a: a[:, :2], torch.rand(4, 7), torch.zeros(4).long()), "are not images"),
        (lambda: kinds_of(("jpg",)), "unknown corruption"),
    ):
        with pytest.raises(GameError, match=said):
            call()
    assert as_images(torch.rand(2, 64)).shape == (2, 1, 8, 8) and as_images(torch.rand(2, 65)) is None
    assert as_images(torch.rand(2, 4, 8, 8)) is None and as_images(torch.rand(2, 5, 9)).shape == (2, 1, 5, 9)


def test_the_accuracy_of_a_threshold_on_the_mean_is_known():
    # predicts class 1 from a mean of 0.55 on: contrast keeps means; brightness adds up to 0.5 to images below 0.4
    x = 0.4 * torch.rand(30, 64, generator=GENERATOR().manual_seed(0)) + 0.0
    model = lambda a: torch.stack([0.55 + 0 * a[:, 0], a.mean(1)], 1)  # noqa: E731
    found = under_corruption(model, x, torch.zeros(30).long(), ("contrast", "brightness"), batch_size=7)
    assert found.clean == 1 and found.accuracy["contrast"] == (1.0,) * 5
    wanted = tuple(float((x.mean(1) + c < 0.55).double().mean()) for c in (0.1, 0.2, 0.3, 0.4, 0.5))
    assert found.accuracy["brightness"] == pytest.approx(wanted) and wanted[0] == 1 and wanted[-1] == 0
    assert found.mean_error == pytest.approx(1 - (5 + sum(wanted)) / 10)
    twice = under_corruption(
        lambda a: model(a / 2 + 0.5), 2 * x - 1, torch.zeros(30).long(), "brightness", bounds=(-1, 1)
    )
    assert twice.accuracy["brightness"] == found.accuracy["brightness"]  # whatever the units, alone or with others


def test_batches_of_any_size_are_judged_on_the_same_corrupted_images():
    x, seen = torch.rand(20, 1, 8, 8, generator=GENERATOR().manual_seed(0)), list[torch.Tensor]()

    def model(a):
        seen.append(a.clone())
        return torch.zeros(len(a), 2)

    for batch in (20, 7):
        under_corruption(model, x, torch.zeros(20).long(), "all", batch_size=batch)
    sets = 1 + 5 * len(STANDARD)  # the images as they are, and each kind at five severities
    assert len(seen) == 4 * sets and torch.equal(torch.cat(seen[:sets]), torch.cat(seen[sets:]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": 255 * torch.full((4, 64), 0.5)}, "inputs lie in .127.5, 127.5., outside their bounds"),
        ({"x": torch.zeros(4, 64, dtype=torch.uint8)}, "inputs are torch.uint8"),
        ({"y": torch.zeros(4, 1).long()}, r"labels have shape \(4, 1\) for 4 inputs"),
        ({"y": torch.zeros(1).long()}, r"labels have shape \(1,\) for 4 inputs"),
        ({"y": torch.zeros(4)}, "labels are torch.float32"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_images_labels_and_batches_that_do_not_fit_are_refused(change, said):
    # before, pixels were moved to the nearest bound, and labels (N, 1) gave an accuracy of N
    given = {"x": torch.full((4, 64), 0.5), "y": torch.zeros(4).long(), "kinds": "contrast"}
    assert under_corruption(lambda a: torch.stack([a[:, 0], 0 * a[:, 0]], 1), **given).clean == 1
    with pytest.raises(GameError, match=said):
        under_corruption(lambda a: torch.stack([a[:, 0], 0 * a[:, 0]], 1), **{**given, **change})
