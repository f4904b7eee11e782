"""A protagonist and adversaries that learn in turns, each by TD3 against the policies of the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from torch import Tensor

from robustgames.agents.control.episode_factory import make_separate
from robustgames.agents.control.episodes import Episodes
from robustgames.agents.control.parts import make_alone
from robustgames.agents.control.player import Player
from robustgames.agents.control.player_episodes import PlayerEpisodes
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.seeds import check_seed, seed_of_player
from robustgames.agents.control.settings import Settings, check_positive
from robustgames.agents.learning import record_runs
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3
from robustgames.envs.opponents import Policy
from robustgames.errors import GameError, unknown
from robustgames.solvers import Scheme
from robustgames.tensors import map_tensors

PLAYERS = ("protagonist", "adversary")
OF_TD3 = RobustTD3.preset


@dataclass(frozen=True)
class AlternatingSettings(Settings):
    """Hyper-parameters of `AlternatingTD3`: those of each learner, and the turns.

    Attributes:
        turn: Number of env steps in a turn of a player.
        adversaries: Number of adversaries, of which one is drawn in every episode of the protagonist (Vinitsky et al.
            2020). They learn in turns as well: protagonist, first, protagonist, second, …

    Raises:
        GameError: Numbers out of range, or unknown words.
    """

    tau: float = OF_TD3.tau
    twin: bool = OF_TD3.twin
    smoothing: float = OF_TD3.smoothing
    delay: int = OF_TD3.delay
    turn: int = 1_000
    adversaries: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, turn=1_000, adversaries=3)


class OnePlayerTD3(RobustTD3):
    """TD3 of one player in `PlayerEpisodes`, where it has no adversary of its own: the other is part of the env."""

    ongoing: PlayerEpisodes

    def _make_policies(self) -> Policies:
        return make_alone(self.ongoing, self.settings)


class AlternatingTD3(OnePlayerTD3):
    """A protagonist and adversaries that learn in turns of N steps, each against the others' present policies.

    With the other side fixed, what a player sees of the env is a single-agent MDP, whatever the coupling is: forces,
    dynamics, observations, or actions. So every player has its own actor, critics and replay, and learns by TD3:

        protagonist: max_x E Σ γ^t r_t against ν_y,    adversary: max_y E Σ γ^t (-r_t) against μ_x.

    The opponents play without exploration. A turn begins with new episodes. Timesteps count the steps of all players,
    of which the protagonist's are half. `policies`, `practice` and the logs `rollout/`, `train/` are those of the
    protagonist, `adversary/` has those of the adversaries. With `adversary="random"` the protagonist has all steps, and
    its opponent plays uniform actions, the control that a learned adversary has to beat.

    RARL and RAP were published with TRPO and PPO, ATLA with PPO: their players learn from the episodes of their turn
    and drop them. These here are off-policy, as the other agents of this package: a comparison with TD3 shows the
    effect of the adversary, not of the algorithm, and needs far fewer steps. The replay of a player holds transitions
    against earlier opponents, too, as those of DDPG hold transitions of earlier policies.

    Source: Pinto et al. 2017 (RARL, algorithm 1); Vinitsky et al. 2020 (RAP); Zhang et al. 2021 (ATLA, algorithm 1).

    Args:
        env: Id of a control env with an adversary (one env per run), or one env for one run, in any coupling; by
            default `usual_env`.
        solver: Scheme of each player's policy, as in `RobustDDPG`.
        seed, runs, env_settings, device, tensorboard_log, verbose: As in `RobustDDPG`.
        **settings: Fields of `AlternatingSettings`.

    Raises:
        GameError: The env has no adversary, its coupling does not fit, or settings are out of range.

    Example:
        >>> agent = AlternatingTD3(turn=20, learning_starts=10, batch_size=8, hidden=(8, 8)).learn(50)
        >>> agent.adversaries[0].num_timesteps, agent.num_timesteps
        (20, 50)
        >>> agent.predict(np.zeros(3, np.float32), player="adversary")[0].shape
        (1,)
    """

    preset: ClassVar[AlternatingSettings] = AlternatingSettings()
    usual_env: ClassVar[str] = "robustgames/ActionRobustPendulum-v0"
    settings: AlternatingSettings

    def __init__(
        self,
        env: gym.Env | gym.vector.VectorEnv | Episodes | str | None = None,
        solver: Scheme | str | None = None,
        seed: int = 0,
        runs: int = 1,
        env_settings: dict[str, Any] | None = None,
        device: str = "auto",
        tensorboard_log: str | None = None,
        verbose: int = 0,
        **settings: Any,
    ) -> None:
        s = self.preset.changed(settings)
        if s.adversary == "random" and s.adversaries != self.preset.adversaries:
            raise GameError(f"adversaries is {s.adversaries}: a random adversary is one; leave one of them out")
        check_seed(seed)
        env = self.usual_env if env is None else env
        envs = make_separate(env, runs, self.settings_of_env(env, env_settings))  # type: ignore[arg-type]
        own = PlayerEpisodes(envs, "protagonist", seed, self._adversaries_at)
        self.adversaries: list[OnePlayerTD3] = []
        super().__init__(own, solver, seed, runs, None, device, tensorboard_log, verbose, **settings)
        shared = {name: getattr(s, name) for name in Settings.__dataclass_fields__}
        for k in range(s.adversaries if s.adversary == "learned" else 0):
            theirs = seed_of_player(seed, 1 + k)
            episodes = PlayerEpisodes(envs, "adversary", theirs, self._protagonist_at)
            self.adversaries.append(OnePlayerTD3(episodes, solver, theirs, runs, None, device, **shared))
        limit = getattr(self.env.spec, "max_episode_steps", None)
        if self.adversaries and limit is not None and s.turn < limit:
            cut = f"a turn of {s.turn} steps begins new episodes, so no state after step {s.turn} is seen"
            warnings.warn(f"{cut}; for episodes of {limit} steps give e.g. turn={limit}", stacklevel=2)
        self._before = 0  # timesteps of earlier trainings, whose count was reset

    def _adversaries_at(self, run: int) -> list[Policy | str]:
        return [*self.adversaries_of(run)] or ["random"]

    def _protagonist_at(self, run: int) -> list[Policy | str]:
        return [self.policy(run)]

    @property
    def learners(self) -> list[RobustDDPG]:
        """The learners: the protagonist's, which is this agent, and those of the adversaries."""
        return [self, *self.adversaries]

    @property
    def stored(self) -> int:
        return self._before + self.num_timesteps - sum(learner.num_timesteps for learner in self.adversaries)

    def _subject(self) -> str:
        return f"{super()._subject().partition(' with ')[0]} with {self.ongoing.coupling} adversary"

    # -- training ----------------------------------------------------------------------------------------------
    def _reset_timesteps(self) -> None:
        self._before, self.num_timesteps = self._before + self.num_timesteps, 0

    def _mover(self) -> RobustDDPG:
        """Return the learner whose turn the next step is in: protagonist, adversary, protagonist, next adversary, …"""
        turn = (self._before + self.num_timesteps) // self.settings.turn
        return self.adversaries[turn // 2 % len(self.adversaries)] if turn % 2 and self.adversaries else self

    def _take_step(self) -> None:
        mover = self._mover()
        for learner in self.learners:
            if learner._owed is not None:
                learner._follow_up(learner._owed)
            if learner is not mover:
                learner.ongoing.abandon()  # its opponents will have learned by its next turn
        if mover is self:
            super()._take_step()
            return
        before = mover.num_timesteps
        try:
            mover._advance()
        finally:
            self.num_timesteps += mover.num_timesteps - before
        self._ended = mover._ended

    def _recall(self) -> None:
        for learner in self.learners:
            learner.interaction.abandon()

    def _end(self) -> None:
        super()._end()
        for learner in self.adversaries:
            learner._end()

    def _log(self, rate: float) -> None:
        for k, learner in enumerate(self.adversaries):
            self._log_adversary(learner, f"adversary_{k}" if len(self.adversaries) > 1 else "adversary")
        super()._log(rate)

    def _log_adversary(self, learner: OnePlayerTD3, name: str) -> None:
        team = self.processes
        for measure, value in learner.interaction.measures(team).items():
            self.logger.record(f"{name}/{measure}", value)
        if learner.practice.error.numel():
            own: dict[str, Tensor] = {"q": learner._objectives()["train/q_of_protagonist"]}
            loss = team.gather(learner.practice.error.square().mean().reshape(1)).mean()
            self.logger.record(f"{name}/critic_loss", float(loss))
            record_runs(self.logger, {f"{name}/{key}": team.gather(v) for key, v in own.items()}, self._runs > 1)
        self.logger.record(f"{name}/updates", learner.updates)

    # -- playing -----------------------------------------------------------------------------------------------
    @property
    def has_adversary(self) -> bool:
        return bool(self.adversaries)

    @property
    def is_opposed(self) -> bool:
        return True

    def adversaries_of(self, run: int) -> list[Callable[[Any], np.ndarray]]:
        return [learner.policy(run) for learner in self.adversaries]

    def policy(self, run: int = 0, player: str = "protagonist") -> Callable[[Any], np.ndarray]:
        """Return the present policy of a player of one run, of the first adversary if there are several."""
        if player == "adversary" and self.adversaries:
            return self.adversaries[0].policy(run)
        return super().policy(run, player)

    def _player(self, player: str, run: int) -> Player:
        if player not in PLAYERS:
            raise unknown("player", str(player), PLAYERS)
        if player == "adversary" and self.adversaries:
            return self.adversaries[0]._player("protagonist", run)
        return super()._player(player, run)

    # -- disk --------------------------------------------------------------------------------------------------
    def _changing(self) -> dict[str, Any]:
        theirs = {str(k): learner._changing() for k, learner in enumerate(self.adversaries)}
        return {**super()._changing(), "before": self._before, "adversaries": theirs}

    def _like(self, content: dict[str, Any]) -> dict[str, Any]:
        saved = content.get("adversaries", {})
        theirs = {
            str(k): learner._like(saved.get(str(k), {"owed": None})) | {"timesteps": 0, "updates": 0}
            for k, learner in enumerate(self.adversaries)
        }
        return {**super()._like(content), "before": 0, "adversaries": theirs}

    def _restore(self, content: dict[str, Any]) -> None:
        several = [content, *content["adversaries"].values()]
        for learner, saved in zip(self.learners, several, strict=True):  # first all policies, then their episodes
            learner.z = saved["z"].to(self.device)
            if learner.norm is not None:
                learner.norm.load_state_dict(map_tensors(saved["norm"], lambda t: t.to(self.device)))
        self._before = content["before"]
        for learner, saved in zip(self.adversaries, several[1:], strict=True):
            learner._restore(saved)
        super()._restore(content)
