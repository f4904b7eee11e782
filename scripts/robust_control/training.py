"""The training of a method of `robustness.py`, and the policies that result from it."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from robust_control.files import claim
from robust_control.methods import METHODS, NR, PEERS, UNCERTAIN, Budget, Method, describe

from robustgames import experiment
from robustgames.agents.control.episodes import RECENT
from robustgames.checkpoints import CURRENT
from robustgames.envs.control.couplings import COUPLINGS
from robustgames.envs.views import PlayerView
from robustgames.errors import DivergedError, GameError, writing
from robustgames.evaluation.rollouts import Policy, control_env
from robustgames.experiment.control import CONTROL_AGENTS, ControlExperiment
from robustgames.experiment.folder import locked, read_result

ENV = "robustgames/ActionRobust-v0"
BUFFER = 1_000_000
Curve = dict[str, list[float]]
"""Returns of recent episodes in training: "steps", "mean" over runs and "std"."""


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    policies: Sequence[Policy]
    steps: int
    curve: Curve


def train(name: str, budget: Budget, folder: Path, checkpoint: int, bar: bool) -> Trained:
    """Train a method in a folder, or resume its training.

    Raises:
        GameError: The folder has a training with other settings, or another process uses it.
    """
    method = METHODS[name]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        claim(folder / "settings.json", describe(method, budget))
        if method.agent in PEERS:
            return _train_sb3(method, budget, folder)
        begun = [path.parent for path in folder.rglob(CURRENT)]  # a run without a checkpoint starts again
        if begun and read_result(begun[0]) is None:
            experiment.resume(begun[0], bar)
        run = begun[0] if begun else experiment.train(_control(method, budget, checkpoint), folder, bar)[0]
    return from_run(run)


def _control(method: Method, budget: Budget, checkpoint: int) -> ControlExperiment:
    agent, solver = budget.agent.settings()
    settings = {"adversary": method.adversary, "buffer_size": min(budget.steps, BUFFER), **method.settings}
    if method.agent in UNCERTAIN:
        settings["uncertainty"] = budget.uncertainty
    share = method.share(budget.alpha)
    coupled = {"coupling": method.coupling or NR} | ({} if isnan(share) else {"alpha": share})
    return ControlExperiment(
        agent=method.agent,
        env=ENV,
        settings={**agent, **settings},
        solver=method.solver,
        solver_settings=solver,
        env_settings={"env_id": budget.env, **coupled},
        steps=method.turns * budget.steps,
        runs=budget.seeds,
        seed=budget.seed,
        device="cpu",
        checkpoint=checkpoint,
    )


def from_run(folder: Path) -> Trained:
    """Return the result of a run folder of `robustgames train`.

    Raises:
        DivergedError: A run has no policy: runs are compared in pairs, so none may be left out.
    """
    trained = read_run(folder)
    agent = whole_agent(trained, folder)
    policies = [agent.policy(run) for run in range(trained.runs)]
    rows = [row for path in folder.glob("progress*.csv") for row in _rows(path)]
    return Trained(policies, agent.num_timesteps, _curve(rows, "time/timesteps", "rollout/ep_rew_std_of_runs"))


def whole_agent(trained: ControlExperiment, folder: Path) -> Any:
    """Return the trained agent of a run folder.

    Raises:
        DivergedError: A run has no policy: runs are compared in pairs, so none may be left out.
    """
    agent = trained.load_agent(folder, trained.make_agent())
    if lost := (~agent.finite_runs()).nonzero().flatten().tolist():
        raise DivergedError(f"runs {lost} of {folder} diverged (non-finite values): try a smaller lr")
    return agent


def read_run(folder: Path) -> ControlExperiment:
    """Return the experiment of a finished run folder of control.

    Raises:
        GameError: The folder is not such a run, or is not finished.
    """
    read = experiment.read(folder)
    if not isinstance(read, ControlExperiment):
        raise GameError(f"{folder} is a run of {read.agent} on a game: give one of robust_ddpg or robust_td3")
    if read_result(folder) is None:
        raise GameError(f"{folder} is not finished: robustgames train --resume {folder}")
    return read


def method_of(name: str, run: ControlExperiment) -> tuple[str, Method, float]:
    """Return (inner env, method, alpha) of a run folder.

    The adversary is "learned" if there is none; alpha is NaN in a coupling without a share.
    """
    resolved = CONTROL_AGENTS[run.agent].settings_of_env(run.env, run.env_settings)
    settings = {key: value for key, value in resolved.items() if key != "dtype"}
    if isinstance(alpha := settings.get("alpha"), list):
        raise GameError(f"{name} has runs of the shares {alpha}: a method has one, give runs that were trained alike")
    env: Any = control_env(run.env, settings).unwrapped
    alpha = getattr(env.coupling, "alpha", float("nan"))
    names = {kind: known for known, kind in COUPLINGS.items()}
    coupling = names.get(type(env.coupling), type(env.coupling).__name__) if alpha else ""
    adversary = run.settings.get("adversary", "learned") if coupling else "learned"
    label = METHODS[name].label if name in METHODS else name
    return env.env_id, Method(label, "", run.agent, coupling, adversary, run.solver), alpha


# -- Stable-Baselines3 -----------------------------------------------------------------------------------------------
def _train_sb3(method: Method, budget: Budget, folder: Path) -> Trained:
    """Train the runs one after another; those with a file are done."""
    sb3: Any = importlib.import_module("stable_baselines3")
    make, policies, curves = getattr(sb3, method.agent), [], []
    for seed in range(budget.seed, budget.seed + budget.seeds):
        run = folder / f"seed{seed}"
        if not (run / "model.zip").exists():
            model = _peer(make, budget, seed)
            model.set_logger(sb3.common.logger.configure(str(run), ["csv"]))
            model.learn(budget.steps).save(run / "unfinished.zip")
            (run / "unfinished.zip").rename(run / "model.zip")
        policies.append(_acting(make.load(run / "model.zip", device="cpu")))
        curves.append(_curve(list(_rows(run / "progress.csv")), "time/total_timesteps"))
    return Trained(policies, budget.steps, _averaged(curves, budget.steps))


def _peer(make: Callable[..., Any], budget: Budget, seed: int) -> Any:
    """Return an agent of Stable-Baselines3 in the nominal env, whose actions are scaled to [-1, 1]."""
    from stable_baselines3.common.noise import NormalActionNoise

    agent = budget.agent
    env = control_env(ENV, {"env_id": budget.env, "alpha": 0.0})
    shape = env.action_space["adversary"].shape  # type: ignore[index]
    view = PlayerView(env, "protagonist", np.zeros(shape, np.float32))
    noise = NormalActionNoise(np.zeros(shape), np.full(shape, agent.noise))
    return make(
        "MlpPolicy",
        view,
        learning_rate=agent.lr,
        buffer_size=min(budget.steps, BUFFER),
        learning_starts=agent.learning_starts,
        batch_size=agent.batch_size,
        tau=agent.tau,
        gamma=agent.gamma,
        train_freq=1,
        gradient_steps=1,
        action_noise=noise,
        policy_kwargs={"net_arch": list(agent.hidden)},
        stats_window_size=RECENT,
        seed=seed,
        device="cpu",
    )


def _acting(model: Any) -> Policy:
    return lambda observation: model.predict(observation, deterministic=True)[0]


# -- learning curves -------------------------------------------------------------------------------------------------
def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _curve(rows: list[dict[str, str]], steps: str, std: str = "") -> Curve:
    """Return the curve of the rows of progress files, those of a resumed run in order."""
    mean = "rollout/ep_rew_mean"
    logged = {float(row[steps]): row for row in rows if row.get(mean)}
    ordered = [logged[step] for step in sorted(logged)]
    spread = [float(row.get(std) or "nan") for row in ordered]
    return {"steps": sorted(logged), "mean": [float(row[mean]) for row in ordered], "std": spread}


def _averaged(curves: list[Curve], steps: int) -> Curve:
    """Return the mean over runs that logged at steps of their own."""
    known = [curve for curve in curves if curve["steps"]]
    if not known:
        return {"steps": [], "mean": [], "std": []}
    at = np.linspace(max(curve["steps"][0] for curve in known), steps, 50)
    values = np.array([np.interp(at, curve["steps"], curve["mean"]) for curve in known])
    return {"steps": at.tolist(), "mean": values.mean(0).tolist(), "std": values.std(0).tolist()}
