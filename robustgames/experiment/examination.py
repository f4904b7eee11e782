"""What `robustgames evaluate` does with policies of control: sweeps, random adversaries, best responses, a video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from stable_baselines3.common.base_class import BaseAlgorithm

from robustgames.envs.control.couplings import COUPLINGS, NoisyAction, ProbabilisticAction
from robustgames.envs.control.uncertainty_sets import UNCERTAINTY_SETS, UncertaintySet
from robustgames.errors import GameError, unknown
from robustgames.evaluation.adversaries import ALGORITHMS, best_response, random_controls
from robustgames.evaluation.reliability import Interval, bootstrap, iqm
from robustgames.evaluation.robustness import Sweep, sweep
from robustgames.evaluation.rollouts import Policy, control_env
from robustgames.figures.control import heat_maps, perturbation_curves
from robustgames.figures.video import Film, film

Progress = Callable[[str, int, int], Any]
"""Called with (what is measured, how much of it is done, of how much)."""


@dataclass(frozen=True)
class Subject:
    """Policies to examine: the runs of one method.

    Attributes:
        name: of the method.
        policies: observation -> action in [-1, 1]^n, one per run.
        env: id of an `ActionRobustEnv`.
        env_settings: of the id.
    """

    name: str
    policies: Sequence[Policy]
    env: str
    env_settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Examination:
    """What to measure.

    Attributes:
        grid: name of an uncertainty set, or words axis=value,value ….
        episodes: of every cell of the grid, for every run.
        best_response: env steps for which an adversary is trained against the first run; 0: none.
        algorithm: of Stable-Baselines3, of that adversary.
    """

    grid: tuple[str, ...] = ("tessler-mass-noise",)
    episodes: int = 2
    best_response: int = 0
    algorithm: str = "TD3"

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise unknown("algorithm", self.algorithm, ALGORITHMS)
        for name, least in (("episodes", 1), ("best_response", 0)):
            if getattr(self, name) < least:
                raise GameError(f"{name} is {getattr(self, name)}: a whole number of at least {least} is needed")
        parse_grid(self.grid)


def examine(
    subject: Subject, what: Examination, progress: Progress | None = None
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Return (numbers for JSON, {name: figure}) of the policies of a subject.

    `robustness` holds a sweep over the grid and its summaries over runs, `random_adversary` the returns of the first
    run without an adversary and under both random ones, of the share 0.1 or that of the env, `best_response` what a
    trained one leaves.

    Raises:
        GameError: what the parts raise.
    """
    tell = progress or (lambda *_: None)
    swept = sweep(
        subject.policies, subject.env, parse_grid(what.grid), what.episodes, env_settings=subject.env_settings,
        progress=lambda done, total: tell("sweep", done, total),
    )  # fmt: skip
    found: dict[str, Any] = {"robustness": {**_summaries(swept), "sweep": swept.to_dict()}}
    found["random_adversary"] = _random(subject)
    if what.best_response:
        tell("best response", 0, 1)
        found["best_response"] = _best_response(subject, what)
        tell("best response", 1, 1)
    return found, draw_sweeps({subject.name: swept})


def draw_sweeps(sweeps: Mapping[str, Sweep]) -> dict[str, Figure]:
    """Return {"robustness": figure} of sweeps on one grid: heat maps over two axes, curves over one; else {}."""
    number = len(next(iter(sweeps.values())).axes)
    draw = {1: perturbation_curves, 2: heat_maps}.get(number)
    return {} if draw is None else {"robustness": draw(sweeps)}


def parse_grid(words: Sequence[str]) -> str | dict[Any, tuple[float, ...]]:
    """Return the name of an uncertainty set, or {axis or (axis, body): values} of words axis=v,v or axis:body=v,v.

    Raises:
        GameError: an unknown name, a word that is neither.

    Example:
        >>> parse_grid(["mass=0.5,1,2", "action_noise=0,0.2"])
        {'mass': (0.5, 1.0, 2.0), 'action_noise': (0.0, 0.2)}
    """
    if len(words) == 1 and "=" not in words[0]:
        if words[0] not in UNCERTAINTY_SETS:
            raise unknown("grid", words[0], UNCERTAINTY_SETS)
        return words[0]
    grid: dict[Any, tuple[float, ...]] = {}
    for word in words:
        name, _, values = word.partition("=")
        axis, _, body = name.partition(":")
        try:
            grid[(axis, body) if body else axis] = tuple(float(value) for value in values.split(","))
        except ValueError:
            wanted = "a name such as tessler-mass-noise, or axis=value,value …, e.g. mass=0.5,1,2 action_noise=0,0.2"
            raise GameError(f"the grid has {word!r}: {wanted}") from None
    return grid


