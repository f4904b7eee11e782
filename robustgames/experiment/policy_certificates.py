"""Certificates of policies for `robustgames evaluate RUN --certify`: bounds of actions, and of returns under attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from robustgames.errors import GameError
from robustgames.evaluation.action_bounds import bound_actions
from robustgames.evaluation.adversaries import SELECTION
from robustgames.evaluation.observation_attacks import Differentiable, shift_states
from robustgames.evaluation.robust_sarsa import EPISODES
from robustgames.evaluation.rollouts import Policy
from robustgames.evaluation.side_by_side import SideBySide
from robustgames.evaluation.smoothed_episodes import certify_returns
from robustgames.experiment.base import Examination, Progress
from robustgames.experiment.folder import Content

STATES = 500
"""States at which actions are bounded, at equal distances in the episodes of a run."""
BUDGETS = (0.0, 0.5, 1.0, 2.0)
"""Budgets of the certified returns, in units of the noise."""
ALPHA = 0.001


def certify_policies(
    policies: Sequence[Policy],
    differentiable: Sequence[Differentiable],
    env: str,
    env_settings: Mapping[str, object],
    what: Examination,
    eps: float | None,
    progress: Progress,
) -> Content:
    """Return the certificates of the runs of a method, in units of the standard deviations of what each observes.

    * `actions`: how far an observation in the box of radius eps can move an action, at most (CROWN), and how far an
      attack moves it, at least; mean and largest over states that the policy visits, (runs,) each.
    * `returns`: mean and median return of each run with noise on its observations, without an attack, and what is
      certified of them under every attack with a budget.
    """
    wanted = ("actions", "returns") if "all" in what.certify else what.certify
    actions: dict[str, list] = {name: [] for name in ("mean", "largest", "attacked_mean", "attacked_largest")}
    returns: dict[str, list] = {name: [] for name in ("mean", "median", "certified_mean", "certified_median")}
    found: Content = {"scale": []}
    with SideBySide(env, dict(env_settings), EPISODES) as envs:
        for policy, own in zip(policies, differentiable, strict=True):
            walk = np.concatenate(envs.play(policy, EPISODES, SELECTION).states)
            scale = walk.std(0)
            found["scale"].append(scale.tolist())
            if "actions" in wanted and eps is not None and "left_out" not in found:
                picked = walk[np.linspace(0, len(walk) - 1, min(STATES, len(walk))).astype(int)]
                try:
                    _bound(own, picked, scale, eps, actions)
                except GameError as error:
                    found["left_out"] = str(error)
            if "returns" in wanted:
                _certify(policy, env, env_settings, what, scale, progress, returns)
    if "actions" in wanted and "left_out" not in found:
        found["actions"] = {"eps": eps, "method": "crown", "per_run": actions}
    if "returns" in wanted:
        settings = {"noise": what.smoothing, "episodes": what.certify_episodes, "alpha": ALPHA}
        budgets = [what.smoothing * factor for factor in BUDGETS]
        found["returns"] = {**settings, "budgets": budgets, "per_run": returns}
    return found


def _bound(own: Differentiable, states: np.ndarray, scale: np.ndarray, eps: float, rows: dict[str, list]) -> None:
    change = bound_actions(own, states, eps, scale).change
    here, units = (torch.as_tensor(part, dtype=torch.float32) for part in (states, scale))
    with torch.no_grad():
        before = own.act(here)
        generator = torch.Generator().manual_seed(0)
        seen = shift_states(lambda s: (own.act(s) - before).square().sum(-1), here, units, eps, generator)
        moved = (own.act(seen) - before).abs().double().numpy()
    for name, values in (("", change), ("attacked_", moved)):
        rows[f"{name}mean"].append(float(values.max(1).mean()))
        rows[f"{name}largest"].append(float(values.max()))


def _certify(
    policy: Policy,
    env: str,
    settings: Mapping[str, object],
    what: Examination,
    scale: np.ndarray,
    progress: Progress,
    rows: dict[str, list],
) -> None:
    done = len(rows["mean"])
    found = certify_returns(
        policy,
        env,
        what.smoothing,
        what.certify_episodes,
        alpha=ALPHA,
        scale=scale,
        env_settings=settings,
        progress=lambda k, n: progress(f"certified returns of run {done}", k, n),
    )
    budgets = np.array(BUDGETS) * what.smoothing
    rows["mean"].append(float(found.returns.mean()))
    rows["median"].append(float(np.median(found.returns)))
    rows["certified_mean"].append(None if found.least is None else found.mean(budgets).tolist())
    medians = found.quantile(budgets)
    rows["certified_median"].append([float(value) if np.isfinite(value) else None for value in medians])
