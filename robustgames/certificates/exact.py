"""Exact verification of small ReLU networks in ℓ∞, as a mixed-integer linear program (MILP).

max(z, s z) with l < z < u is h >= z, h >= s z, h <= s z + (1 - s) u b, h <= z - (1 - s) l (1 - b) with b in {0, 1}; the
bounds l and u are those of CROWN. Activations with one sign are affine and need no variable.
Source: Tjeng, Xiao and Tedrake 2019, "Evaluating robustness of neural networks with mixed integer programming".
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array
from torch import Tensor

from robustgames.attacks.auto_pgd import APGD
from robustgames.certificates.bounds import crown_margins, smallest
from robustgames.certificates.certificate import Certificate, Task
from robustgames.certificates.relaxation import Relaxation
from robustgames.certificates.verdicts import Verdicts, row_mask
from robustgames.errors import GameError
from robustgames.games.activations import Rectifier
from robustgames.games.layers import Affine, Layer, Sum

TOLERANCE = 1e-4  # of the solver in a margin: it accepts violations of 1e-6 in every constraint
INFEASIBLE = 2  # status of scipy.optimize.milp

Array = np.ndarray


@dataclass(frozen=True)
class MILP(Certificate):
    """The exact answer for small ReLU networks, within a time limit for each image.

    CROWN certifies what it can and APGD fools what it can. For the rest a program per class c decides whether
    z_y - z_c <= 0 somewhere in the ball; its solution is classified again by the model. An image is unknown if the time
    is over, or if its margin lies within the tolerance of the solver, 1e-4, of 0.

    Args:
        time_limit: Seconds for one image.
        minimize: Whether to minimize z_y - z_c to the end instead of deciding its sign: `margin` is then exact up to
            1e-4, and takes longer.
    """

    time_limit: float = 60.0
    minimize: bool = False

    name: ClassVar[str] = "milp"
    batch: ClassVar[int] = 10
    layers: ClassVar[tuple[type[Layer], ...]] = (Affine, Rectifier, Sum)
    without: ClassVar[str] = "only piecewise linear networks have a MILP, use crown"

    def __post_init__(self) -> None:
        if not 0 < self.time_limit < float("inf"):
            raise GameError(f"time_limit is {self.time_limit}: seconds for one image, more than 0, e.g. time_limit=60")

    def run(self, task: Task) -> Verdicts:
        found = Relaxation(task)
        rows = crown_margins(found)
        margin, falsified, x_adv = smallest(rows, task.labels), task.misclassified(), task.x.clone()
        if not self.minimize:
            eta = APGD(restarts=2, early="drop").run(replace(task.p, loss="margin"))
            images = task.p.images(eta)
            fooled = task.fooled(images) & ~falsified
            x_adv, falsified = torch.where(row_mask(fooled, task.x), images, x_adv), falsified | fooled
        for i in range(len(task.x)):
            if self.minimize or (margin[i] <= 0 and not falsified[i]):
                margin[i], point = self._solve(found, i, rows[i])
                if point is not None and not falsified[i]:
                    image = task.p.rows(torch.tensor([i])).images(
                        (point.to(task.a) - task.a[i]).to(task.p.a).unsqueeze(0)
                    )
                    if bool(task.p.victim.logits(image).argmax(-1) != task.labels[i]):
                        x_adv[i], falsified[i] = image[0], True
        return task.verdicts(self, torch.where(falsified, margin.clamp_max(0), margin), falsified, x_adv)

    def _solve(self, found: Relaxation, i: int, rows: Tensor) -> tuple[float, Tensor | None]:
        """Return (a lower bound of the margin of image i, an input of margin <= 0 if one was found)."""
        end, program = time.monotonic() + self.time_limit, Program(found, i)
        y, least, worst, best = int(found.task.labels[i]), float("inf"), 0.0, None
        bounds = rows.index_fill(0, torch.tensor(y, device=rows.device), float("inf"))
        for c in torch.argsort(bounds).tolist():
            known, left = float(bounds[c]), end - time.monotonic()
            if known >= least or (known > 0 and not self.minimize) or left <= 0:
                break  # so it is for the classes after it, whose bounds are larger
            bound, value, point = program.solve(y, c, left, self.minimize)
            bounds[c] = max(known, bound)
            least = min(least, float(bounds[c]))
            if point is not None and value <= worst:
                worst, best = value, point
                if not self.minimize:
                    break
        return float(bounds.min()), best


class Program:
    """The MILP of one image: variables are its pixels, and output and sign of each activation that may have two signs.

    A value of the network is an affine expression in the variables, M v + k: a layer maps M (v, *shape) as a batch.

    Args:
        found: Bounds of every value.
        i: Row of the image.
    """

    def __init__(self, found: Relaxation, i: int) -> None:
        task = found.task
        self.low, self.high = [task.low[i].numpy(force=True)], [task.high[i].numpy(force=True)]
        self.integral, self.rows = [np.zeros(task.a.shape[1])], list[tuple[Array, Array]]()
        shape = task.x.shape[1:]
        pixels = torch.eye(task.a.shape[1], dtype=torch.float64, device=task.a.device).view(-1, *shape)
        values = [(pixels, torch.zeros_like(pixels[:1]))]
        for step, layer in zip(found.graph.steps, found.layers, strict=True):
            inputs = [values[j] for j in step.inputs]
            if isinstance(layer, Rectifier):
                bounds = [bound[i].flatten() for bound in found.values[step.inputs[0]]]
                values.append(self._activate(layer.slope, *inputs[0], *bounds))
            elif isinstance(layer, Affine):
                m, k = inputs[0]
                offset = layer(torch.zeros_like(k))
                values.append((layer(m) - offset, layer(k)))
            else:
                (m, k), (other, const) = inputs
                count = max(len(m), len(other))
                values.append((_padded(m, count) + _padded(other, count), k + const))
        self.logits = tuple(part.cpu() for part in values[found.graph.last])

    @property
    def count(self) -> int:
        """Number of variables."""
        return sum(map(len, self.low))

    def _activate(self, slope: float, m: Tensor, k: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the expressions of the outputs; add a variable and a sign for each input of two signs."""
        shape, m, k = k.shape[1:], m.flatten(1), k.flatten()
        two = ((low < 0) & (high > 0)).nonzero().squeeze(-1)
        scale = torch.where(low >= 0, m.new_tensor(1.0), m.new_tensor(slope))
        scale[two] = 0
        first, n = self.count, len(two)
        out, const = _padded(m * scale, first + n), k * scale
        out[first + torch.arange(n, device=two.device), two] = 1.0
        self._add(slope * low[two], high[two], integral=False)
        self._add(torch.zeros(n), torch.ones(n), integral=True)
        z, offset, least, most = (part.numpy(force=True) for part in (m[:, two].T, k[two], low[two], high[two]))
        self._constrain(slope, z, offset, least, most, first)
        return out.view(-1, *shape), const.view(1, *shape)

    def _add(self, low: Tensor, high: Tensor, integral: bool) -> None:
        self.low.append(low.numpy(force=True))
        self.high.append(high.numpy(force=True))
        self.integral.append(np.full(len(low), float(integral)))

    def _constrain(self, s: float, z: Array, k: Array, low: Array, high: Array, first: int) -> None:
        """Add the inequalities of h = max(z v + k, s (z v + k)), h the variables from `first`, b those after them."""
        n, none = len(z), np.zeros(len(z))
        for times, sign, of_b, most in (
            (1.0, -1.0, none, -k),
            (s, -1.0, none, -s * k),
            (-s, 1.0, -(1 - s) * high, s * k),
            (-1.0, 1.0, -(1 - s) * low, k - (1 - s) * low),
        ):
            block = np.zeros((n, first + 2 * n))
            block[:, : z.shape[1]] = times * z
            block[:, first : first + n] += sign * np.eye(n)
            block[:, first + n :] = np.diag(of_b)
            self.rows.append((block, most))

    def solve(self, y: int, c: int, seconds: float, minimize: bool) -> tuple[float, float, Tensor | None]:
        """Return (a lower bound of z_y - z_c, its value at a point, that point or None).

        Args:
            y: Class of the image.
            c: Other class.
            seconds: Time limit.
            minimize: Whether to find the minimum, or any point where z_y - z_c <= 2e-4.
        """
        m, k = self.logits
        goal, offset = _padded((m[:, y] - m[:, c]).unsqueeze(1), self.count)[:, 0].numpy(), float(k[0, y] - k[0, c])
        blocks = [(_wide(block, self.count), most) for block, most in self.rows]
        if not minimize:
            blocks.append((goal[None], np.array([2 * TOLERANCE - offset])))
        found = milp(
            goal,
            integrality=np.concatenate(self.integral),
            bounds=Bounds(np.concatenate(self.low), np.concatenate(self.high)),  # type: ignore[arg-type]
            constraints=[LinearConstraint(csr_array(block), ub=most) for block, most in blocks],  # type: ignore[arg-type]
            options={"time_limit": seconds, "mip_rel_gap": 0.0 if minimize else 1e9},
        )
        if found.status == INFEASIBLE and not minimize:
            return TOLERANCE, float("inf"), None
        bound = -float("inf") if found.mip_dual_bound is None else found.mip_dual_bound + offset - TOLERANCE
        if found.x is None:
            return bound, float("inf"), None
        return bound, float(found.fun) + offset, torch.from_numpy(found.x[: len(self.low[0])])


def _padded(m: Tensor, count: int) -> Tensor:
    """Return an expression with as many rows as there are variables: 0 for the later ones."""
    return torch.cat([m, m.new_zeros(count - len(m), *m.shape[1:])]) if len(m) < count else m


def _wide(block: Array, count: int) -> Array:
    return np.pad(block, ((0, 0), (0, count - block.shape[1])))
