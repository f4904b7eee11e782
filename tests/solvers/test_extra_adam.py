"""ExtraAdam's iterates, rules against torch.optim, what rules and schemes must not change, and their applications."""

import copy
import math
from dataclasses import dataclass, fields, replace
from itertools import product

import pytest
import torch

from robustgames.errors import GameError
from robustgames.games import Bilinear, MatrixGame, Oracle
from robustgames.solvers import (
    SGD,
    Adam,
    Alternating,
    Averaged,
    BestResponse,
    Consensus,
    CurvatureEGPlus,
    DampedNewton,
    DoubleOracle,
    Entropic,
    Extragradient,
    GoldenRatio,
    HalfTurnAround,
    InversePower,
    Langevin,
    LangevinChains,
    Linear,
    Lookahead,
    Momentum,
    Optimistic,
    OptimisticAdam,
    RegretMatching,
    RMSProp,
    Rule,
    Scheme,
    Sign,
    Simultaneous,
    StayOnRidge,
    SymplecticAdjustment,
    Tally,
    TorchRule,
    Turns,
    make_solver,
    trajectory,
)
from robustgames.solvers.annealing import annealed

KIND = torch.float64
RULES = {
    "sgd": SGD(0.1),
    "sgd schedule": SGD(InversePower(0.5)),
    "momentum": Momentum(0.1, 0.9),
    "rmsprop": RMSProp(0.1),
    "adam": Adam(0.1, (0.5, 0.9)),
    "sign": Sign(0.1),
    "langevin": Langevin(0.1, 0.5),
    "entropic": Entropic(0.1),
    "torch momentum": TorchRule(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "torch adam": TorchRule(torch.optim.Adam, {"lr": 0.1}),
    "torch nadam": TorchRule(torch.optim.NAdam, {"lr": 0.1}),
    "torch adagrad": TorchRule(torch.optim.Adagrad, {"lr": 0.1}),
}
SCHEMES = {
    "simultaneous": Simultaneous,
    "alternating": Alternating,
    "extragradient": Extragradient,
    "alternating extragradient": lambda rule: Extragradient(rule, alternating=True),
    "optimistic": Optimistic,
    "best response": lambda rule: BestResponse(rule, rule, inner_steps=2, start="keep"),
    "averaged": lambda rule: Averaged(Extragradient(rule), lookahead=True),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES.keys())


def field(z):
    x, y = z
    return -y, x


def extra_adam(steps, exponents, lr=0.1, b1=0.5, b2=0.9, eps=1e-8):
    """ExtraAdam on xy from (1, 1) in plain Python; `exponents(t)` are those of the bias corrections in iteration t."""
    z, m, s, path = [1.0, 1.0], [0.0, 0.0], [0.0, 0.0], []
    for t in range(1, steps + 1):
        point = z
        for k in exponents(t):
            v = field(point)
            m = [b1 * a + (1 - b1) * b for a, b in zip(m, v, strict=True)]
            s = [b2 * a + (1 - b2) * b * b for a, b in zip(s, v, strict=True)]
            corrected = [(a / (1 - b1**k), math.sqrt(b / (1 - b2**k))) for a, b in zip(m, s, strict=True)]
            point = [w + lr * a / (b + eps) for w, (a, b) in zip(z, corrected, strict=True)]  # from z
        z = point
        path.append(z)
    return torch.tensor(path, dtype=KIND)


def ours(steps, lr=0.1):
    return trajectory(make_solver("extra_adam", lr=lr), Bilinear(), torch.ones(2, dtype=KIND), steps)[1:]


def test_extra_adam_golden_iterates():
    golden = torch.tensor([[0.89878048, 1.09838197], [0.79555297, 1.19365343]], dtype=KIND)
    torch.testing.assert_close(ours(2), golden, rtol=0, atol=1e-8)


def test_extra_adam_counts_both_half_steps_in_its_bias_corrections():
    torch.testing.assert_close(ours(50), extra_adam(50, lambda t: (2 * t - 1, 2 * t)), rtol=0, atol=1e-12)
    slide = extra_adam(50, lambda t: (t, t))
    torch.testing.assert_close(slide[0], torch.tensor([0.88985146, 1.10706067], dtype=KIND), rtol=0, atol=1e-8)
    assert (ours(50) - slide).norm(dim=-1).min() > 1e-3
    with pytest.raises(ZeroDivisionError):  # the slide's first index
        extra_adam(1, lambda t: (t - 1, t - 1))


def test_extra_adam_settles_at_a_distance_but_its_average_does_not():
    solver, z = make_solver("extra_adam", "uniform", lr=0.1), torch.ones(2, dtype=KIND)
    oracle = Oracle(Bilinear().to(dtype=KIND))
    state, norms = solver.init(oracle, z), []
    for _ in range(2500):
        z, state = solver.step(oracle, z, state)
        norms.append(float(z.norm()))
    assert 0.35 < min(norms[-500:]) <= max(norms[-500:]) < 0.45
    assert state["mean"].norm() < 0.02


def drive(rule, grads):
    z, state, path = torch.ones(5, dtype=KIND), rule.init(torch.ones(5, dtype=KIND)), []
    for v in grads:
        z, state = rule.step(z, v, state, torch.Generator())
        path.append(z)
    return torch.stack(path)


def drive_torch(optimizer, settings, grads):
    z, path = torch.nn.Parameter(torch.ones(5, dtype=KIND)), []
    optimizer = optimizer([z], **settings)
    for v in grads:
        z.grad = -v
        optimizer.step()
        path.append(z.detach().clone())
    return torch.stack(path)


OPTIMIZERS = [
    (torch.optim.SGD, {"lr": 0.1}, SGD(0.1)),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.7}, Momentum(0.1, 0.7)),
    (torch.optim.RMSprop, {"lr": 0.1, "alpha": 0.9}, RMSProp(0.1, 0.9)),
    (torch.optim.Adam, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}, Adam(0.1, (0.5, 0.9), 1e-3)),
    (torch.optim.Adagrad, {"lr": 0.1}, None),
    (torch.optim.NAdam, {"lr": 0.1}, None),
    (torch.optim.RMSprop, {"lr": 0.1, "momentum": 0.5, "centered": True}, None),
    (torch.optim.Adam, {"lr": 0.1, "amsgrad": True}, None),
]


