"""The command line: robustgames list | train | evaluate | attack | sweep | compare | push, each in a file of its own.

The files are imported when their command runs, so `--help` and `list` do not wait for PyTorch.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from robustgames.cli import guard, launch
from robustgames.disk import printable
from robustgames.errors import GameError, shorten, unknown

MOST_THREADS = 1024
LONGEST = 400  # characters of a line on stderr
PLAIN = {"±": "+-", "…": "...", "–": "-", "−": "-", "×": "x", "·": "*", "→": "->", "—": "-"}  # on terminals in ASCII

USAGE = """\
robustgames list                      games and agents, one line each
robustgames train                     the main job: standard and adversarial
                                      training on digits, 5 seeds, a minute
robustgames train AGENT ENV [flags]   e.g. train a solver on a game:
    robustgames train extra_adam robustgames/Forsaken-v0 --lr 0.01
                                      or control with an adversary:
    robustgames train robust_ddpg robustgames/ActionRobustPendulum-v0
robustgames train AGENT --help        hyper-parameters, defaults and sources
robustgames train --resume RUN        continue an interrupted run
robustgames evaluate RUN              certificates of a saved run
robustgames attack RUN [flags]        AutoAttack or named attacks on the
                                      classifier of a run: robust accuracy
robustgames attack --model my:load    the same on a torch.nn.Module of yours,
                                      which load() in my.py returns
robustgames sweep AGENT ENV --grid lr=0.01,0.1 --seeds 0:5
                                      every combination and seed, or a search;
                                      --resume SWEEP continues it
robustgames compare RUN ...           curves over one another, one table
robustgames push RUN owner/name       publish a run, with a model card
robustgames COMMAND --help            all flags of a command
robustgames --version

train, evaluate and attack also take
  --threads N    CPU threads; by default $OMP_NUM_THREADS, or else 1
--resume RUN, evaluate and attack also take
  --trust        run code that the run or the model names; see docs/explain/safety.md"""

COMMANDS = {
    "list": "robustgames.cli.listing:list_all",
    "train": "robustgames.cli.train:train",
    "evaluate": "robustgames.cli.evaluate:evaluate",
    "attack": "robustgames.cli.attack:attack",
    "sweep": "robustgames.cli.sweep:sweep",
    "compare": "robustgames.cli.compare:compare",
    "push": "robustgames.cli.push:push",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2 for wrong input, 130 if interrupted."""
    _open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _print_usage() if not words or words[0] in ("-h", "--help") else _run(words[0], words[1:])
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        if arguments is None:  # this process is the command: a further Ctrl-C has nothing to stop
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        left = str(stop) if str(stop).startswith("robustgames ") else f"robustgames train --resume {stop}"
        rest = f"; continue with: {left}" if str(stop) else ": nothing is written"
        return _refuse(f"interrupted{rest}", 130)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF) or error.filename:
            raise
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (Python flushes it again at its exit)
        quiet = isinstance(error, BrokenPipeError)  # `| head` has read enough
        return 1 if quiet else _refuse(f"cannot print the results: {(error.strerror or str(error)).lower()}", 2)
    finally:
        launch.leave()


def _open_streams() -> None:
    """Let every text be printed: streams that are closed lead nowhere, and signs that they lack are replaced."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in text), error.end


def _print_usage() -> int:
    print(USAGE)
    return 0


def _run(name: str, words: list[str]) -> int:
    """Run one command; print errors and warnings in one line each."""
    if name == "--version":
        print(f"robustgames {version('robustgames')}")
        return 0
    from gymnasium.error import Error

    try:
        if _names_module(words):  # it is found from where the command is typed, after all that is installed
            sys.path.append(os.getcwd())
        if name not in COMMANDS:
            raise unknown("command", name, COMMANDS)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: _warn(str(message))
            return _command(name, words) or 0
    except (GameError, Error) as error:
        return _refuse(guard.located(error), 2)
    except (Exception, SystemExit) as error:
        said = "not enough memory: choose fewer runs or smaller batches" if _is_memory(error) else guard.explain(error)
        if said is None:
            raise
        return _refuse(said, 2)


def _is_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "not enough memory" in text or "out of memory" in text


def _warn(text: str) -> None:
    if launch.is_first():
        _print("[yellow]warning:[/]", text)


def _refuse(text: str, code: int) -> int:
    if launch.may_report():
        _print("[red]robustgames:[/]", text)
    return code


def _print(label: str, text: str) -> None:
    """Print a text in one line to stderr, behind a label with markup."""
    from rich.console import Console
    from rich.markup import escape

    with contextlib.suppress(OSError):  # the exit code remains
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"{label} {escape(printable(shorten(' '.join(text.split()), LONGEST)))}")


def _command(name: str, words: list[str]) -> int | None:
    """Import the file of a command and run it."""
    if name != "list":
        words = _set_threads(words)
        launch.join(name)
        _import_matplotlib()
    module, _, function = COMMANDS[name].partition(":")
    return getattr(import_module(module), function)(words)


def _names_module(words: list[str]) -> bool:
    """Return whether a word, or the value of key=value, is module:name.

    The axis:body of a perturbation is not, and library:attack is found in what is installed alone.
    """
    flag = ""
    for word in words:
        flag = word.partition("=")[0] if word.startswith("--") else flag
        other = flag in ("--grid", "--perturbation", "--attack")
        if not other and re.match(r"[^\W\d]\w*(\.[^\W\d]\w*)*:", word.rpartition("=")[2]):
            return True
    return False


def _import_matplotlib() -> None:
    """Import matplotlib from another folder if the current one has settings of it, which may come from a stranger."""
    if os.path.lexists("matplotlibrc"):
        here = os.open(".", os.O_RDONLY)
        os.chdir(os.sep)
        try:
            import_module("matplotlib")
        finally:
            os.fchdir(here)
            os.close(here)


def _set_threads(words: list[str]) -> list[str]:
    """Set the number of PyTorch's threads; return the words without --threads."""
    # by default one: two threads next to any other load were measured up to 30 times slower on small networks
    rest, threads = [], None if "OMP_NUM_THREADS" in os.environ else "1"
    remaining = iter(words)
    for word in remaining:
        name, equals, value = word.partition("=")
        if name == "--threads":
            threads = value if equals else next(remaining, "")
        else:
            rest.append(word)
    if threads is not None:
        if not threads.isdecimal() or len(threads) > 9 or not 1 <= int(threads) <= MOST_THREADS:
            wanted = f"it must be a whole number from 1 to {MOST_THREADS}, e.g. --threads 2"
            raise GameError(f"threads is {shorten(threads)!r}: {wanted}")
        import torch

        torch.set_num_threads(int(threads))
    return rest
