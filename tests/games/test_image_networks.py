"""Convolutional generators and critics: shapes, counts, starts, runs side by side, second derivatives."""

import re

import pytest
import torch
from torch import nn

from robustgames.errors import GameError
from robustgames.games import image_networks
from robustgames.games.image_networks import dcgan_critic, dcgan_generator, resnet_critic, resnet_generator
from robustgames.games.networks import Network

GENERATORS, CRITICS = (dcgan_generator, resnet_generator), (dcgan_critic, resnet_critic)
PAIRS = list(zip(GENERATORS, CRITICS, strict=True))
SAMPLEWISE = ("none", "group", "layer")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(network, shape=(), seed=0, dtype=torch.float64):
    """Return weights far from the start, so that no branch of the network is negligible."""
    weights = network.initial(shape, generator(seed), dtype)
    return weights + 0.1 * torch.randn(weights.shape, generator=generator(seed + 1), dtype=dtype)


def noise(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=generator(7), dtype=dtype)


# -- shapes ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32), (3, 64)])
@pytest.mark.parametrize(("build_generator", "build_critic"), PAIRS)
def test_a_generator_fits_its_critic(build_generator, build_critic, channels, side):
    fakes = Network(lambda: build_generator(5, side, channels, width=2))
    scores = Network(lambda: build_critic(side, channels, width=2))
    images = fakes(fakes.initial((), generator(), torch.float32), noise(4, 5, dtype=torch.float32))
    assert images.shape == (4, channels * side**2)
    assert scores(scores.initial((), generator(), torch.float32), images).shape == (4, 1)


@pytest.mark.parametrize("build", GENERATORS)
@pytest.mark.parametrize("norm", image_networks.NORM_LAYERS)
def test_images_lie_between_minus_one_and_one_and_reach_out(build, norm):
    network = Network(lambda: build(5, 8, 1, 4, norm))
    images = network(20 * drawn(network), noise(16, 5))
    assert images.abs().max() <= 1 and images.min() < -0.99 and images.max() > 0.99


def test_doubling_sides_that_start_from_four_to_seven():
    known = {side for side in range(1, 130) if _fits(side)}
    assert known == {s * 2**k for s in (4, 5, 6, 7) for k in range(1, 6) if s * 2**k < 130}


def _fits(side):
    try:
        image_networks._plan(side, 1)
    except GameError:
        return False
    return True


# -- weights ---------------------------------------------------------------------------------------------
def _count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("build", "other"),
    [
        (dcgan_generator, {"latent": 128, "side": 64, "channels": 3, "width": 64}),
        (dcgan_critic, {"side": 64, "channels": 3, "width": 64}),
        (resnet_generator, {"width": 16}),
        (resnet_critic, {"width": 16}),
    ],
)
def test_docstrings_count_the_weights(build, other):
    said = re.search(
        r"By default it has ([\d,]+) weights; with .*? they are ([\d,]+)\.", " ".join(build.__doc__.split())
    )
    assert said and list(said.groups()) == [f"{_count(build()):,}", f"{_count(build(**other)):,}"]


def test_weights_of_dcgan_28_by_hand():
    linear, last = (64 + 1) * 64 * 49, 32 * 16 + 1
    assert _count(dcgan_generator(64, 28, 1, 32, "none")) == linear + (64 * 32 * 16 + 32) + last
    assert _count(dcgan_generator(64, 28, 1, 32, "batch")) == linear + (64 * 32 * 16 + 32) + last + 2 * (64 + 32)
    assert _count(dcgan_critic(28, 1, 32)) == (16 * 32 + 32) + (32 * 64 * 16 + 64) + (64 * 49 + 1)


@pytest.mark.parametrize("build", [dcgan_generator, dcgan_critic])
def test_dcgan_starts_from_normal_weights_of_deviation_002(build):
    torch.manual_seed(0)
    for name, weights in build(norm="group", width=64).named_parameters():
        if name.endswith("bias"):
            assert not weights.any()
        else:
            mean = 1.0 if weights.dim() == 1 else 0.0  # the gain of a norm
            assert abs(weights.mean() - mean) < 0.01 and abs(weights.std() - 0.02) < 0.006


@pytest.mark.parametrize("side", [8, 64])
def test_a_residual_critic_starts_at_the_scale_of_its_images(side):
    torch.manual_seed(0)
    scores = resnet_critic(side, 3, width=16)(torch.rand(64, 3 * side**2) * 2 - 1)
    assert 0.01 < scores.std() < 10


@pytest.mark.parametrize("build", [*GENERATORS, *CRITICS])
def test_starts_are_drawn_by_the_generator_one_per_run(build):
    network = Network(lambda: build(side=8, width=2))
    weights = network.initial((2,), generator(), torch.float32)
    assert torch.equal(weights, network.initial((2,), generator(), torch.float32))
    assert not torch.equal(weights[0], weights[1])


