"""The attacker alone: games against a classifier that is fixed."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.data import Split, digits, mnist
from robustgames.errors import GameError
from robustgames.games.attackers import ImageBatch
from robustgames.games.classification import AdversarialClassification
from robustgames.games.networks import MLP, Frozen, Network


class ClassifierAttack(AdversarialClassification):
    """max over η of mean_i L(h(a_i + η_i), b_i): one perturbation per image, the classifier h fixed.

    Player 0 has no coordinates, so every solver of the library is an attack here; with signed steps it is PGD.

    Args:
        images: Images (N, p) in [0, 1].
        labels: Class numbers (N,).
        network: Classifier h.
        weights: Weights (size,) of h.
        eps: Radius of the ball.
        norm, loss: See `AdversarialClassification`.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        network: MLP | Network,
        weights: Tensor,
        eps: float = 0.1,
        norm: str = "linf",
        loss: str = "cross_entropy",
    ) -> None:
        super().__init__(images, labels, Frozen(network, weights), eps, None, norm, loss, attacker="remembered")

    def draw(self, shape: tuple[int, ...], generator: Generator) -> None:
        """Return None; the game is deterministic."""

    def payoff(self, x: Tensor, y: Tensor, sample: ImageBatch | None = None) -> Tensor:
        return super().payoff(x, y, self.everything(x.shape[:-1]))

    def metrics(self, z: Tensor, sample: ImageBatch | None = None) -> dict[str, Tensor]:
        """Return the loss, the classifier's accuracy on the perturbed images, and the distance to a known solution."""
        values = super().metrics(z, self.everything(z.shape[:-1]))
        values = {"loss": values["loss"], "accuracy": values["batch_accuracy"]}
        if (solution := self.solution()) is not None:
            values["distance"] = torch.linalg.vector_norm(z - solution.to(z), dim=-1)
        return values


class DigitsAttack(ClassifierAttack):
    """Attacker against a fixed classifier on 8x8 digits: a network with one hidden layer, trained by scikit-learn.

    Args:
        eps: Radius of the attack.
        count: Number of held-out images to attack.
        hidden: Width of the classifier's hidden layer.
        norm, loss: see `AdversarialClassification`.
    """

    def __init__(
        self, eps: float = 0.1, count: int = 100, hidden: int = 64, norm: str = "linf", loss: str = "cross_entropy"
    ) -> None:
        images, labels = _first(digits(), count)
        super().__init__(images, labels, *_trained("digits", None, hidden), eps, norm=norm, loss=loss)


class MnistAttack(ClassifierAttack):
    """Attacker against a fixed classifier on MNIST: a network with one hidden layer, trained by scikit-learn.

    Args:
        eps: Radius of the attack.
        count: Number of held-out images to attack.
        hidden: Width of the classifier's hidden layer.
        data: Folder of the full MNIST's IDX files (see `data.mnist`).
        norm, loss: see `AdversarialClassification`.
    """

    def __init__(
        self,
        eps: float = 0.1,
        count: int = 100,
        hidden: int = 128,
        data: str | None = None,
        norm: str = "linf",
        loss: str = "cross_entropy",
    ) -> None:
        images, labels = _first(mnist(data), count)
        super().__init__(images, labels, *_trained("mnist", data, hidden), eps, norm=norm, loss=loss)


class LinearAttack(ClassifierAttack):
    """Attacker against a linear classifier, solved in closed form: the worst η_i maximizes <-b_i x, η> over its set.

    The largest loss is L(<x, a> b - eps |x|_dual) if the box does not bind: |x|_1 in ℓ∞, |x|_2 in ℓ2, |x|_inf in ℓ1.
    (The lecture's slide on ℓ∞ writes sign(x) for the maximizer, without eps.) Data: scikit-learn's breast cancer set,
    30 features scaled to [0, 1], and its logistic regression.

    Args:
        eps: Radius of the attack.
        count: Number of samples to attack.
        norm: "linf", "l2" or "l1".
        loss: Loss that decreases with the margin: logistic, cross_entropy or hinge.
    """

    def __init__(self, eps: float = 0.05, count: int = 32, norm: str = "linf", loss: str = "logistic") -> None:
        if loss == "squared":
            raise GameError("the squared loss also grows with large margins: use logistic, cross_entropy or hinge")
        images, labels, weights = _breast_cancer()
        if not 1 <= count <= len(images):
            raise GameError(f"count is {count}: there are 1 to {len(images)} samples")
        network = MLP((images.shape[1], 1))
        super().__init__(images[:count], labels[:count], network, weights, eps, norm=norm, loss=loss)

    def solution(self) -> Tensor:
        """Return the perturbations of largest loss, (N p,)."""
        assert isinstance(self.network, Frozen)
        slope = self.network.weights[:-1]  # the last is the bias
        signs = (2 * self.labels - 1).unsqueeze(-1)
        return self.sets[1].maximize((-signs * slope).flatten())

    def best_response(self, z: Tensor, player: int) -> Tensor | None:
        return self.solution().to(z).expand(*z.shape[:-1], -1) if player == 1 else z[..., :0]


def _first(data: Split, count: int) -> tuple[Tensor, Tensor]:
    if not 1 <= count <= len(data.test_images):
        raise GameError(f"count is {count}: 1 to {len(data.test_images)} held-out images can be attacked")
    return data.test_images[:count], data.test_labels[:count]


@cache
def _trained(name: str, source: str | None, hidden: int) -> tuple[MLP, Tensor]:
    """Return scikit-learn's classifier with one hidden layer as (network, weights); it is fitted once per process."""
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    data = digits() if name == "digits" else mnist(source)
    fitted = MLPClassifier((hidden,), batch_size=100, max_iter=20, random_state=0)  # type: ignore[arg-type]
    # One thread: on a busy machine two were measured 30 times slower. Twenty epochs are enough, even if scikit-learn
    # warns that they did not converge.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(data.train_images.numpy()[:4000], data.train_labels.numpy()[:4000])
    parts = [part for w, b in zip(fitted.coefs_, fitted.intercepts_, strict=True) for part in (w.T.ravel(), b)]
    return MLP((data.train_images.shape[1], hidden, 10)), torch.from_numpy(np.concatenate(parts)).float()


@cache
def _breast_cancer() -> tuple[Tensor, Tensor, Tensor]:
    """Return features (569, 30) scaled to [0, 1], labels, and the weights and bias (31,) of a logistic regression."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import minmax_scale

    features, labels = load_breast_cancer(return_X_y=True)
    features = minmax_scale(features)
    fitted = LogisticRegression().fit(features, labels)
    weights = np.concatenate([fitted.coef_[0], fitted.intercept_])
    return torch.from_numpy(features).float().clamp(0, 1), torch.from_numpy(labels), torch.from_numpy(weights).float()
