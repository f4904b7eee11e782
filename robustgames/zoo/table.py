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


RECIPE = (
    "adversarial_training robustgames/MnistAdversarial-v0 --runs 1 --seed 0 --steps {steps} --horizon {steps} "
    "--inner-steps 4 --inner-lr 0.15 --lr {lr} --ema 0.999 --set {settings}"
)
FRONT = "starts=patches thresholds=[0.31,0.45,0.55,0.69] augment=true precision=bfloat16 batch_size=128"

ZOO: dict[str, Entry] = {
    "mnist-linf": Entry(
        MNIST,
        "linf",
        0.3,
        minutes=43,
        images=1000,
        clean=99.4,
        robust=92.3,
        command=RECIPE.format(steps=36000, lr="2e-3", settings=f"{FRONT} weights=first.safetensors")
        .replace("-steps 4", "-steps 8")
        .replace("0.15", "0.08"),
        thresholds=(0.31, 0.45, 0.55, 0.69),
    ),
    "fashion-linf": Entry(
        FASHION,
        "linf",
        0.1,
        minutes=4,
        images=200,
        clean=81.5,
        robust=64.5,
        command=RECIPE.format(steps=12500, lr="4e-3", settings="augment=true eps=0.1").replace("0.15", "0.05"),
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
