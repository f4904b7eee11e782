"""Fields, batches of runs, oracles, networks, and the solvers as plain data."""

import dataclasses
import inspect
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import robustgames as rg
from robustgames.errors import GameError
from robustgames.games import (
    MLP,
    AdversarialClassification,
    AlmostBilinear,
    Bilinear,
    Box,
    DiracGAN,
    FiniteSumBilinear,
    Forsaken,
    Game,
    GeneralSumGame,
    MatrixGame,
    Network,
    Noisy,
    Oracle,
    Polar,
    Quadratic,
    RobustRegression,
    Space,
    ZeroSumGame,
)
from robustgames.solvers import (
    RECIPES,
    SGD,
    Adam,
    Averaged,
    BestResponse,
    Extragradient,
    InversePower,
    Momentum,
    Optimistic,
    Sign,
    Simultaneous,
    TorchRule,
    make_solver,
    trajectory,
)
from robustgames.solvers.config import from_config, to_config
from robustgames.testing import check_game

KIND = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def classification(batch_size=4, eps=0.1, low=0.0, high=1.0, cls=AdversarialClassification, **settings):
    images = low + (high - low) * torch.rand(12, 6, dtype=KIND, generator=generator())
    labels = torch.arange(12) % 3
    return cls(images, labels, MLP((6, 5, 3), "tanh"), eps, batch_size, **settings).to(dtype=KIND)


MATRIX = [[1.0, -2.0, 0.5], [0.3, 1.0, -1.0]]
ZERO_SUM = {
    "bilinear": Bilinear(MATRIX).to(dtype=KIND),
    "bilinear in a box": Bilinear(MATRIX, radius=1.0).to(dtype=KIND),
    "quadratic": Quadratic([[2.0, 0.5], [0.5, 1.0]], 1.5, [[1.0], [-2.0]]).to(dtype=KIND),
    "almost bilinear": AlmostBilinear().to(dtype=KIND),
    "forsaken": Forsaken().to(dtype=KIND),
    "rock paper scissors": MatrixGame("rock_paper_scissors").to(dtype=KIND),
    "matrix game": MatrixGame(MATRIX).to(dtype=KIND),
    "dirac gan": DiracGAN(0.3).to(dtype=KIND),
    "classification": classification(),
    "interval": classification(attacker="interval"),
}
GAMES = ZERO_SUM | {"polar": Polar().to(dtype=KIND), "classification": classification(batch_size=None)}
GAMES["interval"] = classification(batch_size=None, attacker="interval")
ENTROPIC = {"mirror_descent", "mirror_prox", "optimistic_mwu", "magnetic", "double_oracle"}
ENTROPIC |= {"regret_matching", "rm_plus", "predictive_rm_plus"}
TRAINING = {name for name in RECIPES if name.endswith("_training")}


UNCONSTRAINED = {"feg", "competitive_gd", "follow_ridge", "lead", "newton"}
SECOND_ORDER = {"consensus", "follow_ridge", "newton"}  # longer steps diverge from starts this far
NOISY = {"langevin", "mirror_gan", "mirror_prox_gan", "mixed_ne_ld"}


def settings_of(recipe):
    if recipe in NOISY:  # a batch and a run alone draw other noise
        return {"noise": 0.0}
    return {"start": "zero"} if recipe == "adversarial_training" else {}


def suits(recipe, game):
    if recipe == "fast_training":  # adversarial_training with a random start, which differs between batches
        return False
    interval = isinstance(game, AdversarialClassification) and game.graph is not None
    if recipe == "ibp_training":
        return interval
    if recipe == "adversarial_training" and interval:  # the slope at radius 0, where it starts here, is rounding
        return False
    if recipe in ENTROPIC:
        return isinstance(game, MatrixGame)
    if recipe in UNCONSTRAINED:
        zero_sum = isinstance(game, rg.ZeroSumGame) or recipe != "competitive_gd"
        return zero_sum and all(isinstance(part, Space) for part in game.sets)
    if recipe == "stay_on_ridge":
        return all(isinstance(part, Space | Box) for part in game.sets) and sum(game.sizes) <= 64
    return recipe not in TRAINING or isinstance(game, AdversarialClassification)


PAIRS = [pytest.param(g, r, id=f"{name}-{r}") for name, g in GAMES.items() for r in RECIPES if suits(r, g)]


