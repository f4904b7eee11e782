"""Interval bounds of networks, and certified training as a game whose attacker chooses the radius."""

import itertools

import pytest
import torch
from torch import nn

import robustgames as rg
from robustgames.data import digits
from robustgames.evaluation import accuracies
from robustgames.games import AdversarialClassification, DigitsAdversarial, Network, small_cnn
from robustgames.games.activations import ELU, SIGMOID, TANH, Rectifier
from robustgames.games.layers import Affine, AveragePool, Convolution, Dense, Scale
from robustgames.solvers import BestResponse, make_solver
from robustgames.testing import check_game, check_solver


def some_game(batch=4, eps=0.1, network=None, attacker="interval", **settings):
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(8, 3, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    network = network or rg.MLP((3, 5, 4, 3))
    game = AdversarialClassification(images, labels, network, eps, batch, attacker=attacker, **settings)
    return game.to(dtype=torch.float64)


def drawn(game, runs=(2,), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return game.initial(runs, generator), game.draw(runs, generator)


LAYERS = {
    "dense": (Dense(torch.randn(4, 6), torch.randn(4)), (6,)),
    "convolution": (Convolution(torch.randn(4, 1, 3, 2), torch.randn(4), (2, 1), (1, 0), (1, 2), 2), (2, 5, 6)),
    "pool": (AveragePool(nn.AvgPool2d(2, padding=1), 4), (2, 5, 6)),
    "scale": (Scale(torch.randn(2, 1, 1), torch.randn(2, 1, 1), torch.ones(2, 1, 1)), (2, 5, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_transpose_and_the_absolute_matrix_are_those_of_the_layer(name):
    layer, shape = LAYERS[name]
    assert isinstance(layer, Affine)
    inputs = torch.eye(torch.Size(shape).numel()).view(-1, *shape)
    offset = layer(torch.zeros(1, *shape))
    matrix = (layer(inputs) - offset).flatten(1)
    g = torch.randn(3, *offset.shape[1:])
    assert torch.allclose(layer.transpose(g, torch.Size((3, *shape))).flatten(1), g.flatten(1) @ matrix.T, atol=1e-4)
    assert torch.allclose(layer.absolute(inputs).flatten(1), matrix.abs(), atol=1e-5)


IDS = ("relu", "leaky", "tanh", "sigmoid", "elu")  # a function has its address in its name


@pytest.mark.parametrize("layer", [Rectifier(), Rectifier(0.3), TANH, SIGMOID, ELU], ids=IDS)
def test_lines_bound_the_function_on_the_interval(layer):
    ends = torch.linspace(-4, 4, 33, dtype=torch.float64)
    pairs = torch.tensor([(a, b) for a, b in itertools.product(ends, ends) if a <= b], dtype=torch.float64)
    low, high = pairs.T
    x = low + (high - low) * torch.linspace(0, 1, 101, dtype=torch.float64).unsqueeze(1)
    lines = layer.lines(low, high)
    assert (lines.low_slope * x + lines.low_offset <= layer(x) + 1e-12).all()
    assert (lines.high_slope * x + lines.high_offset >= layer(x) - 1e-12).all()


def test_margins_are_bounds_over_the_box_and_exact_at_radius_0():
    game = some_game()
    z, sample = drawn(game)
    x, _ = game.split(z)
    radii = torch.tensor([0.0, 0.05, 0.1, 0.3], dtype=torch.float64).expand(2, 4)
    bound = game.margins(x, radii, sample)
    low, high = (sample.images - radii.unsqueeze(-1)).clamp(0, 1), (sample.images + radii.unsqueeze(-1)).clamp(0, 1)
    for seed in range(500):
        u = torch.rand(low.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        images = low + (high - low) * (u.round() if seed % 2 else u)
        logits = game.logits(x, images)
        assert (bound <= logits.gather(-1, sample.labels.unsqueeze(-1)) - logits + 1e-12).all()
    clean = game.logits(x, sample.images)
    assert torch.allclose(bound[:, 0], (clean.gather(-1, sample.labels.unsqueeze(-1)) - clean)[:, 0])


def test_runs_side_by_side_modules_and_mlps_agree():
    mlp = rg.MLP((3, 5, 4, 3))
    module = Network(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))
    game, other = some_game(network=mlp), some_game(network=module)
    z, sample = drawn(game)
    together, apart = game.field(z, sample), other.field(z, sample)
    assert torch.allclose(together, apart, atol=1e-12) and together.abs().sum() > 0
    for i in range(2):
        one = type(sample)(*(part[i] for part in sample))
        assert torch.allclose(game.field(z[i], one), together[i], atol=1e-12)
        assert torch.allclose(other.field(z[i], one), together[i], atol=1e-12)


def test_the_payoff_is_that_of_the_paper_and_grows_with_the_radius():
    """κ L(z, y) + (1 - κ) L(ẑ, y) at the full radius, the clean loss at radius 0, κ linear between: Gowal et al."""
    game = some_game(kappa=0.3)
    z, sample = drawn(game)
    x, _ = game.split(z)
    losses = [game.payoff(x, torch.full((2, 4), rho, dtype=torch.float64), sample) for rho in (0.0, 0.05, 0.1)]
    assert (losses[0] < losses[1]).all() and (losses[1] < losses[2]).all()
    ce = nn.functional.cross_entropy
    clean = torch.stack([ce(logits, y) for logits, y in zip(game.logits(x, sample.images), sample.labels, strict=True)])
    assert torch.allclose(losses[0], clean)
    worst = -game.margins(x, torch.full((2, 4), 0.1, dtype=torch.float64), sample)
    robust = torch.stack([ce(logits, y) for logits, y in zip(worst, sample.labels, strict=True)])
    assert torch.allclose(losses[2], 0.3 * clean + 0.7 * robust)
    half = -game.margins(x, torch.full((2, 4), 0.05, dtype=torch.float64), sample)
    middle = torch.stack([ce(logits, y) for logits, y in zip(half, sample.labels, strict=True)])
    assert torch.allclose(losses[1], 0.65 * clean + 0.35 * middle)
    best = game.best_response(z, 1)
    assert torch.equal(best, torch.full((2, 4), 0.1, dtype=torch.float64)) and game.best_response(z, 0) is None
    assert (game.field(z, sample, 1) >= 0).all()  # the attacker gains by every increase


def test_the_radius_grows_over_the_ramp_and_a_step_is_one_call():
    solver = make_solver("ibp_training", horizon=40, ema=0)
    assert isinstance(solver, BestResponse) and (solver.ramp, solver.inner_steps, solver.start) == (20, 0, "exact")
    assert make_solver("ibp_training", horizon=40, ramp=8, ema=0).ramp == 8
    agent = rg.GameAgent(rg.GameVectorEnv(some_game(), 1, dtype="float64"), solver, seed=0)
    radii = []
    for _ in range(40):
        agent.learn(1, reset_num_timesteps=False, log_interval=10**9)
        radii.append(float(agent.game.split(agent.z)[1].unique()))
    assert agent.num_timesteps == 40
    assert radii == pytest.approx([0.1 * min(1, k / 20) for k in range(1, 41)])


@pytest.mark.parametrize("network", [None, "convolutions"])
def test_certified_training_certifies(network):
    data = digits()
    module = Network(lambda: nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(),
                                           nn.Flatten(), nn.Linear(128, 10)))  # fmt: skip
    game = DigitsAdversarial(eps=0.05, hidden=(32,), attacker="interval")
    if network:
        game = rg.games.HeldOut(data, module, eps=0.05, attacker="interval")
    agent = rg.GameAgent(rg.GameVectorEnv(game, 1), make_solver("ibp_training", lr=0.01, horizon=400), seed=0)
    before = float(accuracies(agent.game.held_out, agent.z)["certified_accuracy"])
    agent.learn(400)
    found = {name: float(value) for name, value in accuracies(agent.game.held_out, agent.best()).items()}
    assert before < 0.1 and 0.7 < found["certified_accuracy"] <= found["pgd40_accuracy"] <= found["clean_accuracy"]
    assert found["clean_accuracy"] > 0.92
    weights = agent.game.split(agent.best())[0][0]
    model = game.network.as_module(weights)
    shared = rg.certificates.certify(model, data.test_images, data.test_labels, 0.05, method="ibp")
    assert abs(shared.certified_accuracy - found["certified_accuracy"]) <= 1 / 360


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "l2"}, "norm is l2: attacker='interval' needs norm='linf'; leave norm out, or choose"),
        ({"loss": "hinge"}, "loss is hinge: attacker='interval' needs loss='cross_entropy'"),
        ({"trades": 6.0}, "trades is 6.0: attacker='interval' needs trades=0"),
        ({"precision": "bfloat16"}, "precision is bfloat16: attacker='interval' needs precision='float32'"),
        ({"attacker": "minibatch", "kappa": 0.3}, "kappa is 0.3: it belongs to attacker='interval'; leave it out"),
        ({"kappa": 1.5}, "kappa is 1.5: the weight of the clean loss is between 0 and 1"),
        ({"network": rg.MLP((3, 4, 3), norm=True)}, r"LayerNorm \(1\) has no bounds"),
    ],
)
def test_what_interval_training_cannot_do_is_refused(settings, message):
    with pytest.raises(rg.GameError, match=message):
        some_game(**settings)


