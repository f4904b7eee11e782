"""Generator against discriminator: objectives, Lipschitz control, and games whose answer is known."""

import math
import re

import gymnasium as gym
import pytest
import torch
from torch import Generator, nn

import robustgames as rg
from robustgames.games import (
    GAN,
    MLP,
    Bilinear,
    GaussianMixtureGAN,
    GaussianWGAN1D,
    ImageGAN,
    MnistGAN,
    Network,
    Oracle,
    SwissRollGAN,
)
from robustgames.games.densities import GaussianMixture, SwissRoll
from robustgames.games.game import arguments
from robustgames.games.identity import former_fingerprint
from robustgames.games.lipschitz import LIPSCHITZ, PENALTIES, Spectral, one_sided, squared_slope, two_sided
from robustgames.games.objectives import OBJECTIVES
from robustgames.solvers import SGD, BestResponse, respond, trajectory
from robustgames.testing import check_game

KIND = torch.float64


def generator(seed=0):
    return Generator().manual_seed(seed)


def small(objective="nonsaturating", lipschitz="none", **settings):
    networks = MLP((2, 8, 2), "tanh"), MLP((2, 8, 1), "tanh")
    settings = {"batch_size": 6, **settings}
    return GAN(*networks, GaussianMixture.grid(), objective=objective, lipschitz=lipschitz, **settings).to(dtype=KIND)


# -- objectives ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lipschitz", LIPSCHITZ)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_with_every_control_keeps_the_contract(objective, lipschitz):
    check_game(small(objective, lipschitz))


@pytest.mark.parametrize(
    ("objective", "of_generator", "of_critic"),
    [
        ("vanilla", -2 * math.log(2), 2 * math.log(2)),
        ("nonsaturating", math.log(2), 2 * math.log(2)),
        ("wasserstein", 0.0, 0.0),
        ("hinge", 0.0, 2.0),
    ],
)
def test_losses_of_an_undecided_discriminator(objective, of_generator, of_critic):
    game = small(objective)
    x, y = game.split(game.initial((3,), generator()))
    losses = game.losses(x, torch.zeros_like(y), game.draw((3,), generator()))
    assert torch.allclose(losses[0], torch.tensor(of_generator).double())
    assert torch.allclose(losses[1], torch.tensor(of_critic).double())


@pytest.mark.parametrize("objective", ["vanilla", "wasserstein"])
def test_one_backward_pass_serves_both_players_of_a_zero_sum_objective(objective):
    game = small(objective)
    z, sample = game.initial((3,), generator()), game.draw((3,), generator())
    rewards, v = game.evaluate(z, sample)
    assert game.zero_sum and torch.equal(rewards[0], -rewards[1])
    assert torch.allclose(v, torch.cat([game.field(z, sample, i) for i in (0, 1)], -1), rtol=0, atol=1e-14)
    assert torch.allclose(v, super(GAN, game).evaluate(z, sample)[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize(("objective", "lipschitz"), [("hinge", "none"), ("vanilla", "gp"), ("wasserstein", "r1")])
def test_a_loss_or_a_penalty_of_ones_own_makes_the_game_general_sum(objective, lipschitz):
    assert not small(objective, lipschitz).zero_sum


def test_a_penalty_moves_the_discriminator_only():
    plain, fined = small("wasserstein"), small("wasserstein", "r1", penalty=3.0)
    z, sample = plain.initial((), generator()), plain.draw((), generator())
    (x, y), (x_fined, y_fined) = plain.split(plain.field(z, sample)), fined.split(fined.field(z, sample))
    assert torch.allclose(x, x_fined, atol=1e-14) and not torch.allclose(y, y_fined, atol=1e-3)


def test_the_saturating_generator_stands_still_where_the_other_moves():
    """Against a discriminator that is sure (score -30 of fakes) the vanilla gradient vanishes."""
    norms = {}
    for objective in ("vanilla", "nonsaturating"):
        game = GAN(MLP((2, 2)), MLP((2, 1)), GaussianMixture.grid(), objective=objective).to(dtype=KIND)
        z = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, -30]).double()
        norms[objective] = float(game.field(z, game.draw((), generator()), 0).norm())
    assert norms["vanilla"] < 1e-12 and norms["nonsaturating"] > 1


