"""A policy against the parameters of its env as a game, for any solver, and the critic that sees the parameters."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Generator, Tensor

from robustgames.agents.control.candidates import Candidates
from robustgames.agents.control.critics import TemporalDifference
from robustgames.agents.control.fast_policies import FastPolicies
from robustgames.agents.control.policies import FlatNetwork, Policies
from robustgames.agents.control.policy_game import PolicyGame, PolicySample, Source
from robustgames.agents.control.replay import Transitions
from robustgames.games.game import gradients, join
from robustgames.games.networks import MLP
from robustgames.solvers.rules import State


class UncertainPolicies(Policies):
    """One policy μ_x, and y: N candidates ω_k of d parameters, k-th logits w_k with coordinates c_k = 2 σ(w_k) - 1.

    Args:
        actor: μ, (B, p) -> (B, k).
        count: N.
        further: d, the number of inputs that the critic has after the action.
    """

    def __init__(self, actor: FlatNetwork, count: int, further: int) -> None:
        super().__init__(actor, None, 0.0)
        self.count, self.further = count, further
        self.sizes = (actor.size, count * further)
        if self.fast:
            self.passes = FastPolicies(cast(MLP, actor), None, False, self.action_size + further)

    def coordinates(self, y: Tensor) -> Tensor:
        """Return the coordinates of the candidates in (-1, 1): (*S, N d) -> (*S, N, d)."""
        return torch.tanh(y.unflatten(-1, (self.count, self.further)) / 2)

    def act(self, z: Tensor, states: Tensor, drawn: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (μ_x(s), None) without a graph, for z (R, n + m), states (R, B, p), see `Policies.act`."""
        x = self.split(z)[0]
        if self.passes is not None:
            mu = self.passes.forward(x, states)[1]
            assert mu is not None
            return mu, None
        with torch.no_grad():
            return self.actor(x, states), None


class UncertainCritic(TemporalDifference):
    """One step of Q(s, a, c) towards r + γ (1 - terminated) Q'(s', μ'(s') + noise, c + noise).

    An episode has the same parameters to its end, so c, the coordinates of those of the transition, is also that of s'.
    The actions of the replay are [a | c]. Noise, its bound and the bounds ±1 are those of TD3's action noise, for both:
    in units of the parameters, a standard deviation of 0.2 half widths of the box, clipped to 0.5.

    Source: Tanabe et al. 2022, and their code.
    """

    policies: UncertainPolicies

    def targets(self, batch: Transitions, z: Tensor, state: State, generator: Generator) -> Tensor:
        after, played = _of_runs(batch.next_states), _of_runs(batch.actions)
        mu, _ = self.policies.act(z.reshape(-1, z.shape[-1]), after)
        played = torch.cat([mu, played[..., self.policies.action_size :]], -1)
        v = self._least(state["target"], after, played, None, generator)
        return torch.addcmul(batch.rewards, batch.continues, v.view(batch.rewards.shape), value=self.gamma)


class UncertainSample(NamedTuple):
    """One draw of ζ."""

    states: Tensor
    """(*S, B, p)."""
    critic: Tensor
    """Weights of Q, (*S, c): fixed while the players move."""
    shares: Tensor
    """p_k, (*S, N): fixed while the players move."""


