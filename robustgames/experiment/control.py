"""An experiment of control: an agent on an env with an adversary, and what is measured and drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import torch
from gymnasium.envs.registration import load_env_creator
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure, Logger, make_output_format
from torch import Tensor
from tqdm import tqdm

from robustgames import figures
from robustgames.agents import RobustDDPG, RobustTD3
from robustgames.envs import ActionRobustEnv, GameEnv
from robustgames.envs.registration import control_ids, find_id
from robustgames.errors import GameError, check_whole_numbers, unknown, writing
from robustgames.evaluation.rollouts import play
from robustgames.experiment.examination import Examination, Progress, Subject, examine
from robustgames.figures import curves
from robustgames.solvers import RECIPES, Scheme, make_solver

CONTROL_AGENTS: dict[str, type[RobustDDPG]] = {"robust_ddpg": RobustDDPG, "robust_td3": RobustTD3}
EXAMPLE = "robustgames/ActionRobustPendulum-v0"
EPISODES = 10  # that a result is the mean of, of the same seeds for every agent and run


@dataclass(frozen=True)
class ControlExperiment:
    """What config.yaml holds, and all that is needed to repeat a run of control.

    Attributes:
        agent: a name of `CONTROL_AGENTS`.
        env: id of control with an adversary, "module:namespace/Name-v0" to import a user's module first.
        settings: of the agent, see `robustgames.agents.control.settings.Settings`.
        solver: name of the solver of the two policies, see `make_solver`.
        solver_settings: of the solver.
        env_settings: of the env.
        steps: env steps of one run.
        runs: independent runs, side by side in one tensor.
        seed: of everything random.
        device: "auto", "cpu" or "cuda".
        checkpoint: timesteps between two checkpoints.
    """

    timestep: ClassVar[str] = "env step"
    agent: str
    env: str
    settings: dict[str, Any] = field(default_factory=dict)
    solver: str = "adam"
    solver_settings: dict[str, Any] = field(default_factory=dict)
    env_settings: dict[str, Any] = field(default_factory=dict)
    steps: int = 10_000
    runs: int = 5
    seed: int = 0
    device: str = "auto"
    checkpoint: int = 5_000

    def __post_init__(self) -> None:
        check_whole_numbers(self, steps=0, runs=1, seed=0, checkpoint=1)

    def make_agent(self) -> RobustDDPG:
        """Return the agent at its start.

        Raises:
            GameError: unknown names or settings, unusable values, an env that is no control with an adversary.
        """
        solver, settings = self._make_solver(), _tuples(self.settings)
        if "buffer_size" in settings:  # a GPU takes all of a replay's memory at once
            needed = max(self.steps, settings.get("learning_starts", 0) + 1)
            settings["buffer_size"] = min(settings["buffer_size"], needed)
        _check_id(self.env, self.agent)
        with _told(self.env, self.env_settings):
            return CONTROL_AGENTS[self.agent](
                self.env, solver, self.seed, self.runs, self._known(), self.device, **settings
            )

    def load_agent(self, folder: Path, first: RobustDDPG) -> RobustDDPG:
        """Return the agent of the checkpoint in a run folder, in envs of its own."""
        return type(first).load(folder, self.env, self._known(), device=self.device)

    def is_over(self, timesteps: int) -> bool:
        """Return whether a run with a result has nothing left to train."""
        return timesteps >= self.steps

    def watchers(self, agent: RobustDDPG, logger: Logger) -> list[BaseCallback]:
        """Return no callback."""
        return []

    def measure(self, agent: RobustDDPG) -> dict[str, Tensor]:
        """Return the metrics of a result, one number per run: undiscounted returns of episodes without exploration.

        They are played in the nominal env, from the same seeds for every agent and run. `return` and `episode_length`
        are those of the protagonist alone, `return_under_adversary` that against the adversary that it learned with,
        where there is one.
        """
        shown = tqdm(range(self.runs), "evaluating", unit="run", leave=False, disable=None, delay=1)  # on a terminal
        rows = [self._measure_run(agent, run) for run in shown]
        return {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}

    def details(self, agent: RobustDDPG, values: dict[str, Tensor]) -> dict[str, Any]:
        """Return what a result tells beside its metrics."""
        shares = sorted(set(agent.ongoing.alphas))
        alpha = f"{shares[0]:g}" if len(shares) == 1 else f"{shares[0]:g} … {shares[-1]:g}"
        played = [f"env_id={self.env_settings['env_id']}"] if "env_id" in self.env_settings else []
        return {
            "game": f"ActionRobustEnv({', '.join([*played, f'coupling={agent.ongoing.coupling}', f'alpha={alpha}'])})",
            "solver": repr(agent.solver),
            "updates": agent.updates,
            "episodes": EPISODES,
            "diverged": int((~torch.isfinite(agent.z).all(-1)).sum()),
        }

    def examine(
        self, agent: RobustDDPG, folder: Path, what: Examination | None = None, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Return what `robustgames evaluate` adds to a result, see `examine`; draw it in the folder and TensorBoard."""
        found, drawn = examine(self.subject(agent), what or Examination(), progress)
        output = make_output_format("tensorboard", str(folder))
        for name, figure in drawn.items():
            with writing(folder):
                figures.save(figure, folder / "figures" / f"{name}.png")
            output.write({f"figures/{name}": Figure(figure, close=False)}, {f"figures/{name}": ()}, agent.num_timesteps)
        output.close()
        return found

    def subject(self, agent: RobustDDPG) -> Subject:
        """Return the policies of the runs that are finite, with the env that they are judged in.

        Raises:
            GameError: all have diverged.
        """
        finite = [run for run in range(self.runs) if bool(torch.isfinite(agent.z[run]).all())]
        if not finite:
            raise GameError(
                f"all {self.runs} runs of {self.agent} left the finite numbers: there is no policy to judge"
            )
        settings = self._single_settings(agent.ongoing.alphas[finite[0]])
        return Subject(self.agent, [agent.policy(run) for run in finite], self.env, settings)

    def draw(self, agent: RobustDDPG, watchers: list[BaseCallback], folder: Path, logger: Logger) -> None:
        """Draw the learning curves as PNG in the run folder, where anything was logged that has one."""
        progress = sorted(folder.glob("progress*.csv"))
        if curves.has_metrics(progress):
            with writing(folder):
                figures.save(curves.learning_curves(progress), folder / "figures" / "learning_curves.png")

    def _known(self) -> dict[str, Any]:
        """Return the settings of the env, with the module of `env_id` imported and taken off."""
        env_id = self.env_settings.get("env_id")
        if not isinstance(env_id, str) or ":" not in env_id:
            return self.env_settings
        return {**self.env_settings, "env_id": find_id(env_id, lambda: list(gym.registry), listed="")}

    def _make_solver(self) -> Scheme:
        if self.solver not in RECIPES:
            raise unknown("solver", self.solver, RECIPES)
        with _told(f"solver {self.solver}", self.solver_settings):
            return make_solver(self.solver, **_tuples(self.solver_settings))

    def _measure_run(self, agent: RobustDDPG, run: int) -> dict[str, float]:
        learned = agent.policies.adversary is not None
        names = ["return", *(["return_under_adversary"] if learned else []), "episode_length"]
        if not bool(torch.isfinite(agent.z[run]).all()):
            return dict.fromkeys(names, float("nan"))
        env, policy = self._make_env(agent.ongoing.alphas[run]), agent.policy(run)
        alone = play(env, policy, EPISODES)
        found = {"return": alone.returns.mean(), "episode_length": alone.lengths.mean()}
        if learned:
            against = play(env, policy, EPISODES, adversary=agent.policy(run, "adversary"))
            found["return_under_adversary"] = against.returns.mean()
        env.close()
        return {name: float(found[name]) for name in names}

    def _make_env(self, alpha: float) -> gym.Env:
        """Return the env of one run, where the run is one of a batch, too."""
        return gym.make(self.env, disable_env_checker=True, **self._single_settings(alpha))

    def _single_settings(self, alpha: float) -> dict[str, Any]:
        settings = {**self._known(), **({"alpha": alpha} if "alpha" in self.env_settings else {})}
        if gym.spec(self.env.rpartition(":")[2]).vector_entry_point is not None:
            settings.pop("dtype", None)  # of the batch in torch
        return settings


def _check_id(id: str, agent: str) -> None:
    """Check that an id names control with an adversary; say what to type for other kinds."""
    name = find_id(id, control_ids)
    entry = gym.spec(name).entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    if creator is GameEnv:
        solver, control = f"robustgames train extragradient {id}", f"robustgames train {agent} {EXAMPLE}"
        raise GameError(f"{name} is a game, which solvers train: {solver}; {agent} trains control: {control}")
    if isinstance(creator, type) and not issubclass(creator, ActionRobustEnv):
        wanted = f"robustgames train {agent} robustgames/ActionRobust-v0 --set env_id={id}"
        raise GameError(f"{name} has no adversary; to give it one: {wanted}")


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with tuples for the lists of YAML."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


@contextmanager
def _told(what: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Tell of settings that nothing has checked: `what` cannot be made with them."""
    try:
        yield
    except GameError:
        raise
    except (TypeError, RuntimeError, ValueError, AssertionError) as error:
        told = ", ".join(f"{key}={value!r}" for key, value in settings.items()) or "its defaults"
        reason = str(error).partition("\n")[0].partition(" was raised from the environment creator")[0]
        raise GameError(f"{what} cannot be made with {told}: {reason or type(error).__name__}") from error
