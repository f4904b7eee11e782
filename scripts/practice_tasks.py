"""The tasks and the solvers of `practice.py`: what is trained, for which cost, at which rates, and what is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from results import Line

import robustgames as rg
from robustgames import games
from robustgames.attacks.ensemble import evaluate
from robustgames.envs.control.uncertainty_sets import Axis
from robustgames.errors import DivergedError, GameError
from robustgames.evaluation.generators import generator_metrics
from robustgames.evaluation.metrics import metric_of
from robustgames.evaluation.robustness import sweep
from robustgames.games import AdversarialClassification, DigitsGAN, GaussianMixtureGAN, MnistAdversarial
from robustgames.solvers import Scheme
from robustgames.solvers.rules import Rule, Sign
from robustgames.tensors import rebuild

Settings = dict[str, Any]
Values = dict[str, list[float]]

ADAM_RATES = (2e-4, 6e-4, 2e-3, 6e-3, 2e-2)
SGD_RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
GAN: Settings = {"betas": (0.0, 0.9)}
LOOK: Settings = {"betas": (0.5, 0.9)}
DECAY = 0.995  # of the average of the weights of a GAN
SIGN = 0.1  # step of the perturbations, a third of eps
ATTACKED = 250  # images
GRID: dict[Axis, tuple[float, ...]] = {"mass": (0.5, 0.75, 1.0, 1.5, 2.0)}
EPISODES = 5


@dataclass(frozen=True)
class Candidate:
    """A solver of the comparison.

    Attributes:
        name: Name of `make_solver`.
        sgd: Whether its steps are as long as the field, so its rates are those of `SGD_RATES`.
        settings: Settings of the recipe.
        falls: Whether its rates can fall to 0 over the run; else they are constant.
        everywhere: Whether its betas are also those of tasks other than GANs; else a task has those of the recipe.
    """

    name: str
    sgd: bool = False
    settings: Settings = field(default_factory=dict)
    falls: bool = True
    everywhere: bool = False

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates of the search, as many for every solver, each three times the one before."""
        return SGD_RATES if self.sgd else ADAM_RATES

    def make(self, lr: float, average: float | None = None, calls: int = 0, gan: bool = True) -> Scheme:
        """Return the solver at a rate."""
        kept = gan or self.everywhere
        own = self.settings if kept else {key: value for key, value in self.settings.items() if key != "betas"}
        return rg.make_solver(self.name, average, calls if self.falls else 0, **own, lr=lr)


SOLVERS: dict[str, Candidate] = {
    "adam": Candidate("adam", settings=GAN),
    "extra_adam": Candidate("extra_adam", settings=LOOK),
    "lookahead_adam": Candidate("lookahead_adam", settings={**GAN, "every": 5}),
    "alt_adam": Candidate("alt_adam", settings=GAN),
    "omd_adam": Candidate("omd_adam", settings=LOOK),
    "half_turn_adam": Candidate("half_turn_adam", settings=GAN),
    "smoothed_gda": Candidate("smoothed_gda", sgd=True),
    "optimistic_adam": Candidate("optimistic_adam", settings=LOOK),
    "alt_gda": Candidate("alt_gda", sgd=True),
    "half_turn": Candidate("half_turn", sgd=True, settings={"least": 20}),
    "rmsprop": Candidate("rmsprop"),
    "curvature_eg_plus": Candidate("curvature_eg_plus", sgd=True, falls=False),
    "lookahead_adam, 100": Candidate("lookahead_adam", settings={**GAN, "every": 100}),
    "adam, 0.5": Candidate("adam", settings=LOOK, everywhere=True),  # control: the betas of those that look ahead
}


