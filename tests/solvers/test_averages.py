"""Averages: what they converge to, which weights they hold, and rules that keep their dual."""

import math

import numpy as np
import pytest
import torch

import robustgames as rg
from robustgames.errors import GameError
from robustgames.evaluation import LAST, metric_of
from robustgames.games import GAN, MLP, MatrixGame, Oracle, Quadratic
from robustgames.games.densities import GaussianMixture
from robustgames.solvers import (
    SGD,
    Adam,
    Averaged,
    Entropic,
    Momentum,
    RMSProp,
    Sign,
    Simultaneous,
    Steepest,
    make_solver,
    trajectory,
)
from robustgames.solvers.fused_adam import FusedAdam
from robustgames.solvers.schemes import Scheme

PENNIES = MatrixGame("matching_pennies")


def final(solver, game, z, steps):
    """Return (z, state) after some steps."""
    oracle = Oracle(game.to(dtype=z.dtype), tuple(z.shape[:-1]))
    with torch.no_grad():
        state = solver.init(oracle, z)
        for _ in range(steps):
            z, state = solver.step(oracle, z, state)
    return z, state


def exact_gap(name, lr, steps):
    """Return the duality gap of the average in matching pennies, from log-weights in float64."""
    w, total = np.log([[0.6, 0.4], [0.7, 0.3]]), np.zeros((2, 2))

    def strategies(w):
        p = np.exp(w - w.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True)

    def field(z):
        matrix = np.array([[1.0, -1.0], [-1.0, 1.0]])
        return np.stack([-matrix @ z[1], z[0] @ matrix])

    past = field(strategies(w))
    for _ in range(steps):
        ahead = w if name == "mirror_descent" else w + lr * (past if name == "optimistic_mwu" else field(strategies(w)))
        past = field(strategies(ahead))
        w = w + lr * past
        total += strategies(w)
    x, y = total / steps
    return abs(x[0] - x[1]) + abs(y[0] - y[1])


@pytest.mark.parametrize("name", ["mirror_descent", "mirror_prox", "optimistic_mwu"])
def test_the_average_of_entropic_steps_converges_in_float32_as_in_exact_arithmetic(name):
    solver, start = make_solver(name, lr=1.0, average="uniform"), torch.tensor([0.6, 0.4, 0.7, 0.3])
    _, state = final(solver, PENNIES, start, 1500)
    gap = float(rg.diagnostics.duality_gap(PENNIES, state["mean"]))
    assert gap == pytest.approx(exact_gap(name, 1.0, 1500), rel=0.01)
    assert gap < 0.04


@pytest.mark.slow
def test_no_action_dies_in_6000_steps():
    solver, start = make_solver("mirror_descent", lr=1.0, average="uniform"), torch.tensor([0.6, 0.4, 0.7, 0.3])
    _, state = final(solver, PENNIES, start, 6000)
    gap = float(rg.diagnostics.duality_gap(PENNIES, state["mean"]))
    assert gap == pytest.approx(exact_gap("mirror_descent", 1.0, 6000), rel=0.01) and gap < 0.02


