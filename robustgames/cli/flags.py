"""Command-line flags from signatures and dataclasses, and words key=value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Annotated, Any, NamedTuple, get_type_hints

import tyro
import yaml
from docstring_parser import parse as parse_docstring

from robustgames.errors import GameError


class Flag(NamedTuple):
    """A flag of the command line; no default: it must be given."""

    name: str
    kind: Any
    default: Any
    help: str


def of_function(function: Callable[..., Any]) -> Iterator[Flag]:
    """Yield the arguments of a function, helps from its docstring."""
    hints, helps = get_type_hints(function), _helps(function)
    for name, parameter in inspect.signature(function).parameters.items():
        yield Flag(name, hints[name], parameter.default, helps.get(name, ""))


def of_dataclass(preset: Any) -> Iterator[Flag]:
    """Yield the fields of a dataclass with an instance's values as defaults, helps from the docstring."""
    hints, helps = get_type_hints(type(preset)), _helps(type(preset))
    for f in fields(preset):
        yield Flag(f.name, hints[f.name], getattr(preset, f.name), helps.get(f.name, ""))


def _helps(documented: Any) -> dict[str, str]:
    found = parse_docstring(documented.__doc__ or "").params
    return {parameter.arg_name: " ".join((parameter.description or "").split()) for parameter in found}


def summary(documented: Any) -> str:
    """Return what a docstring says before its sections."""
    text = parse_docstring(documented.__doc__ or "")
    return "\n".join(filter(None, (text.short_description, text.long_description)))


def group(name: str, flags: Iterable[Flag]) -> type:
    """Return a frozen dataclass with these flags as fields, for `parse`."""
    columns = []
    for flag in flags:
        default = MISSING if flag.default is inspect.Parameter.empty else flag.default
        kind = Annotated[flag.kind, tyro.conf.arg(help=flag.help)]
        columns.append((flag.name, kind, field(default=default)))
    return make_dataclass(name, columns, frozen=True)


def parse(groups: dict[str, type], program: str, description: str, words: Sequence[str]) -> Any:
    """Parse words into an object with one attribute per group; exits after --help and after unknown flags."""
    command = make_dataclass("Command", list(groups.items()), frozen=True)
    command.__doc__ = description
    return tyro.cli(command, prog=program, args=words, config=(tyro.conf.OmitArgPrefixes,))


# -- words key=value -------------------------------------------------------------------------------------
def gather(words: Sequence[str], flag: str = "--set") -> list[str]:
    """Join the words of every `flag` behind one, of which tyro would keep the last alone."""
    rest, settings, taking = [], [], False
    for word in words:
        taking = word == flag or (taking and not word.startswith("--"))
        (settings if taking else rest).append(word)
    settings = [word for word in settings if word != flag]
    return [*rest, flag, *settings] if settings else rest


def pairs(words: Sequence[str], flag: str = "--set", example: str = "eps=0.05") -> dict[str, Any]:
    """Return {key: value} of words key=value; values are numbers, lists or words in YAML."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise GameError(f"{flag} takes key=value, got {word!r}: e.g. {flag} {example}")
        if key in found:
            raise GameError(f"{flag} has {key} twice: give it once")
        found[key] = _value(value)
    return found


def _value(word: str) -> Any:
    try:
        return _numbers(yaml.safe_load(word))
    except yaml.YAMLError:
        return word


def _numbers(value: Any) -> Any:
    """Return the value with words that are numbers as such: YAML 1.1 takes 1e-3 for a word."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
