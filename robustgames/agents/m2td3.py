"""TD3 against the parameters of its env: M2TD3, soft M2TD3, and domain randomization."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.agents.control.block_adam import with_block_adam
from robustgames.agents.control.candidates import Candidates, forget
from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.episode_factory import make_episodes
from robustgames.agents.control.episodes import Episodes
from robustgames.agents.control.parts import make_actor, make_critic_training
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.uncertain_episodes import UncertainEnvs, UncertainPendulums, with_uncertainty
from robustgames.agents.control.uncertainty_game import (
    UncertainCritic,
    UncertainPolicies,
    UncertainSample,
    UncertaintyGame,
)
from robustgames.agents.control.uncertainty_settings import RandomizationSettings, UncertaintySettings
from robustgames.agents.robust_ddpg import RobustTD3
from robustgames.envs.control.couplings import has_alpha
from robustgames.solvers import Scheme

UNKNOWN_LENGTH = 1_000
"""Steps of an episode without a time limit, until one has ended."""


class DomainRandomizedTD3(RobustTD3):
    """TD3 with domain randomization: every episode has parameters drawn uniformly from a box.

    Policy and critic see the state alone. It is the control that a claim of `M2TD3` has to beat: the same envs, and no
    adversary. The env must have α = 0, which is the default here. See `M2TD3` for the arguments.

    Source: Tobin et al. 2017; as a baseline, Tanabe et al. 2022 (DR).

    Example:
        >>> agent = DomainRandomizedTD3(uncertainty="mass=0.5:2,length=0.5:1.5", learning_starts=20, batch_size=8)
        >>> agent.learn(30).ongoing.coordinates.shape
        (1, 2)
    """

    preset = RandomizationSettings(tau=0.005, twin=True, smoothing=0.2, delay=2)
    env_defaults: ClassVar[dict[str, Any]] = {"alpha": 0.0}
    settings: RandomizationSettings
    ongoing: UncertainEnvs | UncertainPendulums
    _shown = False  # whether the critic sees the parameters

    def _make_episodes(
        self, env: gym.Env | gym.vector.VectorEnv | Episodes | str, runs: int, env_settings: dict[str, Any], device: str
    ) -> Episodes:
        if isinstance(env, str) and has_alpha(env_settings.get("coupling", "noisy")):
            env_settings = {**self.env_defaults, **env_settings}
        plain = make_episodes(env, runs, env_settings, device, self.seed)
        return with_uncertainty(plain, self.settings.uncertainty, self._choose, self._shown)

    def _choose(self, run: int, drawn: np.random.Generator) -> np.ndarray:
        """Return the coordinates (d,) of the parameters of a new episode of a run."""
        return drawn.uniform(-1, 1, self.ongoing.box.size)


class M2TD3(DomainRandomizedTD3):
    """TD3 against the worst parameters ω of its env in a box: max_x min_ω Q(s, μ_x(s), ω).

    x is the actor. y are N candidates ω_k, each in an optimizer of its own, of which the worst on a minibatch moves.
    The solver moves both players at the same time (`UncertaintyGame`). The critic learns Q(s, a, ω), and an episode has
    the parameters of a candidate, with noise (`Candidates`); before `learning_starts` they are uniform in the box. The
    actor does not see ω. With a box of one point, it is TD3.

    Published (Tanabe et al. 2022, and the code of the authors): 5 candidates ω_k = low + (high - low) σ(w_k); the
    rules of their shares; the noise of episodes and targets; two critics, delay 2, tau 0.005, discount 0.99; networks
    of 256 256, minibatches of 100, rates of 3e-4 for all players, 100,000 uniform steps, 2,000,000 steps.

    Where this differs: networks, minibatches, rates and `learning_starts` are settings with the defaults of
    `RobustTD3`. The critic gets coordinates in [-1, 1] instead of ω, and `least_distance` is in these. With
    simultaneous Adam, the default, each candidate has moments of its own, as published; other solvers have one state
    for all. A time limit does not terminate; exploration noise is one number for each action; episodes start from
    different states. (The code of the authors terminates at the limit, adds one number to all actions, and resets every
    episode to the seed of the run.)

    Source: Tanabe, Sato, Fukuchi, Sakuma and Akimoto 2022, Max-Min Off-Policy Actor-Critic Method Focusing on
    Worst-Case Robustness to Model Misspecification; github.com/akimotolab/M2TD3.

    Args:
        env: Id of a control env, or an env, as in `RobustDDPG`. The adversary has no part in the actions: α = 0, which
            is the default for an id.
        solver: Scheme of both players, or a name of `make_solver`; Adam(1e-3) by default.
        seed: Seed of everything random.
        runs: Number of runs S.
        env_settings: Settings of the id.
        device: Device of networks, replay and updates.
        tensorboard_log: Folder of event files; if None, none are written.
        verbose: If 1, every log is printed as a table.
        **settings: Fields of `UncertaintySettings`.

    Raises:
        GameError: α > 0, an unknown axis, empty bounds, an axis without an effect, or settings out of range.

    Example:
        >>> agent = M2TD3(uncertainty="mass=0.5:2", candidates=3, learning_starts=20, batch_size=8).learn(40)
        >>> agent.worst_candidate(0).keys(), agent.candidates.shares.shape
        (dict_keys(['mass']), torch.Size([1, 3]))
    """

    preset = UncertaintySettings(tau=0.005, twin=True, smoothing=0.2, delay=2)
    settings: UncertaintySettings
    policies: UncertainPolicies
    game: UncertaintyGame
    candidates: Candidates
    _shown = True

    def _make_policies(self) -> Policies:
        s, episodes, box = self.settings, self.ongoing, self.ongoing.box
        self.candidates = Candidates(episodes.runs, s.candidates, box.size, self.device)
        return UncertainPolicies(make_actor(episodes, s), s.candidates, box.size)

    def _make_practice(self, generator: Generator) -> CriticTraining:
        further = self.policies.further  # the replay stores [a | c]
        return make_critic_training(
            self.policies, self.ongoing, self.settings, self.norm, self.device, generator, further, UncertainCritic
        )

    def _make_game(self) -> UncertaintyGame:
        s, critic = self.settings, self.practice.learning.critic
        return UncertaintyGame(self.policies, critic, self.practice, self.candidates, s.soft, s.final or None)

    def _make_solver(self, solver: Scheme | str | None) -> Scheme:
        made = super()._make_solver(solver)
        return with_block_adam(made, self.policies.further) if self.game.sizes[1] else made

    # -- training ----------------------------------------------------------------------------------------------
    def _update(self) -> None:
        super()._update()
        if self.updates % self.settings.delay == 0 and self.policies.further:
            self.candidates.follow([self._length(run) for run in range(len(self.z))])

    def _end(self) -> None:
        super()._end()
        self.candidates.shares, self.candidates.worst = self.candidates.shares.clone(), self.candidates.worst.clone()

    def _length(self, run: int) -> int:
        """Return the length of the last episode of a run, or before that the time limit."""
        recent = self.ongoing.recent[run]
        return recent[-1][1] if recent else _time_limit(self.env)

    def _choose(self, run: int, drawn: np.random.Generator) -> np.ndarray:
        s, held = self.settings, self.practice.replay.size
        if held < s.learning_starts or not self.policies.further:
            return super()._choose(run, drawn)
        stale = self.candidates.stale(self._coordinates(run), run, s.least_distance, s.least_share)
        if stale:
            self._renew(run, stale, drawn)
        return self.candidates.sample(self._coordinates(run), run, self.spread, drawn)

    def _coordinates(self, run: int) -> np.ndarray:
        """Return the coordinates of the candidates of a run, (N, d)."""
        y = self.game.split(self.z[run])[1]
        return self.policies.coordinates(y).detach().cpu().double().nan_to_num().numpy()  # of a run that diverged

    def _worst_coordinates(self, run: int) -> np.ndarray:
        """Return the coordinates of the candidate that was the worst in the last update of a run, (d,)."""
        return self._coordinates(run)[int(self.candidates.worst[run])]

    def _renew(self, run: int, which: list[int], drawn: np.random.Generator) -> None:
        """Draw candidates of a run again, and let the solver forget their past."""
        n, z = self.game.sizes[0], self.z.clone()
        z[run, n:] = self.candidates.renew(z[run, n:], run, which, drawn)
        fresh, size, count = self.solver.init(self.oracle, z), self.policies.further, self.policies.count
        self.z, self.state = z, forget(self.state, fresh, run, n, which, size, count)

    @property
    def spread(self) -> float:
        """The present standard deviation of the noise on the parameters of an episode."""
        s, done = self.settings, max(0, self.num_timesteps - self.settings.learning_starts)
        left = 1 - min(1.0, done / s.spread_steps) if s.spread_steps else 1.0
        return s.final_spread + (s.spread - s.final_spread) * left if s.spread_steps else s.spread

    # -- what is known -----------------------------------------------------------------------------------------
    def worst_candidate(self, run: int = 0) -> dict[str, float]:
        """Return {axis, or "axis of body": value} of the candidate that was the worst in the last update of a run."""
        box = self.ongoing.box
        return dict(zip(box.names, box.values(self._worst_coordinates(run)).tolist(), strict=True))

    def worst_perturbation(self, run: int = 0) -> dict[str, Any]:
        """Return `worst_candidate` as a perturbation for `reset` and `play`."""
        return self.ongoing.box.perturbation(self._worst_coordinates(run))

    def critic_inputs(self, states: Tensor, actions: Tensor) -> Tensor:
        nominal = torch.as_tensor(self.ongoing.box.nominal, dtype=states.dtype, device=states.device)
        return torch.cat([states, actions, nominal.expand(*states.shape[:-1], -1)], -1)

    @torch.no_grad()
    def values(self, states: Tensor) -> Tensor:
        """Return what every run's critic expects in states of the nominal env: (S, B, p) -> (S, B)."""
        states = states.to(self.device)
        if self.norm is not None:
            states = self.norm.apply_(states.clone())
        actions = self.policies.actor(self.game.split(self.z)[0], states)
        critic = self.practice.learning.first(self.practice.state)
        return self.game.critic(critic, self.critic_inputs(states, actions)).squeeze(-1)

    def _objectives(self) -> dict[str, Tensor]:
        """Return Φ, Q at the worst and best candidate and at the nominal parameters, and what the candidates are."""
        if not self.policies.further:
            return super()._objectives()
        states, critic = self.practice.states, self.practice.learning.first(self.practice.state)
        x, y = self.game.split(self.z)
        means = self.game.means(x, y, UncertainSample(states, critic, self.candidates.shares.to(self.z)))
        worst, c, shares = means.argmin(-1), self.policies.coordinates(y), self.candidates.shares
        payoff = (shares.to(means) * means).sum(-1) if self.settings.soft else means.amin(-1)
        nominal = self.game.critic(critic, self.critic_inputs(states, self.policies.actor(x, states)))
        found = {
            "train/payoff": -payoff,
            "train/q_of_worst": means.amin(-1),
            "train/q_of_best": means.amax(-1),
            "train/q_of_nominal": nominal.mean((-2, -1)),
            "train/share_of_worst": shares.gather(-1, worst.unsqueeze(-1)).squeeze(-1).to(means),
            "train/largest_share": shares.amax(-1).to(means),
            "train/spread_of_candidates": c.std(-2, correction=0).mean(-1),
            "train/episode_spread": torch.full_like(payoff, self.spread),
        }
        at = c[torch.arange(len(c), device=c.device), worst].cpu().double().numpy()
        for name, values in zip(self.ongoing.box.names, self.ongoing.box.values(at).T, strict=True):
            found[f"train/worst_{name.replace(' ', '_')}"] = torch.as_tensor(values).to(payoff)
        return found

    def _parts(self) -> dict[str, Any]:
        return {**super()._parts(), "candidates": self.candidates}


class SoftM2TD3(M2TD3):
    """`M2TD3` whose policy ascends the mean of Q over the candidates, weighted by their shares, not the worst alone.

    x ascends Σ p_k Q(s, μ_x(s), ω_k); the candidates move as in M2TD3. The noise on the parameters of the episodes
    decreases over `spread_steps`, half of the steps as published (`robustgames train` takes half of its --steps).

    Source: Tanabe et al. 2022, soft M2TD3.

    Example:
        >>> SoftM2TD3(learning_starts=20, batch_size=8).learn(30).game.soft
        True
    """

    preset = UncertaintySettings(tau=0.005, twin=True, smoothing=0.2, delay=2, soft=True, spread_steps=1_000_000)


def _time_limit(env: Any) -> int:
    """Return the number of steps after which an env truncates an episode."""
    if isinstance(env, gym.vector.VectorEnv):
        return int(env.max_episode_steps)  # type: ignore[attr-defined]
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            return int(env._max_episode_steps)
        env = env.env
    return UNKNOWN_LENGTH
