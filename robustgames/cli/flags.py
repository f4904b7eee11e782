"""Command-line flags from signatures and dataclasses, and words key=value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from difflib import get_close_matches
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

import tyro
import yaml
from docstring_parser import parse as parse_docstring

from robustgames.errors import GameError

T = TypeVar("T")

# {flag of another library: flag here}
SYNONYMS = {
    "batch-size": "batch",
    "epochs": "steps",
    "epsilon": "eps",
    "iterations": "steps",
    "learning-rate": "lr",
    "lrate": "lr",
    "max-steps": "steps",
    "n-envs": "runs",
    "n-runs": "runs",
    "num-envs": "runs",
    "num-runs": "runs",
    "num-steps": "steps",
    "output": "out",
    "random-seed": "seed",
    "seeds": "runs",
    "settings": "set",
    "step-size": "lr",
    "timesteps": "steps",
    "total-timesteps": "steps",
}


class Flag(NamedTuple):
    """A flag of the command line. Without a default, it is required."""

    name: str
    kind: Any
    default: Any
    help: str


def of_function(function: Callable[..., Any]) -> Iterator[Flag]:
    """Yield the arguments of a function, with help texts from its docstring."""
    hints, helps = get_type_hints(function), _helps(function)
    for name, parameter in inspect.signature(function).parameters.items():
        yield Flag(name, hints[name], parameter.default, helps.get(name, ""))


def of_dataclass(preset: Any) -> Iterator[Flag]:
    """Yield the fields of a dataclass, with an instance's values as defaults and help texts from the docstring."""
    hints, helps = get_type_hints(type(preset)), _helps(type(preset))
    for f in fields(preset):
        yield Flag(f.name, hints[f.name], getattr(preset, f.name), helps.get(f.name, ""))


def _helps(documented: Any) -> dict[str, str]:
    found = parse_docstring(documented.__doc__ or "").params
    return {parameter.arg_name: " ".join((parameter.description or "").split()) for parameter in found}


def summary(documented: Any) -> str:
    """Return the text of a docstring before its sections."""
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
    """Parse words into an object with one attribute per group, see `read`."""
    command = make_dataclass("Command", list(groups.items()), frozen=True)
    command.__doc__ = description
    return read(command, program, words)


def read(options: type[T], program: str, words: Sequence[str]) -> T:
    """Parse words into a dataclass; exits after --help and after values that cannot be parsed.

    Whole numbers may be written as 1e4. --set and --solver-set may be repeated.

    Raises:
        GameError: If a flag is unknown; close matches are shown.
    """
    _check_flags({"-h", "--help", *_names(options)}, program, words)
    for flag in ("--set", "--solver-set"):
        words = gather(words, flag)
    return tyro.cli(options, prog=program, args=words, config=(tyro.conf.OmitArgPrefixes,), registry=_REGISTRY)


def _names(options: type) -> Iterator[str]:
    """Yield the flags of a dataclass, whose fields may be dataclasses."""
    for name, kind in get_type_hints(options).items():
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _names(kind)
        else:
            dashed = name.replace("_", "-")
            yield from (f"--{dashed}", f"--no-{dashed}") if kind is bool else (f"--{dashed}",)


def _check_flags(known: set[str], program: str, words: Sequence[str]) -> None:
    for word in words:
        flag = word.partition("=")[0]
        name = flag.lstrip("-").replace("_", "-")
        if not flag.startswith("-") or flag in known or _is_number(word):
            continue
        if flag.startswith("--") and f"--{name}" in known:
            continue
        names = [k.removeprefix("--") for k in known if k != "-h"]
        meant = SYNONYMS.get(name)
        close = [meant] if meant in names else get_close_matches(name, names, n=3, cutoff=0.7)
        hint = ""
        if close:
            hint = f" did you mean {' or '.join(f'--{name}' for name in close)}?"
        elif "--set" in known:
            hint = f" if it is a setting of the env, write --set {name.replace('-', '_')}=...;"
        raise GameError(f"unknown flag {flag}:{hint} `{program} --help` lists all")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


_REGISTRY = tyro.constructors.ConstructorRegistry()


@_REGISTRY.primitive_rule
def _whole_number(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[int] | None:
    """Return the constructor of whole numbers, which may be written as 1e4."""
    if info.type is not int:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


def whole_number(word: str) -> int:
    """Return the whole number that a word such as 10000 or 1e4 denotes.

    Raises:
        ValueError: If it does not denote one.
    """
    try:
        return int(word)
    except ValueError:
        if _is_number(word) and float(word).is_integer():
            return int(float(word))
    raise ValueError(f"{word} is not a whole number")


# -- words key=value -------------------------------------------------------------------------------------
def gather(words: Sequence[str], flag: str = "--set") -> list[str]:
    """Join the words of every `flag` behind one; tyro would keep only the last."""
    rest, settings, taking = [], [], False
    for word in words:
        name, equals, value = word.partition("=")
        if name == flag:
            taking = True
            settings += [value] if equals else []
        else:
            taking = taking and not word.startswith("--")
            (settings if taking else rest).append(word)
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
    """Return the value with words that denote numbers as numbers: for YAML 1.1, 1e-3 is a word."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
