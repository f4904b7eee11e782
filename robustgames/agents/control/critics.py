"""The critic of action-robust control: its temporal-difference targets and its update."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Generator, Tensor

from robustgames.agents.control.policies import FlatNetwork, Policies, initial
from robustgames.agents.control.replay import Transitions
from robustgames.errors import GameError
from robustgames.games.networks import MLP
from robustgames.games.passes import Backprop
from robustgames.solvers.fused_adam import FusedAdam
from robustgames.solvers.rules import Rule, State
from robustgames.streams import normal
from robustgames.tensors import map_tensors


@dataclass(frozen=True)
class TemporalDifference:
    """One step of Q towards r + γ (1 - terminated) V'(s'), V'(s') = E Q'(s', executed action) under target networks.

    noisy:          V'(s') = Q'(s', (1-α) μ'(s') + α ν'(s')),
    probabilistic:  V'(s') = (1-α) Q'(s', μ'(s')) + α Q'(s', ν'(s')).

    Q is fitted at the action that was executed. With `twin` there are two critics, and Q' is the smaller of both at
    every action. With `smoothing` clipped noise is added to the actions at which Q' is evaluated. Together they are
    TD3's target.

    Source: Tessler, Efroni and Mannor 2019, algorithm 5; Lillicrap et al. 2016; Fujimoto, van Hoof and Meger 2018.

    Args:
        policies: μ, ν, their coupling, and α.
        critic: Q on [state | action], (B, p + k) -> (B, 1).
        gamma: γ in [0, 1).
        tau: Step of the target networks towards the networks in `follow`, in (0, 1].
        twin: Whether there are two critics (TD3) instead of one (DDPG).
        smoothing: Standard deviation of the noise on actions in s' (TD3: 0.2); 0 disables it.
        clip: Bound of that noise.
        rule: Rule of the critic's weights, Adam(1e-3) as in Lillicrap et al.
        l2: Weight decay, added to the gradient as l2 * w.
        final: Half the width of the last layer's first weights. If None, they are drawn like the other layers.
        fast: Whether to use written-out passes, if critic and policies are `MLP`s, instead of autograd.

    Raises:
        GameError: Numbers out of range.
    """

    policies: Policies
    critic: FlatNetwork
    gamma: float = 0.99
    tau: float = 0.005
    twin: bool = False
    smoothing: float = 0.0
    clip: float = 0.5
    rule: Rule = field(default_factory=lambda: FusedAdam(1e-3))
    l2: float = 0.0
    final: float | None = 3e-3
    fast: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < 1:
            raise GameError(f"gamma is {self.gamma}: a discount lies in [0, 1), e.g. 0.99")
        if not 0 < self.tau <= 1:
            raise GameError(f"tau is {self.tau}: the target networks follow by a share in (0, 1], e.g. 0.005")
        for name in ("smoothing", "clip", "l2"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise GameError(f"{name} is {getattr(self, name)}: it must be a number >= 0")

    def init(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype = torch.float32) -> State:
        """Draw a critic, or two, per run: {"w", "target": (*shape, c or 2c), "rule"}."""
        first = initial(self.critic, (*shape, 2 if self.twin else 1), generator, dtype, self.final)
        w = first.flatten(-2)
        return {"w": w, "target": w.clone(), "rule": self.rule.init(w)}

    def first(self, state: State) -> Tensor:
        """Return the weights of the critic that the players use, (*S, c): the first of two."""
        return state["w"][..., : self.critic.size] if self.twin else state["w"]

    def step(self, batch: Transitions, z: Tensor, state: State, generator: Generator) -> tuple[State, Tensor]:
        """Return (the next state, Q - target, (R · heads, B, 1)); z are the target policies' weights, (*S, n + m).

        The target networks stay: `follow_` moves them.
        """
        state = map_tensors(state, torch.clone)
        return state, self.step_(batch, z, state, generator)

    def step_(self, batch: Transitions, z: Tensor, state: State, generator: Generator) -> Tensor:
        """Take that step in place, which spares the copies of all weights, and return Q - target."""
        targets = self.targets(batch, z, state, generator)
        descent, error = self._descent(state["w"], batch.played, targets)
        if self.l2:
            descent = descent.sub_(state["w"], alpha=self.l2)
        if isinstance(self.rule, FusedAdam) and self.rule.fits(state["w"]):
            state["rule"] = self.rule.step_(state["w"], descent, state["rule"])
        else:
            w, state["rule"] = self.rule.step(state["w"], descent, state["rule"], generator)
            state["w"].copy_(w)
        return error

    def follow_(self, state: State) -> None:
        """Move the target critic by tau towards the critic."""
        state["target"].lerp_(state["w"], self.tau)

    def targets(self, batch: Transitions, z: Tensor, state: State, generator: Generator) -> Tensor:
        """Return r + γ (1 - terminated) V'(s'), as the rewards (*S, B, 1)."""
        policies, after = self.policies, _flat(batch.next_states, 3)
        drawn = policies.draw(after.shape[:-1], generator, z.dtype)
        mu, nu = policies.act(_flat(z, 2), after, drawn)
        v = policies.expectation.value(self._least(state["target"], after, mu, nu, generator))
        if batch.rewards.dim() != 3:
            v = v.view(batch.rewards.shape)
        return torch.addcmul(batch.rewards, batch.continues, v, value=self.gamma)

    def _least(self, w: Tensor, states: Tensor, mu: Tensor, nu: Tensor | None, generator: Generator) -> Tensor:
        """Return Q, or the smaller of both, at the smoothed actions, without its graph: (R, B or 2B, 1)."""
        expectation, each = self.policies.expectation, self._each(w)
        if self._fast and not self.twin:
            passes = self._net.at(each.size(0), expectation.rows(states.size(1)), each)
            expectation.write_inputs(passes, states, mu, nu)
            self._smooth(passes.tail, generator)
            return passes.forward(each)
        inputs = expectation.inputs(states, mu, nu)
        self._smooth(inputs[..., states.shape[-1] :], generator)
        with torch.no_grad():
            q = self._evaluate(each, inputs)
        return q.unflatten(0, (-1, 2)).amin(1) if self.twin else q

    def _evaluate(self, each: Tensor, inputs: Tensor) -> Tensor:
        inputs = self._for_each(inputs)
        if self._fast:
            return self._net.at(inputs.size(0), inputs.size(1), each).forward(each, inputs)
        return self.critic(each, inputs)

    def _smooth(self, actions: Tensor, generator: Generator) -> None:
        if self.smoothing:
            noise = normal(actions.shape, generator, actions.dtype)
            actions.add_(noise.mul_(self.smoothing).clamp_(-self.clip, self.clip)).clamp_(-1, 1)

    def _descent(self, w: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return (minus the gradient of the mean squared errors, summed over heads; Q - target, (R · heads, B, 1))."""
        each, inputs, targets = self._each(w), self._for_each(_flat(inputs, 3)), self._for_each(_flat(targets, 3))
        if self._fast:
            passes = self._net.at(inputs.size(0), inputs.size(1), each)
            error = passes.forward(each, inputs) - targets
            torch.mul(error, -2 / inputs.size(1), out=passes.slope)
            found = passes.in_weights()
            return found if w.dim() == 2 and not self.twin else found.view(w.shape), error
        with torch.enable_grad():
            each = each.detach().requires_grad_()
            error = self.critic(each, inputs) - targets
            (found,) = torch.autograd.grad(-error.square().mean((-2, -1)).sum(), each)
        return found.view(w.shape), error.detach()

    def _each(self, w: Tensor) -> Tensor:
        """Return the weights of every head of every run, (R · heads, c)."""
        return w if w.dim() == 2 and not self.twin else w.reshape(-1, self.critic.size)

    def _for_each(self, values: Tensor) -> Tensor:
        """Return (R, B, p) once per head, (R · heads, B, p)."""
        return values.repeat_interleave(2, 0) if self.twin else values

    @cached_property
    def _fast(self) -> bool:
        return self.fast and self.policies.fast and type(self.critic) is MLP

    @cached_property
    def _net(self) -> Backprop:
        assert self.policies.passes is not None and isinstance(self.critic, MLP)
        return self.policies.passes.critic(self.critic)


def _flat(t: Tensor, dim: int) -> Tensor:
    """Return t with its runs S as one dimension R, so that it has `dim` of them."""
    return t if t.dim() == dim else t.reshape(-1, *t.shape[t.dim() - dim + 1 :])