@dataclass(frozen=True)
class Task:
    """What solvers are compared on.

    Attributes:
        title: Title of its table.
        train: Function (candidate, rate, budget, runs, seed, whether for the search) -> (metrics of every run, CPU
            seconds).
        budget: Evaluations of the whole field of a run, or steps of the env.
        metric: Metric of the comparison, by which the rates are chosen as well.
        lower: Whether small values of it are good.
        shown: {metric: (heading, factor, digits)} of the columns.
        tuned_on: Runs of a rate in the search.
        search_share: Share of the budget that a run of the search has.
        rates: Rates of the search, the middle ones of a solver: 5 or 3.
        most: {metric: its largest value}, where the task knows more than `metric_of`.
        decades: Whether the metric, positive, differs by powers of ten, so that its axis is logarithmic.
    """

    title: str
    train: Callable[[Candidate, float, int, int, int, bool], tuple[Values, float]]
    budget: int
    metric: str
    lower: bool
    shown: dict[str, tuple[str, float, int]]
    tuned_on: int = 2
    search_share: float = 1.0
    rates: int = 5
    most: dict[str, float] = field(default_factory=dict)
    decades: bool = False

    def range_of(self, metric: str) -> tuple[float, float]:
        """Return the least and the largest value of a metric."""
        least, most = metric_of(metric).range
        return least, self.most.get(metric, most)


def _gan(make: Callable[[], games.GAN]) -> Callable[..., tuple[Values, float]]:
    def train(candidate: Candidate, lr: float, budget: int, runs: int, seed: int, search: bool) -> tuple[Values, float]:
        game, calls = make(), round(budget / candidate.make(lr).evaluations(1))
        env = rg.GameVectorEnv(game, num_envs=runs)
        agent = rg.GameAgent(env, candidate.make(lr, DECAY, calls), seed=seed)
        spent, found = _learn(agent, calls), {}
        finite = agent.finite_runs()
        for kind, point in {"": agent.best(), "last_": agent.z}.items():
            if not (search and kind):
                values = generator_metrics(game, torch.where(finite[:, None], point.nan_to_num(), 0), quick=True)
                found |= {kind + name: torch.where(finite, each, torch.nan).tolist() for name, each in values.items()}
        return found, spent

    return train


def _learn(agent: rg.GameAgent, calls: int) -> float:
    """Train an agent, and return the CPU seconds; if all of its runs diverge, its point is not a number."""
    began = time.process_time()
    try:
        agent.learn(calls, None, calls)
    except DivergedError:  # the agent is back where it began
        agent.z = torch.full_like(agent.z, torch.nan)
    return time.process_time() - began


def _control(coupling: str) -> Callable[..., tuple[Values, float]]:
    def train(candidate: Candidate, lr: float, budget: int, runs: int, seed: int, search: bool) -> tuple[Values, float]:
        settings = {"coupling": coupling, "alpha": 0.3}
        solver = candidate.make(lr, gan=False)
        agent = rg.RobustDDPG("robustgames/RobustPendulum-v0", solver, seed, runs, settings, engine="torch")
        began = time.process_time()
        try:
            agent.learn(budget)
        except DivergedError:
            return {name: [torch.nan] * runs for name in ("nominal", "mean", "worst")}, time.process_time() - began
        spent, finite = time.process_time() - began, agent.finite_runs().tolist()
        policies = [agent.policy(run) for run in range(runs) if finite[run]]
        played = sweep(policies, "robustgames/ActionRobustPendulum-v0", GRID, EPISODES, seed=5000).per_run()
        found: Values = {}
        for name in ("nominal", "mean", "worst"):
            values = iter(played[name].tolist())
            found[name] = [next(values) if run else torch.nan for run in finite]
        return found, spent

    return train


def _adversarial(
    candidate: Candidate, lr: float, budget: int, runs: int, seed: int, search: bool
) -> tuple[Values, float]:
    """Train classifiers against remembered perturbations, which take signed steps, one run after the other."""
    game = MnistAdversarial(attacker="remembered", precision="bfloat16", validation=500, data="shipped")
    calls = round(budget / candidate.make(lr).evaluations(1))
    solver = with_signs(candidate.make(lr, None, calls, gan=False), SIGN)
    found: Values = {"robust": [], "clean": []}
    spent = 0.0
    for run in range(runs):
        agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=1), solver, seed=seed + run)
        spent += _learn(agent, calls)
        for name, share in _shares(game.watched if search else game.held_out, agent.best()[0]).items():
            found[name].append(share)
    return found, spent