# -- Lipschitz control --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "recipe", ["gda", "extra_adam", "alt_extra_adam", "optimistic_adam", "wgan", "mirror_prox_gan"]
)
def test_clipped_weights_never_leave_the_box(recipe):
    """At every call of the oracle: the points where a scheme looks ahead are clipped too."""
    game, asked = small("wasserstein", "clip", clip=0.02), []
    field = game.field

    def watched(z, sample=None, player=None):
        asked.append(float(game.split(z)[1].abs().max()))
        return field(z, sample, player)

    game.field = watched
    trajectory(rg.make_solver(recipe, lr=0.05), game, game.initial((2,), generator()), 20)
    assert max(asked) <= 0.02 and max(asked) == 0.02 and len(asked) >= 20


@pytest.mark.parametrize("lipschitz", PENALTIES)
def test_gradient_of_a_penalty_against_finite_differences(lipschitz):
    game = small("wasserstein", lipschitz, penalty=2.0)
    x, y = game.split(game.initial((), generator()))
    y = 3 * y  # slopes above 1 too, where the one-sided penalty acts
    sample, h = game.draw((), generator()), 1e-6
    ascent = game.field(torch.cat([x, y]), sample, 1)
    for i in range(0, len(y), 5):
        e = torch.zeros_like(y)
        e[i] = h
        slope = (game.losses(x, y + e, sample)[1] - game.losses(x, y - e, sample)[1]) / (2 * h)
        assert abs(float(slope + ascent[i])) < 1e-7


def test_the_slope_of_a_linear_critic_is_the_norm_of_its_weights():
    net, y = MLP((2, 1)), torch.tensor([[3.0, 4.0, 7.0], [0.0, 0.5, 1.0]]).double()
    squared = squared_slope(lambda y, a: net(y, a).squeeze(-1), y, torch.randn(2, 5, 2, dtype=KIND))
    assert torch.allclose(squared, torch.tensor([[25.0], [0.25]]).double().expand(2, 5))
    assert torch.allclose(two_sided(squared)[:, 0], torch.tensor([16.0, 0.25]).double(), atol=1e-9)
    assert torch.allclose(one_sided(squared)[:, 0], torch.tensor([16.0, 0.0]).double(), atol=1e-9)


def test_the_penalty_of_a_dead_network_is_finite():
    squared = torch.zeros(3, requires_grad=True)
    two_sided(squared).sum().backward()
    assert torch.isfinite(squared.grad).all()


def matrices(net, flat):
    parts = flat.split([math.prod(shape) for shape in net.parameter_shapes])
    return [p.view(s[0], -1) for p, s in zip(parts, net.parameter_shapes, strict=True) if len(s) > 1]


CONVOLUTIONAL = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 1))


@pytest.mark.parametrize("net", [MLP((2, 32, 32, 1)), Network(CONVOLUTIONAL)], ids=["mlp", "convolutional"])
def test_spectral_normalization_settles_at_singular_value_one(net):
    spectral = Spectral(net)
    weights = spectral.settle(spectral.initial((2,), generator(), KIND), steps=50)
    normalized = spectral.normalized(weights)
    for i in range(2):
        for matrix in matrices(net, normalized[i]):
            assert abs(float(torch.linalg.matrix_norm(matrix, 2)) - 1) < 1e-3


def test_a_spectrally_normalized_relu_network_is_1_lipschitz():
    spectral = Spectral(MLP((2, 32, 32, 1)))
    weights = spectral.settle(10 * spectral.initial((), generator(), KIND), steps=200)
    a, b = 3 * torch.randn(2, 2000, 2, dtype=KIND, generator=generator())
    change = (spectral(weights, a) - spectral(weights, b)).abs().squeeze(-1)
    assert bool((change <= (1 + 1e-6) * (a - b).norm(dim=-1)).all()) and float(change.max()) > 0.01


def test_gradient_of_the_normalized_network():
    """By differentiating W / σ(W) with σ from the decomposition."""
    spectral = Spectral(MLP((3, 4, 1), "tanh"))
    weights = spectral.settle(spectral.initial((), generator(), KIND), steps=500).requires_grad_()
    points = torch.randn(7, 3, dtype=KIND, generator=generator())
    (ours,) = torch.autograd.grad(spectral(weights, points).sum(), weights)
    flat = weights.detach()[: spectral.network.size].requires_grad_()
    first, second = matrices(spectral.network, flat)
    hidden = (points @ (first / torch.linalg.matrix_norm(first, 2)).T + flat[12:16]).tanh()
    exact = hidden @ (second / torch.linalg.matrix_norm(second, 2)).T + flat[20:]
    (expected,) = torch.autograd.grad(exact.sum(), flat)
    assert torch.allclose(ours[: len(flat)], expected, atol=1e-9) and not ours[len(flat) :].any()


