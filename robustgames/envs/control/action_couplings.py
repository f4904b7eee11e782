"""Couplings of two policies on one action box. The law of each is stated here, once, for arrays and tensors.

The law gives the action that is executed when the protagonist plays a and the adversary ā. `ActionRobustEnv` and the
batches in torch execute it. The critic's targets and the policy gradient need its expectation under a critic Q, and the
derivatives of that. All four evaluate the same methods.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from robustgames.envs.control.coupling import ControlEnv, Coupling, Play
from robustgames.errors import GameError
from robustgames.tensors import Movable

TRIED = 256
"""Pairs of actions at which a mixture of one's own is tried."""
Array = Any
"""Actions, (*S, k) or (*S, B, k): a NumPy array or a tensor. The result of a law is of the same kind."""


class Share(Movable):
    """The adversary's share α in [0, 1].

    Args:
        alpha: One number, or a tensor with one per run that broadcasts against the actions.
        rest: 1 - α if it was rounded elsewhere.
    """

    def __init__(self, alpha: float | Tensor, rest: Tensor | None = None) -> None:
        self.alpha, self._rest = alpha, rest

    @property
    def rest(self) -> float | Tensor:
        """The protagonist's share 1 - α."""
        return 1 - self.alpha if self._rest is None else self._rest

    def between(self, first: Array, second: Array) -> Array:
        """Return (1 - α) first + α second."""
        return self.rest * first + self.alpha * second


