"""Where the paper writes a new ζ, a new ζ is drawn; where it holds one, it is held."""

import pytest
import torch

import robustgames as rg
from robustgames.solvers import SGD, Adam, BestResponse, Momentum, Optimistic, respond

KIND = torch.float64


class Counted(rg.ZeroSumGame):
    """Φ = (x + ζ) y, with the list of (ζ, player) that the field was asked with; ζ = 1, 2, 3, ..."""

    sizes = (1, 1)

    def __init__(self):
        self.log, self.count = [], [0]

    def draw(self, shape, generator):
        self.count[0] += 1
        return torch.full((*shape, 1), float(self.count[0]), dtype=KIND)

    def payoff(self, x, y, sample):
        return ((x + sample) * y).squeeze(-1)

    def field(self, z, sample=None, player=None):
        self.log.append((int(sample), player))
        return super().field(z, sample, player)


def asked(solver, steps=2):
    """Return (ζ, player) of every call after init, ζ counted from the first draw of the first step."""
    game = Counted().to(dtype=KIND)
    oracle = rg.Oracle(game)
    z = torch.tensor([0.3, 0.2], dtype=KIND)
    with torch.no_grad():
        state = solver.init(oracle, z)
        first, game.log[:] = game.count[0], []
        for _ in range(steps):
            z, state = solver.step(oracle, z, state)
    return [(sample - first, player) for sample, player in game.log]


@pytest.mark.parametrize(
    ("solver", "calls"),
    [
        (rg.make_solver("gda"), [(1, None), (2, None)]),
        (rg.make_solver("alt_gda"), [(1, 0), (2, 1), (3, 0), (4, 1)]),
        (rg.make_solver("extragradient"), [(1, None), (2, None), (3, None), (4, None)]),
        (rg.make_solver("optimistic_gda"), [(1, None), (2, None)]),
        (BestResponse(SGD(0.1), SGD(0.1), 2), [(1, 1), (1, 1), (1, 0), (2, 1), (2, 1), (2, 0)]),
        (BestResponse(SGD(0.1), SGD(0.1), 2, "keep", hold=False), [(1, 1), (2, 1), (3, 0), (4, 1), (5, 1), (6, 0)]),
    ],
    ids=["gda", "alt_gda", "extragradient", "optimistic", "Danskin holds", "WGAN draws anew"],
)
def test_samples_are_drawn_where_the_algorithm_says(solver, calls):
    assert asked(solver) == calls


class Walled(rg.ZeroSumGame):
    """Φ = x² - 2x + xy with x in [0, ½]: from a step of size 1 the look-ahead leaves the box unless it is projected."""

    sizes = (1, 1)
    sets = (rg.Box(0.0, 0.5), rg.Box(-1.0, 1.0))

    def payoff(self, x, y, sample):
        return (x * x - 2 * x + x * y).squeeze(-1)


def test_the_look_ahead_of_past_extragradient_is_projected():
    game, lr = Walled().to(dtype=KIND), 1.0
    z = torch.tensor([0.1, 0.0], dtype=KIND)
    path = rg.trajectory(Optimistic(SGD(lr)), game, z, 3)
    v = game.field(z)
    for k in range(3):
        half = game.project(path[k] + lr * v)
        v = game.field(half)
        assert torch.equal(path[k + 1], game.project(path[k] + lr * v))
    unprojected = game.project(z + lr * game.field(z + lr * game.field(z)))
    assert not torch.equal(path[1], unprojected)  # the control: without the projection it is another path


@pytest.mark.parametrize("inner", [Momentum(0.1, beta=0.9), Adam(0.1)])
def test_a_restarted_inner_player_forgets_its_moments_and_a_kept_one_does_not(inner):
    game = rg.games.Quadratic(coupling=1.0).to(dtype=KIND)
    z = torch.tensor([0.4, -0.3], dtype=KIND)

    def by_hand(keep):
        oracle, point, state = rg.Oracle(game), z, inner.init(z[1:])
        outer = SGD(0.1).init(z[:1])
        for _ in range(3):
            if not keep:
                point, state = torch.cat([point[:1], torch.zeros(1, dtype=KIND)]), inner.init(z[1:])
            point, state = respond(inner, oracle, point, 1, 4, state)
            point, outer = respond(SGD(0.1), oracle, point, 0, 1, outer)
        return point

    for start, keep in (("keep", True), ("zero", False)):
        assert torch.equal(rg.trajectory(BestResponse(SGD(0.1), inner, 4, start), game, z, 3)[-1], by_hand(keep))
    assert not torch.equal(by_hand(True), by_hand(False))