def test_an_action_returns_from_any_probability():
    rule, z, generator = Entropic(1.0), torch.tensor([0.5, 0.5]), torch.Generator()
    state, against = rule.init(z), torch.tensor([-1.0, 1.0])
    for _ in range(200):  # exp(-400) is 0 in float32 and float64
        z, state = rule.step(z, against, state, generator)
    assert z[0] == 0
    for _ in range(200):
        z, state = rule.step(z, -against, state, generator)
    torch.testing.assert_close(z, torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("name", ["mirror_prox", "optimistic_mwu"])
@pytest.mark.parametrize("lr_y", [None, 2.0])
def test_look_aheads_start_from_the_point_before_them(name, lr_y):
    """Against log-weights written out in float64."""
    game, kind = MatrixGame([[2.0, -1.0], [-1.0, 1.0]]), torch.float64
    z = torch.tensor([0.6, 0.4, 0.7, 0.3], dtype=kind)
    found = trajectory(make_solver(name, lr=3.0, lr_y=lr_y), game, z, 30)  # the orbit is chaotic: rounding grows
    rates = torch.tensor([3.0, 3.0, lr_y or 3.0, lr_y or 3.0], dtype=kind)
    w, past = z.log(), game.field(z)
    for k in range(30):
        ahead = game.field(softmax(w)) if name == "mirror_prox" else past
        past = game.field(softmax(w + rates * ahead))
        w = w + rates * past
        torch.testing.assert_close(found[k + 1], softmax(w), rtol=0, atol=1e-9)


def softmax(w):
    return torch.cat([w[:2].softmax(-1), w[2:].softmax(-1)])


def test_a_step_from_another_point_starts_there():
    rule, generator = Entropic(0.5), torch.Generator()
    _, state = rule.step(torch.tensor([0.2, 0.8]), torch.tensor([3.0, 1.0]), rule.init(torch.zeros(2)), generator)
    z, v = torch.tensor([0.3, 0.7]), torch.tensor([1.0, -1.0])
    for memory in (state, {"k": 1}):  # the second is a checkpoint of an earlier version
        torch.testing.assert_close(rule.step(z, v, memory, generator)[0], (z.log() + 0.5 * v).softmax(-1))


def test_mirror_descent_is_evaluated_at_its_average():
    agent = rg.GameAgent("robustgames/MatchingPennies-v0", make_solver("mirror_descent", lr=0.1)).learn(3000)
    gap = rg.diagnostics.duality_gap
    assert gap(agent.game, agent.best()) < 0.05 < 0.5 < gap(agent.game, agent.z)
    last = rg.GameAgent("robustgames/MatchingPennies-v0", make_solver("mirror_descent", lr=0.1, average=0.0)).learn(300)
    assert torch.equal(last.best(), last.z)
    assert repr(make_solver("mirror_descent", lr=0.1, lr_y=0.2).scheme) == (
        "Simultaneous(rule=(Entropic(lr=0.1), Entropic(lr=0.2)), replays=1)"
    )


class Counting(Scheme):
    """z_k = e_k: the average shows the weight of each iterate."""

    def init(self, oracle, z):
        return {"k": 0}

    def step(self, oracle, z, state):
        k = state["k"] + 1
        return torch.eye(z.shape[-1], dtype=z.dtype)[k], {"k": k}


@pytest.mark.parametrize("decay", [None, 0.0, 0.5, 0.999])
def test_the_weights_of_an_average_are_known_and_sum_to_1(decay):
    steps = 39
    start = torch.eye(steps + 1, dtype=torch.float64)[0]
    mean = final(Averaged(Counting(), decay), Quadratic(n=20), start, steps)[1]["mean"]
    share = [1.0 if decay is None else decay ** (steps - k) for k in range(1, steps + 1)]
    expected = torch.tensor([0.0, *(s / sum(share) for s in share)], dtype=torch.float64)  # z_0 has no weight
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-14)


def test_results_report_the_last_iterate_next_to_the_average(tmp_path):
    from robustgames.experiment import GameExperiment, train

    experiment = GameExperiment(agent="mirror_descent", env="robustgames/MatchingPennies-v0", steps=400, runs=2)
    _, result = train(experiment, tmp_path, progress_bar=False)
    metrics = {name: row["mean"] for name, row in result["metrics"].items()}
    assert metrics["duality_gap"] < metrics[f"{LAST}duality_gap"]
    assert result["start"].keys() == metrics.keys()
    label = metric_of("last_clean_accuracy")
    assert (label.label, label.unit) == ("clean accuracy of the last iterate", "share")


@pytest.mark.parametrize("average", ["uniform", 0.9])
def test_the_average_of_a_spectrally_normalized_critic_is_normalized(average):
    game = GAN(MLP((2, 8, 2)), MLP((2, 16, 16, 1)), GaussianMixture.grid(), lipschitz="spectral", batch_size=16)
    solver = make_solver("adam", lr=0.05, average=average)
    agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=2), solver).learn(12)
    for point in (agent.average(), agent.best()):
        weights = game.critic.normalized(game.split(point)[1])
        parts = weights.split([math.prod(shape) for shape in game.critic.network.parameter_shapes], -1)
        for part, shape in zip(parts, game.critic.network.parameter_shapes, strict=True):
            if len(shape) > 1:
                largest = torch.linalg.svdvals(part.unflatten(-1, shape))[..., 0]
                torch.testing.assert_close(largest, torch.ones(2), rtol=0, atol=1e-5)
    broken = torch.full_like(agent.z, float("nan"))
    assert game.settle_fully(broken).isnan().all()