def test_power_iteration_goes_on_once_a_move_and_a_checkpoint_holds_it(tmp_path):
    def agent():
        env = gym.make_vec("robustgames/GaussianMixture-v0", num_envs=2, hidden=(8,), lipschitz="spectral")
        return rg.GameAgent(env, rg.make_solver("extra_adam", lr=1e-2), seed=3)

    first = agent()
    vectors = first.z[:, -9:].clone()
    assert torch.allclose(vectors[:, :8].norm(dim=-1), torch.ones(2))
    first.learn(20)
    assert not torch.allclose(first.z[:, -9:-1], vectors[:, :-1])
    first.save(tmp_path)
    second = rg.GameAgent.load(tmp_path, agent().env)
    assert torch.equal(first.learn(10).z, second.learn(10).z)


# -- the WGAN loop -----------------------------------------------------------------------------------------------
def test_the_wgan_loop_by_hand():
    """M critic steps, each on a minibatch of its own and from where the last one ended, then one of the generator."""
    game = small("wasserstein", "clip", clip=0.3)
    z = game.project(game.initial((), generator()))
    solver = BestResponse(SGD(0.1), SGD(0.2), inner_steps=3, start="keep", hold=False)
    ours, own = trajectory(solver, game, z, 4)[-1], generator()
    x, y = game.split(z)
    for _ in range(4):
        for _ in range(3):
            y = (y + 0.2 * game.field(torch.cat([x, y]), game.draw((), own), 1)).clamp(-0.3, 0.3)
        x = x + 0.1 * game.field(torch.cat([x, y]), game.draw((), own), 0)
    assert torch.equal(ours, torch.cat([x, y]))


def test_the_generator_of_a_wgan_descends_on_minus_the_critics_score():
    game = small("wasserstein")
    x, y = game.split(game.initial((), generator()))
    sample = game.draw((), generator())
    moved = x + 1e-3 * game.field(torch.cat([x, y]), sample, 0)
    before, after = (game.score(y, game.generate(w, sample.noise)).mean() for w in (x, moved))
    assert float(after) > float(before)


# -- sources ---------------------------------------------------------------------------------------------------
def test_sources_have_their_moments():
    grid = GaussianMixture.grid(side=3, spacing=2.0, std=0.5)
    points = grid.sample((2, 50_000), generator(), KIND)
    assert points.shape == (2, 50_000, 2) and torch.equal(points, grid.sample((2, 50_000), generator(), KIND))
    assert points.mean().abs() < 0.01
    assert torch.allclose(points.var(-2), torch.tensor(8 / 3 + 0.25).double(), rtol=0.02)
    ring = GaussianMixture.ring(modes=4, radius=1.0, std=0.0).sample((1000,), generator(), KIND)
    assert torch.allclose(ring.norm(dim=-1), torch.ones(1000).double())
    roll = SwissRoll(noise=0.0, scale=1.0).sample((10_000,), generator(), KIND)
    assert float(roll.norm(dim=-1).min()) > 1.5 * math.pi and float(roll.norm(dim=-1).max()) < 4.5 * math.pi


# -- the game in closed form ------------------------------------------------------------------------------------
def test_the_linear_critic_on_shifted_laws_is_the_bilinear_game_exactly():
    gan, bilinear = GaussianWGAN1D(mean=3.0, clip=1e9).to(dtype=KIND), Bilinear()
    start = torch.randn(5, 2, dtype=KIND, generator=generator())
    for recipe in ("gda", "extragradient", "alt_gda"):
        solver = rg.make_solver(recipe, lr=0.25)
        path = trajectory(solver, bilinear, torch.stack([start[:, 0], -start[:, 1]], -1), 30)
        shifted = trajectory(solver, gan, start + torch.tensor([3.0, 0.0]).double(), 30)
        assert torch.allclose(shifted[..., 0] - 3, path[..., 0], rtol=0, atol=1e-12)
        assert torch.allclose(-shifted[..., 1], path[..., 1], rtol=0, atol=1e-12)


