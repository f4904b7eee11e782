"""Attacks of foolbox and ART by name, in this package's threat model and judged by it."""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from torch import Generator, Tensor, nn

from robustgames.attacks.attack import Attack
from robustgames.attacks.passes import common_noise, draw_seed
from robustgames.attacks.problem import Bounds, Problem, Radius
from robustgames.attacks.reach import reachable_modules
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError, one_line, unknown
from robustgames.games.threat import NORMS

# {prefix: (module here, module of the library)}
PEERS = {
    "foolbox": ("robustgames.attacks.borrowed_foolbox", "foolbox"),
    "art": ("robustgames.attacks.borrowed_art", "art"),
}
OURS = ("eps", "norm", "targeted")  # arguments of the peers that the threat model of the evaluation decides


class Peer(Protocol):
    """The attacks of another library."""

    def names(self) -> list[str]:
        """Return the names of its attacks on classifiers of any inputs."""
        ...

    def arguments(self, name: str) -> list[str]:
        """Return the settings of an attack."""
        ...

    def norms(self, name: str) -> tuple[str, ...]:
        """Return the norms that an attack can search, perhaps names outside `NORMS`."""
        ...

    def minimal(self, name: str) -> bool:
        """Return whether an attack looks for the nearest point, whatever the radius."""
        ...

    def find(self, name: str, settings: Mapping[str, Any], task: Task) -> Any:
        """Return the perturbed inputs, as an array or tensor (N, ...)."""
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """What another library is given.

    Attributes:
        network: The classifier, whose passes are counted: inputs (N, ...) -> logits (N, C).
        x: Inputs (N, ...).
        labels: Classes (N,).
        norm: Norm of the ball.
        eps: Its radius.
        low, high: Bounds of all inputs.
        targets: Classes (N,) to lead to; None if any wrong one will do.
        likeliest: Function that returns the likeliest wrong class of each input, for attacks that need a target.
    """

    network: nn.Module
    x: Tensor
    labels: Tensor
    norm: str
    eps: float
    low: float
    high: float
    targets: Tensor | None
    likeliest: Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Borrowed(Attack):
    """An attack of another library.

    Args:
        name: "foolbox:" or "art:", and the name of a class of `foolbox.attacks` or `art.attacks.evasion`.
        settings: Arguments of that class. Radius, norm and target are those of the evaluation.

    Raises:
        GameError: If the library is not installed, or has no such attack or argument.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        peer, _, own = check_name(self.name)
        for key in self.settings:
            if key in OURS:
                raise GameError(f"{key} of {self.name} is that of the evaluation: give --{key}, in Python {key}=...")
            if key not in peer.arguments(own):
                raise unknown(f"setting of {self.name}", key, peer.arguments(own))
        object.__setattr__(self, "norms", tuple(norm for norm in peer.norms(own) if norm in NORMS))

    def run(self, p: Problem) -> Tensor:
        """Return what was found inside ball and box, 0 for the other rows, with a warning about those that left it."""
        eta = self.run_in_ball(p)
        inside = p.allowed(p.a + eta)
        if not bool(inside.all()):
            warnings.warn(note_of_leaving(self.name, int((~inside).sum()), len(eta)), stacklevel=3)
        return torch.where(inside.unsqueeze(-1), eta, 0)

    def run_in_ball(self, p: Problem) -> Tensor:
        """Return what was found, unchecked; of an attack without a radius its projection on the ball."""
        peer, _, own = check_name(self.name)
        radii = torch.as_tensor(p.threat.eps, dtype=p.a.dtype, device=p.a.device).expand(len(p.a), 1).squeeze(-1)
        eta = torch.zeros_like(p.a)
        for eps in radii.unique().tolist():  # the libraries take one radius for all inputs
            rows = (radii == eps).nonzero().squeeze(-1)
            part = p.rows(rows)
            found = self._found(peer, own, part, eps)
            inside = part.allowed(part.a + found, torch.float32) | peer.minimal(own)
            eta[rows] = torch.where(inside.unsqueeze(-1), part.project(found), found)
        return eta

    def _found(self, peer: Peer, own: str, p: Problem, eps: float) -> Tensor:
        low, high = _one_box(p, eps)
        x = p.a.view(-1, *p.shape).clone()
        classes = lambda: replace(p, targets=None).candidates(1).squeeze(-1)  # noqa: E731 (a field of the task)
        targets = p.targets if p.reach else None
        task = Task(_Network(p).eval(), x, p.labels, p.threat.norm, eps, low, high, targets, classes)
        with _apart(p), torch.enable_grad():
            try:
                found = peer.find(own, self.settings, task)
            except torch.OutOfMemoryError:
                raise
            except GameError:
                raise
            except Exception as error:
                _refuse(self.name, error)
        found = torch.as_tensor(found).detach().to(p.a).reshape(p.a.shape)
        found = torch.where(torch.isfinite(found).all(-1, keepdim=True), found, p.a)  # NaN: it has found nothing
        if isinstance(p.threat.low, Tensor) or isinstance(p.threat.high, Tensor):  # bounds that it does not know
            found = found.clamp_min(p.threat.low).clamp_max(p.threat.high)
        return found - p.a


def borrowed(
    name: str,
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float,
    *,
    settings: Mapping[str, Any] | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Run an attack of foolbox or ART on a classifier, with its passes counted and its results checked.

    The library is given inputs, labels, bounds, norm and radius; `param.grad`, modes and the global generators of
    PyTorch, NumPy and Python are as before afterwards. An attack without a radius looks for the nearest point, which
    is projected on the ball. An input whose perturbation leaves ball or box is returned unchanged, with a warning.

    Args:
        name: E.g. "foolbox:L2CarliniWagnerAttack" or "art:ElasticNet".
        model, x, y, eps, norm, targets, bounds, generator, eot: See `robustgames.attacks.gradient`.
        settings: Arguments of the library's class, e.g. {"steps": 100}.

    Raises:
        GameError: If the library is not installed, has no such attack or setting, attacks in another norm, or fails;
            and the errors of all attacks on their inputs.
    """
    attack = Borrowed(name=name, settings=dict(settings or {}))
    check_norm(attack, norm)
    return attack(model, x, y, eps, norm, targets=targets, bounds=bounds, generator=generator, eot=eot)