@pytest.mark.parametrize("game", ZERO_SUM.values(), ids=ZERO_SUM.keys())
def test_field_descends_in_x_and_ascends_in_y(game):
    z, sample, h = game.initial((3,), generator()), game.draw((3,), generator()), 1e-6
    v = game.field(z, sample)
    for i in range(z.shape[-1]):
        step = h * torch.eye(z.shape[-1], dtype=KIND)[i]
        slope = game.payoff(*game.split(z + step), sample) - game.payoff(*game.split(z - step), sample)
        expected = slope / (2 * h) * (-1 if i < game.sizes[0] else 1)
        torch.testing.assert_close(v[:, i], expected, rtol=1e-6, atol=1e-8)
    (reward_x, reward_y), w = game.evaluate(z, sample)
    assert torch.equal(w, v)
    assert torch.equal(reward_y, game.payoff(*game.split(z), sample)) and torch.equal(reward_x, -reward_y)


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())
def test_one_players_field_is_its_block(game):
    z, sample = game.initial((3,), generator()), game.draw((3,), generator())
    for player, block in enumerate(game.split(game.field(z, sample))):
        assert torch.equal(game.field(z, sample, player), block)


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())
def test_field_of_a_batch_is_the_field_of_its_rows(game):
    z = game.initial((4,), generator())
    rows = torch.stack([game.field(row, game.draw((), generator())) for row in z])
    torch.testing.assert_close(game.field(z, game.draw((4,), generator())), rows, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("game", "recipe"), PAIRS)
def test_runs_of_a_batch_equal_separate_runs(game, recipe):
    lr = 1e-4 if recipe in SECOND_ORDER else 0.05
    rate = {"lr": lr} if "lr" in inspect.signature(RECIPES[recipe]).parameters else {}
    solver = make_solver(recipe, average="uniform", **rate, **settings_of(recipe))
    starts = game.initial((4,), generator())
    together = trajectory(solver, game, starts, 20)
    assert not torch.equal(together[0], together[-1])
    for i in range(4):
        torch.testing.assert_close(together[:, i], trajectory(solver, game, starts[i], 20), rtol=0, atol=1e-10)


class TwoLosses(GeneralSumGame):
    sizes = (1, 1)

    def losses(self, x, y, sample):
        value = Forsaken().payoff(x, y)
        return value, -value


def test_opposite_losses_are_a_zero_sum_game():
    z, game = torch.randn(5, 2, dtype=KIND, generator=generator()), Forsaken()
    (general, v), (zero_sum, w) = TwoLosses().evaluate(z), game.evaluate(z)
    assert torch.equal(TwoLosses().field(z), v)
    torch.testing.assert_close(v, w, rtol=0, atol=1e-12)  # one by autograd, the other in closed form
    assert torch.equal(TwoLosses().field(z, None, 1), v[:, 1:])
    assert torch.equal(torch.stack(general), torch.stack(zero_sum))


def test_noise_has_its_mean_and_deviation_and_metrics_are_exact():
    game = Noisy(Quadratic(1.0, 2.0, 3.0), std=0.5, bias=[0.25, -1.0]).to(dtype=KIND)
    z, count = torch.tensor([1.0, -2.0], dtype=KIND).expand(100_000, 2), 100_000
    sample = game.draw((count,), generator())
    error = game.field(z, sample) - game.game.field(z)
    assert (error.mean(0) - torch.tensor([0.25, -1.0])).abs().max() < 4 * 0.5 / count**0.5
    assert (error.std(0) - 0.5).abs().max() < 4 * 0.5 / (2 * count) ** 0.5
    assert torch.equal(game.field(z, sample, 1), game.field(z, sample)[:, 1:])
    assert torch.equal(game.evaluate(z, sample)[1], game.field(z, sample))
    assert all(torch.equal(game.metrics(z, sample)[k], v) for k, v in game.game.metrics(z).items())
    with pytest.raises(GameError, match="a number or 2 numbers"):
        Noisy(Bilinear(), bias=[1.0])
    with pytest.raises(GameError, match="standard deviation -1"):
        Noisy(Bilinear(), std=-1.0)


class Broken(ZeroSumGame):
    def __init__(self, sizes=(2, 2), first=2, keep=True):
        self.sizes, self.first, self.keep = sizes, first, keep

    def start(self, player, shape, generator):
        return torch.zeros(*shape, self.first if player == 0 else self.sizes[1])

    def payoff(self, x, y, sample):
        return (x * y).sum(-1, keepdim=self.keep)


class OneBrokenLoss(GeneralSumGame):
    sizes = (1, 1)

    def __init__(self, broken):
        self.broken = broken

    def losses(self, x, y, sample):
        return (x * y).sum(-1), -(x * y).sum() if self.broken == "sum" else -x * y


