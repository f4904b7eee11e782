"""Half turns of any scheme: its steps are followed until the distance from where they began stops growing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.solvers.adaptive import ratio
from robustgames.solvers.lookahead import WITHIN
from robustgames.solvers.players import join
from robustgames.solvers.rules import State
from robustgames.solvers.schemes import Scheme, Tally


@dataclass(frozen=True)
class HalfTurnAround(Scheme):
    """`HalfTurn` with the steps of any scheme: Adam's, ExtraAdam's, alternating ones.

    s(z) is the step of the scheme at z. Where <s(z), z - slow> <= 0 a rotation has made half a turn, and z goes a part
    of the way back, z⁺ = slow⁺ = P(slow + α (z - slow)); elsewhere z⁺ = z + s(z). The calls are those of the scheme;
    the step at a turn is discarded, and the scheme's state, e.g. Adam's moments, is that after it. If `alpha` is None,
    α = <s(slow), s(slow) - s(z)> / |s(slow) - s(z)|² within [0.1, 0.9]: the secant step for s = 0. Around GDA with a
    constant rate this is `HalfTurn`. A number α is a part of the way to the farthest point of the round, which is not z
    if the distance decreased before `least` steps.

    **Under noise** single steps point anywhere. With `fall` a turn in addition needs a distance from the slow point of
    at most (1 - fall) times the largest one of the round. A distance is a sum of steps, in which noise cancels.

    **Each player by itself** (`each`): a player turns where its own block stops moving away, and is the only one to go
    back. On a bilinear game that is where it reverses, a quarter of a turn before the other does. With small steps and
    α = 1/2 the distance then falls by a factor of about 0.2 to 0.45 per half turn (measured over six), whatever the
    step, while both together keep less than lr s of it. So it is for players whose rotations have different speeds.

    Source: a finding of this package; kin are Chavdarova et al. 2021 and O'Donoghue and Candès 2015.

    Args:
        scheme: Solver whose steps are followed.
        alpha: α in (0, 1], or None for the secant step.
        least: Least number of steps between two turns.
        fall: Share in [0, 1) by which the distance must have decreased.
        each: Whether each player turns by itself, with α from its own block.

    Example:
        >>> import robustgames as rg
        >>> solver, start = HalfTurnAround(rg.make_solver("extragradient", lr=0.1)), torch.tensor([1.0, 1.0])
        >>> end = rg.trajectory(solver, rg.games.Forsaken(), start, 300)[-1]
        >>> bool((end - rg.games.Forsaken().solution()).norm() < 0.01)
        True
    """

    scheme: Scheme
    alpha: float | None = 0.5
    least: int = 2
    fall: float = 0.0
    each: bool = False

    def __post_init__(self) -> None:
        if not (self.alpha is None or 0 < self.alpha <= 1) or not (self.least >= 1 and 0 <= self.fall < 1):
            raise GameError(
                f"alpha is {self.alpha}, least {self.least} and fall {self.fall}: alpha is None or in (0, 1], least at "
                "least 1, and fall in [0, 1)"
            )
        if self.alpha is None and self.fall:
            raise GameError("alpha is None: the secant step is for exact fields, give a number with fall, e.g. 0.5")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        none, flat = torch.zeros_like(z if self.each else z[..., :1]), torch.zeros_like(z)
        inner = self.scheme.init(oracle, z)
        return {"scheme": inner, "slow": z, "first": flat, "farthest": flat, "since": none, "top": none}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        after, inner = self.scheme.step(oracle, z, state["scheme"])
        slow, since, s, away = state["slow"], state["since"], after - z, z - state["slow"]
        first, far = torch.where(since == 0, s, state["first"]), self._dot(oracle, away, away)
        top = torch.where(since == 0, 0, torch.maximum(state["top"], far))
        farthest = torch.where(far >= top, away, state["farthest"])
        turns = (self._dot(oracle, s, away) <= 0) & (since >= self.least) & (far <= (1 - self.fall) ** 2 * top)
        alpha = self._secant(oracle, first, first - s) if self.alpha is None else self.alpha
        back = away if self.alpha is None else farthest  # a secant step is between both fields that it has seen
        z = torch.where(turns, oracle.project(slow + alpha * back), after)
        return z, {
            "scheme": inner,
            "slow": torch.where(turns, z, slow),
            "first": first,
            "farthest": farthest,
            "since": torch.where(turns, 0, since + 1),
            "top": top,
        }

    def _dot(self, oracle: Oracle, a: Tensor, b: Tensor) -> Tensor:
        """Return <a, b>, (*S, 1), or of each player at its coordinates, like a."""
        if not self.each:
            return oracle.dot(a, b)
        x, y = oracle.game.split(torch.ones_like(a))
        of_x = join([x, torch.zeros_like(y)], a)
        return torch.where(of_x > 0, oracle.dot(of_x * a, b), oracle.dot(a - of_x * a, b))

    def _secant(self, oracle: Oracle, first: Tensor, change: Tensor) -> Tensor:
        return ratio(self._dot(oracle, first, change), self._dot(oracle, change, change)).clamp(*WITHIN)

    def adopt(self, point: Tensor, state: State) -> State:
        inner = self.scheme.adopt(point, state["scheme"])
        return {**state, "scheme": inner, "slow": point, "since": torch.zeros_like(state["since"])}

    def tally(self) -> Tally:
        return self.scheme.tally()