def _summaries(swept: Sweep) -> dict[str, Any]:
    each, runs = swept.per_run(), swept.summary()
    cells = swept.cells.reshape(len(swept.cells), -1)
    more = {"iqm": iqm(cells)} if len(cells) > 1 else {}
    return {
        "summary": {name: list(interval) for name, interval in {**runs, **more}.items()},
        "per_run": {name: values.tolist() for name, values in each.items()},
        "nominal_point": swept.nominal_point,
        "idle": dict(swept.idle),
    }


def _random(subject: Subject) -> dict[str, Any]:
    """Return the returns of the runs, without an adversary and under random ones, with intervals over runs."""
    alpha = _share(subject) or 0.1
    of_couplings = {"coupling"} | {f.name for kind in COUPLINGS.values() for f in fields(kind)}  # type: ignore[arg-type]
    settings = {key: value for key, value in subject.env_settings.items() if key not in of_couplings}
    rows = [random_controls(policy, subject.env, alpha, env_settings=settings) for policy in subject.policies]
    means = {name: np.array([row[name].mean() for row in rows]) for name in rows[0]}
    return {"alpha": alpha, **{name: list(bootstrap(values)[0]) for name, values in means.items()}}


def _share(subject: Subject) -> float:
    made = control_env(subject.env, subject.env_settings)
    coupling = made.unwrapped.coupling  # type: ignore[attr-defined]
    made.close()
    return coupling.alpha if isinstance(coupling, NoisyAction | ProbabilisticAction) else 0.0


def _best_response(subject: Subject, what: Examination) -> dict[str, Any]:
    settings = dict(subject.env_settings)
    if _share(subject) == 0 and "alpha" in settings:
        settings["alpha"] = 0.1  # an adversary without a share has nothing to learn
    found = best_response(subject.policies[0], subject.env, what.algorithm, what.best_response, env_settings=settings)
    interval: Interval = found.interval()
    return {
        "algorithm": what.algorithm, "steps": what.best_response, "env_settings": settings,
        "without": float(found.without.mean()), "random": float(found.random.mean()),
        "learned": float(found.learned[found.chosen].mean()), "exploitability": list(interval),
    }  # fmt: skip


# -- policies from elsewhere, videos -------------------------------------------------------------------------
def of_stable_baselines(model: BaseAlgorithm, env: str, env_settings: Mapping[str, Any] | None = None) -> Policy:
    """Return the policy of a trained model, whose actions are stretched from its own box to [-1, 1]^n.

    So a model that was trained on the env itself is judged beside one that was trained on a `PlayerView`.

    Raises:
        GameError: the model was trained on observations or actions of other shapes than those of `env`.
    """
    box: Any = model.action_space
    made = control_env(env, env_settings)
    wanted = made.observation_space.shape, made.action_space["protagonist"].shape  # type: ignore[index]
    made.close()
    if (got := (model.observation_space.shape, box.shape)) != wanted or not hasattr(box, "low"):
        raise GameError(f"the model maps observations {got[0]} to {box}: {env} has {wanted[0]} and actions {wanted[1]}")
    center, half = (box.high + box.low) / 2, (box.high - box.low) / 2
    return lambda observation: (model.predict(observation, deterministic=True)[0] - center) / half


def load_stable_baselines(path: Path, algorithm: str) -> BaseAlgorithm:
    """Return the model in a zip file that `model.save` of Stable-Baselines3 wrote.

    Raises:
        GameError: no such file or algorithm, or a model of another one.
    """
    import stable_baselines3

    if algorithm not in ALGORITHMS:
        raise unknown("algorithm", algorithm, ALGORITHMS)
    try:
        return getattr(stable_baselines3, algorithm).load(path, device="cpu")
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise GameError(f"{path} is no model of {algorithm} ({reason}): see --algorithm") from error


def film_of(subject: Subject, words: Sequence[str]) -> Film:
    """Return an episode of the first run under a perturbation, given as words axis=value."""
    settings = dict(subject.env_settings)
    return film(subject.env, subject.policies[0], perturbation=parse_point(words), env_settings=settings)


def parse_point(words: Sequence[str]) -> dict[str, Any]:
    """Return the perturbation of words axis=value.

    Raises:
        GameError: a word of another form.
    """
    grid = parse_grid(words) if words else {}
    if isinstance(grid, str) or any(len(values) != 1 for values in grid.values()):
        raise GameError(f"a video has one perturbation, got {grid}: e.g. --perturbation mass=2 action_noise=0.1")
    return UncertaintySet(grid, "").points()[0]
