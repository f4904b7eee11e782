"""Perturbations of a batch of envs: a value, or one for each env, for every axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustgames.envs.control.perturbations import Distribution, Perturbation, Uniform, checked
from robustgames.envs.control.uncertainty_sets import Axis, axis_name, by_axis, nested
from robustgames.errors import GameError

Source = dict[Axis, Tensor | Distribution]
"""{axis or (axis, part): one number per env, (N,), or a distribution that every env draws from}."""
LISTS = (list, np.ndarray, Tensor)


@dataclass(frozen=True)
class BatchedAxes:
    """The axes of a batch.

    Args:
        title: The batch in words.
        parts: The axes that have an effect, with the names of their parts; action_noise has one everywhere.
        count: Number N of envs.
        device: Device of the values.
    """

    title: str
    parts: Mapping[str, tuple[str, ...]]
    count: int
    device: torch.device

    @property
    def known(self) -> list[str]:
        """All axes that have an effect."""
        return [*self.parts, "action_noise"]

    def names(self, axis: str) -> list[str]:
        """Return the names of the parts of an axis."""
        return list(self.parts.get(axis, ()))

    def read(
        self,
        perturbation: Perturbation | None,
        check_range: Callable[[Mapping[Axis, float | Distribution]], None],
    ) -> Source:
        """Return the values of all envs.

        Args:
            perturbation: {axis: value}, or {axis: {part: value}}; a list or tensor has one value per env.
            check_range: Function that refuses values, of which it gets bounds for lists.

        Raises:
            GameError: An axis without an effect, or values that are not allowed.
        """
        given = by_axis(perturbation) if isinstance(perturbation, Mapping) else {}
        lists = {axis: self.per_env(axis_name(axis), v) for axis, v in given.items() if isinstance(v, LISTS)}
        bounds = {axis: (float(each.min()), float(each.max())) for axis, each in lists.items()}
        found = by_axis(checked(nested({**given, **bounds}.items()) if given else perturbation, self))
        for axis in found:
            if (axis if isinstance(axis, str) else axis[0]) not in self.known:
                raise GameError(f"{axis_name(axis)} has no effect on {self.title}: it has {', '.join(self.known)}")
        check_range({**found, **{axis: Uniform(*ends) for axis, ends in bounds.items()}})
        found.update(lists)
        return {axis: v if isinstance(v, Distribution) else self.per_env("", v) for axis, v in found.items()}

    def per_env(self, name: str, value: Any) -> Tensor:
        """Return one number per env, (N,), in float64.

        Raises:
            GameError: There are not as many.
        """
        each = torch.as_tensor(value, dtype=torch.float64)
        if each.shape not in ((), (self.count,)):
            raise GameError(f"{name} has shape {tuple(each.shape)}: pass one number, or one for each of {self.count}")
        return each.expand(self.count).to(self.device)


def ends_of(perturbation: Mapping[Axis, float | Distribution]) -> dict[Axis, tuple[float, float]]:
    """Return the least and the largest value of every axis."""
    each = {axis: v.extremes() if isinstance(v, Distribution) else (v,) for axis, v in perturbation.items()}
    return {axis: (min(values), max(values)) for axis, values in each.items()}