def is_borrowed(name: str) -> bool:
    """Return whether a name is that of an attack of another library."""
    return ":" in name


def check_name(name: str) -> tuple[Peer, str, str]:
    """Return (library, its prefix, name of the attack in it)."""
    prefix, _, own = name.partition(":")
    if prefix not in PEERS:
        raise unknown("library of attacks", prefix, PEERS)
    file, module = PEERS[prefix]
    if find_spec(module) is None:
        raise GameError(f'{name} needs {prefix}: pip install "robustgames[peers]"')
    peer: Any = import_module(file)
    names = peer.names()
    if own not in names:
        raise unknown(f"attack of {prefix}", own, names)
    return peer, prefix, own


def check_norm(attack: Borrowed, norm: str | float) -> None:
    """Refuse a norm that an attack of another library does not search, and name the attacks that do."""
    name = norm if isinstance(norm, str) else next((key for key, order in NORMS.items() if order == norm), str(norm))
    if name.lower() not in NORMS or name.lower() in attack.norms:
        return
    peer, prefix, own = check_name(attack.name)
    bare = _without_norm(own)
    like = [f"{prefix}:{each}" for each in peer.names() if _without_norm(each) == bare and name in peer.norms(each)]
    there = " and ".join(peer.norms(own))
    advice = f"give --attack {like[0]}" if like else "use another attack, e.g. fmn or apgd-ce"
    if attack.norms:
        advice = f"give --norm {attack.norms[0]} with its --eps, or {advice.removeprefix('give ')}"
    raise GameError(f"{attack.name} attacks in {there}, not in {name}: {advice}")


def classes_in(library: Any, base: type, unsuited: Collection[str]) -> list[str]:
    """Return the names of the attacks in a module of another library: its classes of that base that can be made."""
    return [
        name
        for name, kind in vars(library).items()
        if inspect.isclass(kind) and issubclass(kind, base) and not inspect.isabstract(kind) and name not in unsuited
    ]


def note_of_leaving(name: str, left: int, count: int) -> str:
    """Return the warning about perturbations outside of ball or box."""
    return f"{left} of {count} examples of {name} left the ball or the box: they count as robust"


def _without_norm(name: str) -> str:
    for word in ("Linfinity", "LInf", "Linf", "L2", "L1", "L0"):
        name = name.replace(word, "", 1)
    return name


def _one_box(p: Problem, eps: float) -> tuple[float, float]:
    """Return one pair of bounds for all inputs; an open side ends where no perturbation of the ball can reach."""
    low, high = (torch.as_tensor(bound, dtype=p.a.dtype) for bound in (p.threat.low, p.threat.high))
    least, most = float(low.min()), float(high.max())
    if not np.isfinite(least):
        least = float(p.a.min()) - eps
    if not np.isfinite(most):
        most = float(p.a.max()) + eps
    return least, most


class _Network(nn.Module):
    """The classifier of a problem as a module without parameters: the mean logits of its passes."""

    def __init__(self, p: Problem) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        p = self.p
        x = x.nan_to_num()  # an iterate of a failing attack, not a fault of the model
        inputs = x.reshape(-1, *p.shape).to(p.a.device, p.dtype or p.a.dtype)
        passes = [p.victim.differentiable(inputs) for _ in range(p.eot)]
        return sum(passes[1:], passes[0]) / p.eot


@contextmanager
def _apart(p: Problem) -> Iterator[None]:
    """Seed the global generators and freeze the parameters; restore both afterwards."""
    seed = draw_seed(p.generator)
    weights = {w for module in reachable_modules(p.victim.model) for w in module.parameters() if w.requires_grad}
    arrays, numbers = np.random.get_state(), random.getstate()
    try:
        for weight in weights:
            weight.requires_grad_(False)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        with common_noise(seed, p.a.device), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(foolbox|art|eagerpy|numpy)\b")
            yield
    finally:
        np.random.set_state(arrays)
        random.setstate(numbers)
        for weight in weights:
            weight.requires_grad_(True)


def _refuse(name: str, error: Exception) -> NoReturn:
    said = f"{type(error).__name__}: {one_line(error) or 'no message'}"
    raise GameError(f"{name} failed with {said}; choose other settings, or another attack") from error
