"""Policies of control under perturbations: a sweep over a grid, random adversaries, a best response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

import numpy as np

from robustgames.envs.control.action_couplings import ActionCoupling
from robustgames.envs.control.coupling import Coupling
from robustgames.envs.control.grid_words import parse_bounds, parse_grid
from robustgames.envs.control.perturbations import Perturbation, checked
from robustgames.errors import GameError
from robustgames.evaluation.adversaries import best_response, check_learner, random_controls
from robustgames.evaluation.intervals import of_returns
from robustgames.evaluation.observation_attacks import ATTACKS, PUBLISHED_EPS, Differentiable, attack_observations
from robustgames.evaluation.robustness import Sweep, checked_set, sweep
from robustgames.evaluation.rollouts import Policy, action_robust, control_env
from robustgames.evaluation.worst_case import WorstCase, worst_case
from robustgames.experiment.base import Examination, Progress, silent
from robustgames.experiment.folder import Content
from robustgames.experiment.policy_certificates import certify_policies
from robustgames.figures.control import heat_maps, perturbation_curves
from robustgames.figures.control_axes import parallel_coordinates, slices
from robustgames.figures.style import Figure

SHARE = 0.1
"""Share of an adversary in an env whose own adversary has none."""
JOURNAL = "worst_case.jsonl"
"""File of a search that was interrupted."""
DRAWN = (perturbation_curves, heat_maps, slices)
"""Figures of sweeps over one axis, two and three."""
EPISODES = 10
"""Episodes of a result: every agent and run plays them from the same starts."""


@dataclass(frozen=True)
class Subject:
    """Policies to examine: the runs of one method.

    Attributes:
        name: Name of the method.
        policies: Functions observation -> action in [-1, 1]^n, one per run.
        env: Id of an `ActionRobustEnv`.
        env_settings: Settings of the env.
        differentiable: The same policies for attacks by gradients; needed by attacks on observations only.
    """

    name: str
    policies: Sequence[Policy]
    env: str
    env_settings: Mapping[str, object] = field(default_factory=dict)
    differentiable: Sequence[Differentiable] = ()


def examine(
    subject: Subject, what: Examination, progress: Progress = silent, folder: Path | None = None
) -> tuple[Content, dict[str, Figure]]:
    """Return (numbers for JSON, {name: figure}) of the policies of a subject.

    * `robustness`: a sweep of all runs over the grid, and its summaries over runs.
    * `worst_case`, if requested: a search for the worst point of each run, which starts at the worst of those points of
      the grid that the set of the search contains; its return there, and on other starts.
    * `observation_attacks`, if requested: returns of all runs under each attack on their observations.
    * `policy_certificates`, if requested: see `certify_policies`.
    * `random_adversary`: mean returns of all runs without an adversary and under both random ones, whose share is that
      of the env, or 0.1 if that is 0. Intervals are over runs and starts: those of the sweep, and 10 at least, so
      "without" is the return of a result.
    * `best_response`, if requested: the return that an adversary, trained against the first run, takes from it, and in
      how many starts it takes any. The interval is over the starts of this run.

    Args:
        subject: Policies and env.
        what: What to measure.
        progress: See `Progress`.
        folder: Folder in which an interrupted search keeps its results, to continue with them. If None, it keeps none.

    Raises:
        GameError: See `sweep`, `worst_case`, `random_controls` and `best_response`.
    """
    check(subject.env, subject.env_settings, what)
    swept = sweep(
        subject.policies,
        subject.env,
        parse_grid(what.grid),
        what.episodes,
        env_settings=subject.env_settings,
        progress=lambda done, total: progress("sweep", done, total),
        workers=what.workers,
    )
    drawn = draw_sweeps({subject.name: swept})
    found: Content = {"robustness": {**_summaries(swept), "sweep": swept.to_dict()}}
    if what.worst_case:
        worst = _worst_case(subject, what, swept, progress, folder)
        found["worst_case"] = {**_worst_summaries(worst), "search": worst.to_dict()}
        drawn["worst_case"] = parallel_coordinates({subject.name: worst})
    if what.observation_attack:
        found["observation_attacks"] = _observation_attacks(subject, what, progress)
    if what.certify:
        found["policy_certificates"] = _policy_certificates(subject, what, progress)
    found["random_adversary"] = _random(subject, max(what.episodes, EPISODES))
    if what.best_response:
        progress("best response", 0, 1)
        found["best_response"] = _best_response(subject, what)
        progress("best response", 1, 1)
    return found, drawn


def check(
    env: str, env_settings: Mapping[str, object], what: Examination, perturbation: Perturbation | None = None
) -> None:
    """Check all that an examination would refuse in its course, before anything is loaded or played.

    Args:
        env: Id of an `ActionRobustEnv`.
        env_settings: Settings of the env.
        what: What to measure.
        perturbation: Perturbation of a film.

    Raises:
        GameError: A grid or perturbation that does not fit the env, or an adversary that cannot be trained.
    """
    made = control_env(env, env_settings)
    try:
        checked_set(parse_grid(what.grid), made)
        if what.worst_case:
            checked_set(parse_bounds(what.worst_case), made)
        checked(perturbation, action_robust(made).physics)
        if what.observation_attack or {"actions", "all"} & {*what.certify}:
            _eps(action_robust(made).env_id, what)
    finally:
        made.close()
    if what.best_response:
        settings = _best_response_settings(env, env_settings)
        check_learner(env, what.algorithm, what.best_response, settings)


def draw_sweeps(sweeps: Mapping[str, Sweep]) -> dict[str, Figure]:
    """Return {"robustness": figure} of sweeps on one grid, {} if none of its axes acts.

    Curves over one axis, heat maps over two, slices of three, parallel coordinates of more.
    """
    number = len(next(iter(sweeps.values())).axes)
    if number > len(DRAWN):
        return {"robustness": parallel_coordinates(sweeps)}
    return {"robustness": DRAWN[number - 1](sweeps)} if number else {}


def _worst_case(
    subject: Subject, what: Examination, swept: Sweep, progress: Progress, folder: Path | None
) -> WorstCase:
    return worst_case(
        subject.policies,
        subject.env,
        parse_bounds(what.worst_case),
        what.budget,
        what.episodes,
        known=swept,
        env_settings=subject.env_settings,
        workers=what.workers,
        journal=None if folder is None else folder / JOURNAL,
        progress=lambda done, total: progress("worst case", done, total),
    )


def _eps(env_id: str, what: Examination) -> float:
    """Return the radius of the attacks on observations.

    Raises:
        GameError: None is chosen, and none is published for the model.
    """
    model = env_id.rpartition("/")[2].rpartition("-v")[0]
    if what.eps is None and model not in PUBLISHED_EPS:
        known = ", ".join(f"{name} {eps}" for name, eps in PUBLISHED_EPS.items())
        raise GameError(f"no radius is published for {env_id} (only {known}): choose one, e.g. --eps 0.1")
    return PUBLISHED_EPS[model] if what.eps is None else what.eps


def _observation_attacks(subject: Subject, what: Examination, progress: Progress) -> Content:
    made = control_env(subject.env, subject.env_settings)
    eps = _eps(action_robust(made).env_id, what)
    made.close()
    found = attack_observations(
        subject.policies,
        subject.differentiable,
        subject.env,
        eps,
        ATTACKS if "all" in what.observation_attack else what.observation_attack,
        what.episodes,
        env_settings=subject.env_settings,
        progress=lambda done, total: progress("observation attacks", done, total),
    )
    rows = {"nominal": found.nominal, **found.returns, **({"worst": found.worst()} if found.returns else {})}
    return {
        "eps": eps,
        "scale": found.scale.tolist(),
        "summary": {name: list(of_returns(values).intervals()[0]) for name, values in rows.items()},
        "per_run": {name: values.mean(1).tolist() for name, values in rows.items()},
        "strongest": found.strongest() if found.returns else [],
        "left_out": dict(found.left_out),
    }


def _policy_certificates(subject: Subject, what: Examination, progress: Progress) -> Content:
    eps = None
    if {"actions", "all"} & {*what.certify}:
        made = control_env(subject.env, subject.env_settings)
        eps = _eps(action_robust(made).env_id, what)
        made.close()
    parts = (subject.policies, subject.differentiable, subject.env, subject.env_settings)
    return certify_policies(*parts, what, eps, progress)


def _worst_summaries(found: WorstCase) -> Content:
    return {
        "summary": {name: list(interval) for name, interval in found.summary().items()},
        "per_run": {name: values.tolist() for name, values in found.per_run().items()},
        "worst_points": found.worst_points,
        "budget": found.points.shape[1],
        "idle": dict(found.idle),
    }


def _summaries(swept: Sweep) -> Content:
    each, runs = swept.per_run(), swept.summary()
    more = {"iqm": swept.iqm()} if len(swept.cells) > 1 else {}
    return {
        "summary": {name: list(interval) for name, interval in {**runs, **more}.items()},
        "per_run": {name: values.tolist() for name, values in each.items()},
        "nominal_point": swept.nominal_point,
        "idle": dict(swept.idle),
    }


def _random(subject: Subject, episodes: int) -> Content:
    """Return the mean returns of all runs, without an adversary and under random ones, on the starts of the sweep."""
    coupling = _coupling(subject.env, subject.env_settings)
    alpha = _share(coupling) or SHARE
    own = {"coupling"}  # `random_controls` sets the coupling
    if is_dataclass(coupling) and not isinstance(subject.env_settings.get("coupling"), Coupling):
        own |= {f.name for f in fields(coupling)}  # of another coupling, such a name is one of the inner env
    settings = {key: value for key, value in subject.env_settings.items() if key not in own}
    rows = [random_controls(policy, subject.env, alpha, episodes, env_settings=settings) for policy in subject.policies]
    returns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    per_run = {name: values.mean(1).tolist() for name, values in returns.items()}
    intervals = {name: list(of_returns(values).intervals()[0]) for name, values in returns.items()}
    return {"alpha": alpha, "episodes": episodes, **intervals, "per_run": per_run}


def _coupling(env: str, env_settings: Mapping[str, object]) -> Coupling:
    made = control_env(env, env_settings)
    coupling = action_robust(made).coupling
    made.close()
    return coupling


def _share(coupling: Coupling) -> float:
    """Return the adversary's share; 0 for couplings without a share."""
    return coupling.alpha if isinstance(coupling, ActionCoupling) else 0.0


def _best_response_settings(env: str, env_settings: Mapping[str, object]) -> Content:
    settings = dict(env_settings)
    if _share(_coupling(env, env_settings)) == 0 and "alpha" in settings:
        settings["alpha"] = SHARE  # an adversary without a share has nothing to learn
    return settings


def _best_response(subject: Subject, what: Examination) -> Content:
    settings = _best_response_settings(subject.env, subject.env_settings)
    found = best_response(subject.policies[0], subject.env, what.algorithm, what.best_response, env_settings=settings)
    return {
        "algorithm": what.algorithm,
        "steps": what.best_response,
        "env_settings": settings,
        "without": float(found.without.mean()),
        "random": float(found.random.mean()),
        "learned": float(found.learned[found.chosen].mean()),
        "exploitability": list(found.interval()),
        "starts": len(found.without),
        "harmed": int((found.without > found.learned[found.chosen]).sum()),
    }