class ShortField(Polar):
    def field(self, z, sample=None, player=None):
        return z[..., :1]


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (Broken(), r"payoff of Broken .* \(8, 1\) .* expected \(8,\); did you forget \.squeeze\(-1\) or \.sum\(-1\)\?"),
        (Broken(first=3), r"initial of Broken returned shape \(8, 5\) for runs \(8,\): expected \(8, 4\)"),
        (Broken(sizes=(0, 0)), r"Broken\.sizes is \(0, 0\)"),
        (Broken(sizes=(2, -1)), r"Broken\.sizes is \(2, -1\)"),
        (OneBrokenLoss("row"), r"losses of OneBrokenLoss returned shape \(8, 1\) .* expected \(8,\)"),
        (OneBrokenLoss("sum"), r"losses of OneBrokenLoss returned shape \(\) .* expected \(8,\)"),
        (ShortField(), r"field of ShortField returned shape \(8, 1\) for z of shape \(8, 2\)"),
    ],
)
def test_wrong_shapes_are_refused_once_by_the_oracle(game, message):
    with pytest.raises(GameError, match=message):
        Oracle(game, (8,))


@pytest.mark.parametrize(
    "build",
    [
        lambda a: MatrixGame(a),
        lambda a: Bilinear(a),
        lambda a: Quadratic(a @ a.T, 1.0, a[:, :1]),
        lambda a: FiniteSumBilinear(matrices=a[None]),
        lambda a: RobustRegression(features=a, target=a[:, 0]),
        lambda a: Noisy(Bilinear(n=2), bias=a.ravel()),
    ],
)
def test_a_game_keeps_its_constants_when_the_arrays_given_to_it_change(build):
    """Its solution is computed once, from the constants that it was given."""
    a = np.array([[1.0, 2.0], [0.0, 3.0]])
    game = build(a)
    z = torch.rand(sum(game.sizes), generator=generator())
    sample = game.draw((), generator(1))
    before = game.field(z, sample)
    a += 5
    assert torch.equal(game.field(z, sample), before)


class InPlacePayoff(ZeroSumGame):
    sizes = (1, 1)

    def payoff(self, x, y, sample):
        x -= 1
        return (x * y).sum(-1)


class InPlaceField(Polar):
    def field(self, z, sample=None, player=None):
        z *= 0.5
        return super().field(z, sample, player)


class InPlaceSample(ZeroSumGame):
    sizes = (1, 1)

    def draw(self, shape, generator):
        return torch.randn(*shape, generator=generator)

    def payoff(self, x, y, sample):
        sample += 1
        return (x * y).sum(-1) * sample


@pytest.mark.parametrize(
    ("game", "what"), [(InPlacePayoff(), "strategies"), (InPlaceField(), "strategies"), (InPlaceSample(), "sample")]
)
def test_games_that_change_their_arguments_are_refused(game, what):
    """Else the iterates of a run would move by more than its steps, and a sample differ between its two uses."""
    with pytest.raises(GameError, match=rf"{type(game).__name__} changes its {what} in place: write x = 2 \* x"):
        Oracle(game, (8,))


CALLS = {"gda": 1, "adam": 1, "alt_gda": 2, "extragradient": 2, "extra_adam": 2, "optimistic_gda": 1,
         "optimistic_adam": 1, "alt_extra_adam": 4, "adversarial_training": 4, "standard_training": 1}  # fmt: skip


@pytest.mark.parametrize(("recipe", "calls"), CALLS.items())
def test_calls_per_step(recipe, calls):
    game = classification()
    oracle, solver, z = Oracle(game), make_solver(recipe), game.initial((), generator())
    state = solver.init(oracle, z)
    first = 1 if recipe.startswith("optimistic") else 0
    assert oracle.calls == first
    for _ in range(3):
        z, state = solver.step(oracle, z, state)
    assert oracle.calls == first + 3 * calls


KINDS = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "leaky_relu": nn.LeakyReLU}


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("activation", KINDS)
def test_mlp_equals_a_sequential_module(shape, activation):
    net = MLP((4, 7, 3), activation)
    module = nn.Sequential(nn.Linear(4, 7), KINDS[activation](), nn.Linear(7, 3)).double()
    weights = net.initial(shape, generator(), KIND)
    inputs = torch.randn(*shape, 5, 4, dtype=KIND, generator=generator(1))
    shared, own = net(weights, inputs.reshape(-1, 5, 4)[0]), net(weights, inputs)
    assert own.shape == (*shape, 5, 3) and net.size == weights.shape[-1]
    flat = weights.reshape(-1, net.size), inputs.reshape(-1, 5, 4), own.reshape(-1, 5, 3), shared.reshape(-1, 5, 3)
    for w, a, out, same in zip(*flat, strict=True):
        nn.utils.vector_to_parameters(w, module.parameters())
        torch.testing.assert_close(out, module(a), rtol=0, atol=1e-14)
        torch.testing.assert_close(same, module(inputs.reshape(-1, 5, 4)[0]), rtol=0, atol=1e-14)


