"""Parts of attacks that see predicted labels alone: counted questions, bisection, and the normal of the boundary."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from robustgames.attacks.problem import FAR, Problem
from robustgames.games.projections import direction as unit

TOGETHER = 2**22  # numbers in the queries that are passed to the classifier together
POOL = 1000  # inputs among which a start is sought
CLASSES = 5  # nearest other classes whose nearest input is a start
HALVINGS = 16  # of a step that does not fool the classifier


class Walk:
    """The questions of an attack to the classifier, "is this input misclassified?", of which each row has a budget.

    Args:
        p: Problem.
        queries: Questions that each row may ask.
    """

    def __init__(self, p: Problem, queries: int) -> None:
        self.p = p
        self.every = torch.arange(len(p.a), device=p.a.device)
        self.left = torch.full_like(self.every, queries)

    def ask(self, rows: Tensor, eta: Tensor) -> Tensor:
        """Return whether η (n, p) fools the classifier in rows (n,), which may repeat."""
        self.left.index_add_(0, rows, torch.full_like(rows, -1))
        return self.p.rows(rows).judge(eta)[0]

    def to_boundary(self, rows: Tensor, eta: Tensor) -> Tensor:
        """Return the points near the boundary between 0 and η, which fools, that fool too, by bisection.

        They are t η in ℓ2, and η clipped to [-t, t] in ℓ∞, up to d^-1.5 |η| and d^-2 |η| for d coordinates.
        """
        if len(rows) == 0:
            return eta
        p, count = self.p, eta.shape[-1]
        cut = p.threat.norm == "linf"
        whole = p.threat.size(eta) if cut else torch.ones_like(eta[:, 0])
        low, high = torch.zeros_like(whole), whole
        tolerance = whole * float(count) ** (-2.0 if cut else -1.5)

        def at(t: Tensor, part: Tensor) -> Tensor:
            t = t.unsqueeze(-1)
            return torch.minimum(torch.maximum(part, -t), t) if cut else t * part

        while True:
            middle = (low + high) / 2
            open_ = (high - low > tolerance) & (self.left[rows] > 0) & (middle > low) & (middle < high)
            index = open_.nonzero().squeeze(-1)
            if len(index) == 0:
                return at(high, eta)
            fooled = self.ask(rows[index], at(middle[index], eta[index]))
            high[index] = torch.where(fooled, middle[index], high[index])
            low[index] = torch.where(fooled, low[index], middle[index])

    def direction(self, rows: Tensor, eta: Tensor, radius: Tensor, draws: Tensor) -> Tensor:
        """Return the direction that leads away from the boundary at η fastest, (n, p), estimated from decisions.

        u = Σ_k (φ_k - mean φ) v_k, v_k directions and φ_k = 1 if η + radius v_k fools the classifier, else -1. The
        step of steepest ascent is u / |u|_2 in ℓ2 and sign(u) in ℓ∞.
        """
        p, (low, high) = self.p, self._walls(rows)
        signed, plain = torch.zeros_like(eta), torch.zeros_like(eta)
        total, most = torch.zeros_like(eta[:, 0]), int(draws.max())
        each = max(TOGETHER // eta.numel(), 1)
        for first in range(0, most, each):
            v = self._directions(min(each, most - first), eta)
            moved = torch.minimum(torch.maximum(eta + radius * v, low), high)
            v = (moved - eta) / radius
            asked = torch.arange(first, first + len(v), device=eta.device).unsqueeze(-1) < draws
            sign = torch.zeros(v.shape[:2], device=eta.device, dtype=eta.dtype)
            sign[asked] = 2 * self.ask(rows.expand(len(v), -1)[asked], moved[asked]).to(eta.dtype) - 1
            signed += torch.einsum("kn,knp->np", sign, v)
            plain += torch.einsum("kn,knp->np", asked.to(v.dtype), v)
            total += sign.sum(0)
        mean = (total / draws).unsqueeze(-1)
        u = torch.where(mean.abs() < 1, signed - mean * plain, signed)
        return u.sign() if p.threat.norm == "linf" else unit(u)

    def step(self, rows: Tensor, eta: Tensor, d: Tensor, length: Tensor) -> Tensor:
        """Return η + t d inside the box, with the first t of length, length / 2, ... that fools; η if none does."""
        low, high = self._walls(rows)
        out, open_ = eta.clone(), torch.arange(len(rows), device=rows.device)
        for _ in range(HALVINGS):
            open_ = open_[self.left[rows[open_]] > 0]
            if len(open_) == 0:
                break
            new = eta[open_] + length[open_] * d[open_]
            new = torch.minimum(torch.maximum(new, low[open_]), high[open_])
            fooled = self.ask(rows[open_], new)
            out[open_[fooled]] = new[fooled]
            open_, length = open_[~fooled], length / 2
        return out

    def _directions(self, count: int, eta: Tensor) -> Tensor:
        """Return random directions of ℓ2 norm 1, (count, n, p)."""
        like = {"generator": self.p.generator, "device": eta.device, "dtype": eta.dtype}
        shape = (count, *eta.shape)
        v = 2 * torch.rand(shape, **like) - 1 if self.p.threat.norm == "linf" else torch.randn(shape, **like)
        return v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)

    def _walls(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.p.walls
        return low[rows], high[rows]


def sources(p: Problem, rows: Tensor, starts: int, tries: int, best: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (η, rows) that may fool the classifier: near inputs of other classes first, then random changes.

    A random change replaces a random share of the coordinates by uniform draws from the box: few of them are near, and
    many fool.

    Args:
        p: Problem.
        rows: Rows that need a start.
        starts: Number of both together.
        tries: Number of random changes in rows for which nothing else fools the classifier.
        best: Norms of the starts found so far (N,), infinite if there is none; the caller updates it.
    """
    seen = torch.zeros_like(rows)
    for index in _of_other_classes(p, rows).unbind(-1):
        known = index >= 0
        seen += known
        yield (p.a[index] - p.a[rows])[known], rows[known]
    low, high = p.walls
    spread = p.a.abs().amax() + 1  # in place of a wall that does not exist
    low, high = torch.where(low <= -FAR / 2, -spread, low), torch.where(high >= FAR / 2, spread, high)
    for k in range(tries):
        some = rows[(best[rows] == float("inf")) | (seen + k < starts)]
        if len(some) == 0:
            return
        like = {"generator": p.generator, "device": p.a.device, "dtype": p.a.dtype}
        u, coin = torch.rand(2, *p.a[some].shape, **like)
        share = 1 if k == tries - 1 else torch.rand(len(some), 1, **like)
        yield torch.where(coin < share, torch.lerp(low[some], high[some], u), 0), some


def _of_other_classes(p: Problem, rows: Tensor) -> Tensor:
    """Return the nearest input of each of the nearest classes that are a success, (n, k), -1 where there is none."""
    pool, labels = p.a[:POOL], p.labels[:POOL]
    apart = torch.cdist(p.a[rows], pool)
    if p.targets is not None and p.reach:
        apart = apart.masked_fill(labels != p.targets[rows].unsqueeze(-1), float("inf")).unsqueeze(0)
    else:
        apart = apart.masked_fill(labels == p.labels[rows].unsqueeze(-1), float("inf"))
        apart = torch.stack([apart.masked_fill(labels != goal, float("inf")) for goal in labels.unique()])
    far, index = apart.min(-1)  # (classes, n)
    index = torch.where(far < float("inf"), index, -1)
    return index.gather(0, far.argsort(0)[:CLASSES]).T
