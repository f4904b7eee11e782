"""Command-line flags from signatures and dataclasses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

import tyro
from docstring_parser import parse as parse_docstring

from robustgames.cli.parse_errors import in_one_line
from robustgames.cli.words import attached, gather, is_number, number, path, whole_number
from robustgames.errors import GameError, shorten

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
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name not in hints:  # of a user's function
            usual = parameter.default
            raise GameError(
                f"argument {name!r} of {getattr(function, '__wrapped__', function).__name__} has no type: write "
                f"{name}: {'float' if usual is parameter.empty or usual is None else type(usual).__name__}"
            )
        yield Flag(name, hints[name], parameter.default, helps.get(name, ""))


def of_dataclass(preset: Any) -> Iterator[Flag]:
    """Yield the fields of a dataclass, with an instance's values as defaults and help texts from the docstrings.

    Inherited fields have those of the base class.
    """
    hints, kinds = get_type_hints(type(preset)), [kind for kind in type(preset).__mro__ if is_dataclass(kind)]
    helps = {name: text for kind in reversed(kinds) for name, text in _helps(kind).items()}
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


def replaced(flags: Iterable[Flag], defaults: Mapping[str, Any]) -> Iterator[Flag]:
    """Yield the flags, with other defaults for some of them."""
    for flag in flags:
        yield flag._replace(default=defaults.get(flag.name, flag.default))


def given(words: Sequence[str]) -> set[str]:
    """Return the names of the flags among words, as names of settings: lr_y for --lr-y and --lr_y=0.1.

    Example:
        >>> sorted(given(["gda", "--lr", "-0.1", "--no-anneal", "--lr_y=0.1"]))
        ['anneal', 'lr', 'lr_y']
    """
    names = [word.partition("=")[0].removeprefix("--") for word in words if word.startswith("--")]
    return {name.replace("_", "-").removeprefix("no-").replace("-", "_") for name in names}


def parse(groups: Mapping[str, Any], program: str, description: str, words: Sequence[str]) -> Any:
    """Parse words into an object with one attribute per group, see `read`.

    A group is a dataclass, or an instance of one whose values are the defaults.
    """
    columns = [
        (name, part) if isinstance(part, type) else (name, type(part), field(default=part))
        for name, part in groups.items()
    ]
    command = make_dataclass("Command", columns, frozen=True, kw_only=True)
    command.__doc__ = description
    return read(command, program, words)


def read(options: type[T], program: str, words: Sequence[str]) -> T:
    """Parse words into a dataclass; exits after --help.

    Whole numbers may be written as 1e4. Flags that take several words (--set, --grid ...) may be repeated.

    Raises:
        GameError: If a flag is unknown, with close matches, or a value cannot be parsed.
    """
    words = attached(words)
    _check_flags({"-h", "--help", *_names(options)}, program, words)
    for flag in _lists(options):
        words = gather(words, flag)
    with in_one_line(program, words):
        return tyro.cli(options, prog=program, args=words, config=(tyro.conf.OmitArgPrefixes,), registry=_REGISTRY)


def _names(options: type) -> Iterator[str]:
    """Yield the flags of a dataclass, whose fields may be dataclasses."""
    for name, kind in get_type_hints(options).items():
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _names(kind)
        else:
            dashed = name.replace("_", "-")
            yield from (f"--{dashed}", f"--no-{dashed}") if kind is bool else (f"--{dashed}",)


def _lists(options: type) -> Iterator[str]:
    """Yield the flags of a dataclass that take any number of words."""
    for name, kind in get_type_hints(options).items():
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _lists(kind)
        elif kind == tuple[str, ...]:
            yield f"--{name.replace('_', '-')}"


def _check_flags(known: set[str], program: str, words: Sequence[str]) -> None:
    for word in words:
        flag = word.partition("=")[0]
        name = flag.lstrip("-").replace("_", "-")
        if not flag.startswith("-") or flag in known or is_number(word):
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
        raise GameError(f"unknown flag {shorten(flag)}:{hint} `{program} --help` lists all")


_REGISTRY = tyro.constructors.ConstructorRegistry()


def _read_by(kind: type, metavar: str, read: Callable[[str], Any]) -> None:
    """Let `read` turn the words of all flags of a type into values."""

    @_REGISTRY.primitive_rule
    def rule(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
        if info.type is not kind:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=metavar,
            instance_from_str=lambda words: read(words[0]),
            is_instance=lambda value: isinstance(value, kind),
            str_from_instance=lambda value: [str(value)],
        )


_read_by(int, "INT", whole_number)  # which may be written as 1e4
_read_by(float, "FLOAT", number)  # which may be written as 8/255
_read_by(Path, "PATH", path)  # which may begin with ~
