"""Words for an experiment: the title of its figures, the label of its folder, the command that repeats it."""

from __future__ import annotations

import json
import re
import shlex
import zlib
from dataclasses import fields
from typing import Any

import yaml

from robustgames.envs.defaults import defaults_of
from robustgames.experiment.base import Experiment
from robustgames.experiment.folder import Content
from robustgames.experiment.user_solvers import parameters_of_solver

COUNTS = ("steps", "runs", "seed")
"""Settings that a command always names."""
LONGEST = 60
"""Characters in the label of a folder."""


def title(experiment: Experiment) -> str:
    """Return two lines for a figure: the agent with its settings; the env with its settings, runs and seed.

    Example:
        >>> from robustgames.experiment import GameExperiment
        >>> print(title(GameExperiment("extra_adam", "robustgames/DiracGAN-v0", settings={"lr": 0.05}, runs=8)))
        extra_adam (lr=0.05)
        DiracGAN-v0, 8 runs, seed 0
    """
    env, runs = short_env(experiment.env), "1 run" if experiment.runs == 1 else f"{experiment.runs} runs"
    second = f"{env}{_in_brackets(experiment.env_settings)}, {runs}, seed {experiment.seed}"
    return f"{experiment.agent}{_in_brackets(experiment.chosen())}\n{second}"


def label(experiment: Experiment) -> str:
    """Return the settings that distinguish a run from others of its agent in its env, as part of a folder's name.

    Example:
        >>> from robustgames.experiment import GameExperiment
        >>> settings = {"lr": 0.05, "betas": (0.3, 0.8)}
        >>> label(GameExperiment("adam", "robustgames/DiracGAN-v0", settings=settings, env_settings={"r1": 0.3}))
        'lr=0.05-betas=0.3,0.8-r1=0.3'
    """
    return _fitting(_in_a_name({**experiment.chosen(), **experiment.env_settings}))


def own_label(settings: Content) -> str:
    """Return a part of a folder's name that no other settings have; what does not fit in is a checksum.

    Example:
        >>> own_label({"data": "digits", "seed": 1})
        'data=digits-seed=1'
        >>> own_label({"data": "../photos", "seed": 1})
        'data=.._photos-seed=1-d6c2bb77'
    """
    words = _in_a_name(settings)
    label, plain = _fitting(words), {name: _plain(value) for name, value in settings.items()}
    if label == "-".join(words) and not any(re.search(r"[^\w.,=+-]", word) for word in plain.values()):
        return label
    return "-".join([*filter(None, [label]), f"{zlib.crc32(json.dumps(plain).encode()):08x}"])


def _in_a_name(settings: Content) -> list[str]:
    """Return settings as words key=value for the name of a folder."""
    return [re.sub(r"[^\w.,=+-]+", "_", f"{name}={_plain(value)}") for name, value in settings.items()]


def _fitting(words: list[str]) -> str:
    """Return the first words that fit into a label."""
    count = len(words)
    while len("-".join(words[:count])) > LONGEST:
        count -= 1
    return "-".join(words[:count])


def command(experiment: Experiment) -> str:
    """Return the command that repeats an experiment.

    Example:
        >>> from robustgames.experiment import GameExperiment
        >>> command(GameExperiment("gda", "robustgames/Forsaken-v0", settings={"lr": 0.01}, steps=400, runs=3))
        'robustgames train gda robustgames/Forsaken-v0 --lr 0.01 --steps 400 --runs 3 --seed 0'
    """
    words = ["robustgames", "train", experiment.agent, experiment.env]
    for name, value in {**experiment.chosen(), **_against_table(experiment)}.items():
        words += _flag(name, value)
    words += [word for name in COUNTS for word in _flag(name, getattr(experiment, name))]
    usual = {f.name: f.default for f in fields(experiment)}
    for name in ("checkpoint", "evaluations", "device", "compile", "shard_optimizer"):
        if hasattr(experiment, name) and getattr(experiment, name) != usual[name]:
            words += _flag(name, getattr(experiment, name))
    if experiment.env_settings:
        words += ["--set", *(f"{name}={_typed(value)}" for name, value in experiment.env_settings.items())]
    return shlex.join(words)


def _against_table(experiment: Experiment) -> Content:
    """Return the settings of an experiment for which the command line would use others, see `defaults`."""
    given, own = experiment.settings, parameters_of_solver(experiment.agent)
    found = {}
    for name, value in defaults_of(experiment.agent, experiment.env).items():
        has = getattr(experiment, name) if hasattr(experiment, name) else given.get(name, own[name].default)
        if name not in COUNTS and has != value:
            found[name] = "none" if has is None else has
    return found


def hparams(experiment: Experiment) -> dict[str, bool | str | float]:
    """Return the hyper-parameters of an experiment as TensorBoard shows them: every setting, flat."""
    named = {name: getattr(experiment, name) for name in ("agent", "env", "steps", "runs", "seed")}
    every = {**experiment.settings, **experiment.chosen(), **experiment.env_settings, **named}
    plain = {name: value if isinstance(value, bool | int | float) else _plain(value) for name, value in every.items()}
    return {name: value for name, value in plain.items() if value != "None"}


def short_env(env: str) -> str:
    """Return the id of an env without its module, and without the namespace of the package."""
    return env.rpartition(":")[2].removeprefix("robustgames/")


def _in_brackets(settings: Content) -> str:
    return f" ({', '.join(f'{name}={_plain(value)}' for name, value in settings.items())})" if settings else ""


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(_plain, value)) if isinstance(value, tuple | list) else str(value)


def _typed(value: Any) -> str:
    """Return a value as --set reads it: in quotes if YAML would read another value, e.g. a word and a comment."""
    try:
        same = not isinstance(value, str) or yaml.safe_load(value) == value
    except yaml.YAMLError:
        same = False
    return str(value) if same else json.dumps(value, ensure_ascii=False)


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, dict):
        return [flag, *(f"{key}={item}" for key, item in value.items())] if value else []
    return [flag, *map(str, value)] if isinstance(value, tuple | list) else [flag, str(value)]