def test_the_game_keeps_the_contract_of_a_game():
    check_game(DigitsAdversarial(hidden=(8,), attacker="interval", batch_size=4))
    check_solver(make_solver("ibp_training", ramp=3))


def test_a_game_without_a_known_best_response_is_refused():
    for name in ("DigitsAdversarial", "Forsaken"):
        env = rg.envs.make(f"robustgames/{name}-v0", 1)
        with pytest.raises(rg.GameError, match=r"knows no best response of its player .*: against a classifier"):
            rg.GameAgent(env, "ibp_training")
    with pytest.raises(rg.GameError, match="ramp is -1"):
        make_solver("ibp_training", ramp=-1)


def test_the_network_of_a_run_as_a_module_is_the_network():
    generator = torch.Generator().manual_seed(0)
    for activation, last, norm in (("relu", None, False), ("tanh", "elu", True), ("leaky_relu", "tanh", False)):
        mlp = rg.MLP((3, 5, 4, 2), activation=activation, last=last, norm=norm)
        w, x = mlp.initial((), generator, torch.float64), torch.randn(7, 3, dtype=torch.float64, generator=generator)
        assert torch.equal(mlp.as_module(w)(x), mlp(w, x))
    network = Network(lambda: small_cnn((2, 2), 4))
    w, x = network.initial((), generator, torch.float32), torch.rand(3, 784, generator=generator)
    assert torch.equal(network.as_module(w)(x), network(w, x))


@pytest.mark.parametrize("network", [rg.MLP((3, 2)), Network(lambda: nn.Linear(3, 2))])
def test_the_network_of_a_run_as_a_module_is_a_copy(network):
    w = torch.arange(8.0)
    module = network.as_module(w)
    w.zero_()  # e.g. a later step of the run, in place
    assert torch.equal(module(torch.ones(3)), torch.tensor([9.0, 19.0]))  # 0 + 1 + 2 + 6, 3 + 4 + 5 + 7
    for parameter in module.parameters():
        parameter.fill_(1.0)
    assert not w.any()