def convolution():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


def test_network_equals_its_module_and_starts_reproducibly():
    net = Network(convolution).to(dtype=KIND)
    weights = net.initial((2, 3), generator(), KIND)
    inputs = torch.rand(2, 3, 5, 1, 4, 4, dtype=KIND, generator=generator())
    out, module = net(weights, inputs), convolution().double()
    assert out.shape == (2, 3, 5, 3)
    for w, a, b in zip(weights.reshape(6, -1), inputs.reshape(6, 5, 1, 4, 4), out.reshape(6, 5, 3), strict=True):
        nn.utils.vector_to_parameters(w, module.parameters())
        torch.testing.assert_close(b, module(a), rtol=0, atol=1e-12)
        torch.testing.assert_close(net(w, a), module(a), rtol=0, atol=1e-12)
    assert len({tuple(w.tolist()) for w in weights.reshape(6, -1)}) == 6
    torch.manual_seed(5)  # the global generator plays no part, and is left alone
    state = torch.get_rng_state()
    assert torch.equal(net.initial((2, 3), generator(), KIND), weights)
    assert torch.equal(torch.get_rng_state(), state)
    fixed = Network(module).initial((2,), generator(), KIND)
    assert torch.equal(fixed[0], nn.utils.parameters_to_vector(module.parameters())) and torch.equal(fixed[0], fixed[1])


def test_modules_with_hidden_state_are_refused():
    with pytest.raises(GameError, match="BatchNorm1d at '1' keeps running statistics"):
        Network(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with pytest.raises(GameError, match="Dropout at '0' draws from the global generator"):
        Network(lambda: nn.Sequential(nn.Dropout(0.5)))
    Network(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False), nn.Dropout(0.0)))


class Watched(AdversarialClassification):
    """Fails as soon as the field is asked at a perturbation outside the ball or the image range."""

    def field(self, z, sample=None, player=None):
        y = self.split(z)[1].view(sample.images.shape)
        attacked = sample.images + y
        assert y.abs().max() <= self.eps + 1e-12
        assert attacked.min() >= -1e-12 and attacked.max() <= 1 + 1e-12
        return super().field(z, sample, player)


@pytest.mark.parametrize("start", ["random", "zero", "keep"])
@pytest.mark.parametrize("inner_steps", [0, 3])
def test_perturbed_images_stay_images_at_every_call(start, inner_steps):
    game = classification(cls=Watched, eps=0.3)
    solver = BestResponse(SGD(0.1), Sign(0.2), inner_steps, start)
    trajectory(solver, game, game.initial((2,), generator()), 10)


@pytest.mark.parametrize("recipe", ["gda", "alt_gda", "extragradient", "optimistic_gda"])
def test_perturbed_images_stay_images_in_every_scheme(recipe):
    game = classification(cls=Watched, eps=0.3)
    trajectory(make_solver(recipe, lr=0.5), game, game.initial((2,), generator()), 10)


def test_one_signed_step_from_zero_is_fgsm_and_then_danskins_gradient():
    game = classification(batch_size=None, low=0.2, high=0.8)
    z = game.initial((), generator())
    x, module = game.split(z)[0], nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    nn.utils.vector_to_parameters(x, module.parameters())
    images = game.images.clone().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(module(images), game.labels), images)
    attack = 0.1 * g.sign()
    loss = cross_entropy(module(game.images + attack), game.labels)
    slope = nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(module.parameters())))
    after_x, after_y = game.split(trajectory(BestResponse(SGD(0.5), Sign(0.1), 1, "zero"), game, z, 1)[1])
    assert torch.equal(after_y, attack.flatten())
    torch.testing.assert_close(after_x, x - 0.5 * slope, rtol=0, atol=1e-14)


def test_impossible_classification_games_are_refused():
    images, labels, net = torch.rand(4, 6), torch.zeros(4, dtype=torch.long), MLP((6, 2))
    for bad in (255 * images + 1, images - 2, images * float("nan")):
        with pytest.raises(GameError, match=r"must be scaled to \[0, 1\]"):
            AdversarialClassification(bad, labels, net)
    for eps in (-0.1, float("nan"), 8.0):
        with pytest.raises(GameError, match=r"the radius of the attack is in \[0, 1\]"):
            AdversarialClassification(images, labels, net, eps)