# -- runs and images -------------------------------------------------------------------------------------
@pytest.mark.parametrize("build", [*GENERATORS, *CRITICS])
def test_runs_side_by_side_are_the_runs_alone(build):
    network = Network(lambda: build(side=8, channels=1, width=4))
    weights, inputs = drawn(network, (2,)), noise(2, 6, _inputs(build))
    together = network(weights, inputs)
    for run in range(2):
        assert torch.equal(together[run], network(weights[run], inputs[run]))
    assert not torch.allclose(together[0], together[1])
    batched = torch.func.vmap(network._call_one)(weights, inputs)  # the path of a GPU
    torch.testing.assert_close(batched, together, rtol=1e-10, atol=1e-12)


def _inputs(build):
    return 64 if build is dcgan_generator or build in CRITICS else 128  # the default latents, and 1 x 8 x 8


@pytest.mark.parametrize("build", CRITICS)
@pytest.mark.parametrize("norm", SAMPLEWISE)
def test_the_score_of_an_image_does_not_depend_on_the_others(build, norm):
    network, images = Network(lambda: build(8, 1, 4, norm)), noise(6, 64)
    weights = drawn(network)
    torch.testing.assert_close(network(weights, images)[:1], network(weights, images[:1]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("build", GENERATORS)
@pytest.mark.parametrize("norm", image_networks.NORM_LAYERS)
def test_only_batch_norm_mixes_the_images_of_a_generator(build, norm):
    network, inputs = Network(lambda: build(5, 8, 1, 4, norm)), noise(6, 5)
    weights = drawn(network)
    alone, among = network(weights, inputs[:2])[0], network(weights, inputs)[0]
    assert torch.allclose(alone, among, rtol=1e-8, atol=1e-10) == (norm != "batch")


def test_doubling_after_a_pointwise_convolution_is_doubling_before():
    shortcut, h = nn.Conv2d(3, 5, 1).double(), noise(2, 3, 4, 4)
    after, before = (image_networks._double(shortcut(h)), shortcut(image_networks._double(h)))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-14)
    halves = (image_networks._halve(shortcut(h)), shortcut(image_networks._halve(h)))
    torch.testing.assert_close(*halves, rtol=0, atol=1e-14)


# -- second derivatives ----------------------------------------------------------------------------------
def penalty(network, weights, images):
    """Return mean_i (|∇D(a_i)| - 1)², differentiable in the weights."""
    a = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(network(weights, a).sum(), a, create_graph=True)
    return (slope.square().sum(-1).sqrt() - 1).square().mean()


@pytest.mark.parametrize("build", CRITICS)
@pytest.mark.parametrize("norm", SAMPLEWISE)
def test_the_gradient_of_the_gradient_penalty_is_its_finite_difference(build, norm):
    network, images = Network(lambda: build(8, 2, 2, norm)), noise(3, 128)
    weights = drawn(network).requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(network, weights, images), weights)
    for seed in range(4):
        direction = torch.randn(weights.shape, generator=generator(seed), dtype=torch.float64)
        step = 1e-6 * direction
        ahead, behind = (penalty(network, weights.detach() + s, images) for s in (step, -step))
        expected = ((ahead - behind) / 2e-6).item()
        assert (gradient @ direction).item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("build", CRITICS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_penalty_in_single_precision_takes_the_fast_input_gradient_and_agrees(build, channels):
    network, images = Network(lambda: build(8, channels, 4)), noise(16, channels * 64)
    weights = drawn(network).requires_grad_()
    exact, rough = (
        torch.autograd.grad(penalty(network, weights.to(dtype), images.to(dtype)), weights)[0]
        for dtype in (torch.float64, torch.float32)
    )
    torch.testing.assert_close(rough, exact, rtol=0, atol=1e-4 * exact.abs().max().item())


# -- bad input -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("build", [*GENERATORS, *CRITICS])
def test_wrong_settings_are_explained(build):
    for side in (0, 4, 9, 30, 44):
        with pytest.raises(GameError, match=rf"^side is {side}: 4, 5, 6 or 7, doubled once or more, is needed"):
            build(side=side)
    with pytest.raises(GameError, match=r"^width is 0: at least 1 feature map is needed, e\.g\. width=32$"):
        build(side=8, width=0)
    with pytest.raises(GameError, match=r"^unknown norm 'grupo': did you mean group\?$"):
        build(side=8, norm="grupo")


@pytest.mark.parametrize("build", CRITICS)
def test_a_critic_has_no_batch_norm(build):
    with pytest.raises(GameError, match=r"^unknown norm 'batch': known: group, layer, none$"):
        build(norm="batch")
