"""DDPG and TD3 against an adversary that acts in the same env."""

from __future__ import annotations

import copy
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.agents.agent import Agent
from robustgames.agents.control.behavior import Behavior
from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.divided_runs import join_runs, own_runs
from robustgames.agents.control.engines import make_engine, why_not_native
from robustgames.agents.control.episode_factory import make_episodes
from robustgames.agents.control.episodes import Episodes
from robustgames.agents.control.interaction import Interaction
from robustgames.agents.control.normalization import RunningNorm
from robustgames.agents.control.parts import make_critic_training, make_policies, make_policy_solver
from robustgames.agents.control.player import Player
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.policy_game import PolicyGame, PolicySample
from robustgames.agents.control.saved_runs import check_same_env, with_moments_of_ascent
from robustgames.agents.control.seeds import CRITICS, POLICIES, REST, SeedFrom, check_seed, seeds_of
from robustgames.agents.control.settings import Settings
from robustgames.agents.learning import record_runs
from robustgames.checkpoints import CHECKPOINT, check_counts, check_like, load_checkpoint, restoring, save_checkpoint
from robustgames.envs import control_ids
from robustgames.envs.control.action_couplings import check_mixture
from robustgames.envs.control.discrete_actions import check_continuous
from robustgames.errors import DivergedError, GameError, one_line, unknown
from robustgames.evaluation.observation_attacks import Differentiable
from robustgames.games import Oracle
from robustgames.solvers import Scheme
from robustgames.solvers.config import from_config, to_config
from robustgames.streams import Streams
from robustgames.tensors import choose_device, map_tensors

TOGETHER = 100
"""Timesteps after which processes with a part of the runs each agree on a Ctrl-C."""
OLDER = "a checkpoint of an earlier version, in which all runs drew from one stream: from here each run has its own"