CONVERGENT = {
    "extragradient": {"lr": 0.2},
    "optimistic_gda": {"lr": 0.2},
    "alt_gda": {"lr": 0.1, "average": "uniform"},
    "mirror_prox_gan": {"lr": 0.2, "noise": 0.0, "inner_steps": 1, "damping": 1.0, "lr_decay": 0.0},
    "extra_adam": {"lr": 0.02, "average": "uniform"},
}


@pytest.mark.parametrize("recipe", CONVERGENT)
def test_convergent_solvers_find_the_mean_and_the_distance(recipe):
    """The generator's mean to 2 % of the difference; then a fresh critic against a held one states W1 to 2 %."""
    mean = 3.0
    agent = rg.GameAgent(
        gym.make_vec("robustgames/GaussianWGAN1D-v0", num_envs=3, mean=mean, dtype="float64"),
        rg.make_solver(recipe, **CONVERGENT[recipe]),
        z0=[0.0, 0.0],
    )
    agent.learn(8000)
    assert float((agent.best()[:, 0] - mean).abs().max()) < 0.02 * mean
    game, z = agent.game, torch.tensor([[0.5, 0.0]] * 3).double()
    z, _ = respond(SGD(0.05), Oracle(game, (3,)), z, player=1, steps=20, state={"k": 0})
    assert torch.allclose(game.payoff(*game.split(z), None), torch.tensor(mean - 0.5).double(), rtol=0.02)


def test_simultaneous_gradient_descent_ascent_does_not():
    agent = rg.GameAgent("robustgames/GaussianWGAN1D-v0", rg.make_solver("gda", lr=0.1), z0=[[0.0, 0.0]])
    agent.learn(8000)
    assert float((agent.z[:, 0] - 3).abs()) > 0.5


def test_minibatches_estimate_the_expectations():
    game, exact = GaussianWGAN1D(batch_size=16).to(dtype=KIND), GaussianWGAN1D().to(dtype=KIND)
    z = torch.tensor([0.5, 1.0]).double().expand(20_000, 2)
    v = game.field(z, game.draw((20_000,), generator()))
    assert torch.allclose(v.mean(0), exact.field(z[0]), atol=0.01)
    assert abs(float(v[:, 1].std()) - (2 / 16) ** 0.5) < 0.005


# -- settings ------------------------------------------------------------------------------------------------------
def test_settings_are_those_of_the_class_and_the_optional_ones_of_its_bases():
    expected = {
        "noise",
        "hidden",
        "latent",
        "objective",
        "lipschitz",
        "clip",
        "penalty",
        "batch_size",
        "initialization",
    }
    assert arguments(SwissRollGAN).keys() == expected
    assert arguments(SwissRollGAN)["lipschitz"].default == "r1" and arguments(GAN)["lipschitz"].default == "none"
    assert arguments(ImageGAN)["penalty"].default == 1.0 and "source" not in arguments(ImageGAN)
    game = gym.make("robustgames/GaussianMixture-v0", side=3, penalty=0.5, lipschitz="r1").unwrapped.game
    assert repr(game) == "GaussianMixtureGAN(side=3, penalty=0.5)"
    with pytest.raises(rg.GameError, match="unknown setting of GaussianMixtureGAN 'penlty': did you mean penalty"):
        gym.make("robustgames/GaussianMixture-v0", penlty=0.5)


def test_former_fingerprints_are_those_of_version_0_1_0():
    """Checkpoints name them: another order of the attributes, or another class name, would refuse every saved run."""
    games = {
        "e83df9a037d4cb13": GaussianMixtureGAN(side=3, hidden=(4,), penalty=0.5),
        "363c3fed794ac813": SwissRollGAN(hidden=(4,)),
        "90d4015a2d2f78c0": MnistGAN(width=2, latent=3),
    }
    assert {former_fingerprint(game)[:16] for game in games.values()} == games.keys()


def test_a_scaled_mixture_is_the_same_law_divided_by_the_scale():
    game, plain = GaussianMixtureGAN(hidden=(4,), scale=2.828), GaussianMixtureGAN(hidden=(4,))
    near, far = (g.source.sample((1000,), generator(), KIND) for g in (game, plain))
    assert torch.allclose(2.828 * near, far, atol=1e-6) and float(near.std()) == pytest.approx(1.0, abs=0.05)
    assert repr(game) == "GaussianMixtureGAN(scale=2.828, hidden=(4,))"
    assert game.fingerprint() != plain.fingerprint()


