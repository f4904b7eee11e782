"""The contract of a certificate: settings, the balls it covers, and verdicts on a batch of images."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustgames.attacks.problem import Bounds, Problem, Radius, pose_problem
from robustgames.attacks.reach import evaluation_mode
from robustgames.attacks.victim import Model, Victim
from robustgames.certificates.verdicts import Verdicts, joined, row_mask, unreached
from robustgames.errors import GameError
from robustgames.games.layers import Layer
from robustgames.games.threat import NORMS, norm_name
from robustgames.games.tracing import Graph, attribute_of, trace

Progress = Callable[[int, int, int], None]  # (images done, images to do, images certified)
LEAST_UNIT = 2.0**-40  # unit roundoff assumed of models in float64: large against that of the bounds themselves


@dataclass(frozen=True)
class Certificate(ABC):
    """A method that proves, image by image, that no input of a ball is misclassified."""

    name: ClassVar[str]
    """Key in `CERTIFICATES`."""
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    """Norms of the balls."""
    instead: ClassVar[str] = "crown"
    """Method to use for the other norms."""
    of_smoothed: ClassVar[bool] = False
    """Whether the verdicts are about the smoothed classifier."""
    batch: ClassVar[int] = 50
    """Images in a batch."""
    layers: ClassVar[tuple[type[Layer], ...]] = (Layer,)
    """Kinds of layers that it has bounds of."""
    without: ClassVar[str] = ""
    """What to type for a network with another layer."""

    @abstractmethod
    def run(self, task: Task) -> Verdicts:
        """Return the verdicts on the images of a task, without the time."""

    def certify(
        self,
        model: Model | Victim,
        x: Tensor,
        y: Tensor,
        eps: Radius,
        norm: str | float = "linf",
        bounds: Bounds = (0.0, 1.0),
        progress: Progress | None = None,
    ) -> Verdicts:
        """Return verdicts on images, see `certify`. Ctrl-C ends the search and returns those until then.

        Args:
            model: Classifier, inputs (N, ...) -> logits (N, C); a module, except for smoothing.
            x: Images (N, ...) inside the bounds.
            y: Their classes (N,).
            eps: Radius of the balls, one number or one per image.
            norm: "linf", "l2" or "l1".
            bounds: Bounds (low, high) of the inputs.
            progress: Function called as progress(images done, images to do, images certified) after each batch.

        Raises:
            GameError: Wrong input, a norm that the method does not cover, or a layer that it has no bounds of.
        """
        with pose_problem(model, x, y, eps, norm, bounds) as p:
            self.check(model, x, norm)
            found: list[Verdicts] = []
            done = 0
            try:
                for rows in torch.arange(len(x), device=x.device).split(self.batch) if len(x) else ():
                    began = time.perf_counter()
                    found.append(_timed(self.run(Task(p.rows(rows), int(rows[0]))), began))
                    done += len(rows)
                    if progress is not None:
                        progress(done, len(x), sum(int(part.certified.sum()) for part in found))
            except KeyboardInterrupt:
                if done == len(x):
                    raise
        if done == len(x) > 0:
            return joined(found)
        with_radius = bool(found) and found[0].radius is not None
        return joined([*found, unreached(self.name, x[done:], self.of_smoothed, with_radius)])

    def check_norm(self, norm: str | float) -> None:
        """Refuse a norm that the method does not cover."""
        wanted = norm_name(norm)
        if wanted not in self.norms:
            raise GameError(
                f"{self.name} certifies in {' and '.join(self.norms)}, not in {wanted}: use {self.instead}, or "
                f"norm={self.norms[0]!r}"
            )

    def check(self, model: Model | Victim, x: Tensor, norm: str | float) -> None:
        """Refuse a norm that the method does not cover, and a model with a layer that it has no bounds of.

        Args:
            model: Classifier.
            x: Images, of which one is used.
            norm: Norm of the balls.
        """
        self.check_norm(norm)
        if self.of_smoothed:
            return
        model = _module(model)
        with evaluation_mode(model):
            graph = trace(model, x[:2])
        for step, layer in zip(graph.steps, _layers(model, graph), strict=True):
            if not isinstance(layer, self.layers):
                raise GameError(f"{self.name} has no bounds of {step.name}: {self.without}")


class Task:
    """A batch of images to certify.

    Args:
        p: The attack's problem on the same images: model, inputs, balls.
        first: Place of the first image among all.
    """

    def __init__(self, p: Problem, first: int = 0) -> None:
        self.p, self.first = p, first
        self.x = p.images(torch.zeros_like(p.a))
        self.a = p.a.double()
        self.eps = torch.as_tensor(p.threat.eps, dtype=torch.float64, device=p.a.device).reshape(-1, 1)
        # every input that counts as one of the ball in an attack: a + η and projections are rounded
        count = p.a.shape[1] ** (1 / NORMS[p.threat.norm])
        slack = torch.finfo(p.a.dtype).eps * (count * self.a.abs().amax(-1, keepdim=True) + 100 * self.eps)
        self.radius = self.eps + slack
        low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (p.threat.low, p.threat.high))
        self.low = torch.maximum(self.a - self.radius, low)
        self.high = torch.minimum(self.a + self.radius, high)

    @property
    def labels(self) -> Tensor:
        """Classes (N,)."""
        return self.p.labels

    def misclassified(self) -> Tensor:
        """Return the images that the model misclassifies as they are, (N,)."""
        return self.fooled(self.x)

    def fooled(self, images: Tensor) -> Tensor:
        """Return the images that the model misclassifies, in its own arithmetic, (N,)."""
        return self.p.victim.logits(images).argmax(-1) != self.labels

    def graph(self) -> tuple[Graph, list[Layer], float]:
        """Return the layers of the model in float64, and the unit roundoff of its own arithmetic.

        Raises:
            GameError: The model is not a module, has a layer without bounds, or computes something else than them.
        """
        model = _module(self.p.victim)
        graph = trace(model, self.x[:2])
        layers = _layers(model, graph)
        dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), self.x.dtype)
        unit = max(torch.finfo(dtype).eps / 2, LEAST_UNIT)
        self._check(model, graph, layers, unit)
        return graph, layers, unit

    def _check(self, model: nn.Module, graph: Graph, layers: list[Layer], unit: float) -> None:
        """Refuse a model whose logits differ from those of its layers, e.g. because of a hook."""
        clean = self.a.view(self.x.shape)
        low, high = graph.bounds(layers, clean, clean, unit)[graph.last]
        z = self.p.victim.logits(self.x).double()
        if not bool(((low - unit <= z) & (z <= high + unit)).all()):
            gap = float(torch.maximum(low - z, z - high).max())
            raise GameError(
                f"the logits of {type(model).__name__} differ by {gap:.2g} from those of its layers: hooks and code "
                "outside of layers cannot be certified; smoothing certifies every function, in l2"
            )

    def verdicts(
        self,
        method: Certificate,
        margin: Tensor,
        falsified: Tensor,
        x_adv: Tensor | None = None,
        radius: Tensor | None = None,
        certified: Tensor | None = None,
    ) -> Verdicts:
        """Return verdicts: certified where the margin is positive."""
        certified = margin > 0 if certified is None else certified
        if not method.of_smoothed and bool((certified & falsified).any()):
            raise AssertionError(f"{method.name} certified an image whose ball has a misclassified input")
        images = self.x if x_adv is None else torch.where(row_mask(falsified, self.x), x_adv, self.x)
        return Verdicts(method.name, certified, falsified, margin, images, radius, of_smoothed=method.of_smoothed)


def _module(model: Model | Victim) -> nn.Module:
    model = model.model if isinstance(model, Victim) else model
    if not isinstance(model, nn.Module):
        raise GameError(
            f"the model is a {type(model).__name__}: bounds follow the layers of a torch.nn.Module; smoothing "
            "certifies every function, in l2"
        )
    return model


def _layers(model: nn.Module, graph: Graph) -> list[Layer]:
    return graph.layers(lambda path: in_double(attribute_of(model, path)))


def in_double(value: Tensor | None) -> Tensor | None:
    """Return a parameter of a module in float64; None and whole numbers stay as they are."""
    return value if value is None or not value.is_floating_point() else value.detach().double()


def _timed(found: Verdicts, began: float) -> Verdicts:
    return replace(found, seconds=time.perf_counter() - began)
