"""Words of a sweep: the values and ranges of its axes, and its seeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from robustgames.cli.words import keyed, value_of
from robustgames.errors import GameError, shorten

if TYPE_CHECKING:
    from robustgames.sweeps.plan import Axis

RANGE = re.compile(r"(.+?)\.\.(.+)")
MOST_SEEDS = 100_000


def axes(words: Sequence[str], flag: str) -> dict[str, Axis]:
    """Return {key: axis} of words key=value,value … and key=low..high.

    Raises:
        GameError: If a word has another form, or a key is given twice.
    """
    advice = "give all of its values at once, {key}=value,value"
    each = keyed(words, flag, "key=value,value", "lr=1e-3,3e-3", advice)
    return {key: _axis(key, text, flag) for key, text in each}


def _axis(key: str, text: str, flag: str) -> Axis:
    from robustgames.sweeps.plan import Range

    pieces = split(text)
    if not all(pieces):
        raise GameError(f"{flag} {key} has an empty value in {shorten(text)!r}: e.g. {flag} {key}=0.1,0.2")
    try:
        if len(pieces) == 1 and (ends := RANGE.fullmatch(text)):
            low, high = map(value_of, ends.groups())
            numbers = all(type(end) in (int, float) for end in (low, high))
            if not numbers or not low < high:
                raise GameError(
                    f"{flag} {key} is {shorten(text)!r}: a range is low..high, e.g. {flag} {key}=1e-4..1e-2"
                )
            return Range(low, high)
        return tuple(value_of(piece) for piece in pieces)
    except (ValueError, RecursionError) as error:
        if isinstance(error, GameError):
            raise
        wanted = f"values are numbers, words or lists, e.g. {flag} {key}=0.1,0.2"
        raise GameError(f"{flag} {key} is {shorten(text)!r}: {wanted}") from error


def split(text: str) -> list[str]:
    """Return the pieces of a text between commas that are outside of brackets.

    Example:
        >>> split("[0.5,0.9],[0,0.9]")
        ['[0.5,0.9]', '[0,0.9]']
    """
    pieces, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth <= 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return pieces


def seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a word: 0:5 are 0, 1, 2, 3, 4; 3,7 are 3 and 7.

    Raises:
        GameError: If a word has another form.

    Example:
        >>> seeds("0:3,10")
        (0, 1, 2, 10)
    """
    found: list[int] = []
    for piece in text.split(","):
        low, colon, high = piece.partition(":")
        if not low.isdecimal() or (colon and not high.isdecimal()) or len(low) > 18 or len(high) > 18:
            raise GameError(f"seeds is {shorten(text)!r}: whole numbers, e.g. --seeds 0:5 for 0, 1, 2, 3, 4, or 3,7")
        end = int(high) if colon else int(low) + 1
        if end - int(low) + len(found) > MOST_SEEDS:
            raise GameError(f"seeds is {shorten(text)!r}: at most {MOST_SEEDS:,} seeds")
        found += range(int(low), end)
    return tuple(found)


def words_of(content: Any, path: str) -> list[str]:
    """Return the words of the command line that a YAML file of a sweep stands for.

    Its keys are agent, env, grid, set and any flag: {agent: extra_adam, env: …, grid: {lr: [1e-3, 3e-3]}, steps: 2000}.

    Raises:
        GameError: If the file has another form.
    """
    if not isinstance(content, dict) or not all(isinstance(content.get(key), str) for key in ("agent", "env")):
        raise GameError(f"{path} must name an agent and an env: agent: extra_adam, env: robustgames/GaussianMixture-v0")
    words = [content["agent"], content["env"]]
    for key, value in content.items():
        if key in ("agent", "env"):
            continue
        flag = f"--{str(key).replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, dict):
            words += [flag, *(f"{name}={_written(item)}" for name, item in value.items())]
        else:
            words += [flag, *(_plain(item) for item in value)] if isinstance(value, list) else [flag, _plain(value)]
    return words


def _written(item: Any) -> str:
    return ",".join(map(_plain, item)) if isinstance(item, list) else _plain(item)


def _plain(item: Any) -> str:
    return f"[{','.join(map(_plain, item))}]" if isinstance(item, list) else str(item)
