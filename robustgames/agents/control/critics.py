"""The critic of action-robust control: temporal-difference targets, its update, and the ζ it gives to the players."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.agents.control.backward import Backprop
from robustgames.agents.control.normalization import RunningNorm
from robustgames.agents.control.policies import Policies, Policy, initial
from robustgames.agents.control.replay import Batch, Replay
from robustgames.errors import GameError
from robustgames.games.networks import MLP
from robustgames.solvers.fused_adam import FusedAdam
from robustgames.solvers.rules import Rule, State
from robustgames.tensors import map_tensors


@dataclass(frozen=True)
class TemporalDifference:
    """One step of Q towards r + γ (1 - terminated) V'(s'), V' what the target networks say is played in s'.

    noisy:          V'(s') = Q'(s', (1-α) μ'(s') + α ν'(s')),
    probabilistic:  V'(s') = (1-α) Q'(s', μ'(s')) + α Q'(s', ν'(s')).

    Q is fitted at the action that was executed. With `twin` there are two critics, and Q' is the smaller of both at
    every action; with `smoothing` clipped noise is added to the actions at which Q' is asked: together TD3's target.

    Source: Tessler, Efroni and Mannor 2019, algorithm 5; Lillicrap et al. 2016; Fujimoto, van Hoof and Meger 2018.

    Args:
        policies: μ, ν, how they meet, and α.
        critic: Q on [state | action], (B, p + k) -> (B, 1).
        gamma: γ in [0, 1).
        tau: by how much the target networks follow in `follow`, in (0, 1].
        twin: two critics (TD3) instead of one (DDPG).
        smoothing: standard deviation of the noise on actions in s', 0 for none (TD3: 0.2).
        clip: bound of that noise.
        rule: of the critic's weights, Adam(1e-3) as in Lillicrap et al.
        l2: weight decay, added to the gradient as l2 * w.
        final: half the width of the last layer's first weights; None: as the other layers.
        fast: written-out passes where critic and policies are `MLP`s, instead of autograd.

    Raises:
        GameError: numbers out of range.
    """

    policies: Policies
    critic: Policy
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
                raise GameError(f"{name} is {getattr(self, name)}: a number >= 0 is needed")

    def init(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype = torch.float32) -> State:
        """Draw a critic, or two, per run: {"w", "target": (*shape, c or 2c), "rule"}."""
        first = initial(self.critic, (*shape, 2 if self.twin else 1), generator, dtype, self.final)
        w = first.flatten(-2)
        return {"w": w, "target": w.clone(), "rule": self.rule.init(w)}

    def first(self, state: State) -> Tensor:
        """Return the weights of the critic that the players see, (*S, c): the first of two."""
        return state["w"][..., : self.critic.size] if self.twin else state["w"]

    def step(self, batch: Batch, z: Tensor, state: State, generator: Generator) -> tuple[State, Tensor]:
        """Return (the next state, Q - target, (R · heads, B, 1)); z are the target policies' weights, (*S, n + m).

        The target networks stay: `follow_` moves them.
        """
        state = map_tensors(state, torch.clone)
        return state, self.step_(batch, z, state, generator)

    def step_(self, batch: Batch, z: Tensor, state: State, generator: Generator) -> Tensor:
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

    def targets(self, batch: Batch, z: Tensor, state: State, generator: Generator) -> Tensor:
        """Return r + γ (1 - terminated) V'(s'), as the rewards (*S, B, 1)."""
        policies, after = self.policies, _flat(batch.next_states, 3)
        drawn = policies.draw(after.shape[:-1], generator, z.dtype)
        mu, nu = policies.act(_flat(z, 2), after, drawn)
        v = policies.blend(self._least(state["target"], after, mu, nu, generator))
        if batch.rewards.dim() != 3:
            v = v.view(batch.rewards.shape)
        return torch.addcmul(batch.rewards, batch.going_on, v, value=self.gamma)

    def _least(self, w: Tensor, states: Tensor, mu: Tensor, nu: Tensor | None, generator: Generator) -> Tensor:
        """Return Q, or the smaller of both, at the smoothed actions, without its graph: (R, B or 2B, 1)."""
        policies, each = self.policies, self._each(w)
        if self._fast and not self.twin:
            passes = self._net.at(each.size(0), policies.asked(states.size(1)), each)
            policies.ask(passes, states, mu, nu)
            self._smooth(passes.tail, generator)
            return passes.forward(each)
        queries = policies.queries(states, mu, nu)
        self._smooth(queries[..., states.shape[-1] :], generator)
        with torch.no_grad():
            q = self._ask(each, queries)
        return q.unflatten(0, (-1, 2)).amin(1) if self.twin else q

    def _ask(self, each: Tensor, inputs: Tensor) -> Tensor:
        inputs = self._for_each(inputs)
        if self._fast:
            return self._net.at(inputs.size(0), inputs.size(1), each).forward(each, inputs)
        return self.critic(each, inputs)

    def _smooth(self, actions: Tensor, generator: Generator) -> None:
        if self.smoothing:
            noise = torch.randn(actions.shape, generator=generator, device=actions.device, dtype=actions.dtype)
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
        return self.policies.passes_of(self.critic)  # type: ignore[arg-type]


def _flat(t: Tensor, dim: int) -> Tensor:
    """Return t with its runs S as one dimension R, so that it has `dim` of them."""
    return t if t.dim() == dim else t.reshape(-1, *t.shape[t.dim() - dim + 1 :])


class Practice:
    """Training's source of ζ for a `PolicyGame`: minibatches of a replay, and the critic that learns from each.

    After `begin`, one iteration of DDPG is `learn`, then one step of any solver, then `follow`; TD3 with delay d calls
    `learn` d times before. The solver's first draw is the minibatch of the last `learn`; further draws (of
    extragradient, of Langevin chains) are new ones, and teach the critic too where `every_draw` is True, as Kamalaruban
    et al. 2020 have it.

    Args:
        replay: of the runs.
        learning: of the critic.
        batch_size: B.
        generator: of the run; draws the first critics.
        every_draw: a critic step with every draw, not only in `learn`.
        norm: scales the observations that are sampled.
    """

    def __init__(
        self,
        replay: Replay,
        learning: TemporalDifference,
        batch_size: int,
        generator: Generator,
        every_draw: bool = False,
        norm: RunningNorm | None = None,
    ) -> None:
        if batch_size < 1:
            raise GameError(f"batch_size is {batch_size}: at least 1 transition is needed, e.g. 128")
        self.replay, self.learning, self.batch_size, self.every_draw = replay, learning, batch_size, every_draw
        self.norm = norm
        self.state = learning.init(replay.shape, generator, replay.dtype)
        self.target = self.error = self.states = torch.empty(0)
        self.held: Batch | None = None

    def begin(self, z: Tensor) -> None:
        """Let the target policies begin at the first joint strategy, (*S, n + m)."""
        self.target = z.clone()

    def learn(self, generator: Generator) -> None:
        """Take one step of the critic on a new minibatch, and hold that for the players."""
        self.held = self._sample(generator)
        self.states = self.held.states
        self.error = self.learning.step_(self.held, self.target, self.state, generator)

    def _sample(self, generator: Generator) -> Batch:
        batch = self.replay.sample(self.batch_size, generator)
        if self.norm is not None:
            self.norm.apply_(batch.states)  # [s | a] holds these states, too
            self.norm.apply_(batch.next_states)
        return batch

    def draw(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return (states, critic weights): of the held minibatch once, then of new ones."""
        if self.replay.size == 0:  # before anything was played: an oracle asks for shapes
            nowhere = (*shape, self.batch_size, self.replay.state_size)
            states = torch.zeros(nowhere, device=generator.device, dtype=dtype)
            return states, self.learning.first(self.state).expand(*shape, -1)
        if self.held is None and self.every_draw:
            self.learn(generator)
        batch = self.held or self._sample(generator)
        self.held = None
        return batch.states, self.learning.first(self.state)

    def follow(self, z: Tensor) -> None:
        """Move the target policies and the target critic by tau towards z and the critic."""
        self.target.lerp_(z, self.learning.tau)
        self.learning.follow_(self.state)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, the replay included, as tensors and integers."""
        return {
            "critic": map_tensors(self.state, torch.clone),
            "target": self.target.clone(),
            "replay": self.replay.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, between two iterations."""
        self.state, self.target, self.held = map_tensors(state["critic"], torch.clone), state["target"].clone(), None
        self.replay.load_state_dict(state["replay"])