@pytest.mark.parametrize(("optimizer", "settings", "rule"), OPTIMIZERS)
def test_rules_follow_torch_optimizers(optimizer, settings, rule):
    grads = torch.randn(60, 5, dtype=KIND, generator=torch.Generator().manual_seed(0))
    expected = drive_torch(optimizer, settings, grads)
    assert torch.equal(drive(TorchRule(optimizer, settings), grads), expected)
    if rule is not None:
        torch.testing.assert_close(drive(rule, grads), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [Adam, OptimisticAdam, RMSProp])
def test_without_eps_a_slope_whose_square_underflows_moves_nothing(kind):
    rule = kind(0.1, eps=0.0)
    z, tiny = torch.zeros(2), torch.tensor([1e-25, 0.0])  # OptimisticAdam went to 20,000
    assert rule.step(z, tiny, rule.init(z), torch.Generator())[0].tolist() == [0.0, 0.0]


def test_lbfgs_is_refused():
    with pytest.raises(GameError, match="LBFGS evaluates the loss itself"):
        TorchRule(torch.optim.LBFGS)


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@every_rule
@every_scheme
def test_a_step_leaves_its_arguments_as_they_were(rule, scheme):
    oracle = Oracle(MatrixGame("rock_paper_scissors").to(dtype=KIND), (2,))
    solver, z = scheme(rule), oracle.game.initial((2,), torch.Generator().manual_seed(0))
    state = solver.init(oracle, z)
    for _ in range(3):
        before = copy.deepcopy((z, state))
        after, following = solver.step(oracle, z, state)
        assert torch.equal(z, before[0]) and equal(state, before[1])
        assert after.data_ptr() != z.data_ptr() and not equal(following, state)
        z, state = after, following


