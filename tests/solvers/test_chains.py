"""Mirror-GAN and Mirror-Prox-GAN, Langevin steps, and rates that fall over a run."""

import inspect
import math

import pytest
import torch
from torch import Generator

import robustgames as rg
from robustgames.games import GAN, MLP, Bilinear, Forsaken, Oracle
from robustgames.games.densities import GaussianMixture
from robustgames.solvers import (
    RECIPES,
    SGD,
    Adam,
    Exponential,
    InversePower,
    Langevin,
    LangevinChains,
    Linear,
    PreconditionedLangevin,
    Rule,
    Simultaneous,
    make_solver,
    trajectory,
)

KIND = torch.float64


def starts(count=4):
    return torch.randn(count, 2, dtype=KIND, generator=Generator().manual_seed(0))


def gan():
    networks = MLP((2, 8, 2)), MLP((2, 8, 1))
    return GAN(*networks, GaussianMixture.grid(), objective="hinge", batch_size=4).to(dtype=KIND)


# -- what the chains reduce to ------------------------------------------------------------------------------------
def test_without_noise_mirror_gan_is_gradient_descent_ascent_bit_for_bit():
    quiet = make_solver("mirror_gan", lr=0.1, noise=0.0, inner_steps=1, damping=1.0, lr_decay=0.0)
    for game, z in ((Forsaken(), starts()), (gan(), gan().initial((3,), Generator().manual_seed(1)))):
        plain = trajectory(make_solver("gda", lr=0.1), game, z, 30)
        assert torch.equal(trajectory(quiet, game, z, 30), plain)


def test_without_noise_mirror_prox_gan_is_extragradient_on_bilinear_games():
    quiet = make_solver("mirror_prox_gan", lr=0.1, noise=0.0, inner_steps=1, damping=1.0, lr_decay=0.0)
    assert torch.equal(
        trajectory(quiet, Bilinear(), starts(), 30), trajectory(make_solver("extragradient"), Bilinear(), starts(), 30)
    )


def test_one_step_by_hand():
    """K = 2 on Φ = x y from (1, 2) with lr 0.5 and b = 0.5; the opponent stays at its outer value."""
    solver = LangevinChains(Langevin(0.5, 0.0), inner_steps=2, damping=0.5)
    z = trajectory(solver, Bilinear(), torch.tensor([1.0, 2.0]).double(), 1)[-1]
    # x: 1 -> 0 -> -1 against y = 2; means 1 -> 0.5 -> -0.25; y: 2 -> 2.5 -> 3 against x = 1; means 2 -> 2.25 -> 2.625
    assert torch.equal(z, torch.tensor([(1 - 0.25) / 2, (2 + 2.625) / 2]).double())


@pytest.mark.parametrize(("prox", "calls"), [(False, 5), (True, 11)])
def test_calls_of_a_step(prox, calls):
    oracle = Oracle(Bilinear())
    solver = LangevinChains(Langevin(0.1, 0.1), inner_steps=3, prox=prox)
    solver.step(oracle, torch.ones(2), solver.init(oracle, torch.ones(2)))
    assert oracle.calls == calls


def test_chains_grow_as_in_the_published_code():
    """floor((1 + 1e-5)^t) reaches 2 at t = 69,316."""
    solver = LangevinChains(Langevin(0.1), inner_steps=3, growth=1e-5)
    assert [solver.length(t) for t in (1, 69_315, 69_316, 10**6)] == [1, 1, 2, 3]


def test_schedules_of_a_chain_count_its_outer_steps():
    seen = []

    def rate(k):
        seen.append(k)
        return 0.1

    trajectory(LangevinChains(SGD(rate), inner_steps=3), Bilinear(), torch.ones(2), 2)
    assert seen == [1] * 6 + [2] * 6


def test_published_chains_count_their_own_steps_and_are_followed():
    """lr (1 - 1e-5)^n and noise (1 - 5e-5)^n for n = 0, 1, … over all chains; K_t = floor(1.00001^(t-1))."""
    seen, followed = [], []

    def rate(k):
        seen.append(k)
        return 0.1

    oracle = Oracle(Bilinear())
    oracle.follow = followed.append
    solver, z = LangevinChains(SGD(rate), inner_steps=3, published=True), torch.ones(2)
    state = solver.init(oracle, z)
    for _ in range(2):
        z, state = solver.step(oracle, z, state)
    assert seen == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6] and len(followed) == 6
    assert not torch.equal(followed[-1], z)  # the chain, not the mean
    published = make_solver("mixed_ne_ld", lr=0.1, noise=0.2, published=True)
    rule = published.rule
    assert [rule.lr(1), rule.noise(1)] == pytest.approx([0.1, 0.2], rel=1e-14)
    assert rule.lr(3) == pytest.approx(0.1 * (1 - 1e-5) ** 2) and rule.noise(3) == pytest.approx(0.2 * (1 - 5e-5) ** 2)
    assert (rule.eps, rule.decay, published.damping) == (1e-8, 0.999, 0.9)
    assert [published.length(t) for t in (1, 69_316, 69_317)] == [1, 1, 2]


# -- noise ------------------------------------------------------------------------------------------------------------
def test_noise_of_a_preconditioned_step_on_a_frozen_gradient():
    """std = noise sqrt(2 lr / D), D = sqrt(s) + eps, coordinate by coordinate, around the RMSProp step lr v / D."""
    rule, v = PreconditionedLangevin(0.01, 0.3, decay=0.9, eps=0.1), torch.tensor([2.0, -0.5, 0.0]).double()
    z = torch.zeros(100_000, 3, dtype=KIND)
    moved, state = rule.step(z, v.expand_as(z), rule.init(z), Generator().manual_seed(0))
    root = (0.1 * v**2).sqrt() + 0.1
    assert torch.allclose(state["s"][0], 0.1 * v**2)
    assert torch.allclose(moved.mean(0), 0.01 * v / root, atol=5e-3)
    assert torch.allclose(moved.std(0), 0.3 * (2 * 0.01 / root).sqrt(), rtol=0.01)