SOLVERS = [
    *(make_solver(name) for name in RECIPES),
    make_solver("gda", lr=0.1, lr_y=0.2),
    make_solver("extra_adam", average=0.999),
    Averaged(Optimistic((Momentum(0.1, -0.5), Adam())), lookahead=True),
    Extragradient(SGD(InversePower(0.5, 0.6)), alternating=True),
    Simultaneous(TorchRule(torch.optim.Adam, {"lr": 0.1, "betas": (0.5, 0.9), "amsgrad": True})),
]


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_solvers_survive_the_trip_through_json(solver):
    assert from_config(json.loads(json.dumps(to_config(solver)))) == solver


def test_rate_tensors_survive_the_trip_through_json():
    rates = torch.tensor([[0.1], [0.3]], dtype=KIND)
    loaded = from_config(json.loads(json.dumps(to_config(make_solver("gda", lr=rates)))))
    assert torch.equal(loaded.rule.lr, rates) and loaded.rule.lr.dtype == KIND


def test_what_cannot_be_written_or_read_is_refused():
    with pytest.raises(GameError, match="write a schedule as a frozen dataclass like InversePower"):
        to_config(SGD(lambda k: 0.1 / k))
    with pytest.raises(GameError, match="unknown solver class 'Simultanous': did you mean Simultaneous"):
        from_config({"class": "Simultanous"})


def test_unknown_names_show_close_matches():
    with pytest.raises(GameError, match="unknown agent 'extradam': did you mean extra_adam"):
        make_solver("extradam")
    with pytest.raises(GameError, match="unknown setting of gda 'lrr': did you mean lr"):
        make_solver("gda", lrr=0.1)
    with pytest.raises(GameError, match="known: adam, adaptive_eg_plus"):
        make_solver("zzzz")
    with pytest.raises(GameError, match="average is 'exponential'"):
        make_solver("gda", average="exponential")
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_solver("gda").rule = SGD(1.0)


# -- check_game ----------------------------------------------------------------------------------------------------
def broken(method, base=ZeroSumGame, name="payoff"):
    return type("Mine", (base,), {"sizes": (2, 2), name: method})


@pytest.mark.parametrize(
    ("game", "error"),
    [
        (
            broken(lambda self, x, y, sample: ((x @ torch.eye(2)) * y).sum(-1)),
            "Mine: payoff raised RuntimeError in float64, .* derive constants from x, e.g. c.to",
        ),
        (
            broken(lambda self, x, y, sample: (x * y).float().sum(-1)),
            "payoff is torch.float32 in a game in torch.float64; derive constants from x",
        ),
        (broken(lambda self, x, y, sample: torch.zeros(x.shape[:-1])), "payoff is a constant: it does not depend on"),
        (broken(lambda self, x, y, sample: (x * y).sum(-1).detach()), "payoff is a constant: .* without .detach()"),
        (
            broken(lambda self, x, y: (x * y).sum(-1)),
            r"payoff must take \(x, y, sample\); write def payoff\(self, x, y, sample\)",
        ),
        (broken(lambda self, x, y: (x, y), GeneralSumGame, "losses"), r"losses must take \(x, y, sample\)"),
        (broken(lambda self, z: z, Game, "field"), r"write def field\(self, z, sample=None, player=None\)"),
    ],
    ids=["float32 constant", "float32 value", "constant", "detached", "payoff(x, y)", "losses(x, y)", "field(z)"],
)
def test_check_game_says_in_one_line_what_to_change(game, error):
    with pytest.raises(GameError, match=error) as caught:
        check_game(game)
    assert "\n" not in str(caught.value)


class OnLists(rg.ZeroSumGame):
    """A game whose sets are a list, in place of the tuple of the base class."""

    sizes = (2, 2)
    sets = [rg.Simplex(), rg.Simplex()]  # noqa: RUF012

    def payoff(self, x, y, sample):
        return (x * y).sum(-1)


def test_sets_given_as_a_list_constrain_the_strategies():
    env = rg.GameVectorEnv(OnLists, num_envs=3)
    agent = rg.GameAgent(env, "gda", seed=0).learn(20)
    for block in agent.game.split(agent.z):
        torch.testing.assert_close(block.sum(-1), torch.ones(3))


@pytest.mark.parametrize("sets", ["simplex", ("box", 3), None, (rg.Simplex(),), 5])
def test_sets_that_are_not_two_sets_are_refused(sets):
    kind = type("Odd", (OnLists,), {"sets": sets})
    with pytest.raises(rg.GameError, match=r"sets of Odd are .*: two sets, e\.g\."):
        rg.GameVectorEnv(kind, num_envs=3)
