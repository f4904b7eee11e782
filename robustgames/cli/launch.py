"""One command in several processes of torchrun: they work together, and print as one."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from robustgames.errors import GameError, shorten

if TYPE_CHECKING:
    from robustgames.processes import Processes

SHARED = ("train", "attack")
"""Commands whose work is divided."""
NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
_joined: Processes | None = None


def join(command: str) -> None:
    """Join the processes that the variables of torchrun describe, if there are several.

    Raises:
        GameError: Each of them would do the same work, or they cannot reach each other.
    """
    global _joined
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if _several(name):
            raise GameError(
                f"{name} is {os.environ[name]}: every process of mpirun would do the same work; start robustgames "
                "alone, or by torchrun --nproc-per-node N -m robustgames"
            )
    if not _several("WORLD_SIZE"):
        return
    world = os.environ["WORLD_SIZE"]
    if command not in SHARED:
        raise GameError(
            f"WORLD_SIZE is {world}: every process of torchrun would do the same work, {command} has nothing to "
            "divide; start robustgames alone"
        )
    if missing := [name for name in NEEDED if name not in os.environ]:
        raise GameError(
            f"WORLD_SIZE is {shorten(world)}, but {missing[0]} is not set, which torchrun does: unset WORLD_SIZE, or "
            "start torchrun --nproc-per-node N -m robustgames"
        )
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # a lost process is one line, of ours
    from robustgames import processes

    _joined = processes.start()
    if not _joined.is_first:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for the life of the process)


def leave() -> None:
    """Leave them at the end of a command."""
    global _joined
    if _joined is not None:
        from robustgames import processes

        processes.stop()
        _joined = None


def is_first() -> bool:
    """Return whether this process prints warnings and results."""
    return _joined.is_first if _joined is not None else os.environ.get("RANK", "0").strip() in ("", "0")


def may_report() -> bool:
    """Return whether this process prints its error: of all processes one does."""
    return is_first() if _joined is None else _joined.may_report()


def _several(name: str) -> bool:
    return os.environ.get(name, "1").strip() not in ("", "0", "1")