class RobustDDPG(Agent):
    """Deterministic policy gradients for a protagonist and an adversary in one env; S runs side by side.

    Every step of the env trains the critic Q on a replay of *executed* actions. Then the solver takes one step on
    `PolicyGame`, max_x min_y of Q at what both play. Simultaneous Adam, extragradient or Langevin chains are a choice
    of `solver`. With α = 0 there is no adversary and it is DDPG; `RobustTD3` is then TD3.

    Timesteps are steps of the env, of one run. On a CPU a saved run resumes bit for bit, within an episode of up to
    10,000 steps as well, if the env is a function of its seed and the actions. If others step or reset the env, a new
    episode begins.

    Every run draws from streams of its own, seeded by `SeedSequence(seed).spawn(S)[run]`. So run i of S has the start
    weights, episodes, exploration and minibatches of run i in any other batch. Batched products may round the last bit
    of its arithmetic differently.

    The same algorithm on one page, without its speed, is `tests/reference_ddpg.py`; a test compares both.

    Source: Tessler, Efroni and Mannor 2019, algorithm 5; Kamalaruban et al. 2020; Lillicrap et al. 2016.

    Args:
        env: Id of a control env with an adversary (one env per run; `robustgames/RobustPendulum-v0` is one batch on
            the device), or one env for one run. Its coupling must be "noisy" or "probabilistic".
        solver: Scheme of the two policies, or a name of `make_solver`; Adam(1e-3) by default. Its rates may be
            tensors (S, 1), one per run.
        seed: Seed of everything random.
        runs: Number of runs S.
        env_settings: Settings of the id, e.g. {"alpha": 0.3}; a list of S shares gives every run its own.
        device: Device of networks, replay and updates: "cpu", "cuda", or "auto", the GPU if there is one and the env
            is a batch.
        tensorboard_log: Folder of event files; if None, none are written.
        verbose: If 1, every log is printed as a table, as in Stable-Baselines3.
        **settings: Fields of `Settings`.

    Raises:
        GameError: The env has no adversary, or settings are out of range.

    Example:
        >>> agent = RobustDDPG("robustgames/RobustPendulum-v0", runs=3, learning_starts=20, batch_size=8).learn(40)
        >>> agent.predict(np.zeros(3, np.float32), run=2)[0].shape
        (1,)
    """

    timestep = "env step"
    _episodic = True
    preset = Settings()
    takes_preferences: ClassVar[bool] = False
    """Whether it is an agent for finitely many actions."""
    env_defaults: ClassVar[dict[str, Any]] = {}
    """Settings of an env's id where none are given."""

    def __init__(
        self,
        env: gym.Env | gym.vector.VectorEnv | Episodes | str = "robustgames/ActionRobustPendulum-v0",
        solver: Scheme | str | None = None,
        seed: int = 0,
        runs: int = 1,
        env_settings: dict[str, Any] | None = None,
        device: str = "auto",
        tensorboard_log: str | None = None,
        verbose: int = 0,
        **settings: Any,
    ) -> None:
        self.settings = s = self.preset.changed(settings)
        check_seed(seed)
        self.seed, self.tensorboard_log, self.verbose = seed, tensorboard_log, verbose
        self.ongoing = self._make_episodes(env, runs, self.settings_of_env(env, env_settings), device)
        self.env, shape = self.ongoing.first, (self.ongoing.runs,)
        check_mixture(self.ongoing.law, self.ongoing.alphas, self.ongoing.action_size)
        if s.adversary == "random" and not self.is_opposed:
            warnings.warn("adversary is random, but alpha is 0: nothing disturbs the protagonist", stacklevel=2)
        if not self.takes_preferences:
            check_continuous(self.env.unwrapped)
        self.device = self.ongoing.device if device == "auto" else choose_device(device)
        of_policies, of_critics, self.generator = (
            Streams(seeds_of(seed, *shape, purpose), self.device) for purpose in (POLICIES, CRITICS, REST)
        )
        self.norm = RunningNorm(*shape, self.ongoing.observation_size, self.device) if s.normalize else None
        self.policies = self._make_policies()
        self.practice = self._make_practice(of_critics)
        self.game = self._make_game().to(self.device)
        self.oracle = Oracle(self.game, shape, self.generator)
        self.solver = self._make_solver(solver)
        with torch.no_grad():
            self.z = self.game.initial(shape, of_policies)
            self.state = self.solver.init(self.oracle, self.z)
        if self.solver.output(self.z, self.state) is not self.z:
            raise GameError(f"{self.solver!r} averages, but these policies are last iterates: leave average out")
        self.practice.begin(self.z)
        self.behavior = self._make_behavior()
        self.engine, acting = make_engine(
            s.engine, self.practice, self.solver, self.oracle, self.behavior, self.norm, self.generator
        )
        self.interaction = Interaction(self.ongoing, self.behavior, self.norm, self.generator, self.device, acting)
        self.num_timesteps = self.updates = 0
        self._owed: list[bool] | None = None  # ends of episodes in a stored step whose updates are not yet taken

    @classmethod
    def settings_of_env(cls, env: object, given: dict[str, Any] | None) -> dict[str, Any]:
        """Return the settings of an env's id: the given ones, and without a coupling the defaults of this agent."""
        known = isinstance(env, str) and env.rpartition(":")[2] in control_ids()
        usual = cls.env_defaults if known and "coupling" not in (given or {}) else {}
        return {**usual, **(given or {})}

    # -- parts, which a subclass replaces for another algorithm --------------------------------------------------
    def _make_episodes(
        self, env: gym.Env | gym.vector.VectorEnv | Episodes | str, runs: int, env_settings: dict[str, Any], device: str
    ) -> Episodes:
        return make_episodes(env, runs, env_settings, device, self.seed)

    def _make_policies(self) -> Policies:
        return make_policies(self.ongoing, self.settings, self.device)

    def _make_practice(self, generator: Generator) -> CriticTraining:
        """Return replay and critic; the generator draws the critic's first weights."""
        return make_critic_training(self.policies, self.ongoing, self.settings, self.norm, self.device, generator)

    def _make_game(self) -> PolicyGame:
        return PolicyGame(self.policies, self.practice.learning.critic, self.practice, self.settings.final or None)

    def _make_solver(self, solver: Scheme | str | None) -> Scheme:
        return make_policy_solver(solver, self.oracle)

    def _make_behavior(self) -> Behavior:
        return Behavior(self.policies, self.settings, self.z, self.generator)

    def _subject(self) -> str:
        core = self.env.unwrapped
        name = getattr(core, "env_id", None) or getattr(self.env.spec, "id", None) or type(core).__name__
        shares = sorted(set(self.ongoing.alphas))
        return f"{name} with {self.ongoing.coupling} adversary, alpha {', '.join(f'{share:g}' for share in shares)}"

    # -- training ----------------------------------------------------------------------------------------------
    @property
    def is_begun(self) -> bool:
        return self.num_timesteps > 0

    def _reset_timesteps(self) -> None:
        self.num_timesteps = 0

    def _advance(self, room: int = 0) -> None:
        """Play one step in every env, store it, and take the update that it pays for."""
        with self.engine.mode():
            self._take_step()

    def _take_step(self) -> None:
        if self._owed is not None:
            self._follow_up(self._owed)
        s, replay = self.settings, self.practice.replay
        try:
            played = self.interaction.play(self.z, random=replay.size < s.learning_starts)
        except GameError as error:
            if self.processes.world == 1:
                self._check_finite()  # the origin of non-finite values may be the policy rather than the env
            raise GameError(f"timestep {self.num_timesteps}, {error}") from error
        self._busy = True  # weights change in place: a second Ctrl-C waits as well
        try:
            replay.add(played.observations, played.executed, played.after, played.rewards, played.terminated)
            self.num_timesteps += 1
            self._ended = played.ended
            self.interaction.halfway, self._owed = False, played.ended
            if self.norm is not None:
                self.norm.update(torch.as_tensor(played.observations, device=self.device))
            self._follow_up(played.ended)
        finally:
            self._busy = False

    def _follow_up(self, ended: list[bool]) -> None:
        """Take what a stored step pays for: the update, and new exploration where episodes ended.

        If that fails, everything is as it was when the step was stored, and the next step begins with another try.
        """
        before = self.z, self.state, self.behavior.state, self.updates
        mark = self.engine.mark()
        try:
            if any(ended):
                self.behavior.restart(self.z, ended)
            if self.practice.replay.size > self.settings.learning_starts:
                self._update()
        except BaseException:
            self.z, self.state, self.behavior.state, self.updates = before
            self.engine.go_back(mark)
            raise
        self._owed = None

    def _locals(self) -> dict[str, Any]:
        return {"dones": np.array(self._ended)}

    def _envs(self) -> list[Any]:
        return getattr(self.ongoing, "envs", [self.env])

    def _update(self) -> None:
        """Take one step of the critic, and one of the players and target networks if it is due."""
        self.updates += 1
        self.z, self.state = self.engine.step(self.z, self.state, self.updates % self.settings.delay == 0)

    def _end(self) -> None:
        """Replace tensors made in inference mode, which cannot be differentiated, by equal ones."""
        self.z, self.state = _ordinary(self.z), map_tensors(self.state, _ordinary)
        self.behavior.state = map_tensors(self.behavior.state, _ordinary)
        self.practice.held = None

    def _recall(self) -> None:
        """Drop a step that was stopped in the envs; once its transitions are stored, a step is kept.

        If its update failed, that is owed: the agent is where it was before the update, and takes it in the next step.
        """
        self.interaction.abandon()

    def _stops(self, pressed: list[int]) -> bool:
        apart = self.processes.world > 1 and self.num_timesteps % TOGETHER > 0  # the runs do not wait for each other
        return False if apart else super()._stops(pressed)

    def finite_runs(self) -> Tensor:
        """Return in which runs of this process the policies of all learners are finite, (S,)."""
        return torch.stack([torch.isfinite(learner.z).all(-1) for learner in self.learners]).all(0)

    @property
    def diverged(self) -> int:
        """Number of runs of all processes that diverged (non-finite values)."""
        return int(self.processes.add((~self.finite_runs()).sum()))

    def _check_finite(self) -> None:
        if not self.is_finite():
            who = "all runs" if self._runs > 1 else "the run"
            reached = f"by timestep {self.num_timesteps}"
            raise DivergedError(f"{who} diverged (non-finite values) {reached}: try a smaller lr")

    def _log(self, rate: float) -> None:
        team = self.processes
        measures = self.interaction.measures(team)
        if (length := measures.pop("ep_len_mean", None)) is not None:
            self._record_varying("rollout/ep_len_mean", length)
        for name, value in measures.items():
            self.logger.record(f"rollout/{name}", value)
        if self.practice.error.numel():
            loss = team.gather(self.practice.error.square().mean().reshape(1)).mean()
            self.logger.record("train/critic_loss", float(loss))
            objectives = {name: team.gather(value) for name, value in self._objectives().items()}
            record_runs(self.logger, objectives, self._runs > 1)
        self._record_varying("train/diverged_runs", self.diverged)
        each = team.collect(self.behavior.measures())
        for name in each[0]:
            self.logger.record(f"train/{name}", sum(measures[name] for measures in each) / len(each))
        self.logger.record("time/timesteps", self.num_timesteps)
        self.logger.record("time/updates", self.updates)
        self.logger.record("time/fps", int(rate))
        self.logger.dump(self.num_timesteps)

    @property
    def _runs(self) -> int:
        """Runs of all processes."""
        return len(self.z) * self.processes.world

    def _objectives(self) -> dict[str, Tensor]:
        """Return Φ on the last minibatch, and the critic's value of what each player does alone, (S,) each."""
        states, critic = self.practice.states, self.practice.learning.first(self.practice.state)
        x, y = self.game.split(self.z)
        drawn = self.policies.draw(states.shape[:-1], Generator(self.device).manual_seed(self.seed), states.dtype)
        found = {"train/payoff": self.game.payoff(x, y, PolicySample(states, critic, drawn))}
        mu, nu = self.policies.actions(x, y, states, drawn)
        for name, action in {"protagonist": mu, "adversary": nu}.items():
            if action is not None:
                q = self.game.critic(critic, torch.cat([states, action], -1))
                found[f"train/q_of_{name}"] = q.mean((-2, -1))
        return found

    @torch.no_grad()
    def values(self, states: Tensor) -> Tensor:
        """Return what every run's critic expects in states, E Q(s, what both players do): (S, B, p) -> (S, B)."""
        states = states.to(self.device)
        if self.norm is not None:
            states = self.norm.apply_(states.clone())
        drawn = self.policies.draw(states.shape[:-1], Generator(self.device).manual_seed(self.seed), states.dtype)
        critic = self.practice.learning.first(self.practice.state)
        return self.game.values(*self.game.split(self.z), PolicySample(states, critic, drawn)).squeeze(-1)

    def critic_inputs(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the inputs of the critic in the nominal env, (B, p) and (B, k) -> (B, p + k)."""
        return torch.cat([states, actions], -1)

    @property
    def episodes(self) -> list[deque[tuple[float, int]]]:
        """(return, length) of the last episodes of every run."""
        return self.ongoing.recent

    def close(self) -> None:
        """Close the envs."""
        self.ongoing.close()

    # -- playing -----------------------------------------------------------------------------------------------
    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
        player: str = "protagonist",
        run: int = 0,
    ) -> tuple[np.ndarray, None]:
        """Return (the action in [-1, 1]^k of "protagonist" or "adversary" in run 0 … S - 1, None), without exploration.

        An observation has the shape of the env's, or (B, ...) for B actions.
        """
        return self._playing(player, run, deterministic).predict(observation, self.ongoing.observation_shape), None

    def policy(self, run: int = 0, player: str = "protagonist") -> Callable[[Any], np.ndarray]:
        """Return the present policy of a player of one run: observation -> action, in the shapes of the env.

        For `robustgames.evaluation`, or as the opponent of a `PlayerView`; takes a quarter of the time of `predict`.

        Example:
            >>> agent = RobustDDPG()
            >>> opponent = agent.policy(player="adversary")
            >>> rg.PlayerView("robustgames/ActionRobustPendulum-v0", "protagonist", opponent).action_space.shape
            (1,)
        """
        return self._player(player, run).policy(self.ongoing.action_shape)

    @property
    def learners(self) -> list[RobustDDPG]:
        """The learners with a replay of their own: this one."""
        return [self]

    @property
    def stored(self) -> int:
        """Transitions that each run has put into the replay so far."""
        return self.num_timesteps

    @property
    def has_adversary(self) -> bool:
        """Whether there is a learned adversary."""
        return self.policies.adversary is not None

    @property
    def is_opposed(self) -> bool:
        """Whether something disturbs the protagonist while it learns."""
        return any(alpha > 0 for alpha in self.ongoing.alphas)

    def adversaries_of(self, run: int) -> list[Callable[[Any], np.ndarray]]:
        """Return the present policies of all learned adversaries of one run."""
        return [self.policy(run, "adversary")] if self.has_adversary else []

    def _playing(self, player: str, run: int, deterministic: bool) -> Player:
        """Return a player for `predict`: these policies are deterministic."""
        return self._player(player, run)

    def differentiable(self, run: int) -> Differentiable:
        """Return the protagonist of one run for attacks by gradients, with the first of its critics."""
        player, learning = self._player("protagonist", run), self.practice.learning
        player.norm = copy.deepcopy(player.norm)  # that of the agent continues to change
        weights = learning.first(self.practice.state)[run].clone()

        def q(states: Tensor, actions: Tensor) -> Tensor:
            return learning.critic(weights, self.critic_inputs(player.scaled(states), actions)).squeeze(-1)

        return Differentiable(player.graph, q, network=player.as_module(), scaled=player.scaled)

    def _player(self, player: str, run: int) -> Player:
        if player not in self.game.players:
            raise unknown("player", str(player), self.game.players)
        if not -len(self.z) <= run < len(self.z):
            raise GameError(f"run is {run}: there are {len(self.z)}, 0 to {len(self.z) - 1}")
        number = self.game.players.index(player)
        network = (self.policies.actor, self.policies.adversary)[number]
        if network is None:
            why = "draws its actions at random" if self.settings.adversary == "random" else "has no share (alpha is 0)"
            raise GameError(f"the adversary of this agent {why}: it has no policy")
        return Player(network, self.game.split(self.z[run])[number], self.norm, run)

    # -- disk --------------------------------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Write a checkpoint with replay and episodes to the folder `path` atomically; the one before is kept."""
        content = {
            "agent": type(self).__name__,
            "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.settings).items()},
            "engine": self.engine.name,
            "solver": to_config(self.solver),
            "seed": int(self.seed),
            "alphas": self.ongoing.alphas,
            "coupling": self.ongoing.coupling,
            "callbacks": self.callback_states,
            **self._changing(),
        }
        if self.processes.world > 1:  # copies: a view of the replay would send all of it
            parts = self.processes.collect_first(map_tensors(content, lambda t: t.detach().cpu().clone()))
            content = join_runs(parts) if parts else None
        if content is not None:
            save_checkpoint(path, content)

    def _changing(self) -> dict[str, Any]:
        """Return everything that changes."""
        return {
            "timesteps": self.num_timesteps,
            "updates": self.updates,
            "owed": self._owed,
            "z": self.z,
            "state": self.state,
            "generator": self.generator.get_state(),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def _parts(self) -> dict[str, Any]:
        parts = {"practice": self.practice, "episodes": self.ongoing, "behavior": self.behavior}
        return parts if self.norm is None else {**parts, "norm": self.norm}

    @classmethod
    def load(
        cls,
        path: str | Path,
        env: gym.Env | gym.vector.VectorEnv | str,
        env_settings: dict[str, Any] | None = None,
        own: range | None = None,
        **options: Any,
    ) -> Self:
        """Return the agent of a checkpoint, in the env of its run.

        Args:
            path: Folder that `save` wrote.
            env: Env as in the constructor.
            env_settings: Settings as in the constructor, of the runs to load.
            own: Numbers of the runs to load, in a process that trains some of them; by default all.
            **options: `device`, `tensorboard_log`, `verbose`, and `engine`, by default that of the run, with which it
                resumes bit for bit; if that is "native" and does not serve here, torch continues, with a warning.

        Raises:
            GameError: There is no undamaged checkpoint, or it is one of another agent or env.
        """
        content = load_checkpoint(path)
        if content.get("agent") != cls.__name__:
            saved = one_line(content.get("agent", "another agent"))
            raise GameError(f"the checkpoint in {path} is of {saved}, not {cls.__name__}")
        for name in options:
            if name not in (known := ("device", "tensorboard_log", "verbose", "engine")):
                raise unknown("option of load", name, known)
        checkpoint = f"the checkpoint in {path}"
        check_counts(content, checkpoint, "seed", "timesteps", "updates")
        with restoring(checkpoint):
            solver, seed = from_config(content["solver"]), content["seed"]
            if own is not None:
                content, seed = own_runs(content, own), SeedFrom(seed, own.start)
            runs = len(content["z"])
            used = content.get("engine", "torch")  # 0.1.0 had no other
            settings = {**content["settings"], "engine": "auto" if used == "native" else used, **options}
            agent = cls(env, solver, seed, runs, env_settings, **settings)
            agent._keep_engine(used, content["settings"], options)
            check_same_env(content, path, agent.z, agent.ongoing)
            if "engine" not in content:
                content = with_moments_of_ascent(content, agent.z, agent.solver, agent.practice.learning.rule)
            content = {"owed": None, "callbacks": {}, **content}  # 0.1.0 wrote neither
            check_like(content, agent._like(content) | {"callbacks": {}}, checkpoint)
            agent._restore(content)
        return agent

    def _like(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return what has the types and shapes of a checkpoint's content, for `check_like`."""
        owed = None if content["owed"] is None else [False] * len(self.z)
        return {"z": self.z, "state": self.state, "owed": owed}

    def _keep_engine(self, used: str, settings: dict[str, Any], options: dict[str, Any]) -> None:
        """Warn if a run continues with another engine, and keep the word of its settings for its next checkpoint."""
        if "engine" in options:
            return
        if self.engine.name != used:
            reason = why_not_native(self.practice, self.solver, self.game)
            warnings.warn(f"the run was trained by engine native, {reason}: torch continues it", stacklevel=3)
        self.settings = self.settings.changed({"engine": settings.get("engine", "auto")})

    def _restore(self, content: dict[str, Any]) -> None:
        # states of generators (uint8) are always on the CPU
        content = map_tensors(content, lambda t: t if t.dtype == torch.uint8 else t.to(self.device))
        self.z, self.state = content["z"], content["state"]
        for name, part in self._parts().items():
            part.load_state_dict(content[name])
        drawn = content["generator"]
        if self.generator.fits(drawn):
            self.generator.set_state(drawn)
        else:
            check_like(drawn, torch.Generator(self.device).get_state(), CHECKPOINT, ("generator",))
            warnings.warn(OLDER, stacklevel=3)
        self.num_timesteps, self.updates = content["timesteps"], content["updates"]
        self.callback_states, self._owed = content.get("callbacks", {}), content["owed"]


class RobustTD3(RobustDDPG):
    """`RobustDDPG` with two critics, target smoothing 0.2, a delay of 2 and tau 0.005; with α = 0 it is TD3.

    Source: Fujimoto, van Hoof and Meger 2018, algorithm 1.

    Example:
        >>> RobustTD3(learning_starts=20, batch_size=8).learn(30).settings.twin
        True
    """

    preset = Settings(tau=0.005, twin=True, smoothing=0.2, delay=2)


def _ordinary(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor
