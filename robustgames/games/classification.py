"""Attacker against classifier: adversarial training as a game."""

from __future__ import annotations

from functools import partial
from math import isqrt
from typing import Any, Self

import torch
from torch import Generator, Tensor
from torch.nn import functional

from robustgames.data import Split, digits, mnist
from robustgames.errors import GameError, unknown
from robustgames.games.attackers import ATTACKERS, BehindThreshold, ImageBatch, Radii
from robustgames.games.augmentation import distort, patches
from robustgames.games.game import ZeroSumGame, join
from robustgames.games.interval import graph_of, mixed, network_margins
from robustgames.games.losses import CLASS_LOSSES, as_logits, predictions
from robustgames.games.networks import MLP, Frozen, Network
from robustgames.games.sets import Space
from robustgames.games.small_networks import SLOPE, check_threshold, small_cnn, stored_cnn
from robustgames.games.threat import ThreatModel, convex_norm

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
STARTS = ("uniform", "patches")


class AdversarialClassification(ZeroSumGame):
    """Φ(x, η; ζ) = mean_i L(h_x(a_i + η_i), b_i) over a minibatch ζ = (a, b), |η_i|_norm <= eps, a_i + η_i in [0, 1].

    x are the weights of the classifier, y = η the perturbations. With `trades` = β > 0 it is the payoff of TRADES,
    Φ = mean_i L(h_x(a_i), b_i) + β KL(softmax h_x(a_i) || softmax h_x(a_i + η_i)), whose second term grows with η only.

    Source: lecture "Adversarial Training"; Madry et al. 2018, eq. (2.1); Zhang et al. 2019, eq. (5), for TRADES.

    Args:
        images: Images (N, p) in [0, 1].
        labels: Class numbers (N,).
        network: Classifier h; `MLP((p, ..., classes))` or a `Network`. One output takes labels 0 and 1.
        eps: Radius of the ball, >= 0; 0 disables the attacker.
        batch_size: B; if None, every draw is all N images in order.
        norm: "linf", "l2" or "l1", also spelled as in `ThreatModel`.
        loss: Loss L: cross_entropy, logistic, squared or hinge.
        trades: Weight β; 0 gives the payoff above.
        attacker: Meaning of y: "minibatch" (η_i per image of the minibatch), "remembered" (η_i per image of the data,
            kept from visit to visit), "universal" (one η for all) or "interval" (certified training: y_i = ρ_i is the
            radius of a box around a_i, and L is bounded over all of it, see `robustgames.games.interval`).
        augment: Whether to distort the images of each minibatch (square gray images; see `augmentation.distort`).
        precision: "float32" or "bfloat16": precision of the network under autocast; z keeps its own.
        kappa: Weight κ of the clean loss against the interval attacker of full radius.
        smoothing: Label smoothing α of the cross-entropy: the target is 1 - α on the class plus α / C on all C classes.
        starts: "uniform" or "patches": random starts of the attack in ℓ∞. Patches are corners of the ball in squares
            and stripes, against networks that mask their gradient (square gray images; see `augmentation.patches`).
        threshold: Gray level of the threshold that the network begins with, if the attacker is to play behind it (ℓ∞,
            "minibatch"): y is then what the network sees of η, see `attackers.BehindThreshold`.
        slope: Slope of that threshold.
    """

    players = ("classifier", "attacker")
    slope = SLOPE

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        network: MLP | Network | Frozen,
        eps: float = 0.1,
        batch_size: int | None = 128,
        norm: str = "linf",
        loss: str = "cross_entropy",
        trades: float = 0.0,
        attacker: str = "minibatch",
        augment: bool = False,
        precision: str = "float32",
        kappa: float = 0.5,
        smoothing: float = 0.0,
        starts: str = "uniform",
        threshold: float | None = None,
        slope: float = SLOPE,
    ) -> None:
        norm = convex_norm(norm, "this game")
        _check_data(images, labels, eps, norm, batch_size)
        _check_attack(images, norm, attacker, starts, threshold, kappa)
        check_threshold(threshold, slope)
        _check_augmentation(images, attacker, augment, batch_size)
        if loss not in CLASS_LOSSES:
            raise unknown("loss", loss, CLASS_LOSSES)
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        if not 0 <= trades < float("inf"):
            raise GameError(f"trades is {trades}: the weight of the robust term is >= 0, e.g. trades=6")
        if not 0 <= smoothing < 1 or (smoothing and (loss != "cross_entropy" or attacker == "interval")):
            raise GameError(
                f"smoothing is {smoothing}: it lies in [0, 1), e.g. 0.1, and belongs to loss='cross_entropy' without "
                "attacker='interval'"
            )
        _check_outputs(network, labels)
        self.images, self.labels, self.network = images, labels.long(), network  # 2 b - 1 of the losses needs signs
        self.eps, self.batch_size, self.norm, self.loss, self.trades = eps, batch_size, norm, loss, trades
        self.augment, self.precision = augment, precision
        # None: in no fingerprint of a game that has no use for it
        self.kappa = kappa if attacker == "interval" else None
        self.smoothing = smoothing or None
        self.starts = None if starts == "uniform" else starts
        self.threat = ThreatModel(norm, eps)
        self.threshold, self.slope = threshold, slope
        kind = ATTACKERS[attacker] if threshold is None else partial(BehindThreshold, threshold=threshold, slope=slope)
        self.attacker = kind(self.threat, images, batch_size or len(images))
        self.sets = (Space(), self.attacker.strategies)
        self.sets_follow_sample = self.attacker.follows_sample
        self.sizes = (network.size, self.attacker.size)
        self.graph = graph_of(self) if isinstance(self.attacker, Radii) else None

    def draw(self, shape: tuple[int, ...], generator: Generator) -> ImageBatch | None:
        count = len(self.images)
        if self.batch_size is None:
            return self.everything(shape)
        index = torch.randint(count, (*shape, self.batch_size), generator=generator, device=generator.device)
        images = self.images[index]
        return ImageBatch(distort(images, generator) if self.augment else images, self.labels[index], index)

    @property
    def private(self) -> bool:  # type: ignore[override]
        """Whether the attacker perturbs every image of a minibatch by itself, and forgets it afterwards."""
        return self.attacker.follows_sample

    def narrowed(self, rows: int) -> Self:
        narrow = super().narrowed(rows)
        if narrow.private:
            narrow.attacker = self.attacker.narrowed(self.images, rows)
            narrow.sets, narrow.sizes = (
                (self.sets[0], narrow.attacker.strategies),
                (self.sizes[0], narrow.attacker.size),
            )
        return narrow

    def everything(self, shape: tuple[int, ...]) -> ImageBatch:
        """Return all the data, in order, as one batch."""
        count = len(self.images)
        index = torch.arange(count, device=self.images.device).expand(*shape, count)
        return ImageBatch(self.images.expand(*shape, *self.images.shape), self.labels.expand(*shape, count), index)

    def start(self, player: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Draw weights as the network does, and perturbations uniform in the ball, or most of them at its corners."""
        if player == 0:
            return self.network.initial(shape, generator, self.dtype)
        eta = super().start(player, shape, generator)
        if self.starts is None:
            return eta
        return patches(eta.unflatten(-1, (-1, self.images.shape[-1])), self.eps, generator).flatten(-2)

    def best_response(self, z: Tensor, player: int) -> Tensor | None:
        """Return the radius eps of the interval attacker, which is best against every classifier; None otherwise."""
        return self.attacker.best(self.split(z)[1]) if player == 1 else None

    def margins(self, x: Tensor, radii: Tensor, sample: ImageBatch) -> Tensor:
        """Return lower bounds of z_y - z_c over boxes of radii (*S, B) around the images, (*S, B, classes)."""
        if self.graph is None:
            raise GameError("margins over boxes are those of attacker='interval'; robustgames.certificates has others")
        images, labels, radii = sample.images, sample.labels, radii.unsqueeze(-1)
        return network_margins(self.network, self.graph, x, images, labels, radii)  # type: ignore[arg-type]

    def logits(self, x: Tensor, images: Tensor) -> Tensor:
        """Return h_x(images): (*S, n), (*S, B, p) -> (*S, B, classes)."""
        lower = PRECISIONS[self.precision]
        if lower is None:
            return self.network(x, images)
        with torch.autocast(images.device.type, lower):
            return self.network(x, images).to(x.dtype)

    def payoff(self, x: Tensor, y: Tensor, sample: ImageBatch) -> Tensor:
        attacked = self.logits(x, self.attacker.attacked(y, sample))
        if self.graph is not None:
            clean, worst = (CLASS_LOSSES[self.loss](z, sample.labels) for z in (attacked, -self.margins(x, y, sample)))
            return mixed(clean, worst, y / max(self.eps, 1e-12), self.kappa).mean(-1)
        if not self.trades:
            return self._losses(attacked, sample.labels).mean(-1)
        clean = self.logits(x, sample.images)
        p, q = as_logits(clean).log_softmax(-1), as_logits(attacked).log_softmax(-1)
        divergence = functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
        return (self._losses(clean, sample.labels) + self.trades * divergence).mean(-1)

    def _losses(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each image, (*S, B), with label smoothing if there is any."""
        losses = CLASS_LOSSES[self.loss](scores, labels)
        if not self.smoothing:
            return losses
        return losses.lerp(-as_logits(scores).log_softmax(-1).mean(-1), self.smoothing)

    def project(self, z: Tensor, sample: ImageBatch | None = None) -> Tensor:
        """Project η onto ball and box jointly if the minibatch is known, else onto the ball."""
        x, y = self.split(z)
        return join([x, self.attacker.project(y, sample)], z)

    def place(self, z: Tensor, player: int, block: Tensor, sample: ImageBatch | None = None) -> Tensor:
        x, y = self.split(z)
        blocks = [block, y] if player == 0 else [x, self.attacker.project(block, sample)]
        return join(blocks, z)  # one copy of the weights

    def metrics(self, z: Tensor, sample: ImageBatch | None = None) -> dict[str, Tensor]:
        """Return the payoff and the accuracy on the minibatch, perturbed as it is."""
        if sample is None:
            return {}
        x, y = self.split(z)
        scores = self.logits(x, self.attacker.attacked(y, sample))
        hit = predictions(scores if self.graph is None else -self.margins(x, y, sample)) == sample.labels
        return {"loss": self.payoff(x, y, sample), "batch_accuracy": hit.to(z).mean(-1)}

    def on(self, images: Tensor, labels: Tensor, precision: str = "float32") -> AdversarialClassification:
        """Return the game of the same classifier and threat on other images, all in one batch, for evaluation."""
        attacker = "minibatch" if self.graph is None else "interval"
        rest = {"attacker": attacker, "precision": precision, "threshold": self.threshold, "slope": self.slope}
        game = AdversarialClassification(images, labels, self.network, self.eps, None, self.norm, self.loss, **rest)
        return game.to(self.device, self.dtype)


class HeldOut(AdversarialClassification):
    """Attacker against classifier on training images, with held-out images for evaluation.

    `held_out` is the game on the held-out images; `watched` is the one of learning curves and early stopping:
    on the validation images if there are any, else on the first 250 held-out ones.

    Args:
        data: Images and labels, for training and held out.
        network: Classifier h.
        validation: Number of training images to keep for validation, the last ones.
        **settings: Settings of `AdversarialClassification`.
    """

    def __init__(self, data: Split, network: MLP | Network, validation: int = 0, **settings: Any) -> None:
        count = len(data.train_images) - validation
        if not (validation >= 0 and count >= 1):
            raise GameError(
                f"validation is {validation}: 0 to {len(data.train_images) - 1} training images can be kept"
            )
        super().__init__(data.train_images[:count], data.train_labels[:count], network, **settings)
        self.validation = validation
        self.held_out = self.on(data.test_images, data.test_labels)
        kept = (data.train_images[count:], data.train_labels[count:])
        watched = kept if validation else (data.test_images[:250], data.test_labels[:250])
        self.watched = self.on(*watched, precision=self.precision)


class DigitsAdversarial(HeldOut):
    """Attacker against classifier on scikit-learn's 8x8 digits: adversarial training of a small network.

    Args:
        eps: Radius of the attack, for pixels in [0, 1].
        hidden: Widths of the hidden layers (ReLU).
        **settings: Settings of `HeldOut`: validation, batch_size, norm, loss, trades, attacker, augment, precision,
            kappa, smoothing,
            starts.
    """

    def __init__(self, eps: float = 0.1, hidden: tuple[int, ...] = (128, 128, 128, 128), **settings: Any) -> None:
        data = digits()
        super().__init__(data, MLP((data.train_images.shape[1], *hidden, 10)), eps=eps, **settings)


class MnistAdversarial(HeldOut):
    """Attacker against classifier on MNIST: adversarial training of a convolutional network.

    By default the network has two convolutions (4 x 4, stride 2), a hidden layer of 256 and 0.84 million weights, and
    is trained on the 4,000 images that a dependency ships; 1,000 are held out.

    Args:
        eps: Radius of the attack, for pixels in [0, 1].
        channels: Channels of the convolutions, see `small_cnn`.
        hidden: Width of the hidden layer.
        batch_size: Images in a minibatch.
        data: Folder of the four IDX files of the full MNIST, "openml" or "shipped" (see `data.mnist`).
        weights: File of weights from which all runs start, as `scripts/zoo.py` writes it; drawn if None.
        threshold: Gray level of a soft threshold as the first layer, see `small_cnn`, behind which the attacker plays,
            see `AdversarialClassification`; None leaves it out. In ℓ∞ with eps = 0.3 no attack moves a black or a white
            pixel across 0.5.
        slope: Slope k of the threshold: the first convolution reads sigmoid(k (a - threshold)) of a pixel a.
        **settings: Other settings of `HeldOut`: validation, norm, loss, trades, attacker, augment, precision, kappa,
            smoothing, starts.
    """

    def __init__(
        self,
        eps: float = 0.3,
        channels: tuple[int, ...] = (32, 64),
        hidden: int = 256,
        batch_size: int = 100,
        data: str | None = None,
        weights: str | None = None,
        threshold: float | None = None,
        slope: float = SLOPE,
        **settings: Any,
    ) -> None:
        shape = (tuple(channels), hidden, threshold, slope)
        network = Network(stored_cnn(weights, *shape) if weights else lambda: small_cnn(*shape))
        behind = {"threshold": threshold, "slope": slope}
        super().__init__(mnist(data), network, eps=eps, batch_size=batch_size, **behind, **settings)
        self.channels, self.hidden, self.data = tuple(channels), hidden, data


def _check_data(images: Tensor, labels: Tensor, eps: float, norm: str, batch_size: int | None) -> None:
    if images.dim() != 2 or len(images) == 0:
        raise GameError(f"images have shape {tuple(images.shape)}: (N, p) with N >= 1 is needed")
    low, high = float(images.min()), float(images.max())
    if not 0 <= low <= high <= 1:
        raise GameError(f"images lie in [{low:g}, {high:g}]: they must be scaled to [0, 1]")
    if not 0 <= eps < float("inf") or (norm == "linf" and eps > 1):
        allowed = "in [0, 1]" if norm == "linf" else "a finite number >= 0"
        raise GameError(f"eps is {eps}: the radius of the attack is {allowed}, e.g. eps=0.1")
    if batch_size is not None and batch_size < 1:
        raise GameError(f"batch_size is {batch_size}: at least 1 image, or None for all {len(images)}")
    if labels.dim() != 1:
        raise GameError(f"labels have shape {tuple(labels.shape)}: ({len(images)},) is needed, e.g. labels.flatten()")
    if len(labels) != len(images):
        raise GameError(f"{len(images)} images have {len(labels)} labels: one label per image is needed")
    if labels.is_floating_point() or int(labels.min()) < 0:
        raise GameError(f"labels are {labels.dtype} from {labels.min()}: class numbers 0, 1, ... are needed")


def _check_outputs(network: MLP | Network | Frozen, labels: Tensor) -> None:
    """Raise GameError if a perceptron has fewer outputs than there are classes; those of a module are unknown here."""
    inner, most = network.network if isinstance(network, Frozen) else network, int(labels.max())
    outputs = inner.widths[-1] if isinstance(inner, MLP) else most + 1
    if outputs == 1 and most > 1:
        raise GameError(f"labels go up to {most}: a network with one output takes labels 0 and 1")
    if 1 < outputs <= most:
        raise GameError(f"labels go up to {most}: a network with {outputs} outputs takes labels 0 to {outputs - 1}")


def _check_attack(images: Tensor, norm: str, attacker: str, starts: str, threshold: float | None, kappa: float) -> None:
    if attacker not in ATTACKERS:
        raise unknown("attacker", attacker, ATTACKERS)
    if starts not in STARTS:
        raise unknown("starts", starts, STARTS)
    if attacker != "interval" and kappa != 0.5:
        raise GameError(f"kappa is {kappa}: it belongs to attacker='interval'; leave it out with {attacker!r}")
    single = (norm, attacker) == ("linf", "minibatch")
    if starts == "patches" and not single:
        raise GameError(f"starts='patches' are corners of balls in linf: not for {norm}, {attacker}")
    if starts == "patches" and not _are_square(images):
        raise GameError(f"starts='patches' need square images, not {images.shape[-1]} pixels: use starts='uniform'")
    if threshold is not None and not single:
        raise GameError(
            f"threshold is {threshold}: it is for attacks of single images in linf, not for {norm}, {attacker}; "
            "use threshold=None"
        )


def _check_augmentation(images: Tensor, attacker: str, augment: bool, batch_size: int | None) -> None:
    if augment and attacker == "remembered":
        raise GameError("a remembered perturbation belongs to one image: use augment=False, or attacker='minibatch'")
    if augment and (batch_size is None or not _are_square(images)):
        got = f"batch_size={batch_size} and {images.shape[-1]} pixels"
        raise GameError(f"augment distorts minibatches of square images, not {got}: use augment=False")


def _are_square(images: Tensor) -> bool:
    return isqrt(images.shape[-1]) ** 2 == images.shape[-1]