@dataclass(frozen=True)
class ActionCoupling(Coupling):
    """A coupling whose adversary is a second policy on the actions of the protagonist.

    Either one action is executed, a function of both (`MixedAction`), or chance picks the action of one player.

    Args:
        alpha: The adversary's share α; 0 leaves the protagonist alone.
    """

    alpha: float = 0.1
    separate: ClassVar[bool] = False
    """Whether chance picks the action of one player, the adversary's with probability α."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise GameError(f"alpha is {self.alpha}: the adversary's share lies in [0, 1], e.g. alpha=0.1")

    @cached_property
    def share(self) -> Share:
        """`alpha` as the argument of the law."""
        return Share(self.alpha)

    @abstractmethod
    def execute(self, own: Array, other: Array, share: Share, uniform: Callable[[], Any]) -> tuple[Array, Any]:
        """Return (the executed action, whether the adversary had a part in it).

        Args:
            own: Action a of the protagonist.
            other: Action ā of the adversary.
            share: α, of every run if it is a tensor.
            uniform: Draws numbers in [0, 1), of the shape of α.
        """

    @abstractmethod
    def candidates(self, own: Tensor, other: Tensor, share: Share) -> tuple[Tensor, ...]:
        """Return the actions that may be executed, each (*S, B, k): one, or both players' if `separate`."""

    @abstractmethod
    def expectation(self, share: Share, *q: Tensor) -> Tensor:
        """Return the expected value from the values Q of the candidates, each (*S, B, 1)."""

    @abstractmethod
    def ascents(self, own: Tensor, other: Tensor, share: Share, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the directions in which both actions ascend: the protagonist's on the expectation, ā on its negative.

        Args:
            own: Action a of the protagonist; ignored if `separate`, as is `other`.
            other: Action ā of the adversary.
            share: α.
            slopes: Gradient of Q at every candidate.
        """

    def apply(self, env: ControlEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        executed, acted = self.execute(action, adversary, self.share, env.np_random.random)
        return Play(executed, acted)


@dataclass(frozen=True)
class MixedAction(ActionCoupling):
    """A coupling that executes one action, a function of both. A subclass states `mix`, and agents train with it.

    Example:
        >>> @dataclass(frozen=True)
        ... class SquaredAction(MixedAction):
        ...     def mix(self, own, other, share):
        ...         return share.between(own, other * abs(other))
        >>> coupling = SquaredAction(alpha=0.25)    # COUPLINGS["squared"] = SquaredAction gives it a name
        >>> coupling.mix(1.0, -0.5, coupling.share)
        0.6875
    """

    @abstractmethod
    def mix(self, own: Array, other: Array, share: Share) -> Array:
        """Return the executed action, in [-1, 1]^k, for arrays and for tensors; a if α is 0."""

    def execute(self, own: Array, other: Array, share: Share, uniform: Callable[[], Any]) -> tuple[Array, Any]:
        if not isinstance(share.alpha, Tensor) and share.alpha == 0:
            return own, False
        return self.mix(own, other, share), share.alpha > 0

    def candidates(self, own: Tensor, other: Tensor, share: Share) -> tuple[Tensor, ...]:
        return (self.mix(own, other, share),)

    def expectation(self, share: Share, *q: Tensor) -> Tensor:
        return q[0]

    def ascents(self, own: Tensor, other: Tensor, share: Share, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():  # agents learn in inference mode
            both = own.clone().requires_grad_(), other.clone().requires_grad_()
            mixed = self.mix(*both, share)
            x, y = torch.autograd.grad(mixed, both, slopes[0].clone(), allow_unused=True, materialize_grads=True)
        return x, -y


@dataclass(frozen=True)
class NoisyAction(MixedAction):
    """NR-MDP: the mixture (1 - α) a + α ā is executed.

    Source: Tessler, Efroni, Mannor 2019, Action Robust Reinforcement Learning (noisy action robust MDP).
    """

    def mix(self, own: Array, other: Array, share: Share) -> Array:
        return share.between(own, other)

    def ascents(self, own: Tensor, other: Tensor, share: Share, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        if type(self).mix is not NoisyAction.mix:  # of a subclass, whose mixture is another one
            return super().ascents(own, other, share, *slopes)
        return slopes[0] * share.rest, slopes[0] * -share.alpha  # without autograd, in a third of the time


@dataclass(frozen=True)
class ProbabilisticAction(ActionCoupling):
    """PR-MDP: with probability α the adversary's action is executed instead of the protagonist's.

    Source: Tessler, Efroni, Mannor 2019, Action Robust Reinforcement Learning (probabilistic action robust MDP).
    """

    separate: ClassVar[bool] = True

    def execute(self, own: Array, other: Array, share: Share, uniform: Callable[[], Any]) -> tuple[Array, Any]:
        acted = uniform() < share.alpha
        if isinstance(acted, Tensor):
            return torch.where(acted, other, own), acted
        return (other if acted else own), acted

    def candidates(self, own: Tensor, other: Tensor, share: Share) -> tuple[Tensor, ...]:
        return own, other

    def expectation(self, share: Share, *q: Tensor) -> Tensor:
        return share.between(*q)

    def ascents(self, own: Tensor, other: Tensor, share: Share, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        return slopes[0] * share.rest, slopes[1] * -share.alpha


def check_mixture(coupling: Coupling, alphas: Sequence[float], size: int) -> None:
    """Check that a mixture of one's own stays in the box of actions, at corners of the box and at random points.

    An env clips what it executes, but a critic would learn from the action before that.

    Args:
        coupling: Coupling.
        alphas: Shares of the adversary.
        size: Number k of actions.

    Raises:
        GameError: It returns an action outside of [-1, 1]^k, or one of another shape.
    """
    if not isinstance(coupling, MixedAction) or type(coupling) is NoisyAction:
        return
    own, other = torch.rand(2, 1, TRIED, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    own[:, ::2], other[:, ::2] = own[:, ::2].sign(), other[:, ::2].sign()
    for alpha in sorted({*alphas} - {0.0}):
        mixed = coupling.mix(own, other, Share(alpha))
        if mixed.shape != own.shape:
            shapes = f"{tuple(mixed.shape)} for actions of shape {tuple(own.shape)}"
            raise GameError(f"{coupling!r} returns an array of shape {shapes}: mix returns one action for each pair")
        worst = int(mixed.abs().amax(-1).argmax())  # the place of a NaN if there is one
        if not bool((mixed[0, worst].abs() <= 1 + 1e-5).all()):
            a, b, c = ([round(x, 3) for x in each[0, worst].tolist()] for each in (own, other, mixed))
            raise GameError(f"{coupling!r} makes {c} of {a} and {b}: mix stays in [-1, 1], e.g. by .clip(-1, 1)")