@pytest.mark.parametrize("rule", [SGD, Momentum, RMSProp, Adam, Sign, Langevin])
@every_scheme
def test_a_rate_per_run_equals_separate_runs(rule, scheme):
    rates = torch.tensor([[0.01], [0.1], [0.3]], dtype=KIND)
    z = torch.randn(3, 2, dtype=KIND, generator=torch.Generator().manual_seed(0))
    settings = {"noise": 0.0} if rule is Langevin else {}
    together = trajectory(scheme(rule(rates, **settings)), Bilinear(), z, 30)
    for i in range(3):
        alone = trajectory(scheme(rule(rates[i : i + 1], **settings)), Bilinear(), z[i : i + 1], 30)
        assert torch.equal(together[:, i : i + 1], alone)
        number = trajectory(scheme(rule(float(rates[i]), **settings)), Bilinear(), z[i : i + 1], 30)
        if rule is Adam:  # number / tensor is a product with the reciprocal in torch: the last bit may differ
            torch.testing.assert_close(alone, number, rtol=0, atol=1e-13)
        else:
            assert torch.equal(alone, number)


@pytest.mark.parametrize("rule", [SGD, Momentum, RMSProp, Adam, Sign, Entropic, Langevin])
def test_bad_rates_are_refused(rule):
    with pytest.raises(GameError, match=r"one rate per run has shape \(runs, 1\)"):
        rule(torch.tensor([0.1, 0.2]))
    with pytest.raises(GameError, match="every learning rate must be positive"):
        rule(torch.tensor([[0.1], [-0.1]]))
    for lr in (-0.1, 0.0, float("nan"), float("inf")):
        with pytest.raises(GameError, match="a learning rate is a positive number"):
            rule(lr)


def test_each_player_may_have_its_own_rule():
    pair, start = (SGD(0.1), Adam(0.2)), torch.tensor([1.0, -2.0], dtype=KIND)
    none = torch.Generator()
    x, y = start.split(1)
    u, w = x, y  # u, w: in turn
    memory, memory_in_turn = pair[1].init(y), pair[1].init(y)
    together, in_turn = (trajectory(scheme(pair), Bilinear(), start, 20) for scheme in (Simultaneous, Alternating))
    for k in range(1, 21):
        (y, memory), x = pair[1].step(y, x, memory, none), x - 0.1 * y
        assert torch.equal(together[k], torch.cat([x, y]))
        u = u - 0.1 * w
        w, memory_in_turn = pair[1].step(w, u, memory_in_turn, none)
        assert torch.equal(in_turn[k], torch.cat([u, w]))


def test_separate_rates_of_the_players_reach_both_half_steps():
    solver, start = make_solver("extragradient", lr=0.1, lr_y=0.4), torch.tensor([1.0, 2.0], dtype=KIND)
    z = trajectory(solver, Bilinear(), start, 1)[1]
    half = torch.tensor([1 - 0.1 * 2, 2 + 0.4 * 1], dtype=KIND)
    torch.testing.assert_close(z, torch.tensor([1 - 0.1 * half[1], 2 + 0.4 * half[0]], dtype=KIND), rtol=0, atol=1e-15)


# -- applications -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Recording(Rule):
    """Zero steps that append their player to a list."""

    player: int
    applied: list

    def init(self, z):
        return {"k": 0}

    def step(self, z, v, state, generator):
        self.applied.append(self.player)
        return z.clone(), {"k": state["k"] + 1}


def best_response(*settings):
    start, lookahead, steps = settings
    return lambda rules: BestResponse(*rules, inner_steps=steps, start=start, lookahead=lookahead)


TALLIED = {
    "simultaneous": Simultaneous,
    "replays": lambda rules: Simultaneous(rules, replays=3),
    "alternating": Alternating,
    "turns": lambda rules: Turns(rules, ratio=4),
    "extragradient": Extragradient,
    "alternating extragradient": lambda rules: Extragradient(rules, alternating=True),
    "optimistic": Optimistic,
    "averaged": lambda rules: Averaged(Optimistic(rules), 0.9),
    "averaged turns": lambda rules: Averaged(Turns(rules, ratio=4)),
    "critic steps": lambda rules: BestResponse(*rules, inner_steps=3, start="keep", hold=False),
    "chains": lambda rules: LangevinChains(rules, inner_steps=3),
    "chains of one step": lambda rules: LangevinChains(rules, inner_steps=1),
    "prox chains": lambda rules: LangevinChains(rules, inner_steps=3, prox=True),
    "two rules": lambda rules: Extragradient(rules, ahead=(SGD(0.1), SGD(0.1))),
    "one sample": lambda rules: Extragradient(rules, same_sample=True),
    "lookahead": lambda rules: Lookahead(Extragradient(rules)),
    "half turns": lambda rules: HalfTurnAround(Extragradient(rules)),
    "consensus": Consensus,
    "symplectic": SymplecticAdjustment,
} | {
    f"best response {settings}": best_response(*settings)
    for settings in product(("random", "keep"), ("none", "extra", "past"), (0, 1, 3))
}


