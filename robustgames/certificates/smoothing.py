"""Randomized smoothing: certified ℓ2 radii of the majority vote of a model under Gaussian noise.

g(x) = argmax_c P(model(x + N(0, σ² I)) = c). If the probability of the class is at least p > 1/2, then g is constant on
the ball of radius R = σ Φ⁻¹(p) around x. p is estimated from draws, so each radius is wrong with probability at most α.

Source: Cohen, Rosenfeld and Kolter 2019, "Certified adversarial robustness via randomized smoothing", theorem 1 and
the procedure CERTIFY.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy.special import ndtri
from torch import Generator, Tensor

from robustgames.attacks.victim import Model
from robustgames.certificates.certificate import Certificate, Task
from robustgames.certificates.verdicts import Verdicts, lower_bound
from robustgames.errors import GameError

ROWS = 5000  # inputs of one forward pass


@dataclass(frozen=True)
class Smoothing(Certificate):
    """Randomized smoothing: certifies the majority vote under noise, for every model, in ℓ2.

    Args:
        sigma: Standard deviation σ of the noise, in units of the input. The noisy inputs leave the bounds.
        guesses: Draws N0 from which the class is guessed.
        draws: Draws N from which its probability is bounded.
        alpha: Probability that the radius of an image is too large. No radius exceeds σ Φ⁻¹(α^(1/N)).
        seed: Seed of the noise.
    """

    sigma: float = 0.25
    guesses: int = 100
    draws: int = 10_000
    alpha: float = 0.001
    seed: int = 0

    name: ClassVar[str] = "smoothing"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    of_smoothed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise GameError(f"sigma is {self.sigma}: the standard deviation of the noise is positive, e.g. sigma=0.25")
        if not 0 < self.alpha < 1:
            raise GameError(f"alpha is {self.alpha}: the probability of an error is between 0 and 1, e.g. alpha=0.001")
        for name in ("guesses", "draws"):
            if not getattr(self, name) >= 1:
                raise GameError(f"{name} is {getattr(self, name)}: at least 1 draw of the noise, e.g. {name}=1000")

    def run(self, task: Task) -> Verdicts:
        generator = Generator(task.x.device).manual_seed(self.seed + task.first)
        labels = task.labels
        guess = self.votes(task.p.victim.logits, task.x, self.guesses, generator).argmax(-1)
        votes = self.votes(task.p.victim.logits, task.x, self.draws, generator)
        won = votes.gather(-1, guess.unsqueeze(-1)).squeeze(-1)
        p = torch.from_numpy(lower_bound(won.cpu().numpy(), self.draws, self.alpha)).to(labels.device)
        sure = p > 0.5
        radius = torch.where(sure, self.sigma * torch.from_numpy(ndtri(p.cpu().numpy())).to(p), 0.0)
        right = guess == labels
        certified = sure & right & (radius > task.eps.squeeze(-1))
        margin = torch.where(right, p - 0.5, -float("inf"))
        return task.verdicts(self, margin, sure & ~right, radius=torch.where(right, radius, 0.0), certified=certified)

    def votes(self, model: Model, x: Tensor, draws: int, generator: Generator) -> Tensor:
        """Return how often each class wins under noise, (N, C)."""
        total: Tensor | None = None
        for part in _shares(draws, max(1, ROWS // len(x))):
            noise = torch.randn(part, *x.shape, generator=generator, device=x.device, dtype=x.dtype)
            logits = model((x + self.sigma * noise).flatten(0, 1))
            won = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).unflatten(0, (part, -1)).sum(0)
            total = won if total is None else total + won
        assert total is not None
        return total


def _shares(total: int, most: int) -> list[int]:
    """Return parts of at most `most` that add up to a total."""
    return [most] * (total // most) + ([total % most] if total % most else [])
