"""Mode coverage of samplers whose coverage is known, divergences in closed form, densities of push-forwards."""

from math import exp, log, pi, sqrt

import pytest
import torch
from scipy.stats import chi2, entropy, kstest

from robustgames.errors import GameError
from robustgames.evaluation.modes import (
    discriminator_value,
    jensen_shannon,
    kullback_leibler,
    mode_metrics,
    optimal_discriminator,
    push_forward_density,
)

KIND = torch.float64
STD = 0.05
GRID = torch.cartesian_prod(torch.arange(5, dtype=KIND), torch.arange(5, dtype=KIND)) * 2 - 4  # PacGAN's 25 modes


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def near(means, counts, seed=0):
    """Return counts[k] points within 2.9 std of means[k]."""
    centers = means.repeat_interleave(torch.as_tensor(counts), 0)
    way = torch.nn.functional.normalize(torch.randn(centers.shape, generator=rng(seed), dtype=KIND), dim=-1)
    return centers + 2.9 * STD * torch.rand(len(centers), 1, generator=rng(seed + 1), dtype=KIND) * way


def mixture(n, runs=(), seed=0, p=2, modes=25):
    means = GRID if p == 2 else torch.randn(modes, p, generator=rng(9), dtype=KIND) * 10
    which = torch.randint(len(means), (*runs, n), generator=rng(seed))
    return means[which] + STD * torch.randn(*runs, n, p, generator=rng(seed + 1), dtype=KIND), means


def exactly(found, **expected):
    for name, value in expected.items():
        torch.testing.assert_close(found[name], torch.as_tensor(value, dtype=KIND).expand_as(found[name]), msg=name)


# -- coverage -------------------------------------------------------------------------------------------------
def test_17_of_25_modes_with_known_weights_and_a_known_share_of_noise():
    counts = torch.tensor([10 * (k + 1) for k in range(17)])
    noise = GRID[:17].repeat(20, 1) + 1.0  # in the middle of four modes, 28 std from each
    found = mode_metrics(torch.cat([near(GRID[:17], counts), noise]), GRID, STD)
    h = counts.double() / counts.sum()
    padded, even = torch.cat([h, torch.zeros(8, dtype=KIND)]).numpy(), torch.full((25,), 1 / 25, dtype=KIND).numpy()
    middle = (padded + even) / 2
    exactly(
        found,
        modes=17,
        high_quality=1530 / (1530 + 340),
        reverse_kl=entropy(padded, even),
        jsd=(entropy(padded, middle) + entropy(even, middle)) / 2,
    )


def test_even_weights_on_k_of_m_modes_have_kl_log_m_over_k():
    for k in (1, 8, 17, 25):
        found = mode_metrics(near(GRID[:k], [4] * k), GRID, STD)
        exactly(found, modes=k, high_quality=1, reverse_kl=log(25 / k))
    exactly(found, jsd=0)


def test_low_quality_samples_count_for_the_share_only():
    good = near(GRID[:3], [5, 3, 2])
    noise = GRID[24] + torch.tensor([[0.5, 0.5]], dtype=KIND).repeat(90, 1)  # nearest to a mode that nobody else covers
    clean, noisy = (mode_metrics(u, GRID, STD) for u in (good, torch.cat([good, noise])))
    exactly(noisy, high_quality=0.1, **{name: clean[name] for name in ("modes", "reverse_kl", "jsd")})


def test_ideal_gaussians_have_the_chi_squared_share_of_high_quality():
    for p, radius in ((2, 3.0), (2, 1.0), (5, 3.0)):
        samples, means = mixture(200_000, p=p)
        share = chi2(p).cdf(radius**2)
        assert p != 2 or share == pytest.approx(1 - exp(-(radius**2) / 2))
        found = mode_metrics(samples, means, STD, radius)
        assert abs(float(found["high_quality"]) - share) < 4 * sqrt(share * (1 - share) / 200_000)
        exactly(found, modes=25)


def test_kl_of_a_perfect_sampler_is_that_of_a_finite_sample():
    samples, _ = mixture(2500, runs=(200,))
    found = mode_metrics(samples, GRID, STD)
    assert float(found["reverse_kl"].mean()) == pytest.approx(24 / (2 * 2500 * (1 - exp(-4.5))), rel=0.08)
    assert found["modes"].min() == 25


def test_the_radius_decides_by_the_std_of_the_nearest_mode():
    means, std = torch.tensor([[0.0, 0.0], [10.0, 0.0]], dtype=KIND), torch.tensor([0.1, 2.0], dtype=KIND)
    samples = torch.tensor([[0.29, 0.0], [0.31, 0.0], [4.1, 0.0], [3.9, 0.0]], dtype=KIND)
    exactly(mode_metrics(samples, means, std), modes=2, high_quality=0.5)
    exactly(mode_metrics(samples[1:2], means, std), modes=0, high_quality=0)
    exactly(mode_metrics(samples[2:3], means, std), modes=1, high_quality=1)  # the first mode is nearer, but narrow


