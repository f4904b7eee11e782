"""Adversarial examples on disk: floating point in safetensors, and 8-bit images inside ball and box."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as tensors_to_bytes
from torch import Generator, Tensor

from robustgames.attacks.passes import check_passes, common_noise, draw_seed, mean_over
from robustgames.attacks.problem import most
from robustgames.attacks.victim import Model, Victim
from robustgames.disk import check_plain, write_whole
from robustgames.errors import GameError, writing
from robustgames.games.threat import ThreatModel

LEVELS = 255
ON_LEVEL = 1e-4  # levels: k / 255 in float32 is less than 2e-5 of a level away from k


@dataclass(frozen=True, eq=False)
class Quantized:
    """Adversarial inputs in 8 bits.

    Args:
        images: Images in uint8, in the shape of the inputs (N, ...); level k denotes low + k (high - low) / 255.
        adversarial: Mask of the images that are inside and misclassified in 8 bits, (N,).
        inside: Mask of the images with |image - x|_norm <= eps after rounding, (N,); False only if the clean image
            itself lies between the levels, and the ball around it contains none.
        lost: Number of inputs that are misclassified before rounding and not `adversarial`.
    """

    images: Tensor
    adversarial: Tensor
    inside: Tensor
    lost: int


@dataclass(frozen=True, eq=False)
class Examples:
    """The content of a file of `save_examples`.

    Args:
        adversarial: Adversarial inputs (*S, N, ...): one set, or one for each of several classifiers.
        clean: Inputs from which they were made, (N, ...).
        labels: True classes (N,).
        predictions: Predicted classes of the adversarial inputs, (*S, N).
        images: Adversarial inputs in 8 bits, uint8; None if they were not saved.
        images_adversarial: Mask `adversarial` of `Quantized`, (*S, N).
        about: Header with eps, norm, attack and all other keywords.
    """

    adversarial: Tensor
    clean: Tensor
    labels: Tensor
    predictions: Tensor
    images: Tensor | None = None
    images_adversarial: Tensor | None = None
    about: dict[str, Any] = field(default_factory=dict[str, Any])


@torch.no_grad()
def to_8_bit(
    model: Model | Victim,
    x: Tensor,
    x_adv: Tensor,
    y: Tensor,
    eps: float,
    norm: str = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 250,
    eot: int = 1,
    generator: Generator | None = None,
) -> Quantized:
    """Round adversarial inputs to 256 levels inside ball and box, and classify them again.

    In ℓ∞ every pixel takes the nearest level inside the ball; in ℓ2, ℓ1 and ℓ0 the perturbation is shortened until the
    rounded one is in the ball. An example that this destroys is rounded a second time, every pixel away from the clean
    one as far as the ball allows. (Truncation, the usual way, moves pixels by up to a level out of the ball.)

    Args:
        model: Classifier, inputs (N, ...) -> logits (N, C).
        x, x_adv: Clean and adversarial inputs (N, ...).
        y: True classes (N,).
        eps, norm: Radius and norm of the ball.
        bounds: Values of level 0 and of level 255.
        batch_size: Inputs that the model classifies together.
        eot: Passes of a stochastic classifier; an image counts as misclassified if most of them misclassify it.
        generator: Source of the seed of the noise, which is the same before and after rounding; seed 0 by default.

    Raises:
        GameError: If shapes differ, eot is below 1, the norm is unknown, eps is negative, or the bounds are empty.

    Example:
        >>> x = torch.tensor([[100.0, 200.0]]) / 255
        >>> to_8_bit(torch.nn.Linear(2, 2), x, x + 0.3, torch.tensor([0]), eps=0.3).images    # 0.3 is 76.5 levels
        tensor([[176, 255]], dtype=torch.uint8)
    """
    low, high = bounds
    if x_adv.shape != x.shape or y.shape != x.shape[:1]:
        shapes = f"{tuple(x_adv.shape)} with {tuple(y.shape)} labels"
        raise GameError(f"adversarial inputs have shape {shapes}, clean ones {tuple(x.shape)}: one for each is needed")
    if not low < high:
        raise GameError(f"bounds are ({low}, {high}): low < high is needed, e.g. (0, 1)")
    check_passes(eot)
    judge = _Judge(model, y, batch_size, eot, generator or Generator(x.device).manual_seed(0))
    threat, level = ThreatModel(norm, eps), (high - low) / LEVELS
    exact, wanted = ((part.double().flatten(1) - low) / level for part in (x, x_adv))
    a = torch.where((exact - exact.round()).abs() < ON_LEVEL, exact.round(), exact)
    wanted = torch.where(wanted == exact, a, wanted)
    # eps = 8 / 255 must contain 8 levels; in ℓ0 it is a number of pixels
    radius = eps if threat.norm == "l0" else eps / level * (1 + 1e-9) + 1e-9
    before, kept = judge.errs(x_adv), torch.zeros_like(y, dtype=torch.bool)
    images, inside = torch.zeros_like(x, dtype=torch.uint8), kept.clone()
    for rounded in (wanted.round(), torch.where(wanted > a, wanted.ceil(), wanted.floor())):
        k = _clipped(a, rounded, radius) if threat.norm == "linf" else _shortened(a, rounded, radius, threat)
        candidates, fits = k.to(torch.uint8).view_as(x), threat.size(k - a) <= radius
        errs = fits & judge.errs(from_8_bit(candidates, bounds, x.dtype))
        new = (errs | ~inside) & ~kept
        images[new], inside = candidates[new], torch.where(new, fits, inside)
        kept = kept | errs
    return Quantized(images, kept, inside, int((before & ~kept).sum()))


def from_8_bit(images: Tensor, bounds: tuple[float, float] = (0.0, 1.0), dtype: torch.dtype = torch.float32) -> Tensor:
    """Return low + k (high - low) / 255 for the levels k of 8-bit images.

    Example:
        >>> from_8_bit(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
    """
    low, high = bounds
    return low + (high - low) * (images.to(dtype) / LEVELS)


def save_examples(
    path: str | Path,
    x_adv: Tensor,
    x: Tensor,
    y: Tensor,
    predictions: Tensor,
    *,
    eps: float,
    norm: str,
    attack: str,
    quantized: Quantized | None = None,
    **about: Any,
) -> Path:
    """Write adversarial examples as one safetensors file, whole or not at all; return its path.

    Args:
        path: Path of the file; its folder is created.
        x_adv, x, y, predictions: See `Examples`.
        eps, norm, attack: Ball and attack, for the header.
        quantized: The same examples in 8 bits, to be saved as well.
        **about: Further entries of the header, which JSON must be able to represent.

    Raises:
        GameError: If shapes do not match, or the folder cannot be written.
    """
    _check_shapes(x_adv, x, y, predictions)
    tensors = {"adversarial": x_adv, "clean": x, "labels": y, "predictions": predictions}
    if quantized is not None:
        tensors |= {"images": quantized.images, "images_adversarial": quantized.adversarial}
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = json.dumps({"eps": eps, "norm": norm, "attack": attack, **about})
    path = Path(path)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, tensors_to_bytes(plain, {"about": header}))
    return path


def load_examples(path: str | Path) -> Examples:
    """Read a file of `save_examples`.

    Raises:
        GameError: If the file does not exist, is damaged or of another kind.
    """
    try:
        check_plain(path)
        with safe_open(path, "pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found = Examples(**tensors, about=json.loads(file.metadata()["about"]))
        _check_shapes(found.adversarial, found.clean, found.labels, found.predictions)
        _check_content(found)
    except FileNotFoundError:
        raise GameError(f"no examples in {path}: `robustgames attack` and save_examples() write such a file") from None
    except Exception as error:  # of any kind: the bytes may have been written to cause one
        reason = str(error) if isinstance(error, GameError) else type(error).__name__
        raise GameError(
            f"{path} is damaged or not a file of examples ({reason}): "
            "write it again with `robustgames attack` or save_examples()"
        ) from error
    return found


def _check_content(found: Examples) -> None:
    """Check types, and the shapes of the 8-bit images, of examples that were read from a file."""
    for name, whole in (("adversarial", False), ("clean", False), ("labels", True), ("predictions", True)):
        part = getattr(found, name)
        if (part.is_floating_point(), part.is_complex() or part.dtype == torch.bool) != (not whole, False):
            raise GameError(f"{name} are {part.dtype}: {'whole' if whole else 'real'} numbers are needed")
    images, mask = found.images, found.images_adversarial
    if images is not None and (images.dtype, images.shape) != (torch.uint8, found.adversarial.shape):
        raise GameError(f"images are {images.dtype} {tuple(images.shape)}: uint8 in the shape of adversarial is needed")
    if mask is not None and (mask.dtype, mask.shape) != (torch.bool, found.predictions.shape):
        raise GameError(f"images_adversarial is {mask.dtype} {tuple(mask.shape)}: one bool per prediction is needed")
    if not isinstance(found.about, dict):
        raise GameError(f"its header is {type(found.about).__name__}: a dictionary is needed")


def _clipped(a: Tensor, levels: Tensor, radius: float) -> Tensor:
    """Return the levels nearest to the given ones with |k - a| <= radius; if there is none, the one nearest to a."""
    least, most = (a - radius).ceil(), (a + radius).floor()
    return torch.where(least <= most, levels.clamp(least, most), a.round()).clamp(0, LEVELS)


def _shortened(a: Tensor, levels: Tensor, radius: float, threat: ThreatModel, halvings: int = 20) -> Tensor:
    """Return the levels nearest to a + t (levels - a), with the largest t for which they are in the ball."""
    best, t = a.round().clamp(0, LEVELS), torch.ones_like(a[:, :1])
    left, right = torch.zeros_like(t), torch.ones_like(t)
    for _ in range(halvings):
        k = (a + t * (levels - a)).round().clamp(0, LEVELS)
        fits = threat.size(k - a).unsqueeze(-1) <= radius
        best = torch.where(fits, k, best)
        left, right = torch.where(fits, t, left), torch.where(fits, right, t)
        t = (left + right) / 2
    return best


class _Judge:
    """A classifier that judges inputs, a stochastic one in most of several passes under common noise."""

    def __init__(self, model: Model | Victim, y: Tensor, batch_size: int, eot: int, generator: Generator) -> None:
        self.victim = Victim(model.model if isinstance(model, Victim) else model)
        self.y, self.batch_size, self.eot = y, batch_size, eot
        self.seed = draw_seed(generator) if eot > 1 else 0

    def errs(self, x: Tensor) -> Tensor:
        """Return the mask of the misclassified inputs, (N,)."""
        least = int(self.y.max()) + 1 if len(self.y) > 0 else 2
        with self.victim.under_attack(least):
            if self.eot == 1:
                return self._once(x)[0]
            with common_noise(self.seed, x.device):
                return most(mean_over(self.eot, lambda: self._once(x))[0])

    def _once(self, x: Tensor) -> tuple[Tensor]:
        """Return the mask of one pass."""
        parts = [self.victim.logits(part).argmax(-1) for part in x.split(self.batch_size)]
        return (torch.cat(parts) != self.y,)


def _check_shapes(x_adv: Tensor, x: Tensor, y: Tensor, predictions: Tensor) -> None:
    several = x_adv.shape[: x_adv.dim() - x.dim()]
    if x_adv.shape != (*several, *x.shape) or y.shape != x.shape[:1] or predictions.shape != (*several, len(x)):
        shapes = ", ".join(str(tuple(part.shape)) for part in (x_adv, x, y, predictions))
        raise GameError(
            f"examples, clean inputs, labels and predictions have shapes {shapes}: "
            "(*S, N, ...), (N, ...), (N,) and (*S, N) are needed"
        )
