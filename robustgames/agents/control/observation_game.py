"""The policies' game with an adversary of what the protagonist observes: SA-DDPG's regularization."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Generator, Tensor

from robustgames.agents.control.policies import FlatNetwork, Policies
from robustgames.agents.control.policy_game import PolicyGame, PolicySample, Source
from robustgames.attacks.engine import ascend
from robustgames.attacks.problem import Problem
from robustgames.attacks.steps import Constant
from robustgames.errors import GameError, check_whole_numbers
from robustgames.games.networks import MLP
from robustgames.games.passes import Backprop
from robustgames.games.threat import ThreatModel
from robustgames.games.tracing import Graph, trace
from robustgames.streams import uniform

Maximizer = Literal["steps", "interval"]
REACH = 2.5  # lengths of all steps in radii: K steps of eps / K, as published, do not reach the far corner


class BallSample(NamedTuple):
    """One draw of ζ, with the starts of the perturbations."""

    states: Tensor
    critic: Tensor
    drawn: Tensor | None
    start: Tensor
    """Uniform in [-1, 1]^p, (*S, B, p): the starts in units of the radius."""

    @property
    def of_policies(self) -> PolicySample:
        """The part that `PolicyGame` uses."""
        return PolicySample(self.states, self.critic, self.drawn)


class StateAdversarialGame(PolicyGame):
    """min_x max_y max_ŝ Φ(x, y; ζ) + κ mean_s |μ_x(ŝ(s)) - μ_x(s)|², each ŝ(s) in the box |ŝ_i - s_i| <= eps σ_i.

    The third player has a perturbation of its own for every state of a minibatch, and answers x at once. By Danskin's
    theorem the gradient in x is that at its answer, in which x moves both μ_x(ŝ) and μ_x(s). The answer is one of

    * "steps": K steps of projected gradient ascent by the engine of `robustgames.attacks`, of length 2.5 eps / K each,
      from a uniform point (the gradient at s is 0). It bounds the maximum from below.
    * "interval": Σ_j max(u_j - μ_j(s), μ_j(s) - l_j)² with interval bounds l <= μ_x(ŝ) <= u over the ball, which bounds
      it from above.

    Source: Zhang et al. 2020, Robust Deep Reinforcement Learning against Adversarial Perturbations on State
    Observations, section 3.3 (SA-DDPG). Its text has the norm, its code the square, averaged over the k actions, so its
    weight is k κ. Its code draws the start from ±eps / K and steps by eps / K.

    Args:
        policies, critic, source, final, fast: As in `PolicyGame`.
        kappa: Weight κ >= 0.
        eps: Radius >= 0, in units of `scale`. It may be changed between two steps.
        scale: Units σ > 0 of the components of what the networks take, (p,); all 1 if empty.
        maximizer: What answers.
        steps: Number K of steps.

    Raises:
        GameError: Numbers out of range, or a policy without interval bounds.

    Example:
        >>> from robustgames.agents.control.policy_game import Fixed
        >>> source = Fixed(torch.zeros(4, 2))
        >>> game = StateAdversarialGame(Policies(MLP((2, 1)), None, 0.0), MLP((3, 8, 1)), source, kappa=1.0, eps=0.1)
        >>> x, states, start = torch.tensor([3.0, -4.0, 0.0]), torch.zeros(4, 2), torch.full((4, 2), 0.5)
        >>> game.roughness(x, BallSample(states, torch.empty(0), None, start))   # (eps |w|_1)²
        tensor(0.4900)
    """

    def __init__(
        self,
        policies: Policies,
        critic: FlatNetwork,
        source: Source,
        final: float | None = 3e-3,
        kappa: float = 1.0,
        eps: float = 0.1,
        scale: tuple[float, ...] = (),
        maximizer: Maximizer = "steps",
        steps: int = 5,
        fast: bool = True,
    ) -> None:
        super().__init__(policies, critic, source, final, fast)
        self.kappa, self.eps, self.maximizer, self.steps = kappa, eps, maximizer, steps
        self.scale = torch.tensor(scale or 1.0, dtype=torch.float32)
        check_smoothing(self)

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Any:
        """Draw ζ; if κ or eps is 0, without starts, so the draws are those of `PolicyGame`."""
        states, critic, drawn = sample = super().draw(shape, generator)
        if not (self.kappa and self.eps):
            return sample
        return BallSample(states, critic, drawn, uniform(states.shape, generator, states.dtype).mul_(2).sub_(1))

    def payoff(self, x: Tensor, y: Tensor, sample: Any) -> Tensor:
        """Return Φ with the regularization, without it for a sample that has no starts."""
        if not isinstance(sample, BallSample):
            return super().payoff(x, y, sample)
        return super().payoff(x, y, sample.of_policies) + self.kappa * self.roughness(x, sample)

    def roughness(self, x: Tensor, sample: BallSample) -> Tensor:
        """Return mean_s max_ŝ |μ_x(ŝ) - μ_x(s)|² as it is found or bounded, (*S,), differentiable in x."""
        mu = self.policies.actor(x, sample.states)
        if self.maximizer == "interval":
            low, high = self.action_bounds(x, sample.states)
            farthest = torch.maximum(high - mu, mu - low)
        else:
            farthest = self.policies.actor(x, self.worst_states(x.detach(), sample)) - mu
        return farthest.square().sum(-1).mean(-1)

    def worst_states(self, x: Tensor, sample: BallSample) -> Tensor:
        """Return ŝ(s), (*S, B, p), without a graph."""
        actor, states = self.policies.actor, sample.states
        with torch.no_grad():
            mu = actor(x, states)

        def slope(shifted: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = shifted.detach().requires_grad_()
                (g,) = torch.autograd.grad((actor(x, leaf) - mu).square().sum(), leaf)
            return g

        return self._climb(slope, sample)

    def action_bounds(self, x: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return interval bounds of μ_x over the balls around states (*S, B, p), each (*S, B, k)."""
        actor = self.policies.actor
        assert isinstance(actor, MLP)
        radius = self.eps * self.scale
        layers = self._graph.layers(dict(zip(self._graph.names, actor.parts(x), strict=True)).__getitem__)
        return self._graph.bounds(layers, states - radius, states + radius)[self._graph.last]

    @cached_property
    def _graph(self) -> Graph:
        actor = self.policies.actor
        if not isinstance(actor, MLP):
            raise GameError("interval bounds need an MLP as actor: use maximizer='steps'")
        module = actor.as_module(torch.zeros(actor.size))
        return trace(module, torch.zeros(2, actor.widths[0]))

    def field(self, z: Tensor, sample: Any = None, player: int | None = None) -> Tensor:
        if not isinstance(sample, BallSample) or not self._by_hand(z):
            return super().field(z, cast(Any, sample), player)
        v = super().field(z, sample.of_policies, player)
        return v if player == 1 else self._regularized(v, z, sample)[1]

    def evaluate(self, z: Tensor, sample: Any = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        if not isinstance(sample, BallSample) or not self._by_hand(z):
            return super().evaluate(z, cast(Any, sample))
        (first, _), v = super().evaluate(z, sample.of_policies)
        rough, v = self._regularized(v, z, sample)
        value = first - self.kappa * rough
        return (value, -value), v

    def _regularized(self, v: Tensor, z: Tensor, sample: BallSample) -> tuple[Tensor, Tensor]:
        """Return (roughness, V with the ascent of x in Φ's regularization)."""
        rough, gradient = self.rough(self.split(z)[0], sample)
        v[..., : self.sizes[0]].sub_(gradient, alpha=self.kappa)
        return rough, v

    def rough(self, x: Tensor, sample: BallSample) -> tuple[Tensor, Tensor]:
        """Return (`roughness`, (*S,), its gradient in x, (*S, n)), without a graph."""
        by_hand = self.fast and self.maximizer == "steps"
        return self._passed_roughness(x, sample) if by_hand else self._graded(x, sample)

    def _graded(self, x: Tensor, sample: BallSample) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            plain = sample._replace(states=sample.states.clone(), start=sample.start.clone())
            value = self.roughness(leaf, plain)
            (g,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), g

    def _passed_roughness(self, x: Tensor, sample: BallSample) -> tuple[Tensor, Tensor]:
        """Return (roughness, its gradient in x) by written-out passes."""
        shape, rows = x.shape[:-1], sample.states.size(-2)
        if x.dim() != 2:
            x = x.reshape(-1, x.size(-1))
            parts = [None if t is None else t.reshape(-1, *t.shape[len(shape) :]) for t in sample]
            sample = BallSample(*parts)  # type: ignore[arg-type]
        net = self._actor.at(len(x), rows, x)
        mu = net.forward(x, sample.states).clone()

        def slope(shifted: Tensor) -> Tensor:
            torch.sub(net.forward(None, shifted), mu, out=net.slope)
            return net.in_inputs()

        worst = self._climb(slope, sample)
        both = self._actor.at(len(x), 2 * rows, x)
        there, here = both.forward(x, torch.cat([worst, sample.states], -2)).split(rows, -2)
        difference = there - here
        torch.cat([difference, -difference], -2, out=both.slope).mul_(2 / rows)
        found = both.in_weights().reshape(*shape, -1)
        return difference.square().sum(-1).mean(-1).view(shape), found

    @cached_property
    def _actor(self) -> Backprop:
        assert isinstance(self.policies.actor, MLP)
        return Backprop(self.policies.actor)

    def _climb(self, slope: Any, sample: BallSample) -> Tensor:
        shifts = _Shifts(sample.states, self.eps, self.scale, slope)
        start = (self.eps * sample.start).reshape(-1, sample.states.size(-1))
        eta = ascend(cast(Problem, shifts), start, Constant(share=REACH / self.steps), self.steps, early="last")
        return sample.states + self.scale * eta.view_as(sample.states)


class _Shifts:
    """The problem of the engine: the direction of the gradient of |μ(s + σ η) - μ(s)|² in all rows, (R · B, p).

    Only its signs count, so the factor σ > 0 is left out.
    """

    eot = 1

    def __init__(self, states: Tensor, eps: float, scale: Tensor, slope: Any) -> None:
        self._states, self._slope, self._eps, self._scale = states, slope, eps, scale
        self.threat = ThreatModel("linf", eps, -float("inf"), float("inf"))

    def slope(self, eta: Tensor) -> Tensor:
        return self._slope(self._states + self._scale * eta.view_as(self._states)).reshape(eta.shape)

    def stalled(self, g: Tensor) -> None:
        return None

    def project(self, eta: Tensor) -> Tensor:
        return eta.clamp(-self._eps, self._eps)


def check_smoothing(owner: object, prefix: str = "") -> None:
    """Check weight, radius and number of steps, which a game and the settings of its agent hold under equal names.

    Raises:
        GameError: A weight or radius that is not a finite number >= 0, or less than one step.
    """
    for name in (f"{prefix}kappa", f"{prefix}eps"):
        if not 0 <= (value := getattr(owner, name)) < float("inf"):
            raise GameError(f"{name} is {value}: it must be a finite number >= 0, e.g. {name}=0.1")
    check_whole_numbers(owner, **{f"{prefix}steps": 1})
