"""Fields of GANs of perceptrons that are written out: autograd's in every setting, and nowhere else."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Generator

import robustgames as rg
from robustgames.games import GAN, MLP, GaussianMixtureGAN, Network, Noisy, gan_passes
from robustgames.games.densities import GaussianMixture
from robustgames.games.gan import GANSample
from robustgames.games.lipschitz import LIPSCHITZ, PENALTIES, Spectral
from robustgames.games.objectives import OBJECTIVES
from robustgames.solvers import Adam, Extragradient, FusedAdam, trajectory
from robustgames.testing import check_solver

KIND = torch.float64
SMOOTH = ("tanh", "elu")
SHAPES = ((), (1,), (5,), (2, 3))
DEPTHS = ((), (8,), (20, 17))


def generator(seed=0):
    return Generator().manual_seed(seed)


def make(
    objective="nonsaturating", lipschitz="none", activation="relu", hidden=(8, 8), cls=GAN, dtype=KIND, **settings
):
    networks = MLP((3, *hidden, 2), activation, settings.pop("last", None)), MLP((2, *hidden, 1), activation)
    weight = {"penalty": 0.7} if lipschitz in PENALTIES else {}
    settings = {"batch_size": 7, "latent": 3, **weight, **settings}
    game = cls(*networks, GaussianMixture.grid(), objective=objective, lipschitz=lipschitz, **settings)
    return game.to(dtype=KIND)


def at(game, shape=(3,)):
    return game.initial(shape, generator()), game.draw(shape, generator(1))


def by_autograd(game):
    """Return the same game with losses of its own, which are those of a GAN."""
    plain = copy.copy(game)
    plain.losses = lambda x, y, sample: GAN.losses(game, x, y, sample)
    return plain


def fields(game, z, sample):
    """Return all that a game computes of its field: V, the blocks alone, the rewards."""
    rewards, v = game.evaluate(z, sample)
    return [v, game.field(z, sample), *(game.field(z, sample, player) for player in (0, 1)), *rewards]


def is_written_out(game, z, sample):
    return game._is_written_out(z, sample)


# -- equal to autograd -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", *SMOOTH])
@pytest.mark.parametrize("lipschitz", LIPSCHITZ)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_field_is_autograds(objective, lipschitz, activation):
    for hidden in DEPTHS:
        game = make(objective, lipschitz, activation, hidden, last="tanh" if len(hidden) == 2 else None)
        for shape in SHAPES:
            z, sample = at(game, shape)
            z = game.project(1.5 * z)  # slopes above 1 too, where the one-sided penalty acts
            plain = by_autograd(game)
            assert is_written_out(game, z, sample) == (lipschitz not in PENALTIES or activation not in SMOOTH)
            assert not is_written_out(plain, z, sample)
            for ours, expected in zip(fields(game, z, sample), fields(plain, z, sample), strict=True):
                assert ours.shape == expected.shape
                torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-13)
            if len(hidden) == 2:
                assert float(game.field(z, sample, 0).abs().max()) > 1e-4 or lipschitz in ("clip", "spectral")


@pytest.mark.parametrize("lipschitz", ["none", "r1", "gp", "spectral"])
def test_in_single_precision_it_is_as_exact_as_autograd(lipschitz):
    double = make(lipschitz=lipschitz, hidden=(64, 64), batch_size=50)
    single = double.to(dtype=torch.float32)
    z, sample = at(single)
    exact = double.field(z.double(), GANSample(*(None if t is None else t.double() for t in sample)))
    ours, plain = (float((g.field(z, sample) - exact).abs().max()) for g in (single, by_autograd(single)))
    assert ours < max(1e-6 * float(exact.abs().max()), 1.5 * plain)


def test_derivatives_of_losses_and_penalties_are_autograds():
    t = torch.linspace(-4.05, 4, 57, dtype=KIND, requires_grad=True)
    losses = {c for o in OBJECTIVES.values() for c in (o.real, o.fake, o.generator) if c is not None}
    for curve, points in [*((c, t) for c in losses), *((c, t.exp()) for c, _ in PENALTIES.values())]:
        (expected,) = torch.autograd.grad(curve(points).sum(), points)
        torch.testing.assert_close(curve.slope(points).detach(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shape", [(), (4,)])
def test_the_gradient_is_pulled_back_through_spectral_normalization(shape):
    net = Spectral(MLP((3, 5, 4, 1), norm=True))
    weights = net.initial(shape, generator(), KIND).requires_grad_()
    g = torch.randn((*shape, net.network.size), generator=generator(1), dtype=KIND)
    (expected,) = torch.autograd.grad(net.normalized(weights), weights, g)
    torch.testing.assert_close(net.pull_back(weights, g), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lipschitz", ["none", "r1", "gp"])
def test_runs_side_by_side_or_in_turn_have_one_field(lipschitz, monkeypatch):
    game = make(lipschitz=lipschitz)
    z, sample = at(game, (7,))
    found = []
    for cache, runs in ((1, {1}), (30_000, None), (10**9, {7})):
        monkeypatch.setattr(gan_passes, "CACHE", cache)
        game._passes._built.clear()
        found.append(game.field(z, sample))
        sides = {passes.runs for passes in game._passes._built.values()}
        assert sides == runs if runs else 1 < max(sides) < 7 and min(sides) == 7 % max(sides)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-12, atol=1e-15)
    alone = torch.stack([game.field(z[i], GANSample(*(None if t is None else t[i] for t in sample))) for i in range(7)])
    assert torch.equal(alone, found[0])  # bit for bit, as large networks are computed in turn


# -- what is not the definition's is left to autograd -----------------------------------------------------------
class Shifted(GAN):
    """A GAN whose discriminator also pays for its weights."""

    def losses(self, x, y, sample):
        first, second = super().losses(x, y, sample)
        return first, second + y.square().sum(-1)


class Louder(GAN):
    def score(self, y, points):
        return 2 * super().score(y, points)


class Halved(GAN):
    """A GAN whose field is scaled, for which `evaluate` is the place."""

    def evaluate(self, z, sample=None):
        rewards, v = super().evaluate(z, sample)
        return rewards, v / 2


def test_a_subclass_that_defines_other_losses_is_differentiated():
    game = make()
    z, sample = at(game)
    y = game.split(z)[1]
    assert torch.allclose(make(cls=Shifted).field(z, sample, 1), game.field(z, sample, 1) - 2 * y)
    assert not torch.allclose(make(cls=Louder).field(z, sample), game.field(z, sample))
    assert torch.allclose(make(cls=Halved).field(z, sample), game.field(z, sample) / 2)
    game.generate = lambda x, noise: GAN.generate(game, x, -noise)
    expected = make().field(z, sample._replace(noise=-sample.noise))
    assert not is_written_out(game, z, sample) and torch.allclose(game.field(z, sample), expected)


def test_settings_may_change_after_the_first_call():
    game = make(lipschitz="r1")
    z, sample = at(game)
    before = game.field(z, sample)
    game.penalty = 5.0
    after = game.field(z, sample)
    assert not torch.allclose(before, after)
    assert torch.allclose(after, by_autograd(game).field(z, sample), rtol=1e-12, atol=1e-14)
    game.critic = MLP((2, 8, 8, 1), "leaky_relu")
    assert torch.allclose(game.field(z, sample), by_autograd(game).field(z, sample), rtol=1e-12, atol=1e-14)


def test_derivatives_of_the_field_are_autograds():
    game = make("wasserstein")
    z, sample = at(game, ())

    def field(point):
        return game.field(point, sample)

    jacobian = torch.autograd.functional.jacobian(field, z)
    direction = torch.randn(len(z), generator=generator(2), dtype=KIND)
    h = 1e-6
    slope = (field(z + h * direction) - field(z - h * direction)) / (2 * h)
    assert torch.allclose(jacobian @ direction, slope, atol=1e-7)
    seen = []
    torch.func.vmap(lambda point: (seen.append(is_written_out(game, point, sample)), point)[1])(torch.stack([z, z]))
    assert seen == [False]  # a traced tensor has no memory to write to


class Unusual(MLP):
    def __call__(self, weights, inputs):
        return 2 * super().__call__(weights, inputs)


def test_other_networks_samples_and_precisions_are_left_to_autograd():
    game = make()
    z, sample = at(game)
    assert is_written_out(game, z, sample)
    for critic in (Unusual((2, 8, 8, 1), "relu"), Network(torch.nn.Linear(2, 1))):
        other = GAN(game.generator, critic, game.source, latent=3).to(dtype=KIND)
        assert not is_written_out(other, other.initial((), generator()), other.draw((), generator()))
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_written_out(game, z, sample)
    assert not is_written_out(game, z.requires_grad_(), sample)
    with torch.no_grad():
        assert is_written_out(game, z, sample) and not game.field(z, sample).requires_grad


# -- memory ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lipschitz", ["none", "r1", "spectral"])
def test_results_are_new_tensors(lipschitz):
    game = make(lipschitz=lipschitz)
    z, sample = at(game)
    first = fields(game, z, sample)
    kept = [t.clone() for t in first]
    before, of_sample = z.clone(), [t.clone() for t in sample if t is not None]
    other = game.draw((3,), generator(5))
    second = fields(game, -2 * z, other)
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(z, before)
    assert all(torch.equal(a, b) for a, b in zip((t for t in sample if t is not None), of_sample, strict=True))


def test_any_layout_mode_and_copy_computes_the_same():
    game = make(lipschitz="gp")
    z, sample = at(game)
    v = game.field(z, sample)
    strided = torch.stack([z, -z], -1)[..., 0]
    assert not strided.is_contiguous() and torch.equal(game.field(strided, sample), v)
    assert torch.equal(game.field(z.T.contiguous().T, sample), v)
    with torch.inference_mode():
        inside = game.field(z.clone(), sample)
    assert torch.equal(inside, v) and torch.equal(game.field(z, sample), v)
    for other in (copy.copy(game), copy.deepcopy(game), game.to("cpu")):
        assert torch.equal(other.field(z, sample), v)
    assert pickle.loads(pickle.dumps(game._passes))._built == {}
    single = game.to(dtype=torch.float32)
    assert single.field(*at(single)).dtype == torch.float32
    half = GANSample(*(t[:, :3] for t in sample))  # a part of the minibatch, as of one process of several
    torch.testing.assert_close(game.field(z, half), by_autograd(game).field(z, half), rtol=1e-12, atol=1e-13)
    noisy = Noisy(game, std=0.0)
    assert torch.equal(noisy.field(z, (sample, torch.zeros_like(z))), v)


def test_threads_do_not_share_memory():
    game = make(hidden=(64, 64), batch_size=64)
    points = [(game.initial((2,), generator(i)), game.draw((2,), generator(i))) for i in range(40)]
    expected = [game.field(*point) for point in points]
    with ThreadPoolExecutor(4) as pool:
        for ours, v in zip(pool.map(lambda point: game.field(*point), points), expected, strict=True):
            assert torch.equal(ours, v)


def test_a_fingerprint_does_not_depend_on_what_was_computed():
    game = make()
    before = game.fingerprint()
    game.field(*at(game))
    assert game.fingerprint() == before


# -- solvers -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("recipe", ["extra_adam", "alt_extra_adam", "wgan", "mirror_prox_gan", "optimistic_adam"])
@pytest.mark.parametrize("lipschitz", ["none", "r1", "clip", "spectral"])
def test_every_solver_follows_the_path_of_autograd(recipe, lipschitz):
    game = make(lipschitz=lipschitz)
    z = game.settle(game.project(game.initial((2,), generator())))
    ours, expected = (trajectory(rg.make_solver(recipe, lr=1e-3), g, z, 8) for g in (game, by_autograd(game)))
    assert float((ours[-1] - z).abs().max()) > 1e-4
    torch.testing.assert_close(ours, expected, rtol=1e-7, atol=1e-9)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    def agent():
        env = rg.GameVectorEnv(GaussianMixtureGAN(hidden=(64, 64), batch_size=16), num_envs=2)
        return rg.GameAgent(env, rg.make_solver("extra_adam", lr=1e-3), seed=3)

    whole, first = agent().learn(24), agent().learn(12)
    assert "FusedAdam" in repr(first.solver)  # of a game as large as this
    first.save(tmp_path)
    resumed = rg.GameAgent.load(tmp_path, agent().env).learn(12, reset_num_timesteps=False)
    assert torch.equal(resumed.z, whole.z)


def test_the_second_half_step_of_extragradient_overwrites_only_its_own_moments():
    game = make()
    z = game.initial((2,), generator())

    def by_hand(rule, steps=6):
        oracle, point, state = rg.Oracle(game, (2,)), z, rule.init(z)
        for _ in range(steps):
            oracle.draw()
            half, ahead = rule.step(point, oracle(point), state, oracle.generator)
            oracle.draw()
            point, state = rule.step(point, oracle(half), ahead, oracle.generator)
        return point

    for rule in (FusedAdam(1e-3), Adam(1e-3)):
        check_solver(Extragradient(rule))  # a step leaves its arguments as they were
        check_solver(Extragradient((rule, rule)))
        assert torch.equal(trajectory(Extragradient(rule), game, z, 6)[-1], by_hand(rule))
