"""Trainings with the logs of a run folder against the same without: what CSV, TensorBoard and evaluations cost."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.harness import Contestant, Row, Steps, seconds_per_step
from stable_baselines3.common.logger import Logger

import robustgames as rg
from robustgames.experiment.logs import RunLogger


def with_logs(title: str, agent: rg.GameAgent, calls: int, rounds: int, device: str, at_most: float) -> Row:
    """Time `agent.learn` with its default logs in a folder, the last one included, against `learn` without outputs."""

    def logged(steps: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            logger = RunLogger(Path(folder), "")
            agent.set_logger(logger)
            agent.learn(steps)
            logger.close()

    def silent(steps: int) -> None:
        agent.set_logger(Logger(None, []))
        agent.learn(steps)

    runs: dict[str, Steps] = {"logged": logged, "silent": silent}
    t = seconds_per_step({name: Contestant(run, calls) for name, run in runs.items()}, rounds, device)
    agent.set_logger(Logger(None, []))
    return Row(title, "us/call", 1e6 * t["logged"], 1e6 * t["silent"], at_most=at_most)