def test_langevin_settles_at_its_variance_and_the_noise_may_fall():
    """On |z|²/2 the stationary variance is noise² / (1 - lr/2)."""
    lr, noise = 0.3, 0.5
    z = torch.zeros(200_000, dtype=KIND)
    rule, own = Langevin(lr, noise), Generator().manual_seed(0)
    state = rule.init(z)
    for _ in range(60):
        z, state = rule.step(z, -z, state, own)
    assert abs(float(z.var()) / (noise**2 / (1 - lr / 2)) - 1) < 0.01
    falling = Langevin(lr, Exponential(noise, 0.5))
    moved, _ = falling.step(torch.zeros_like(z), torch.zeros_like(z), {"k": 2}, own)
    assert abs(float(moved.std()) / (noise * 0.5**3 * (2 * lr) ** 0.5) - 1) < 0.01


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: LangevinChains(SGD(0.1), inner_steps=0), "inner_steps is 0: a chain takes at least 1 step"),
        (lambda: LangevinChains(SGD(0.1), damping=0.0), r"damping is 0.0: .* in \(0, 1\]"),
        (lambda: LangevinChains(SGD(0.1), growth=-1.0), "growth is -1.0: a rate >= 0"),
        (lambda: LangevinChains(SGD(0.1), prox=True, published=True), "those of mirror descent"),
        (lambda: PreconditionedLangevin(0.1, eps=0.0), "eps is 0.0: it must be a small number > 0"),
        (lambda: Langevin(0.1, -1.0), "noise is -1.0"),
        (lambda: Exponential(0.1, 1.0), "not a decreasing schedule"),
        (lambda: Linear(0.1, 0), "not a schedule: scale must be positive and steps at least 1"),
        (lambda: make_solver("wgan", rule="adams"), "unknown rule 'adams': did you mean adam"),
        (lambda: make_solver("gda", lr=InversePower(0.1), anneal=10), "InversePower.*no single number that could"),
        (lambda: make_solver("gda", lr=torch.ones(3, 1), anneal=10), "lr of SGD is 3 rates, one per run, no single"),
        (lambda: make_solver("mirror_gan", growth=1e-5, lr_decay=0.0, anneal=10), "chains that grow cannot"),
        (lambda: make_solver("mixed_ne_ld", published="maybe"), "published is 'maybe': it must be true or false"),
        (lambda: make_solver("pdhg", restart="maybe"), "restart is 'maybe': it must be true or false, e.g. restart=tr"),
        (lambda: make_solver("rm_plus", alternating=2.5), "alternating is 2.5: it must be true or false"),
        (lambda: make_solver("mixed_ne_ld", anneal=10), "chains that grow cannot"),
    ],
)
def test_impossible_settings_are_refused(make, error):
    with pytest.raises(rg.GameError, match=error):
        make()


# -- annealing ---------------------------------------------------------------------------------------------------------
REFUSE = ("curvature_eg_plus", "agraal", "newton", "stay_on_ridge")
SETTINGS = {"mirror_gan": {"lr_decay": 0.0}, "mirror_prox_gan": {"lr_decay": 0.0}, "pdhg": {"round": 4}}


def rates_of(part):
    """Return the schedules of a solver's rules."""
    if isinstance(part, Rule) or hasattr(part, "lr"):  # some schemes have no rule
        return [part.lr]
    if isinstance(part, tuple):
        return [rate for item in part for rate in rates_of(item)]
    inner = [getattr(part, name) for name in ("scheme", "rule", "ahead", "outer", "inner") if hasattr(part, name)]
    return [rate for item in inner for rate in rates_of(item)]


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in RECIPES
        if "mirror_d" not in n
        and "lr" in inspect.signature(RECIPES[n]).parameters
        and n not in ("mirror_prox", "optimistic_mwu", "mixed_ne_ld", "ibp_training", *REFUSE)
    ],
)
def test_every_solver_is_annealed_over_its_run(name):
    """The last rate of a run is (nearly) 0, and no rule runs out before the end."""
    calls = 600
    solver = make_solver(name, anneal=calls, **SETTINGS.get(name, {}))
    oracle, z = Oracle(Bilinear()), torch.ones(2)
    state, counts = solver.init(oracle, z), []
    while oracle.calls < calls:
        z, state = solver.step(oracle, z, state)
    flat = state.get("scheme", state)

    def walk(value):
        for key, item in value.items():
            if isinstance(item, dict):
                walk(item)
            elif key == "k":
                counts.append(item)

    walk(flat)
    steps = [rate.steps for rate in rates_of(solver) if isinstance(rate, Linear)]
    assert steps and all(any(abs(k - s) <= max(3, 0.02 * s) for k in counts) for s in steps), (steps, counts)


def test_annealing_lets_extra_adam_settle_where_a_constant_rate_circles():
    ends = {}
    for anneal in (0, 4000):
        solver = make_solver("extra_adam", lr=0.02, anneal=anneal)
        ends[anneal] = float(trajectory(solver, Bilinear(), starts(), 2000)[-1].norm(dim=-1).max())
    assert ends[4000] < 0.1 * ends[0]


def test_annealed_solvers_are_plain_schemes():
    assert make_solver("adam", lr=0.5, anneal=10) == Simultaneous(Adam(Linear(0.5, 10)))
    assert math.isclose(Linear(0.5, 10)(10), 0.05)