@pytest.mark.parametrize("scheme", TALLIED.values(), ids=TALLIED.keys())
def test_applications_are_those_that_real_steps_make(scheme):
    applied = []
    solver = scheme((Recording(0, applied), Recording(1, applied)))
    oracle, z = Oracle(Bilinear()), torch.ones(2)
    state = solver.init(oracle, z)
    before = oracle.calls
    for _ in range(60):  # a multiple of the rounds of Turns
        z, state = solver.step(oracle, z, state)
    counted = applied.count(0), applied.count(1)
    if isinstance(solver, LangevinChains):  # all steps of its chains are one application, as the rule counts them
        counted = tuple(count // (solver.inner_steps * (2 if solver.prox else 1)) for count in counted)
    assert solver.applications(oracle.calls - before) == counted


WITHOUT_RULES = {
    cls
    for cls in Scheme.__subclasses__()
    if cls.__module__.startswith("robustgames.") and "lr" in {f.name for f in fields(cls)}
}
NOT_ANNEALED = {
    CurvatureEGPlus: "CurvatureEGPlus finds its step sizes itself: leave anneal out",
    GoldenRatio: "GoldenRatio finds its step sizes itself: leave anneal out",
    DampedNewton: "the calls of a step of DampedNewton depend on the game: leave anneal out",
    StayOnRidge: "the calls of a step of StayOnRidge depend on the game: leave anneal out",
}

WITHOUT_RATES = {RegretMatching, DoubleOracle}


def test_every_scheme_counts_its_applications():
    made = {type(scheme((SGD(0.1), SGD(0.1)))) for scheme in TALLIED.values()} | WITHOUT_RULES | WITHOUT_RATES
    assert made == {cls for cls in Scheme.__subclasses__() if cls.__module__.startswith("robustgames.")}


@pytest.mark.parametrize("scheme", sorted(WITHOUT_RULES - set(NOT_ANNEALED), key=str))
def test_the_rate_of_a_scheme_without_rules_falls_over_all_of_its_calls(scheme):
    solver = scheme(lr=0.1)
    tally = solver.tally()
    calls, applications = 8 * tally.calls, 8 * tally.x
    falling, oracle, z = annealed(solver, calls), Oracle(Bilinear()), torch.ones(2)
    assert falling == replace(solver, lr=Linear(0.1, applications))
    state = falling.init(oracle, z)
    oracle.calls = 0
    while oracle.calls < calls:
        z, state = falling.step(oracle, z, state)
    assert state["k"] == applications


@pytest.mark.parametrize("scheme", NOT_ANNEALED)
def test_a_scheme_that_cannot_be_annealed_says_why(scheme):
    with pytest.raises(GameError, match=NOT_ANNEALED[scheme]):
        annealed(scheme(lr=0.1), 100)


def test_a_scheme_of_a_user_is_annealed_if_it_counts_its_applications():
    @dataclass(frozen=True)
    class Mine(Scheme):
        rule: Rule

        def init(self, oracle, z):
            return {}

        def step(self, oracle, z, state):
            return z, state

    with pytest.raises(GameError, match=r"Mine cannot be annealed: define its tally\(\)"):
        annealed(Mine(SGD(0.1)), 100)

    class Counted(Mine):
        def tally(self):
            return Tally(calls=5, x=2, y=2)

    assert annealed(Counted(SGD(0.1)), 100) == Counted(SGD(Linear(0.1, 40)))
    assert annealed(Turns(SGD(0.1), ratio=4), 100) == Turns((SGD(Linear(0.1, 80)), SGD(Linear(0.1, 20))), ratio=4)
