"""A grid of learning rates and seeds on a small game that draws nothing: one run, whose runs are the trials.

Its runs are computed side by side in one tensor, so a thousand trials take about as long as one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator

from robustgames import envs
from robustgames.agents import GameAgent
from robustgames.agents.game_agent import SMALL
from robustgames.experiment import Experiment, GameExperiment, Result
from robustgames.experiment.game import RATES
from robustgames.solvers import RECIPES
from robustgames.solvers.langevin_recipes import LANGEVIN
from robustgames.sweeps.plan import Plan, Settings
from robustgames.sweeps.trial import Outcome

DETERMINISTIC = RECIPES.keys() - LANGEVIN.keys()
FOLDER = "together"
"""Folder of the run, in that of the sweep."""


def together(plan: Plan) -> GameExperiment | None:
    """Return the experiment whose runs are the trials of a grid in their order; None if they need one run each.

    They are runs of one tensor if only learning rates vary, and neither the game nor the solver draws at random, so a
    trial depends on its seed by its start alone.
    """
    base = plan.base
    if not isinstance(base, GameExperiment) or base.runs > 1 or base.patience or base.agent not in DETERMINISTIC:
        return None
    axes = plan.choices()
    if not set(axes) <= {*RATES} or not all(type(v) in (int, float) for axis in axes.values() for v in axis):
        return None
    if base.anneal and axes:  # a rate that falls is one number
        return None
    game = envs.make(base.env, 1, device=base.device, **base.env_settings).unwrapped.game  # type: ignore[union-attr]
    if sum(game.sizes) > SMALL or game.draw((1,), Generator(game.device)) is not None:
        return None
    trials = list(plan.trials())
    if _draws(trials[0].experiment):
        return None
    rates = {name: [float(trial.settings[name]) for trial in trials] for name in axes}
    seeds = tuple(trial.experiment.seed for trial in trials)
    return replace(base, settings={**base.settings, **rates}, runs=len(trials), seed=seeds[0], seeds=seeds)


def _draws(experiment: Experiment) -> bool:
    """Return whether a step of the solver draws at random, e.g. the start of an attack."""
    agent = experiment.make_agent()
    assert isinstance(agent, GameAgent)
    before = agent.oracle.generator.get_state()
    with torch.no_grad():
        agent._advance()
    return not torch.equal(before, agent.oracle.generator.get_state())


def outcomes(plan: Plan, folder: Path, result: Result) -> list[tuple[Settings, int, Outcome]]:
    """Return (settings, seed, outcome) of every trial: the rows of its run in the result of all."""
    return [
        (trial.settings, trial.experiment.seed, Outcome(folder / FOLDER, "done", "", _only(result, i)))
        for i, trial in enumerate(plan.trials())
    ]


def _only(result: Result, run: int) -> Result:
    """Return the result of one run of several."""

    def of_run(rows: dict[str, dict]) -> dict[str, dict]:
        return {name: {"mean": row["runs"][run], "std": 0.0, "runs": [row["runs"][run]]} for name, row in rows.items()}

    cpu = result.get("cpu_seconds", 0.0) / result["runs"]
    return Result(
        result | {"runs": 1, "cpu_seconds": cpu, "metrics": of_run(result["metrics"]), "start": of_run(result["start"])}
    )
