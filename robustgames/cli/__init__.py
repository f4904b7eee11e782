"""The command line: robustgames list | train | evaluate | attack, the long ones in files of their own."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence

import gymnasium as gym
import torch
import tyro
from rich.console import Console
from rich.markup import escape

from robustgames import __version__
from robustgames.envs.registration import ONE_PLAYER, control_ids, describe, game_ids
from robustgames.errors import GameError, unknown
from robustgames.solvers import RECIPES

USAGE = """\
robustgames list                      games and agents, one line each
robustgames train                     the main job: standard and adversarial training on digits, 5 seeds, a minute
robustgames train AGENT ENV [flags]   e.g. robustgames train extra_adam robustgames/Forsaken-v0 --lr 0.01
                                      control: robustgames train robust_ddpg robustgames/ActionRobustPendulum-v0
robustgames train AGENT --help        that agent's hyper-parameters, their defaults and sources
robustgames train --resume RUN        continue an interrupted run
robustgames evaluate RUN              certificates of a saved run
robustgames attack RUN [flags]        AutoAttack or named attacks on a run's classifier: robust accuracy, examples
robustgames attack --model my:load    the same on a torch.nn.Module of yours, which load() in my.py returns
robustgames attack --help             attacks, ball, images, device
robustgames --version"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2 for wrong input, 130 when interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Callable[[list[str]], int | None]] = {
        "list": _list,
        "train": _train,
        "evaluate": _evaluate,
        "attack": _attack,
    }
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    torch.set_num_threads(1)  # two threads beside any other load were measured up to 30 times slower on small networks
    sys.path.insert(0, os.getcwd())  # a user's module:id is found from where the command is typed
    try:
        if not words or words[0] in ("-h", "--help"):
            print(USAGE)
            return 0
        if words[0] == "--version":
            print(f"robustgames {__version__}")
            return 0
        if words[0] not in commands:
            raise unknown("command", words[0], commands)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: console.print(f"[yellow]warning:[/] {escape(str(message))}")
            return commands[words[0]](words[1:]) or 0
    except (GameError, gym.error.Error) as error:
        console.print(f"[red]robustgames:[/] {escape(str(error))}")
        return 2
    except KeyboardInterrupt as stop:
        folder = escape(str(stop))
        told = f"; continue with: robustgames train --resume {folder}" if folder else ": nothing is written"
        console.print(f"[red]robustgames:[/] interrupted{told}")
        return 130


# -- list -----------------------------------------------------------------------------------------------
def _list(words: list[str]) -> None:
    """Print the games, envs and agents."""
    tyro.cli(_nothing, prog="robustgames list", args=words)
    from robustgames.experiment.control import CONTROL_AGENTS

    games, control, alone = ({id: describe(id) for id in ids} for ids in (game_ids(), control_ids(), ONE_PLAYER))
    solvers, agents = ({name: _first_line(a) for name, a in table.items()} for table in (RECIPES, CONTROL_AGENTS))
    console = Console(highlight=False, soft_wrap=True)
    for title, lines in {
        "games": games,
        "control with an adversary": control,
        "envs for one player, with gym.make": alone,
        "agents of games (solvers)": solvers,
        "agents of control": agents,
    }.items():
        console.print(f"[bold]{title}[/]")
        for name, line in lines.items():
            console.print(f"  [cyan]{name:<45}[/]{escape(line)}")


def _first_line(documented: object) -> str:
    return (documented.__doc__ or "").splitlines()[0]


def _nothing() -> None:
    """List the registered games and the agents."""


# -- commands in files of their own: a submodule of the same name would hide a function ---------------------
def _train(words: list[str]) -> None:
    from robustgames.cli.train import train

    train(words)


def _evaluate(words: list[str]) -> None:
    from robustgames.cli.evaluate import evaluate

    evaluate(words)


def _attack(words: list[str]) -> int:
    from robustgames.cli.attack import attack

    return attack(words)