class UncertaintyGame(PolicyGame):
    """max_x min_k Q_k(x, y), Q_k = mean_s Q(s, μ_x(s), ω_k(y)): a policy against N candidates of parameters.

    Φ(x, y; ζ) = -min_k Q_k. The candidate that is the worst on the sample moves; the others have a field of 0. If
    `soft`, x ascends Σ p_k Q_k with the shares p_k of the candidates, and y is as before: a general-sum game.

    Without parameters (d = 0) it is the `PolicyGame` of one player, the policy gradient of TD3.

    Source: Tanabe et al. 2022, equations of M2TD3 and soft M2TD3, and their code.

    Args:
        policies: μ, and the candidates.
        critic: Q, (B, p + k + d) -> (B, 1), on [state | action | coordinates].
        source: Source of states and critic weights.
        candidates: Shares of the candidates.
        soft: Whether x ascends the weighted mean over the candidates.
        final: Half the width of the first weights in the last layer of the actor, see `PolicyGame`.
        fast: Whether to compute the field by written-out passes, if all networks are `MLP`s, instead of autograd.
    """

    policies: UncertainPolicies

    def __init__(
        self,
        policies: UncertainPolicies,
        critic: FlatNetwork,
        source: Source,
        candidates: Candidates,
        soft: bool = False,
        final: float | None = 3e-3,
        fast: bool = True,
    ) -> None:
        super().__init__(policies, critic, source, final, fast)
        self.candidates, self.soft = candidates, soft

    def draw(self, shape: tuple[int, ...], generator: Generator) -> PolicySample | UncertainSample:  # type: ignore[override]
        sample = super().draw(shape, generator)
        if not self.policies.further:
            return sample
        shares = self.candidates.shares.to(self.dtype)
        return UncertainSample(sample.states, sample.critic, shares.expand(*shape, -1) if shape else shares[0])

    def start(self, player: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Draw weights as the network does, and candidates uniformly in the box."""
        if player == 0 or not self.policies.further:
            return super().start(player, shape, generator)
        return self.candidates.first(shape, generator, self.dtype)

    def payoff(self, x: Tensor, y: Tensor, sample: PolicySample | UncertainSample) -> Tensor:  # type: ignore[override]
        return super().payoff(x, y, sample) if isinstance(sample, PolicySample) else self._losses(x, y, sample)[0]

    def means(self, x: Tensor, y: Tensor, sample: UncertainSample) -> Tensor:
        """Return Q_k, the mean of Q over the states at every candidate, (*S, N)."""
        mu, c = self.policies.actor(x, sample.states), self.policies.coordinates(y)
        q = self.critic(sample.critic, _each(torch.cat([sample.states, mu], -1), c))
        return q.unflatten(-2, (self.policies.count, -1)).mean((-2, -1))

    def field(  # type: ignore[override]
        self, z: Tensor, sample: PolicySample | UncertainSample | None = None, player: int | None = None
    ) -> Tensor:
        if not isinstance(sample, UncertainSample):
            return super().field(z, sample, player)
        v = self.evaluate(z, sample)[1]
        return v if player is None else self.split(v)[player]

    def evaluate(  # type: ignore[override]
        self, z: Tensor, sample: PolicySample | UncertainSample | None = None
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        if not isinstance(sample, UncertainSample):
            return super().evaluate(z, sample)
        if self._by_hand(z) and z.dim() == 2:
            return self._through_passes(z, sample)
        losses, ((g_x,), (g_y,)) = gradients(lambda x, y: self._losses(x, y, sample), self.split(z), ((0,), (1,)))
        return (-losses[0], -losses[1]), join([-g_x, -g_y], z)

    def _losses(self, x: Tensor, y: Tensor, sample: UncertainSample) -> tuple[Tensor, Tensor]:
        """Return the losses of both players, (*S,) each: x descends -Σ w_k Q_k, y descends min_k Q_k."""
        means = self.means(x, y, sample)
        least = means.gather(-1, self._worst(means).unsqueeze(-1)).squeeze(-1)
        return -((sample.shares * means).sum(-1) if self.soft else least), least

    def _worst(self, means: Tensor) -> Tensor:
        """Return the worst candidate of each run, (*S,), and count it in the next update of the shares."""
        self.candidates.worst = worst = means.detach().argmin(-1)
        return worst

    def _through_passes(self, z: Tensor, sample: UncertainSample) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return what `evaluate` does by written-out passes, for z (R, n + m)."""
        (fast, net), policies, states = self._passes, self.policies, sample.states
        (runs, rows, _), count, k = states.shape, policies.count, policies.action_size
        x, y = self.split(z)
        used, mu, _ = fast.forward(x, states)
        assert mu is not None
        c, run = policies.coordinates(y), torch.arange(runs, device=z.device)
        every = net.at(runs, count * rows, states)
        inputs = every.inputs.view(runs, count, rows, -1)
        inputs.copy_(_each(torch.cat([states, mu], -1), c).view(inputs.shape))
        means = every.forward(sample.critic).view(runs, count, rows).mean(-1)
        worst = self._worst(means)
        least = own = means[run, worst]
        if self.soft:
            every.slope.fill_(1 / rows)
            slopes = every.in_inputs().view(runs, count, rows, -1)
            own = (sample.shares * means).sum(-1)
            in_action = torch.einsum("rn,rnbk->rbk", sample.shares, slopes[..., :k])
            in_worst = slopes[run, worst, :, k:].sum(1)
        else:
            one = net.at(runs, rows, states)
            one.forward(sample.critic, inputs[run, worst])
            one.slope.fill_(1 / rows)
            slopes = one.in_inputs()
            in_action, in_worst = slopes[..., :k], slopes[..., k:].sum(1)
        descent = torch.zeros_like(c)
        descent[run, worst] = -in_worst * (1 - c[run, worst].square()) / 2
        v = join([fast.in_weights(used, (in_action,)), descent.flatten(1)], z)
        return (own, -least), v


def _of_runs(t: Tensor) -> Tensor:
    """Return (*S, B, q) with one dimension of runs, (R, B, q)."""
    return t.reshape(-1, *t.shape[-2:])


def _each(played: Tensor, c: Tensor) -> Tensor:
    """Return [s | a | c_k] for every k: played (*S, B, p + k), c (*S, N, d) -> (*S, N B, p + k + d)."""
    shape = (*c.shape[:-1], played.shape[-2])
    rows = torch.cat([played.unsqueeze(-3).expand(*shape, -1), c.unsqueeze(-2).expand(*shape, -1)], -1)
    return rows.flatten(-3, -2)