def test_given_weights_are_the_target_of_both_divergences():
    w = torch.tensor([1.0, 2.0, 5.0], dtype=KIND)
    found = mode_metrics(near(GRID[:3], [10, 20, 50]), GRID[:3], STD, weights=w)
    exactly(found, reverse_kl=0, jsd=0)
    other = mode_metrics(near(GRID[:3], [10, 20, 50]), GRID[:3], STD, weights=w.flip(0))
    exactly(other, reverse_kl=(log(1 / 5) + 5 * log(5)) / 8)
    lacking = mode_metrics(near(GRID[:2], [1, 1]), GRID[:2], STD, weights=torch.tensor([1.0, 0.0]))
    exactly(lacking, reverse_kl=float("inf"))


def test_permutation_shift_and_scale_change_nothing():
    samples, _ = mixture(500)
    samples = samples[samples[:, 0] < 1]
    found = mode_metrics(samples, GRID, STD)
    assert found["reverse_kl"] > 0 and found["modes"] == 15
    shift = torch.tensor([3.0, -7.0], dtype=KIND)
    order, modes = torch.randperm(len(samples), generator=rng()), torch.randperm(25, generator=rng(1))
    exactly(mode_metrics(samples[order], GRID[modes], STD), **found)
    exactly(mode_metrics((samples + shift) * 1e-3, (GRID + shift) * 1e-3, STD * 1e-3), **found)


def test_a_batch_of_runs_is_its_runs_and_a_nan_run_is_nan_alone():
    samples, _ = mixture(300, runs=(2, 3))
    samples[0, 1, 7, 0], samples[1, 2, 0, 1] = float("nan"), float("inf")
    found = mode_metrics(samples, GRID, STD)
    for i, j in ((i, j) for i in range(2) for j in range(3)):
        alone = mode_metrics(samples[i, j], GRID, STD)
        lost = (i, j) in ((0, 1), (1, 2))
        for name, value in found.items():
            assert value.shape == (2, 3)
            assert bool(value[i, j].isnan()) == lost, name
            assert lost or value[i, j] == alone[name], name


def test_a_run_that_misses_every_mode_has_the_divergences_of_disjoint_laws():
    exactly(mode_metrics(GRID + 1, GRID, STD), modes=0, high_quality=0, reverse_kl=float("inf"), jsd=log(2))


def test_half_precision_counts_beyond_its_integers():
    samples = near(GRID[12:13], [5000]).to(torch.bfloat16)  # 256 + 1 = 256 in bfloat16
    found = mode_metrics(samples, GRID, STD)
    assert found["high_quality"].dtype == torch.float32 and float(found["high_quality"]) == 1
    assert mode_metrics(near(GRID[12:13], [9]).float(), GRID, STD)["modes"].dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((torch.zeros(4, 3), GRID, STD), r"samples \(4, 3\) and means \(25, 2\) do not fit"),
        ((torch.zeros(2), GRID, STD), "give .* N, p"),
        ((torch.zeros(0, 2), GRID, STD), "0 samples and 25 modes"),
        ((torch.zeros(4, 2), GRID, 0.0), "std is 0.0: it must be positive"),
        ((torch.zeros(4, 2), GRID, float("nan")), "std is nan"),
        (
            (torch.zeros(4, 2), GRID, torch.ones(3)),
            r"std has shape \(3,\): it must be a number or one per mode, \(25,\)",
        ),
        ((torch.zeros(4, 2), GRID, STD, -1.0), "radius is -1.0"),
        ((torch.zeros(4, 2), GRID, STD, 3.0, torch.ones(3)), r"weights have shape \(3,\): there must be one per mode"),
    ],
)
def test_wrong_input_is_named(arguments, text):
    with pytest.raises(GameError, match=text):
        mode_metrics(*arguments)


@pytest.mark.gpu
def test_the_device_is_never_waited_for():
    samples, _ = mixture(2500, runs=(8,))
    on_device, means = samples.float().cuda(), GRID.float().cuda()
    mode_metrics(on_device, means, STD)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = mode_metrics(on_device, means, STD)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name, value in mode_metrics(samples.float(), GRID, STD).items():
        torch.testing.assert_close(found[name].cpu(), value)


# -- divergences ----------------------------------------------------------------------------------------------
def laws(runs=6, points=10, seed=0):
    p, q = torch.rand(2, runs, points, generator=rng(seed), dtype=KIND)
    p[:, 0], q[:, 1] = 0, 0
    return p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)