# -- rules at the edge of their settings ------------------------------------------------------------------
@pytest.mark.parametrize("rule", [Adam, RMSProp, FusedAdam])
@pytest.mark.parametrize("eps", [0.0, 1e-60])
def test_without_eps_a_coordinate_without_gradient_stays(rule, eps):
    z, v = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 1e-25])  # the square of 1e-25 is 0 in float32
    rule = rule(0.1, eps=eps)
    z, _ = rule.step(z, v, rule.init(z), torch.Generator())
    assert z[0] == 1 and z[1] > 2 and z[2] == 3


@pytest.mark.parametrize("rule", [Sign(0.1), Steepest(0.1, "linf"), Steepest(0.1, "l2"), Steepest(0.1, "l1")])
def test_signed_steps_are_finite_at_0_and_keep_nan(rule):
    z = torch.ones(2)
    assert torch.equal(rule.step(z, torch.zeros(2), rule.init(z), torch.Generator())[0], z)
    assert rule.step(z, torch.tensor([float("nan"), 1.0]), rule.init(z), torch.Generator())[0].isnan().any()


@pytest.mark.parametrize(
    "build",
    [
        lambda: SGD(True),
        lambda: SGD(torch.tensor([[True]])),
        lambda: SGD(torch.tensor([[1j]])),
        lambda: SGD("0.1"),
        lambda: Momentum(0.1, beta="0.9"),
        lambda: Adam(0.1, betas=(False, 0.9)),
        lambda: RMSProp(0.1, eps=True),
        lambda: Simultaneous(Entropic(True)),
    ],
)
def test_settings_that_are_not_numbers_are_refused(build):
    with pytest.raises(GameError):
        build()


@pytest.mark.parametrize(("name", "power"), [("uniform", 0), ("linear", 1), ("quadratic", 2)])
def test_averages_by_name_have_weights_that_grow_like_a_power(name, power):
    start, steps = torch.tensor([1.0, -0.5], dtype=torch.float64), 30
    game = Quadratic(coupling=1.0)
    points = trajectory(make_solver("extragradient", lr=0.1), game, start, steps)[1:]
    weights = torch.ones(steps, dtype=torch.float64)
    for i in range(power):
        weights *= torch.arange(1, steps + 1) + i
    expected = (weights.unsqueeze(-1) * points).sum(0) / weights.sum()
    _, state = final(make_solver("extragradient", lr=0.1, average=name), game, start, steps)
    torch.testing.assert_close(state["mean"], expected, rtol=0, atol=1e-13)


def test_an_average_of_look_aheads_is_that_of_the_half_steps():
    start, game = torch.tensor([1.0, -0.5], dtype=torch.float64), Quadratic(coupling=1.0).to(dtype=torch.float64)
    points = trajectory(make_solver("extragradient", lr=0.1), game, start, 20)[:-1]
    halves = points + 0.1 * game.field(points)
    solver = make_solver("extragradient", lr=0.1, average="uniform", average_lookaheads=True)
    torch.testing.assert_close(final(solver, game, start, 20)[1]["mean"], halves.mean(0), rtol=0, atol=1e-13)


def test_averages_that_cannot_be_kept_are_refused():
    with pytest.raises(GameError, match="average_lookaheads averages nothing without an average"):
        make_solver("gda", average_lookaheads=True)
    with pytest.raises(GameError, match="'uniform', 'linear', 'quadratic' or a decay"):
        make_solver("gda", average="cubic")
    with pytest.raises(GameError, match="power is 1: a whole number >= 0, and 0 with a decay"):
        Averaged(Simultaneous(SGD(0.1)), decay=0.9, power=1)
