"""Saliency: maps of the pixels that decide a classification, and measures of the quality of such a map.

All maps and measures take a classifier (inputs (N, ...) -> logits (N, C)), inputs x (N, ...) and classes y (N,). They
are batched, on the device of x, and do not change the model.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.attacks import Victim
from robustgames.attacks.problem import Problem, pose_problem
from robustgames.attacks.victim import ALL, Model
from robustgames.errors import GameError, unknown
from robustgames.evaluation.statistics import mean_and_std

ANYWHERE = (-float("inf"), float("inf"))
_ROWS = 4096  # inputs at a time on the path from the baseline
REMOVAL_LEVELS = 28


# -- maps -----------------------------------------------------------------------------------------------------
def input_gradient(model: Model | Victim, x: Tensor, y: Tensor) -> Tensor:
    """Return ∇_a h_y(a) at a = x, in the shape of x: the effect of each pixel on the logit of the class.

    The derivative is with respect to the input a, not the weights (which one slide of the lecture prints).
    Source: Simonyan, Vedaldi and Zisserman 2014; lecture "Saliency maps".

    Raises:
        GameError: Inputs or labels have the wrong type or number, or no gradient reaches the input.

    Example:
        >>> input_gradient(lambda a: a @ torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(1, 2), torch.tensor([1]))
        tensor([[2., 4.]])
    """
    with pose_problem(model, x, y, 0.0, "linf", ANYWHERE) as p:
        return x.clone() if len(x) == 0 else p.victim.gradient(x, lambda logits, rows: _logit(p, logits, rows))[2]


def integrated_gradients(
    model: Model | Victim, x: Tensor, y: Tensor, baseline: float | Tensor = 0.0, steps: int = 50
) -> Tensor:
    """Return (x - b) ∫_0^1 ∇h_y(b + t (x - b)) dt, in the shape of x: the logit's change from the baseline b, by pixel.

    The sum over pixels is h_y(x) - h_y(b) (completeness), up to the error of the quadrature. It is computed by captum,
    which imports matplotlib.pyplot when this function is called. Source: Sundararajan, Taly and Yan 2017.

    Args:
        model: Classifier.
        x: Inputs (N, ...).
        y: Classes (N,).
        baseline: Input b without information, a number or a tensor that broadcasts to x.
        steps: Points of the quadrature (Gauss-Legendre), each one pass forward and back.

    Raises:
        GameError: captum is not installed, the baseline does not fit, or steps is below 1; see also `input_gradient`.
    """
    if steps < 1:
        raise GameError(f"steps is {steps}: it must be at least 1, e.g. 50")
    attribution = _captum()
    b = _like(baseline, x)
    parts = []
    with pose_problem(model, x, y, 0.0, "linf", ANYWHERE) as p, torch.enable_grad():
        if len(x) == 0:
            return x.clone()
        p.victim.logits(x[:1])  # shape and classes: captum's own message is a RuntimeError of gather
        rule = attribution.IntegratedGradients(p.victim.model)
        size = max(1, _ROWS // steps)
        for inputs, start, labels in zip(x.detach().split(size), b.split(size), p.labels.split(size), strict=True):
            parts.append(rule.attribute(inputs, start, target=labels, n_steps=steps).detach())
    return torch.cat(parts).to(x.dtype)


def saliency_map(model: Model | Victim, x: Tensor, y: Tensor, maps: str = "gradient") -> Tensor:
    """Return the map of that name, a key of `MAPS`, in the shape of x."""
    if maps not in MAPS:
        raise unknown("saliency map", maps, MAPS)
    return MAPS[maps](model, x, y)


MAPS: dict[str, Callable[[Model | Victim, Tensor, Tensor], Tensor]] = {
    "gradient": input_gradient,
    "gradient_times_input": lambda model, x, y: x * input_gradient(model, x, y),
    "integrated": integrated_gradients,
}


def _logit(p: Problem, logits: Tensor, rows: slice = ALL) -> Tensor:
    return logits.gather(-1, p.labels[rows].unsqueeze(-1)).squeeze(-1)


def _captum() -> Any:  # captum has no types
    try:
        import captum.attr
    except ImportError as error:
        raise GameError('integrated gradients need captum: pip install "robustgames[saliency]"') from error
    return captum.attr


def _like(baseline: float | Tensor, x: Tensor) -> Tensor:
    try:
        return torch.as_tensor(baseline).to(x).expand_as(x)
    except RuntimeError as error:
        shape = tuple(torch.as_tensor(baseline).shape)
        raise GameError(
            f"the baseline has shape {shape} for inputs of shape {tuple(x.shape)}: it must broadcast to it, e.g. 0.0"
        ) from error


# -- measures -------------------------------------------------------------------------------------------------
def sparsity(saliency: Tensor) -> Tensor:
    """Return the Gini index of |saliency|, (N,): 0 if all pixels are equal (or 0), 1 - 1/p if one is not 0.

    G = 1 - 2 Σ_k (c_k / |c|_1) (p - k + 1/2) / p over the sorted c_1 <= … <= c_p. It does not change with the scale.
    Source: Hurley and Rickard 2009, "Comparing measures of sparsity".

    Example:
        >>> sparsity(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, -5.0, 0.0], [0.0, 0.0, 2.0, 2.0]]))
        tensor([0.0000, 0.7500, 0.5000])
    """
    c = saliency.flatten(1).abs().sort(dim=-1).values
    p = c.shape[-1]
    weight = (p - torch.arange(1, p + 1, device=c.device, dtype=c.dtype) + 0.5) / p
    total = c.sum(-1)
    return torch.where(total > 0, 1 - 2 * (c * weight).sum(-1) / total.clamp_min(torch.finfo(c.dtype).tiny), 0)


def deletion_area(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    saliency: Tensor,
    baseline: float | Tensor = 0.0,
    levels: int = REMOVAL_LEVELS,
) -> Tensor:
    """Return the area under `removal_curve`, (N,), in [0, 1]: low if the map finds the pixels that decide the class.

    Compare maps of one model. Between models the area also depends on how soon a model changes its output under *any*
    removal: subtract the area of a random map, as in `compare_saliency`. Source: Petsiuk, Das and Saenko 2018 (RISE).

    Args:
        model: Classifier.
        x: Inputs (N, ...).
        y: Classes (N,) whose probability is measured.
        saliency: Map of the shape of x, large where important; |map| if the sign means for or against.
        baseline: Value of a removed pixel.
        levels: Number of steps from all pixels to none.
    """
    return _area(removal_curve(model, x, y, saliency, baseline, levels), x, levels)


def insertion_area(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    saliency: Tensor,
    baseline: float | Tensor = 0.0,
    levels: int = REMOVAL_LEVELS,
) -> Tensor:
    """Return the area under the curve of pixels put back into the baseline, (N,): high is good. See `deletion_area`."""
    return _area(removal_curve(model, x, y, saliency, baseline, levels, insert=True), x, levels)


def removal_curve(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    saliency: Tensor,
    baseline: float | Tensor = 0.0,
    levels: int = REMOVAL_LEVELS,
    insert: bool = False,
) -> Tensor:
    """Return softmax(h)_y with the k most salient pixels removed (or, `insert`, only them present), (levels + 1, N).

    k grows from 0 to all p pixels in equal shares. Arguments as in `deletion_area`; of ties the earlier pixel is first.
    """
    if saliency.shape != x.shape:
        raise GameError(f"the map has shape {tuple(saliency.shape)}, the inputs {tuple(x.shape)}: they must be equal")
    if levels < 1:
        raise GameError(f"levels is {levels}: it must be at least 1, the number of steps from all pixels to none")
    b = _like(baseline, x)
    rank = saliency.flatten(1).argsort(dim=-1, descending=True, stable=True).argsort(dim=-1).view(x.shape)
    curve = []
    with pose_problem(model, x, y, 0.0, "linf", ANYWHERE) as p:
        for k in _counts(x, levels):
            inputs = torch.where((rank < k) == insert, x, b)
            curve.append(_logit(p, p.victim.logits(inputs).softmax(-1)))
    return torch.stack(curve)


def _counts(x: Tensor, levels: int) -> list[int]:
    pixels = prod(x.shape[1:])
    return [round(pixels * i / levels) for i in range(levels + 1)]


def _area(curve: Tensor, x: Tensor, levels: int) -> Tensor:
    share = torch.tensor(_counts(x, levels), device=curve.device, dtype=curve.dtype) / prod(x.shape[1:])
    return torch.trapezoid(curve, share, dim=0)


# -- two models -----------------------------------------------------------------------------------------------
def measure(
    model: Model | Victim, x: Tensor, y: Tensor, saliency: Tensor, generator: Generator | None = None
) -> dict[str, Tensor]:
    """Return the measures of a map, each (N,): sparsity of |map|, deletion and insertion areas, and their gains.

    A gain is the improvement of the area over a random order of the pixels (seed 0 by default). This part of the area
    is due to the map and not to a model whose output changes (or stays) whatever is removed.
    """
    size = saliency.abs()
    generator = generator if generator is not None else Generator(x.device).manual_seed(0)
    chance = torch.rand(x.shape, generator=generator, device=x.device)
    deleted, inserted = (area(model, x, y, size) for area in (deletion_area, insertion_area))
    return {
        "sparsity": sparsity(saliency),
        "deletion": deleted,
        "deletion_gain": deletion_area(model, x, y, chance) - deleted,
        "insertion": inserted,
        "insertion_gain": inserted - insertion_area(model, x, y, chance),
    }


def compare_saliency(
    standard: Model | Victim, robust: Model | Victim, x: Tensor, y: Tensor, maps: str = "gradient"
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return {"standard", "robust", "difference"}: {measure: (mean, standard error)} over the images, of `measure`.

    "difference" is robust - standard, image by image: its error is that of the paired comparison.

    Args:
        standard: First classifier.
        robust: Second classifier.
        x: Inputs (N, ...), N >= 2.
        y: Classes (N,), for both classifiers.
        maps: Key of `MAPS`: "gradient", "gradient_times_input" or "integrated" (needs captum).

    Raises:
        GameError: There are fewer than 2 images, or the map is unknown.
    """
    if len(x) < 2:
        raise GameError(f"{len(x)} images have no standard error: pass at least 2, better 100")
    tables = {
        name: measure(model, x, y, saliency_map(model, x, y, maps))
        for name, model in (("standard", standard), ("robust", robust))
    }
    tables["difference"] = {name: tables["robust"][name] - value for name, value in tables["standard"].items()}
    return {name: _means(table, len(x)) for name, table in tables.items()}


def _means(table: dict[str, Tensor], count: int) -> dict[str, tuple[float, float]]:
    return {name: (mean, std / count**0.5) for name, (mean, std) in mean_and_std(table).items()}
