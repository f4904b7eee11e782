"""Attacks that run in turn on the same images and the same model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from benchmarks.attack_peers import Build, available
from benchmarks.harness import Contestant, Measured, Row, timed
from torch import Tensor, nn

BATCH = 250


class Trial(NamedTuple):
    """A model under attack on images; every contestant runs this number of rounds in turn."""

    model: nn.Module
    images: tuple[Tensor, Tensor]
    rounds: int
    device: str


class Result(NamedTuple):
    """The result of one contestant: images per second, robust accuracy in percent, passes per image, median |η|_2."""

    speed: float
    robust: float
    forwards: float
    backwards: float
    size: float

    def __str__(self) -> str:
        return f"{self.robust:.1f} %, {self.forwards:.3g} + {self.backwards:.3g} passes"


class Counted(nn.Module):
    """A model that counts the images that pass through it, forward and back."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.forwards, self.backwards = model, 0, 0
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        self.forwards += len(x)
        logits = self.model(x)
        if logits.requires_grad:
            logits.register_hook(lambda g: self._back(len(g)))
        return logits

    def _back(self, count: int) -> None:
        self.backwards += count


class Runner:
    """One contestant on one trial. Its passes are counted in a first run, which warms up and is not timed."""

    def __init__(self, build: Build, trial: Trial) -> None:
        self.trial, self.seconds = trial, []
        self.outputs: list[Tensor] = []
        counted = Counted(trial.model)
        self.attack = build(counted)
        self.run()
        self.passes = counted.forwards, counted.backwards
        self.attack = build(trial.model.eval())  # as it is: a wrapper would hide its layers

    def run(self, steps: int = 1) -> None:
        """Attack all images, batch by batch."""
        self.outputs = []
        for x, y in zip(*(part.split(BATCH) for part in self.trial.images), strict=True):
            torch.manual_seed(0)  # as ours, whose generator starts at 0: the same random start if it is drawn alike
            self.outputs.append(self.attack(x.clone(), y))

    def round(self) -> None:
        """Time one run."""
        self.seconds.append(timed(Contestant(self.run, 1), self.trial.device))

    def result(self) -> Result:
        """Return the measurements. A perturbed image that leaves its box counts as robust."""
        x, y = self.trial.images
        x_adv = torch.cat(self.outputs).detach()
        inside = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(-1)
        with torch.no_grad():
            fooled = (self.trial.model.eval()(x_adv).argmax(-1) != y) & inside
        size = (x_adv - x).flatten(1).norm(dim=-1)[fooled].median()
        forwards, backwards = (count / len(x) for count in self.passes)
        return Result(
            speed=len(x) / Measured(self.seconds),
            robust=100 - 100 * float(fooled.float().mean()),
            forwards=forwards,
            backwards=backwards,
            size=float(size),
        )


def race(trial: Trial, contestants: dict[str, Build]) -> dict[str, Result]:
    """Time the contestants in turn, each warm."""
    runners = {name: Runner(build, trial) for name, build in available(contestants).items()}
    for _ in range(trial.rounds):
        for runner in runners.values():
            runner.round()
    return {name: runner.result() for name, runner in runners.items()}


def rows(
    title: str, trial: Trial, contestants: dict[str, Build], least: dict[str, float], tolerance: float = 0.5
) -> Iterator[Row]:
    """Yield the rows of one race; on few images the random starts count for more."""
    tolerance = max(tolerance, 500 / len(trial.images[0])) if tolerance == 0.5 else tolerance
    yield from compare(title, race(trial, contestants), least, tolerance)


def compare(title: str, results: dict[str, Result], least: dict[str, float], tolerance: float) -> Iterator[Row]:
    """Yield ours, the first result, against each of the others: robust accuracies may differ by the tolerance."""
    (first, ours), *others = results.items()
    for name, peer in others:
        note = f"{ours} : {peer}"
        if tolerance == float("inf"):
            note += f", median l2 {ours.size:.3f} : {peer.size:.3f}"
        speeds = "images/s", ours.speed, peer.speed
        agreed = abs(ours.robust - peer.robust) <= tolerance
        yield Row(f"{title}{first[4:]} : {name}", *speeds, at_least=least.get(name), note=note, agreed=agreed)
