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
        clean: Accuracy on the first 1,000 test images, %.
        robust: Accuracy on them under AutoAttack of this package, standard version, %.
        command: Words of `robustgames train` that repeat the training.
        channels: Channels of the two convolutions.
        hidden: Width of the hidden layer.
    """

    data: str
    norm: str
    eps: float
    minutes: float
    clean: float
    robust: float
    command: str
    channels: tuple[int, int] = (32, 64)
    hidden: int = 256

    @property
    def text(self) -> str:
        """One line for a list."""
        return f"{self.data} images, {self.norm} {self.eps:g}: {self.clean} % clean, {self.robust} % under AutoAttack."


ZOO: dict[str, Entry] = {}


def entry(name: str) -> Entry:
    """Return the line of the table of that name, with or without "zoo:" before it.

    Raises:
        GameError: An unknown name; the close ones are shown.
    """
    name = name.removeprefix(PREFIX)
    if name not in ZOO:
        raise unknown("classifier of the zoo", name, ZOO)
    return ZOO[name]
