"""Checks and conversions of the checkpoints of agents of control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from robustgames.agents.control.episodes import Episodes
from robustgames.errors import GameError, one_line
from robustgames.solvers import FusedAdam, Scheme
from robustgames.solvers.rules import Rule
from robustgames.tensors import rebuild


def check_same_env(content: dict[str, Any], path: str | Path, z: Tensor, episodes: Episodes) -> None:
    """Check that a checkpoint is of an agent with joint strategies like z, in envs like these.

    Raises:
        GameError: Other sizes, coupling or shares.
    """
    there, here = tuple(content["z"].shape), tuple(z.shape)
    if there != here:
        raise GameError(f"the checkpoint in {path} has z {there}, this env needs {here}: make the env as in the run")
    there, here = (content["coupling"], content["alphas"]), (episodes.coupling, episodes.alphas)
    if there != here:
        raise GameError(
            f"the checkpoint in {path} has coupling {one_line(there[0])} with alpha {one_line(there[1])}, this env "
            f"{here[0]} with {here[1]}: pass the env_settings of the run"
        )


def with_moments_of_ascent(content: dict[str, Any], z: Tensor, solver: Scheme, critics: Rule) -> dict[str, Any]:
    """Return a checkpoint of a version in which the first moments of fused rules had the other sign.

    Args:
        content: Checkpoint.
        z: Joint strategies, (S, n + m).
        solver: Solver of the policies.
        critics: Rule of the critics.

    Raises:
        GameError: Only some rules of the solver are fused.
    """
    rules: list[Rule] = []
    rebuild(solver, lambda node, _: (rules.append(node) if isinstance(node, Rule) else None) or node)
    flipped = [isinstance(rule, FusedAdam) and rule.fits(z) for rule in rules]
    if any(flipped) and not all(flipped):
        raise GameError(f"the checkpoint is of an earlier version and of {solver!r}: repeat the run")
    if any(flipped):
        content = {**content, "state": _negated(content["state"])}
    if isinstance(critics, FusedAdam) and critics.fits(z):
        content = {**content, "practice": _negated(content["practice"])}
    return content


def _negated(tree: Any) -> Any:
    """Return a tree with its first moments, the tensors called m, negated."""
    return rebuild(tree, lambda node, path: -node if path[-1:] == ("m",) and isinstance(node, Tensor) else node)
