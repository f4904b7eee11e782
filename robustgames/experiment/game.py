"""An experiment with a game: a solver, an env of a game, and what is measured and drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.figure import Figure as MatplotlibFigure
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure, Logger, TensorBoardOutputFormat
from torch import Tensor

from robustgames import envs, figures
from robustgames.agents import GameAgent
from robustgames.agents.callbacks import EarlyStopping, Recorder, Snapshots
from robustgames.errors import GameError, check_whole_numbers, writing
from robustgames.evaluation import catastrophic_overfitting, final_certificates, verdicts
from robustgames.games import GAN, HeldOut
from robustgames.solvers import SGD, Averaged, Scheme, make_solver

ATTACK_STEPS = 40


@dataclass(frozen=True)
class Experiment:
    """What config.yaml holds, and all that is needed to repeat a run.

    Attributes:
        agent: name of a solver.
        env: id of a game, "module:namespace/Name-v0" to import a user's module first.
        settings: of the solver.
        env_settings: of the game.
        steps: oracle calls of one run.
        runs: independent runs, side by side in one tensor.
        seed: of the runs' common generator.
        device: "auto", "cpu" or "cuda".
        average: see `make_solver`.
        anneal: let all learning rates fall linearly to 0 over the steps.
        compile: see `GameAgent`.
        checkpoint: timesteps between two checkpoints.
        patience: stop after so many looks (a fiftieth of the steps each) at the watched images without a rise of the
            accuracy under attack, and keep the best weights; 0: train to the end and keep the last.
    """

    timestep: ClassVar[str] = "oracle call"
    agent: str
    env: str
    settings: dict[str, Any] = field(default_factory=dict)
    env_settings: dict[str, Any] = field(default_factory=dict)
    steps: int = 10_000
    runs: int = 5
    seed: int = 0
    device: str = "auto"
    average: Any = None
    anneal: bool = False
    compile: bool = False
    checkpoint: int = 1_000
    patience: int = 0

    def __post_init__(self) -> None:
        check_whole_numbers(self, steps=0, runs=1, seed=0, checkpoint=1, patience=0)

    def make_agent(self) -> GameAgent:
        """Return the agent at its start.

        Raises:
            GameError: unknown names or settings, unusable values.
        """
        fall = self.steps if self.anneal else 0
        solver = make_solver(self.agent, average=self.average, anneal=fall, **self.settings)
        try:
            env = envs.make(self.env, self.runs, device=self.device, **self.env_settings)
            if self.patience and not isinstance(env.unwrapped.game, HeldOut):  # type: ignore[attr-defined]
                raise GameError(f"patience is {self.patience}: {self.env} has no held-out images to stop early by")
            return GameAgent(env, solver, seed=self.seed, compile=self.compile)
        except (TypeError, RuntimeError, ValueError) as error:
            if isinstance(error, GameError):
                raise
            told = ", ".join(f"{key}={value!r}" for key, value in self.env_settings.items()) or "its defaults"
            raise GameError(f"{self.env} cannot be made with {told}: {str(error).splitlines()[0]}") from error

    def load_agent(self, folder: Path, first: GameAgent) -> GameAgent:
        """Return the agent of the checkpoint in a run folder, in the env of `first`, one at its start."""
        return GameAgent.load(folder, first.env, compile=self.compile)

    def is_over(self, timesteps: int) -> bool:
        """Return whether a run with a result has nothing left to train; patience may have ended it early."""
        return bool(self.patience) or timesteps >= self.steps

    def watchers(self, agent: GameAgent, logger: Logger) -> list[BaseCallback]:
        """Return the callbacks of early stopping and of the figures."""
        early: list[BaseCallback] = []
        if self.patience:
            early.append(EarlyStopping(max(1, self.steps // 50), self.patience))
        if sum(agent.game.sizes) <= 4:
            return [*early, Recorder()]
        return [*early, self._snapshots(agent, logger)] if isinstance(agent.game, GAN) else early

    def measure(self, agent: GameAgent) -> dict[str, Tensor]:
        """Return the metrics of a result, one number per run."""
        return final_certificates(agent.game, agent.best(), ATTACK_STEPS)

    def details(self, agent: GameAgent, values: dict[str, Tensor]) -> dict[str, Any]:
        """Return what a result tells beside its metrics."""
        collapsed = catastrophic_overfitting(values)
        return {
            "game": repr(agent.game),
            "steps": agent.steps,
            "diverged": agent.diverged,
            **({} if collapsed is None else {"catastrophic_overfitting": collapsed.reshape(-1).tolist()}),
        }

    def examine(self, agent: GameAgent, folder: Path) -> dict[str, Any]:
        """Return what `robustgames evaluate` adds to a result: local-Nash verdicts."""
        return {"verdicts": verdicts(agent.game, agent.best())}

    def draw(self, agent: GameAgent, watchers: list[BaseCallback], folder: Path, logger: Logger) -> None:
        """Draw the figures that apply to the game: as PNG in the run folder, and for TensorBoard."""
        recorder = next((w for w in watchers if isinstance(w, Recorder) and w.points), None)
        shots = next((w.points for w in watchers if isinstance(w, Snapshots)), None)
        trajectory, dt = None, 1.0
        if recorder is not None:
            trajectory, dt = recorder.trajectory.cpu(), recorder.stride * _time_of_a_step(agent.solver)
        game, progress = agent.game.to("cpu"), sorted(folder.glob("progress*.csv"))
        drawn = figures.draw_all(game, agent.best().cpu(), trajectory, progress, dt, shots)
        for name, figure in drawn.items():
            with writing(folder):
                figures.save(figure, folder / "figures" / f"{name}.png")
        drawn.pop("learning_curves", None)  # TensorBoard draws the curves itself
        _show(drawn, logger, agent.num_timesteps)

    def _snapshots(self, agent: GameAgent, logger: Logger) -> Snapshots:
        """Return the callback that shows a GAN's figures after 1/8, 1/4, 1/2 and all of the steps."""

        def show(timesteps: int, point: Tensor) -> None:
            if timesteps < self.steps:  # the last ones are drawn with all the others
                _show(figures.draw_all(agent.game.to("cpu"), point, snapshots={timesteps: point}), logger, timesteps)

        return Snapshots([max(1, self.steps // k) for k in (8, 4, 2, 1)], show)


def _show(drawn: dict[str, MatplotlibFigure], logger: Logger, timesteps: int) -> None:
    """Write figures to TensorBoard."""
    images = {f"figures/{name}": Figure(figure, close=False) for name, figure in drawn.items()}
    for writer in logger.output_formats:
        if isinstance(writer, TensorBoardOutputFormat):
            writer.write(images, dict.fromkeys(images, ()), timesteps)


def _time_of_a_step(solver: Scheme) -> float:
    """Return lr, by which gradient steps follow the flow z' = V(z); 1 for other rules, which follow none."""
    solver = solver.scheme if isinstance(solver, Averaged) else solver
    rule = getattr(solver, "rule", None)
    return rule.lr if isinstance(rule, SGD) and isinstance(rule.lr, float) else 1.0
