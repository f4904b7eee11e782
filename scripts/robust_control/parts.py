"""The results of one method of `robustness.py`, each a JSON file: its sweep, and its best responses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from robust_control.files import check_same
from robust_control.methods import METHODS, Method, describe
from robust_control.options import Options, grid_of
from robust_control.training import ENV, Curve, Trained, from_run, read_run, train
from tqdm import tqdm

from robustgames.errors import DivergedError, writing
from robustgames.evaluation.adversaries import best_response
from robustgames.evaluation.robustness import Sweep, sweep
from robustgames.experiment.folder import write_result


@dataclass(frozen=True, eq=False)
class Result:
    """The finished results of a method.

    Attributes:
        method: Method with its name in the table and its kind.
        alpha: Share of the adversary in training; NaN in a coupling without a share.
        sweep: Returns over the grid.
        steps: Env steps of every run.
        curve: Learning curve.
        attacked: Mean returns of the first runs, "without", under a "random" and under a "learned" adversary, if
            adversaries were trained.
    """

    method: Method
    alpha: float
    sweep: Sweep
    steps: int
    curve: Curve
    attacked: Mapping[str, list[float]] | None = None

    @property
    def label(self) -> str:
        """Name of the method in the table."""
        return self.method.label

    @property
    def kind(self) -> str:
        """Kind of the method: "plain", "control" or "robust"."""
        return self.method.kind


def run(name: str, options: Options) -> str:
    """Complete the missing results of a method: train it, play it on the grid and against fresh adversaries.

    Returns the reason why its training failed, or "".
    """
    torch.set_num_threads(1)
    left = [part for part in parts(options) if stored(part, name, options) is None]
    if not left:
        return ""
    try:
        trained = get_trained(name, options)
    except DivergedError as error:
        return f"{name}: {error}"
    for part in left:
        path = options.out / part / f"{name}.json"
        with writing(path.parent):
            path.parent.mkdir(exist_ok=True)
        content = PARTS[part](name, trained, options)
        write_result(path.parent, path.name, {"settings": settings(part, name, options), **content})
    return ""


def get_trained(name: str, options: Options) -> Trained:
    """Return the trained policies of a method."""
    if name in options.folders:
        return from_run(options.folders[name])
    folder = (options.training or options.out / "training") / name
    return train(name, options.budget, folder, options.checkpoint, bar=options.workers == 1 and sys.stderr.isatty())


def play_grid(name: str, trained: Trained, options: Options) -> dict[str, Any]:
    """Return a sweep, the env steps of the training, and the learning curve."""
    grid, quiet = grid_of(options.grid), None if options.workers == 1 else True
    with tqdm(desc=f"{name}, grid", unit="cell", leave=False, disable=quiet) as bar:  # None shows it on a terminal

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        nominal = {"env_id": options.env, "alpha": 0.0}
        found = sweep(trained.policies, ENV, grid, options.episodes, env_settings=nominal, progress=show)
    return {"sweep": found.to_dict(), "steps": trained.steps, "curve": trained.curve}


def attack(name: str, trained: Trained, options: Options) -> dict[str, Any]:
    """Return the mean returns of the first runs alone, under a random and under a fresh learned adversary."""
    rows: dict[str, list[float]] = {"without": [], "random": [], "learned": []}
    policies = trained.policies[: options.best_response_runs]
    for policy in tqdm(policies, f"{name}, best response", unit="run", leave=False, disable=None):
        found = best_response(
            policy,
            ENV,
            steps=options.best_response,
            seeds=range(options.best_response_learners),
            episodes=options.attack_episodes,
            env_settings={"env_id": options.env, **options.attack},
        )
        rows["without"].append(float(found.without.mean()))
        rows["random"].append(float(found.random.mean()))
        rows["learned"].append(float(found.learned[found.chosen].mean()))
    return {"returns": rows}


PARTS: dict[str, Callable[[str, Trained, Options], dict[str, Any]]] = {"sweeps": play_grid, "best_responses": attack}


def parts(options: Options) -> list[str]:
    """Return the parts that are requested of every method."""
    return list(PARTS) if options.best_response else ["sweeps"]


def settings(part: str, name: str, options: Options) -> dict[str, Any]:
    """Return all that determines a part of the results of a method, as JSON restores it."""
    if name in options.folders:
        folder = options.folders[name]
        source = {"run": folder.name, **asdict(read_run(folder))}
    else:
        source = describe(METHODS[name], options.budget)
    grid = grid_of(options.grid)
    axes = {axis if isinstance(axis, str) else ":".join(axis): values for axis, values in grid.axes.items()}
    own = {
        "sweeps": {"grid": {**axes, "absolute": grid.absolute}, "episodes": options.episodes},
        "best_responses": {
            **{key: value for key, value in asdict(options).items() if key.startswith("best_response")},
            "attack_episodes": options.attack_episodes,
            "attack": options.attack,
        },
    }[part]
    return json.loads(json.dumps({"training": source, **own}))


def stored(part: str, name: str, options: Options) -> dict[str, Any] | None:
    """Return a finished part of the results of a method, or None.

    Raises:
        GameError: The part is finished, with other settings.
    """
    path = options.out / part / f"{name}.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    check_same(path, found["settings"], settings(part, name, options))
    return found