def test_first_weights_by_he_have_the_variances_of_the_code_of_wgan_gp():
    game = GaussianMixtureGAN(hidden=(64, 64), initialization="he")
    assert (game.generator.initialization, game.critic.initialization) == ("he", "he")
    for net, last in ((game.generator, 2 / (64 + 2)), (game.critic, 2 / (64 + 1))):
        parts = net.parts(net.initial((50,), generator(), KIND))
        for matrix, variance in zip(parts[::2], (2 / 2, 2 / 64, last), strict=True):
            assert float(matrix.var()) == pytest.approx(variance, rel=0.05)
            assert float(matrix.abs().max()) < (3 * variance) ** 0.5
        assert all(not bias.any() for bias in parts[1::2])


def test_first_weights_are_those_of_linear_layers_by_default():
    net = MLP((4, 16, 1))
    parts = net.parts(net.initial((500,), generator(), KIND))
    bounds = [float(part.abs().max()) for part in parts]
    assert bounds == pytest.approx([1 / 2, 1 / 2, 1 / 4, 1 / 4], rel=0.01) and max(bounds) < 0.5


# -- bad input -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"objective": "nonsaturation"}, "unknown objective 'nonsaturation': did you mean nonsaturating"),
        ({"lipschitz": "gradient"}, "unknown lipschitz 'gradient'"),
        ({"clip": 0.0}, "clip is 0.0: weights are kept in [-clip, clip] with clip > 0, e.g. clip=0.01"),
        ({"clip": -1.0}, "clip is -1.0"),
        ({"penalty": -0.1}, "penalty is -0.1: the weight of a penalty is >= 0"),
        ({"clip": 0.1}, "clip is 0.1, but lipschitz=none has no clip: give lipschitz=clip, or no clip"),
        (
            {"penalty": 0.5, "lipschitz": "spectral"},
            "penalty is 0.5, but lipschitz=spectral has no penalty: give lipschitz one of gp, gp_one_sided, r1, or no",
        ),
        ({"latent": 0}, "latent is 0: a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size is 0: a whole number of at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings, error):
    with pytest.raises(rg.GameError, match=re.escape(error)):
        GAN(MLP((2, 4, 2)), MLP((2, 4, 1)), GaussianMixture.grid(), **settings)


def test_impossible_settings_of_the_mixture_are_refused():
    with pytest.raises(rg.GameError, match="unknown initialization 'hee': did you mean he"):
        GaussianMixtureGAN(initialization="hee")
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(rg.GameError, match=f"scale is {scale}: points are divided by it, so it must be > 0"):
            GaussianMixtureGAN(scale=scale)


def test_networks_that_do_not_fit_are_refused():
    source = GaussianMixture.grid()
    with pytest.raises(rg.GameError, match=re.escape("the generator returns points of shape (3,): the data has (2,)")):
        GAN(MLP((2, 3)), MLP((2, 1)), source)
    with pytest.raises(rg.GameError, match="the discriminator does not take inputs of size 2"):
        GAN(MLP((2, 2)), MLP((5, 1)), source)
    with pytest.raises(rg.GameError, match=re.escape("the discriminator returns (4,) per point: one score, (1,)")):
        GAN(MLP((2, 2)), MLP((2, 4)), source)
    with pytest.raises(rg.GameError, match="the generator does not take inputs of size 7"):
        GAN(MLP((2, 2)), MLP((2, 1)), source, latent=7)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.Dropout(0.5)], ids=["batch norm", "dropout"])
def test_hidden_state_is_refused(layer):
    with pytest.raises(rg.GameError, match=r"running statistics|global generator"):
        GAN(Network(nn.Sequential(nn.Linear(2, 4), layer, nn.Linear(4, 2))), MLP((2, 1)), GaussianMixture.grid())


class Broken:
    size = 2

    def sample(self, shape, generator, dtype):
        return torch.full((*shape, 2), float("nan"), dtype=dtype)


def test_a_batch_that_is_not_finite_is_named():
    game = GAN(MLP((2, 4, 2)), MLP((2, 4, 1)), Broken())
    agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=2), rg.make_solver("gda"))
    with pytest.raises(rg.DivergedError, match="the minibatch has non-finite values, look at the data"):
        agent.learn(10)
