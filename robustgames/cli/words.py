"""Words of the command line: repeated flags, key=value, whole numbers and paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import inf, isfinite
from pathlib import Path
from typing import Any

import yaml

from robustgames.errors import GameError, shorten

DEEPEST, LONGEST = 20, 10_000  # brackets inside one another, and characters, of a value


def whole_number(word: str) -> int:
    """Return the whole number that a word such as 10000 or 1e4 denotes.

    Raises:
        ValueError: If it does not denote one.
    """
    try:
        return int(word)
    except ValueError:
        if is_number(word) and float(word).is_integer():
            return int(float(word))
    raise ValueError(f"{word} is not a whole number")


def number(word: str) -> float:
    """Return the number that a word such as 0.03 or 8/255 denotes.

    Raises:
        ValueError: If it does not denote one.
    """
    above, slash, below = word.partition("/")
    try:
        return float(above) / float(below) if slash else float(word)
    except ZeroDivisionError as error:
        raise ValueError(f"{word} divides by 0") from error


def numbers(word: str, flag: str, example: str) -> tuple[float, ...]:
    """Return the numbers of a word such as 0.5,0.5 or 0,1.

    Raises:
        GameError: If it is another word, or they are not finite; the message names the flag and the example.
    """
    try:
        found = tuple(number(part) for part in word.split(","))
    except ValueError:
        found = (inf,)
    if not all(map(isfinite, found)):
        raise GameError(
            f"{flag} is {shorten(word)!r}: it must be numbers with commas between them, e.g. {flag} {example}"
        )
    return found


def attached(words: Sequence[str]) -> list[str]:
    """Return the words with numbers such as -1,1 attached to their flag: alone they would be read as flags.

    Example:
        >>> attached(["--bounds", "-1,1", "--seed", "3"])
        ['--bounds=-1,1', '--seed', '3']
    """
    found: list[str] = []
    for word in words:
        before = found[-1] if found else ""
        if (
            word.startswith("-")
            and "," in word
            and _are_numbers(word)
            and before.startswith("--")
            and "=" not in before
        ):
            found[-1] = f"{before}={word}"
        else:
            found.append(word)
    return found


def _are_numbers(word: str) -> bool:
    try:
        return all(map(isfinite, map(number, word.split(","))))
    except ValueError:
        return False


def is_number(word: str) -> bool:
    """Return whether a word denotes a number; "nan" and "inf" do."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def path(word: str) -> Path:
    """Return the path that a word denotes, with ~ for the home folder.

    Raises:
        GameError: If the word is empty, too long, not in UTF-8, or has a null character.
    """
    plain = word.encode("utf-8", "replace").decode() == word  # TensorBoard writes to no other
    if not word or not plain or "\0" in word or any(len(part) > 255 for part in word.split("/")):
        raise GameError(f"{shorten(word)!r} is not a path in UTF-8: name a folder or file, e.g. runs")
    try:
        return Path(word).expanduser()
    except RuntimeError as error:
        raise GameError(f"{shorten(word)} is in the home of a user who does not exist: write the whole path") from error


def gather(words: Sequence[str], flag: str = "--set") -> list[str]:
    """Join the words of every `flag` behind one; tyro would keep only the last.

    Raises:
        GameError: If one of them has no value.
    """
    rest, settings, taking = [], [], False
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name.replace("_", "-") == flag:
            taking = True
            settings += [value] if equals else []
            if not equals and (at + 1 == len(words) or words[at + 1].startswith("--")):
                raise GameError(f"{flag} is without a value: name it, {flag} ..., or leave {flag} out")
        else:
            taking = taking and not word.startswith("--")
            (settings if taking else rest).append(word)
    return [*rest, flag, *settings] if settings else rest


def pairs(words: Sequence[str], flag: str = "--set", example: str = "eps=0.05") -> dict[str, Any]:
    """Return {key: value} of words key=value; values are numbers, lists or words in YAML.

    Raises:
        GameError: If a word has another form, or a key is given twice.
    """
    found: dict[str, Any] = {}
    for key, value in keyed(words, flag, "key=value", example, "give it once"):
        try:
            found[key] = value_of(value)
        except (ValueError, RecursionError) as error:
            wanted = f"it must be a number, a word or a list such as [0.1, 0.2], e.g. {flag} {example}"
            raise GameError(f"{flag} {key} is {shorten(value)!r}: {wanted}") from error
    return found


def keyed(words: Sequence[str], flag: str, form: str, example: str, advice: str) -> Iterator[tuple[str, str]]:
    """Yield (key, text) of words key=text.

    Args:
        words: Words behind the flag.
        flag: The flag.
        form: Form of a word, for the message about one that has another.
        example: A word as it should be, for this message.
        advice: What to do about a key that is given twice.

    Raises:
        GameError: If a word has another form, or a key is given twice.
    """
    seen: set[str] = set()
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.isidentifier():
            raise GameError(f"{flag} takes {form}, got {shorten(word)!r}: e.g. {flag} {example}")
        if key in seen:
            raise GameError(f"{flag} has {key} twice: {advice.format(key=key)}")
        seen.add(key)
        yield key, text


class Plain(yaml.SafeLoader):
    """YAML without dates, numbers to base 60 and octal numbers: 2001-01-01 and 10:15 are words, and 010 is 10."""


def _plain_number(loader: Plain, node: yaml.ScalarNode) -> Any:
    if ":" in node.value:
        return node.value
    if node.tag.endswith(":float"):
        return loader.construct_yaml_float(node)
    digits = node.value.lstrip("+-").replace("_", "")
    return int(node.value.replace("_", "")) if digits.isdecimal() else loader.construct_yaml_int(node)


for _kind in ("int", "float"):
    Plain.add_constructor(f"tag:yaml.org,2002:{_kind}", _plain_number)
Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Value(Plain):
    """The same with numbers as they are typed, 1e-3 and 8/255, which YAML takes for words; in quotes they are words."""


def _plain_word(loader: _Value, node: yaml.ScalarNode) -> Any:
    if node.style is not None:
        return node.value
    if node.value == "None":  # as Python and messages of the package write it
        return None
    try:
        return number(node.value)
    except ValueError:
        return node.value


_Value.add_constructor("tag:yaml.org,2002:str", _plain_word)


def value_of(word: str) -> Any:
    """Return the number, list or other value in YAML that a word denotes, or the word itself; None for None.

    Raises:
        ValueError: If it is too long or too deep, or begins like a list and is none.
    """
    if len(word) > LONGEST or _brackets(word) > DEEPEST:
        raise ValueError("too long or too deep")
    try:
        found = yaml.load(word, _Value)
    except yaml.YAMLError:
        if word[:1] in "[{&*!":
            raise ValueError("not valid YAML") from None
        return word
    return _checked(found)


def _brackets(word: str) -> int:
    """Return how many brackets are open at once."""
    return max(accumulate((letter in "[{") - (letter in "]}") for letter in word), default=0)


def _checked(value: Any) -> Any:
    """Return a value that is a number, a word, None or a list or dictionary of such values.

    Raises:
        ValueError: It is another one.
    """
    if isinstance(value, list):
        return [_checked(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _checked(item) for key, item in value.items()}
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"a {type(value).__name__}")
    return value