def with_signs(solver: Scheme, size: float) -> Scheme:
    """Return the solver with its rule for the weights, and signed steps for the perturbations.

    Raises:
        GameError: The steps of the solver are no rule of a player.
    """
    changed = rebuild(solver, lambda node, _: (node, Sign(size)) if isinstance(node, Rule) else node)
    if changed is solver:
        raise GameError(f"{type(solver).__name__} moves both players alike: it has no rule that weights alone follow")
    return changed


def _shares(images: AdversarialClassification, z: torch.Tensor) -> dict[str, float]:
    """Return the accuracy on the first images and under APGD-T, not a number for a classifier that diverged."""
    weights, x, y = z[: images.sizes[0]], images.images[:ATTACKED], images.labels[:ATTACKED]
    if not weights.isfinite().all():
        return {"robust": torch.nan, "clean": torch.nan}
    report = evaluate(
        lambda a: images.logits(weights, a), x, y, images.eps, attacks=("apgd-t",), precision=torch.bfloat16
    )
    return {"robust": float(report.robust.double().mean()), "clean": float(report.clean.double().mean())}


PLANE = {
    "sliced_wasserstein": ("sliced W1", 1.0, 3),
    "modes": ("modes", 1.0, 1),
    "high_quality": ("high quality %", 100.0, 1),
    "last_modes": ("modes of the last iterate", 1.0, 1),
}
MODES = {"modes": 25.0, "last_modes": 25.0}
RETURNS = {"mean": ("mean over masses", 1.0, 0), "nominal": ("nominal", 1.0, 0), "worst": ("worst mass", 1.0, 0)}
NONSATURATING: Settings = {"objective": "nonsaturating"}
TASKS: dict[str, Task] = {
    "gaussians": Task(
        "25 Gaussians, no penalty",
        _gan(lambda: GaussianMixtureGAN(**NONSATURATING, lipschitz="none")),
        4000,
        "sliced_wasserstein",
        True,
        PLANE,
        search_share=0.5,
        most=MODES,
    ),
    "gaussians_r1": Task(
        "25 Gaussians, R1",
        _gan(lambda: GaussianMixtureGAN(**NONSATURATING, lipschitz="r1", penalty=0.1)),
        4000,
        "sliced_wasserstein",
        True,
        PLANE,
        search_share=0.5,
        most=MODES,
    ),
    "control_pr": Task("Pendulum, PR-MDP", _control("probabilistic"), 5000, "mean", False, RETURNS, rates=3),
    "control_nr": Task("Pendulum, NR-MDP", _control("noisy"), 5000, "mean", False, RETURNS, rates=3),
    "adversarial": Task(
        "MNIST subset, remembered perturbations",
        _adversarial,
        1000,
        "robust",
        False,
        {"robust": ("APGD-T %", 100.0, 1), "clean": ("clean %", 100.0, 1)},
        tuned_on=1,
        search_share=0.5,
        rates=3,
        most={"robust": 1.0, "clean": 1.0},
    ),
    "digits": Task(
        "GAN of the 8x8 digits",
        _gan(DigitsGAN),
        1500,
        "frechet_digits",
        True,
        {"frechet_digits": ("Fréchet", 1.0, 4), "last_frechet_digits": ("Fréchet of the last iterate", 1.0, 4)},
        decades=True,
    ),
}


def trial(task: str, solver: str, lr: float, budget: int, runs: int, seed: int, search: bool) -> Line:
    """Train some runs of a solver at one rate, and return their metrics; an `error` if it is not for this game."""
    torch.set_num_threads(1)
    try:
        found, seconds = TASKS[task].train(SOLVERS[solver], lr, budget, runs, seed, search)
    except GameError as error:
        return {"error": str(error)}
    rounded = {name: [float(f"{value:.6g}") for value in values] for name, values in found.items()}
    return {"cpu_seconds": round(seconds, 2), "found": rounded}
