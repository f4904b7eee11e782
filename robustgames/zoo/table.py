"""The table of the zoo: what each classifier is, what it withstands, and the command that trains it again."""

from __future__ import annotations

from dataclasses import dataclass

from robustgames.errors import unknown

PREFIX = "zoo:"
MNIST, SUBSET, FASHION = "MNIST, 60,000", "MNIST, 4,000", "Fashion-MNIST, 60,000"


@dataclass(frozen=True)
class Entry:
    """A classifier of the zoo, an instance of `games.classification.small_cnn`.

    Attributes:
        data: Images that it was trained on.
        norm: Norm of the attack.
        eps: Radius of the attack.
        minutes: CPU minutes of one core that the training took.
        images: Number of test images, the first ones, on which the next two were measured.
        clean: Accuracy on them, %.
        robust: Accuracy on them under AutoAttack of this package, standard version, %.
        command: Words of `robustgames train` that repeat the training, or its last phase.
        channels: Channels of the convolutions.
        hidden: Width of the hidden layer.
        threshold: Gray level of its soft threshold, None without one.
    """

    data: str
    norm: str
    eps: float
    minutes: float
    images: int
    clean: float
    robust: float
    command: str
    channels: tuple[int, ...] = (32, 64)
    hidden: int = 256
    threshold: float | None = None

    @property
    def text(self) -> str:
        """One line for a list."""
        return f"{self.data} images, {self.norm} {self.eps:g}: {self.clean} % clean, {self.robust} % under AutoAttack."


FAST = "augment=true precision=bfloat16 batch_size=128"


def _recipe(
    steps: int,
    settings: str,
    inner_lr: float,
    inner_steps: int = 5,
    norm: str = "linf",
    shared: int = 1,
) -> str:
    """Return the words after `robustgames train` of an adversarial training; `shared` coordinates share a step."""
    ascent = f"--inner-steps {inner_steps} --inner-lr {inner_lr}" + (f" --norm {norm}" if norm != "linf" else "")
    ascent += f" --coordinates {shared}" if shared > 1 else ""
    return (
        f"adversarial_training robustgames/MnistAdversarial-v0 --runs 1 --seed 0 --steps {steps} --horizon {steps} "
        f"{ascent} --lr 2e-3 --ema 0.999 --set {settings}"
    )


ZOO: dict[str, Entry] = {
    "mnist-linf": Entry(
        MNIST,
        "linf",
        0.3,
        minutes=104,
        images=1000,
        clean=99.3,
        robust=94.2,
        command=_recipe(
            92000, f"channels=[64,128,128] hidden=96 threshold=0.5 starts=patches {FAST}", 0.24, inner_steps=3
        ),
        channels=(64, 128, 128),
        hidden=96,
        threshold=0.5,
    ),
    "mnist-subset-linf": Entry(
        SUBSET,
        "linf",
        0.3,
        minutes=10,
        images=1000,
        clean=98.3,
        robust=94.0,
        command=_recipe(33000, f"threshold=0.5 starts=patches {FAST}", 0.18),
        threshold=0.5,
    ),
    "mnist-l2": Entry(
        MNIST,
        "l2",
        1.5,
        minutes=11,
        images=1000,
        clean=99.3,
        robust=78.5,
        command=_recipe(36000, f"norm=l2 eps=1.5 {FAST}", 0.6, norm="l2"),
    ),
    "mnist-l1": Entry(
        MNIST,
        "l1",
        10.0,
        minutes=13,
        images=1000,
        clean=97.5,
        robust=65.3,
        command=_recipe(36000, f"norm=l1 eps=10 {FAST}", 2.5, 8, norm="l1", shared=20),
    ),
    "fashion-linf": Entry(
        FASHION,
        "linf",
        0.1,
        minutes=16,
        images=1000,
        clean=81.4,
        robust=72.3,
        command=_recipe(30000, f"channels=[32,64,64] eps=0.1 {FAST}", 0.055, inner_steps=3),
        channels=(32, 64, 64),
    ),
}


def entry(name: str) -> Entry:
    """Return the line of the table of that name, with or without "zoo:" before it.

    Raises:
        GameError: An unknown name; the close ones are shown.
    """
    name = name.removeprefix(PREFIX)
    if name not in ZOO:
        raise unknown("classifier of the zoo", name, ZOO)
    return ZOO[name]
