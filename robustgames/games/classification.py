"""Attacker against classifier: adversarial training as a game."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from robustgames.errors import GameError
from robustgames.games.game import ZeroSumGame
from robustgames.games.networks import MLP, Network
from robustgames.games.sets import Space, linf_ball


class Batch(NamedTuple):
    """ζ: a minibatch of images (*S, B, p) and labels (*S, B)."""

    images: Tensor
    labels: Tensor


class AdversarialClassification(ZeroSumGame):
    """Φ(x, η; ζ) = mean_i L(h_x(a_i + η_i), b_i) over a minibatch ζ = (a, b), |η_i|_inf <= eps, a_i + η_i in [0, 1].

    x are the weights of the classifier, y = η one perturbation per sample of the minibatch; L is the cross-entropy.

    Source: lecture "Adversarial Training"; Madry et al. 2018, eq. (2.1).

    Args:
        images: (N, p) in [0, 1].
        labels: (N,) integers.
        network: h; `MLP((p, ..., classes))` or a `Network`.
        eps: radius of the ℓ∞ ball, >= 0 (0: no attacker).
        batch_size: B; None: all N images in order, the same in every draw.
    """

    players = ("classifier", "attacker")
    sets_follow_sample = True

    def __init__(
        self, images: Tensor, labels: Tensor, network: MLP | Network, eps: float = 0.1, batch_size: int | None = 128
    ) -> None:
        if images.dim() != 2 or len(images) == 0:
            raise GameError(f"images have shape {tuple(images.shape)}: (N, p) with N >= 1 is needed")
        low, high = float(images.min()), float(images.max())
        if not 0 <= low <= high <= 1:
            raise GameError(f"images lie in [{low:g}, {high:g}]: they must be scaled to [0, 1]")
        if not 0 <= eps <= 1:
            raise GameError(f"eps is {eps}: the radius of the attack is in [0, 1], e.g. eps=0.1")
        if batch_size is not None and batch_size < 1:
            raise GameError(f"batch_size is {batch_size}: at least 1 image, or None for all {len(images)}")
        if len(labels) != len(images):
            raise GameError(f"{len(images)} images have {len(labels)} labels: one label per image is needed")
        if labels.is_floating_point() or int(labels.min()) < 0:
            raise GameError(f"labels are {labels.dtype} from {labels.min()}: class numbers 0, 1, ... are needed")
        self.images, self.labels, self.network = images, labels, network
        self.eps, self.batch_size = eps, batch_size
        self.sets = (Space(), linf_ball(eps))
        self.sizes = (network.size, (batch_size or len(images)) * images[0].numel())

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Batch:
        if self.batch_size is None:
            images, labels = self.images, self.labels
            return Batch(images.expand(*shape, *images.shape), labels.expand(*shape, *labels.shape))
        index = torch.randint(len(self.images), (*shape, self.batch_size), generator=generator, device=generator.device)
        return Batch(self.images[index], self.labels[index])

    def start(self, player: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Draw weights as the network does, and perturbations uniform in the ball."""
        if player == 0:
            return self.network.initial(shape, generator, self.dtype)
        return super().start(player, shape, generator)

    def logits(self, x: Tensor, images: Tensor) -> Tensor:
        """Return h_x(images): (*S, n), (*S, B, p) -> (*S, B, classes)."""
        return self.network(x, images)

    def payoff(self, x: Tensor, y: Tensor, sample: Batch) -> Tensor:
        attacked = sample.images + y.view(sample.images.shape)
        logits = self.logits(x, attacked)
        loss = cross_entropy(logits.flatten(0, -2), sample.labels.flatten(), reduction="none")
        return loss.view(sample.labels.shape).mean(-1)

    def project(self, z: Tensor, sample: Batch | None = None) -> Tensor:
        """Clip η to the ball, and a + η to [0, 1] where the minibatch is known: both boxes at once."""
        x, y = self.split(z)
        low, high = -self.eps, self.eps
        if sample is None:
            return torch.cat([x, y.clamp(low, high)], -1)
        images = sample.images.reshape(y.shape)
        return torch.cat([x, torch.clamp(y, (-images).clamp_min(low), (1 - images).clamp_max(high))], -1)

    def metrics(self, z: Tensor, sample: Batch | None = None) -> dict[str, Tensor]:
        """Return the loss and the accuracy on the minibatch, perturbed as it is."""
        if sample is None:
            return {}
        x, y = self.split(z)
        attacked = sample.images + y.view(sample.images.shape)
        hit = self.logits(x, attacked).argmax(-1) == sample.labels
        return {"loss": self.payoff(x, y, sample), "batch_accuracy": hit.to(z).mean(-1)}


class DigitsAdversarial(AdversarialClassification):
    """Attacker against classifier on scikit-learn's 8x8 digits: adversarial training of a small network.

    Args:
        eps: radius of the ℓ∞ attack, pixels in [0, 1].
        hidden: widths of the hidden layers (ReLU).
        batch_size: images in a minibatch.
    """

    def __init__(self, eps: float = 0.1, hidden: tuple[int, ...] = (128, 128, 128, 128), batch_size: int = 128) -> None:
        from robustgames.data import digits

        data = digits()
        network = MLP((data.train_images.shape[1], *hidden, 10))
        super().__init__(data.train_images, data.train_labels, network, eps, batch_size)
        self.held_out = AdversarialClassification(data.test_images, data.test_labels, network, eps, None)
