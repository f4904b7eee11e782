"""Q-learning for finitely many actions and an adversary that replaces one with probability α: the game of a Q network.

With probability α the adversary's action is executed. Both players know Q of the executed action, so their best actions
in a state are those of largest and of least Q, and the optimal value is the fixed point of

    V(s) = (1 - α) max_a Q(s, a) + α min_a Q(s, a),        Q(s, a) = r(s, a) + γ E V(s'),

a contraction with factor γ. It is also min max, since deterministic policies of both players are optimal (Tessler,
Efroni and Mannor 2019, section 4: the PR-MDP). A random adversary has the mean over the actions in place of the least.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from robustgames.agents.control.normalization import RunningNorm
from robustgames.agents.control.policies import FlatNetwork, Policies, initial
from robustgames.agents.control.replay import Replay
from robustgames.agents.control.training import Training
from robustgames.games import MLP, Game
from robustgames.games.passes import Backprop

Alpha = float | Tensor


class Greedy:
    """The policy of largest (sign 1) or least (sign -1) Q as a vector of preferences: 1 for its action, -1 for others.

    Args:
        q: Network, (B, p) -> (B, n).
        sign: 1 or -1.
    """

    def __init__(self, q: MLP, sign: int = 1) -> None:
        self.q, self.sign, self.size = q, sign, q.size

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Return preferences (*S, B, n): weights (*S, size), states (*S, B, p)."""
        return preferences((self.sign * self.q(weights, inputs)).argmax(-1), self.q.widths[-1], inputs.dtype)

    def initial(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Draw first weights, (*shape, size)."""
        return self.q.initial(shape, generator, dtype)


def preferences(actions: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Return the vectors of preferences for actions (*S,): (*S, count), 1 at the action and -1 elsewhere."""
    return 2 * torch.nn.functional.one_hot(actions, count).to(dtype) - 1


class GreedyPolicies(Policies):
    """Both greedy policies of one Q, whose weights are the protagonist's block; the adversary has none of its own.

    Args:
        q: Network of Q.
        alpha: α, a number or a tensor (S,).
        coupling: Coupling of the actions.
        random: Whether the adversary's actions are uniform.
    """

    def __init__(self, q: MLP, alpha: Alpha, coupling: Any, random: bool) -> None:
        some = bool((torch.as_tensor(alpha) > 0).any())
        adversary = Greedy(q, -1) if some and not random else None
        super().__init__(Greedy(q), adversary, alpha, coupling)
        self.q, self.sizes, self.random = q, (q.size, 0), some and random

    @property
    def action_size(self) -> int:
        """The number n of actions."""
        return self.q.widths[-1]

    def actions(
        self, x: Tensor, y: Tensor, states: Tensor, drawn: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        return super().actions(x, x, states, drawn)


def robust_value(q: Tensor, alpha: Alpha, chosen: Tensor | None = None, random: bool = False) -> Tensor:
    """Return (1 - α) max_a Q + α min_a Q, (*S, 1), for q (*S, n), or with the mean for a random adversary.

    Args:
        q: Q of all actions.
        alpha: α, a number or a tensor that broadcasts against the result.
        chosen: Another Q, whose largest and least actions are evaluated by `q` (double Q-learning).
        random: Whether the adversary is random.

    Example:
        >>> robust_value(torch.tensor([[1.0, 3.0]]), 0.25), robust_value(torch.tensor([[1.0, 3.0]]), 0.5, random=True)
        (tensor([[2.5000]]), tensor([[2.5000]]))
    """
    by = q if chosen is None else chosen
    best = q.gather(-1, by.argmax(-1, keepdim=True))
    other = q.mean(-1, keepdim=True) if random else q.gather(-1, by.argmin(-1, keepdim=True))
    return (1 - alpha) * best + alpha * other


class Batch(NamedTuple):
    """A minibatch for Q: states (S, B, p), executed actions (S, B, 1), what follows, and the target weights (S, n)."""

    states: Tensor
    actions: Tensor
    rewards: Tensor
    continues: Tensor
    after: Tensor
    target: Tensor


class QTraining(Training):
    """Minibatches of a replay and target weights for a `QGame`, which needs no critic but the players' own Q.

    The target weights follow the steps of the env, not the updates: `move_target` moves them, and `follow` does not.

    Args:
        replay: Replay of the runs.
        batch_size: B.
        tau: Share by which the target weights follow when they move.
        norm: Scaling of the sampled observations.
    """

    def __init__(self, replay: Replay, batch_size: int, tau: float, norm: RunningNorm | None = None) -> None:
        super().__init__(replay, batch_size, norm)
        self.tau = tau

    def follow(self, z: Tensor) -> None:
        self.followed = True

    def move_target(self, z: Tensor) -> None:
        """Move the target weights by tau towards z."""
        self.target.lerp_(z, self.tau)

    def batch(self, generator: Generator) -> Batch:
        """Return the held minibatch once, then new ones."""
        held = self.held or self._sample(generator)
        self.held = None
        actions = held.actions.argmax(-1, keepdim=True)
        return Batch(held.states, actions, held.rewards, held.continues, held.next_states, self.target)


class QGame(Game):
    """The regression of Q-learning as a game of one player.

    Φ(w) = mean of h(Q_w(s, a) - r - γ (1 - terminated) V'(s')),

    h(e) = e²/2 for |e| <= 1, else |e| - 1/2 (Huber), or e²/2 everywhere without `huber`. V'(s') is `robust_value` under
    the target weights, with the actions that Q_w chooses if `double`.

    Source: Mnih et al. 2015; van Hasselt, Guez and Silver 2016 (double); Tessler, Efroni and Mannor 2019 (α).

    Args:
        policies: Greedy policies with the network of Q, α and the kind of the adversary.
        source: Training, with a replay.
        gamma: Discount γ.
        huber: Whether errors above 1 count linearly.
        double: Whether Q_w chooses the actions that the target weights evaluate.
        final: Half the width of the first weights of the last layer; None draws them like the others.
        longest: Euclidean norm to which the field of a run is cut if it is longer; None cuts none.
    """

    players = ("protagonist", "adversary")

    def __init__(
        self,
        policies: GreedyPolicies,
        source: QTraining,
        gamma: float,
        double: bool,
        final: float | None,
        huber: bool = True,
        longest: float | None = None,
    ) -> None:
        self.policies, self.source, self.gamma, self.double, self.final = policies, source, gamma, double, final
        self.huber, self.longest = huber, longest
        self.sizes = policies.sizes
        self.critic: FlatNetwork = policies.q

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Batch:
        if self.source.replay.size > 0:
            return self.source.batch(generator)
        one = torch.zeros((*shape, 1, 1), device=generator.device, dtype=self.dtype)  # an oracle needs shapes
        states = one.expand(*shape, 1, self.policies.q.widths[0])
        weights = one[..., 0].expand(*shape, self.policies.q.size)
        return Batch(states, one.long(), one, one, states, weights)

    def start(self, player: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Draw the weights of Q; the adversary has none."""
        if player == 1:
            return torch.empty((*shape, 0), device=generator.device, dtype=self.dtype)
        return initial(self.policies.q, shape, generator, self.dtype, self.final)

    def errors(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (Q_w(s, ·), (S, B, n); Q_w(s, a) - target, (S, B, 1))."""
        with torch.no_grad():
            goal = self.policies.q(batch.target, batch.after)
            chosen = self.policies.q(x.detach(), batch.after) if self.double else None
            v = robust_value(goal, self.policies.expectation.share.alpha, chosen, self.policies.random)
            goals = torch.addcmul(batch.rewards, batch.continues, v, value=self.gamma)
        q = self.policies.q(x, batch.states)
        return q, q.gather(-1, batch.actions) - goals

    def loss(self, x: Tensor, batch: Batch) -> Tensor:
        """Return Φ, (S,); the definition of what `field` computes faster."""
        error = self.errors(x, batch)[1]
        small = error.clamp(-1, 1) if self.huber else error
        return (small * (error - small / 2)).mean((-2, -1))

    def evaluate(self, z: Tensor, sample: Batch | None = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        assert sample is not None
        with torch.no_grad():
            loss = self.loss(z, sample)
        return (-loss, loss), self.field(z, sample)

    def field(self, z: Tensor, sample: Batch | None = None, player: int | None = None) -> Tensor:
        """Return minus the gradient of Φ, cut to the norm `longest`, by written-out passes: (S, n)."""
        if player == 1:
            return z[..., :0]
        assert sample is not None
        with torch.no_grad():
            _, error = self.errors(z, sample)
            if self.source.replay.size > 0:
                self.source.error = error
            passes = self._net.at(error.size(0), error.size(1), error)
            passes.forward(z, sample.states)
            passes.slope.zero_()
            slope = error.clamp(-1, 1) if self.huber else error
            passes.slope.scatter_(-1, sample.actions, slope * (-1 / error.size(1)))
            v = passes.in_weights().clone()
            if self.longest is not None:
                v *= (self.longest / v.norm(dim=-1, keepdim=True).clamp_min(1e-30)).clamp_max(1)
            return v

    @cached_property
    def _net(self) -> Backprop:
        return Backprop(self.policies.q)
