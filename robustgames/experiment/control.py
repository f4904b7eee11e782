"""An experiment of control: an agent on an env with an adversary, its returns and figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import gymnasium as gym
import torch
from gymnasium.envs.registration import load_env_creator
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from torch import Tensor

from robustgames import figures
from robustgames.agents import (
    ATLA,
    M2TD3,
    RAP,
    RARL,
    SADDPG,
    SATD3,
    DomainRandomizedTD3,
    RobustDDPG,
    RobustDQN,
    RobustSAC,
    RobustTD3,
    SoftM2TD3,
)
from robustgames.agents.control.seeds import SeedFrom
from robustgames.agents.learning import tqdm
from robustgames.checkpoints import restoring
from robustgames.envs import ActionRobustEnv, GameEnv
from robustgames.envs.control.action_couplings import ActionCoupling
from robustgames.envs.control.perturbations import Perturbation
from robustgames.envs.registration import control_ids, find_id
from robustgames.errors import GameError, unknown, writing
from robustgames.evaluation.rollouts import play
from robustgames.experiment.base import Examination, Experiment, Progress, differing, explained, silent
from robustgames.experiment.examination import EPISODES, Subject, check, examine
from robustgames.experiment.folder import Content
from robustgames.experiment.logs import RunLogger, SilentLogger, show_figures
from robustgames.experiment.naming import title
from robustgames.experiment.return_curve import ReturnCurve
from robustgames.figures import curves
from robustgames.processes import current
from robustgames.solvers import RECIPES, Scheme, make_solver

CONTROL_AGENTS: dict[str, type[RobustDDPG]] = {
    "robust_ddpg": RobustDDPG,
    "robust_td3": RobustTD3,
    "m2td3": M2TD3,
    "soft_m2td3": SoftM2TD3,
    "dr_td3": DomainRandomizedTD3,
    "rarl": RARL,
    "rap": RAP,
    "atla": ATLA,
    "sa_ddpg": SADDPG,
    "sa_td3": SATD3,
    "robust_sac": RobustSAC,
    "robust_dqn": RobustDQN,
}
EXAMPLE = "robustgames/ActionRobustPendulum-v0"
SHARE_OF_STEPS = "spread_steps"
"""Setting that is half of the steps of a run where an agent has it and it is not given."""


@dataclass(frozen=True, kw_only=True)
class ControlExperiment(Experiment[RobustDDPG]):
    """Everything needed to repeat a run of control: the fields are the content of config.yaml.

    The agent is a name of `CONTROL_AGENTS` with the settings of its `preset`, the env the id of a control env with an
    adversary, and a timestep is an env step.

    Attributes:
        solver: Name of the solver of the two policies, see `make_solver`.
        solver_settings: Settings of the solver.
    """

    timestep: ClassVar[str] = "env step"
    checkpoint: int = 5_000
    solver: str = "adam"
    solver_settings: Content = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_counts()

    def chosen(self) -> Content:
        """Return the settings of agent and solver that are not the defaults, by the names of their flags."""
        own = differing(self.settings, asdict(CONTROL_AGENTS[self.agent].preset))
        solver = {} if self.solver == "adam" else {"solver": self.solver}
        rest = differing(self.solver_settings, {})
        rate = {"lr": rest.pop("lr")} if "lr" in rest else {}
        return {**rate, **solver, **({"solver_set": rest} if rest else {}), **own}

    def make_agent(self) -> RobustDDPG:
        """Return the agent at its start, see `Experiment.make_agent`.

        Raises:
            GameError: Unknown names, unusable settings, or an env that is not control with an adversary.
        """
        solver, settings = self._make_solver(), _tuples(self._complete_settings())
        if "buffer_size" in settings:  # a GPU takes all of a replay's memory at once
            needed = max(self.steps, settings.get("learning_starts", 0) + 1)
            settings["buffer_size"] = min(settings["buffer_size"], needed)
        _check_id(self.env, self.agent)
        team, own = current(), self._own_runs()
        seed = SeedFrom(self.seed, own.start) if team.world > 1 else self.seed
        with explained(self.env, self.env_settings):
            agent = CONTROL_AGENTS[self.agent](
                self.env, solver, seed, len(own), self._own_settings(own), self.device, **settings
            )
        agent.processes = team
        mode, modes = self.env_settings.get("render_mode"), agent.env.metadata.get("render_modes", [])
        if mode not in (None, *modes):  # Gymnasium only warns
            raise unknown("render_mode", str(mode), modes)
        return agent

    def extended(self, steps: int) -> Self:
        """Return the experiment with more steps, see `Experiment.extended`; what was a share of its steps stays."""
        more = super().extended(steps)
        return more if steps == self.steps else replace(more, settings=self._complete_settings())

    def check_processes(self, world: int) -> None:
        """Check that the runs can be divided among the processes, see `Experiment.check_processes`."""
        if self.runs % world:
            near = world * -(-self.runs // world)
            raise GameError(f"runs is {self.runs}: {world} processes need a multiple of {world}, e.g. --runs {near}")

    def load_agent(self, folder: Path, first: RobustDDPG) -> RobustDDPG:
        """Return the agent of the newest checkpoint in a run folder, in new envs."""
        with restoring(folder):
            team, own = current(), self._own_runs()
            some = {"own": own} if team.world > 1 else {}
            agent = type(first).load(folder, self.env, self._own_settings(own), device=self.device, **some)
            agent.processes = team
        for learner, fresh in zip(agent.learners, first.learners, strict=True):
            old, new = learner.practice.replay, fresh.practice.replay
            if new.capacity > old.capacity and old.size == learner.stored:  # more steps, and nothing is dropped yet
                new.load_state_dict({"rows": old.state_dict()["rows"], "position": old.size, "capacity": new.capacity})
                learner.practice.replay, learner.settings = new, replace(learner.settings, buffer_size=new.capacity)
        return agent

    def is_over(self, timesteps: int) -> bool:
        """Return whether a run that has a result is trained to its end after so many timesteps."""
        return timesteps >= self.steps

    def watchers(self, agent: RobustDDPG, logger: Logger) -> list[BaseCallback]:
        """Return no callback; let the logger of a run folder record returns without exploration."""
        if isinstance(logger, RunLogger | SilentLogger):

            def make(run: int) -> gym.Env:
                return self._make_env(agent.ongoing.alphas[run])

            stride = None if self.evaluations is None else self.log_interval
            logger.before_dump.append(ReturnCurve(agent, make, self.log_interval, self.steps, stride))
        return []

    def measure(self, agent: RobustDDPG) -> dict[str, Tensor]:
        """Return undiscounted returns and lengths of episodes without exploration in the nominal env, (runs,) each.

        `return` and `episode_length` are those of the protagonist alone. `return_under_adversary` is the return against
        the adversary that it learned with, if it learned with one; of several, the strongest. All agents and runs play
        from the same seeds; NaN for a run that diverged.
        """
        team = agent.processes
        shown = tqdm(range(len(agent.z)), "evaluating", unit="run", leave=False, disable=None, delay=1)  # on a terminal
        rows = [self._measure_run(agent, run) for run in shown]
        found = {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}
        return {name: team.gather(values) for name, values in found.items()}

    def details(self, agent: RobustDDPG, values: dict[str, Tensor]) -> Content:
        """Return the env, the solver, and how many updates, episodes and diverged runs there are."""
        settings = self._shown_settings(agent)
        return {
            "game": f"ActionRobustEnv({', '.join(f'{name}={value}' for name, value in settings.items())})",
            "settings": settings,
            "solver": repr(agent.solver),
            "updates": agent.updates,
            "episodes": EPISODES,
            "diverged": agent.diverged,
        }

    def check(self, what: Examination, perturbation: Perturbation | None = None) -> None:
        """Check an examination, and the perturbation of a film, in the env.

        Raises:
            GameError: See `examination.check`.
        """
        check(self.env, self._single_settings(self._first_alpha()), what, perturbation)

    def examine(self, agent: RobustDDPG, folder: Path, what: Examination, progress: Progress = silent) -> Content:
        """Return the numbers of `examination.examine`; draw its figures in the run folder and in TensorBoard.

        Raises:
            GameError: All runs have diverged, or a measurement fails.
        """
        found, drawn = examine(self.subject(agent), what, progress, folder)
        for name, figure in drawn.items():
            with writing(folder):
                figures.save(figure, folder / "figures" / f"{name}.png")
        output = TensorBoardOutputFormat(str(folder))
        show_figures(output, drawn, agent.num_timesteps)
        output.close()
        return found

    def subject(self, agent: RobustDDPG) -> Subject:
        """Return the policies of the finite runs, with the env to evaluate them in.

        Raises:
            GameError: All runs have diverged.
        """
        finite = agent.finite_runs().nonzero().flatten().tolist()
        if not finite:
            raise GameError(
                f"all {self.runs} runs of {self.agent} diverged (non-finite values): train again, e.g. with --lr 1e-4"
            )
        settings = self._single_settings(agent.ongoing.alphas[finite[0]])
        policies = [agent.policy(run) for run in finite]
        return Subject(self.agent, policies, self.env, settings, [agent.differentiable(run) for run in finite])

    def draw(self, agent: RobustDDPG, watchers: list[BaseCallback], folder: Path, logger: Logger) -> None:
        """Draw the learning curves as PNG in the run folder, if a metric was logged that has a curve."""
        progress = sorted(folder.glob("progress*.csv"))
        if curves.has_metrics(progress):
            figure = curves.learning_curves(progress, title(self), runs=self.runs)
            with writing(folder):
                figures.save(figure, folder / "figures" / "learning_curves.png")

    def _complete_settings(self) -> Content:
        """Return the settings of the agent, with that which is half of the steps, as published, if it is not given."""
        if getattr(CONTROL_AGENTS[self.agent].preset, SHARE_OF_STEPS, 0):
            return {SHARE_OF_STEPS: max(self.steps // 2, 1), **self.settings}
        return self.settings

    def _own_runs(self) -> range:
        """Return the numbers of the runs of this process."""
        team, count = current(), self.runs // current().world
        return range(team.rank * count, (team.rank + 1) * count)

    def _own_settings(self, own: range) -> Content:
        """Return the settings of the env for some runs."""
        settings = self._resolved()
        alpha = settings.get("alpha")
        if not isinstance(alpha, list) or len(alpha) != self.runs:
            return settings
        return {**settings, "alpha": alpha[own.start : own.stop]}

    def _resolved(self) -> Content:
        """Return the settings of the env; if `env_id` names a module, it is imported and the name removed."""
        settings = CONTROL_AGENTS[self.agent].settings_of_env(self.env, self.env_settings)
        env_id = settings.get("env_id")
        if not isinstance(env_id, str) or ":" not in env_id:
            return settings
        return {**settings, "env_id": find_id(env_id, lambda: list(gym.registry), listed="")}

    def _make_solver(self) -> Scheme:
        if self.solver not in RECIPES:
            raise unknown("solver", self.solver, RECIPES)
        with explained(f"solver {self.solver}", self.solver_settings):
            return make_solver(self.solver, **_tuples(self.solver_settings))

    def _shown_settings(self, agent: RobustDDPG) -> Content:
        """Return the settings of the env, with the coupling and the share that the agent trained with."""
        alphas = [alpha for part in agent.processes.collect(agent.ongoing.alphas) for alpha in part]
        alpha = alphas[0] if len(set(alphas)) == 1 else list(alphas)
        shared = isinstance(agent.ongoing.law, ActionCoupling)
        trained = {"coupling": agent.ongoing.coupling, **({"alpha": alpha} if shared else {})}
        first = {name: self.env_settings[name] for name in ("env_id",) if name in self.env_settings}
        own = () if shared else vars(agent.ongoing.law)  # which the name of the coupling shows
        rest = {name: value for name, value in self.env_settings.items() if name not in own}
        return {**first, **trained, **{**rest, **first, **trained}}

    def _measure_run(self, agent: RobustDDPG, run: int) -> dict[str, float]:
        learned = agent.has_adversary
        names = ["return", *(["return_under_adversary"] if learned else []), "episode_length"]
        if not bool(agent.finite_runs()[run]):
            return dict.fromkeys(names, float("nan"))
        env, policy = self._make_env(agent.ongoing.alphas[run]), agent.policy(run)
        alone = play(env, policy, EPISODES)
        found = {"return": alone.returns.mean(), "episode_length": alone.lengths.mean()}
        if learned:
            against = [play(env, policy, EPISODES, adversary=one) for one in agent.adversaries_of(run)]
            found["return_under_adversary"] = min(played.returns.mean() for played in against)
        env.close()
        return {name: float(found[name]) for name in names}

    def _make_env(self, alpha: float) -> gym.Env:
        """Return the env of one run, also if the run is one of a batch."""
        return gym.make(self.env, disable_env_checker=True, **self._single_settings(alpha))

    def _first_alpha(self) -> Any:
        """Return the share of the first run in the settings; None if they have none."""
        alpha = self.env_settings.get("alpha")
        return alpha[0] if isinstance(alpha, list) and alpha else alpha

    def _single_settings(self, alpha: float | None) -> Content:
        settings = {**self._resolved(), **({"alpha": alpha} if "alpha" in self.env_settings else {})}
        if gym.spec(self.env.rpartition(":")[2]).vector_entry_point is not None:
            settings.pop("dtype", None)  # a setting of the batch in torch
        return settings


def _check_id(id: str, agent: str) -> None:
    """Check that an id names control with an adversary; name the command to type for other kinds."""
    name = find_id(id, control_ids)
    entry = gym.spec(name).entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    if creator is GameEnv:
        solver, control = f"robustgames train extragradient {id}", f"robustgames train {agent} {EXAMPLE}"
        raise GameError(f"{name} is a game, which solvers train: {solver}; {agent} trains control: {control}")
    if isinstance(creator, type) and not issubclass(creator, ActionRobustEnv):
        wanted = f"robustgames train {agent} robustgames/ActionRobust-v0 --set env_id={id}"
        raise GameError(f"{name} has no adversary; to give it one: {wanted}")


def _tuples(settings: Content) -> Content:
    """Return settings with tuples for the lists of YAML."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
