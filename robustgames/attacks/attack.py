"""The contract of an attack: frozen settings, and a method that searches with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor

from robustgames.attacks.losses import LabelLoss
from robustgames.attacks.masking import after_attack, announce, differing_passes
from robustgames.attacks.problem import Bounds, Problem, Radius, pose_problem
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError
from robustgames.games.threat import CONVEX, norm_name


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """The settings of an attack. The public function and the table of the ensemble take their defaults from here.

    A new attack is a frozen dataclass with `run`, and a line in `members.MEMBERS`.

    Attributes:
        norms: Norms of the balls that the attack can search.
        loss: Loss that it raises by default, a key of `LOSSES`.
        targeted: Whether it leads to one wrong class after another.
        any_radius: Whether a ball that covers the box makes sense.
        claims: Whether it returns the nearest point found that fools the classifier, which one pass of a stochastic
            classifier cannot judge.
    """

    norms: ClassVar[tuple[str, ...]] = CONVEX
    loss: ClassVar[str] = "ce"
    targeted: ClassVar[bool] = False
    any_radius: ClassVar[bool] = False
    claims: ClassVar[bool] = False

    @abstractmethod
    def run(self, p: Problem) -> Tensor:
        """Return the perturbations (N, p)."""

    def run_in_ball(self, p: Problem) -> Tensor:
        """Return perturbations for an ensemble, which checks the ball: nearest points are projected on it."""
        return self.run(p)

    def __call__(
        self,
        model: Model | Victim,
        x: Tensor,
        y: Tensor,
        eps: Radius,
        norm: str | float,
        *,
        loss: str | LabelLoss | None = None,
        targets: Tensor | None = None,
        bounds: Bounds = (0.0, 1.0),
        generator: Generator | None = None,
        eot: int = 1,
    ) -> Tensor:
        """Return the perturbed inputs, in the shape and dtype of x."""
        norm = norm_name(norm)
        if norm not in self.norms:
            others = "fmn" if norm not in CONVEX else "fmn or apgd"
            raise GameError(f"{type(self).__name__} attacks in {' and '.join(self.norms)}, not in {norm}: use {others}")
        loss = self.loss if loss is None else loss
        posed = pose_problem(model, x, y, eps, norm, bounds, generator, loss, targets, eot, any_radius=self.any_radius)
        with posed as p:
            if len(x) == 0:
                return x.clone()
            x_adv = p.images(self.run(p)).view_as(x)
            notes = after_attack(p) + (differing_passes(p) if self.claims else [])
        announce(notes, stacklevel=4)
        return x_adv