def test_divergences_agree_with_scipy():
    p, q = laws()
    m = (p + q) / 2
    expected = [(entropy(a, c) + entropy(b, c)) / 2 for a, b, c in zip(p.numpy(), q.numpy(), m.numpy(), strict=True)]
    torch.testing.assert_close(jensen_shannon(p, q), torch.tensor(expected, dtype=KIND))
    torch.testing.assert_close(kullback_leibler(p, m), torch.from_numpy(entropy(p.numpy(), m.numpy(), axis=-1)))
    torch.testing.assert_close(jensen_shannon(p, q), jensen_shannon(q, p))


def test_jsd_is_at_most_log_2_with_equality_on_disjoint_supports_where_symmetrized_kl_is_infinite():
    p, q = laws(runs=50)
    assert (jensen_shannon(p, q) < log(2)).all() and (jensen_shannon(p, q) > 0).all()
    p, q = torch.tensor([[0.3, 0.7, 0.0, 0.0], [0.0, 0.0, 0.9, 0.1]], dtype=KIND)
    assert float(jensen_shannon(p, q)) == pytest.approx(log(2), abs=1e-15)
    assert kullback_leibler(p, q) == kullback_leibler(q, p) == float("inf")
    assert jensen_shannon(p, p) == 0


def test_the_optimal_discriminator_is_p_over_p_plus_q_and_its_value_2_jsd_minus_log_4():
    p, q = laws()
    p, q = (p + 0.05) / 1.5, (q + 0.05) / 1.5  # no zeros: the numerical maximizer has finite logits
    logits = torch.zeros_like(p, requires_grad=True)
    ascent = torch.optim.LBFGS([logits], max_iter=300, tolerance_grad=1e-12, tolerance_change=1e-16)

    def loss():
        ascent.zero_grad()
        value = -discriminator_value(p, q, logits.sigmoid()).sum()
        value.backward()
        return value

    ascent.step(loss)
    d = logits.detach().sigmoid()
    torch.testing.assert_close(d, optimal_discriminator(p, q), atol=1e-6, rtol=0)
    torch.testing.assert_close(discriminator_value(p, q, d), 2 * jensen_shannon(p, q) - log(4), atol=1e-12, rtol=0)
    assert (discriminator_value(p, q, 1 - d) < 2 * jensen_shannon(p, q) - log(4) - 1e-3).all()


def test_zeros_are_no_trouble_to_the_discriminator():
    p, q = laws()
    value = discriminator_value(p, q, optimal_discriminator(p, q))
    torch.testing.assert_close(value, 2 * jensen_shannon(p, q) - log(4))
    none = optimal_discriminator(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    assert none.tolist() == [1.0, 0.0, 0.5]


# -- push-forward ---------------------------------------------------------------------------------------------
def normal(w):
    return torch.exp(-(w**2).sum(-1) / 2) / (2 * pi) ** (w.shape[-1] / 2)


def test_the_square_of_a_normal_is_chi_squared_by_density_and_by_samples():
    y = torch.linspace(0.01, 12, 500, dtype=KIND).unsqueeze(-1)
    both = push_forward_density(normal, [torch.sqrt, lambda v: -v.sqrt()], y)
    truth = torch.from_numpy(chi2(1).pdf(y.squeeze(-1).numpy()))
    torch.testing.assert_close(both, truth, rtol=1e-12, atol=0)
    torch.testing.assert_close(push_forward_density(normal, [torch.sqrt], y), truth / 2, rtol=1e-12, atol=0)
    w = torch.randn(20_000, generator=rng(), dtype=KIND).square().numpy()
    assert kstest(w, chi2(1).cdf).statistic < 1.63 / sqrt(20_000)  # the 1 % level
    assert kstest(w, chi2(2).cdf).statistic > 0.29, "the control: another law is rejected"


def test_without_the_modulus_the_branches_of_the_square_cancel():
    signed = sum(
        normal(g(torch.ones(1, dtype=KIND))) * torch.func.jacrev(g)(torch.ones(1, dtype=KIND)).squeeze()
        for g in (torch.sqrt, lambda v: -v.sqrt())
    )
    assert signed == 0


def test_an_affine_map_of_the_plane_with_negative_determinant():
    matrix, shift = torch.tensor([[0.0, 2.0], [1.5, 1.0]], dtype=KIND), torch.tensor([1.0, -1.0], dtype=KIND)
    y = torch.randn(50, 2, generator=rng(), dtype=KIND)
    found = push_forward_density(normal, [lambda v: torch.linalg.solve(matrix, v - shift)], y)
    law = torch.distributions.MultivariateNormal(shift, matrix @ matrix.T)
    torch.testing.assert_close(found, law.log_prob(y).exp())


def test_a_map_into_another_dimension_has_no_density():
    with pytest.raises(GameError, match=r"Jacobian of shape \(1, 2\): h must map R\^p to R\^p"):
        push_forward_density(normal, [lambda v: v[:1]], torch.zeros(3, 2))
