"""The errors of tyro in one line each: the value, what is allowed, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tyro

from robustgames.errors import GameError, shorten, unknown

KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a word", "{None}": "None"}
EXAMPLES = {"INT": "10", "FLOAT": "0.1"}


@contextmanager
def in_one_line(program: str, words: Sequence[str]) -> Iterator[None]:
    """Turn what tyro would print in a box into a `GameError`; --help stays as it is.

    Raises:
        GameError: The words of the command line cannot be parsed.
    """

    def refuse(event: Any) -> None:
        raise GameError(f"{_reason(event, words)}; `{program} --help` lists the flags")

    with tyro._errors.on_parse_error(refuse):  # pyright: ignore[reportAttributeAccessIssue]
        yield


def _reason(event: Any, words: Sequence[str]) -> str:
    if missing := getattr(event, "missing_arguments", []):
        names = [argument.arg.lowered.metavar or argument.arg.display_name() for argument in missing]
        return f"{' and '.join(names)} is missing: {event.prog} {' '.join(names)}"
    if tokens := getattr(event, "tokens", []):
        return f"cannot use {shorten(' '.join(tokens))}: no more values are expected there, leave it out"
    if (argument := getattr(event, "argument", None)) is None:
        return shorten(" ".join(str(getattr(event, "message", "the flags contradict each other")).split()))
    flag = argument.display_name()
    if choices := getattr(event, "choices", ()):
        return str(unknown(flag, event.value, choices))
    kinds = str(argument.lowered.metavar or "").split()
    given = " ".join(map(repr, _values(flag, words)[: len(kinds)]))
    return f"{flag} is {shorten(given) or 'without a value'}: it must be {_wanted(flag, kinds)}"


def _values(flag: str, words: Sequence[str]) -> list[str]:
    """Return the words behind the last place of a flag."""
    names = [word.partition("=")[0].replace("_", "-") for word in words]
    if flag not in names:
        return []
    at = len(names) - 1 - names[::-1].index(flag)
    if "=" in words[at]:
        return [words[at].partition("=")[2]]
    behind = words[at + 1 :]
    end = next((i for i, word in enumerate(behind) if word.startswith("--")), len(behind))
    return list(behind[:end])


def _wanted(flag: str, kinds: list[str]) -> str:
    """Return what a flag takes, from tyro's names of its types, e.g. "two numbers"."""
    if not kinds:
        return "alone, it takes no value"
    alternatives = [[KINDS.get(part, part) for part in kind.strip("[]").split("|")] for kind in kinds]
    wanted = " and ".join(" or ".join(reversed(parts)) for parts in alternatives)
    example = " ".join(next((text for name, text in EXAMPLES.items() if name in kind), "...") for kind in kinds)
    return f"{wanted}, e.g. {flag} {example}"
