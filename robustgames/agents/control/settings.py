"""The hyper-parameters of `RobustDDPG`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from robustgames.errors import GameError, unknown

Exploration = Literal["gaussian", "ou", "parameter"]
Adversary = Literal["learned", "random"]
Engine = Literal["auto", "torch", "native"]


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of `RobustDDPG`.

    Attributes:
        hidden: Widths of the hidden layers of all networks, ReLU between them: 64 64 in Tessler et al. 2019, 256 256
            in Stable-Baselines3 and CleanRL for larger robots.
        layer_norm: Layer normalization in all networks, which parameter noise needs (Plappert et al. 2018).
        final: Half the width of the first weights of the last layers, uniform around 0 so that first actions and values
            are near 0 (Lillicrap et al. 2016). If 0, they are drawn like the other layers (Stable-Baselines3).
        gamma: Discount (Lillicrap et al. 2016).
        tau: Share by which target networks follow in a step (Tessler et al. 2019).
        critic_lr: Learning rate of the critic's Adam (Lillicrap et al. 2016).
        l2: Weight decay of the critic, added to its gradient (Lillicrap et al. 2016: 0.01).
        batch_size: Number of transitions in a minibatch.
        buffer_size: Number of transitions in the replay of a run (Lillicrap et al. 2016).
        learning_starts: Number of steps with random actions before the first update.
        exploration: Kind of noise. gaussian (Fujimoto et al. 2018) and ou (Lillicrap et al. 2016, theta 0.15, dt 0.01)
            are added to the protagonist's actions; parameter noise to the weights of both players, and it is adapted
            (Plappert et al. 2018).
        noise: Standard deviation of gaussian noise (Fujimoto et al. 2018: 0.1), sigma of ou (Lillicrap et al. 2016:
            0.2), or the distance of actions that parameter noise holds (Tessler et al. 2019: 0.2).
        normalize: Scaling of observations by their running mean and deviation, frozen in evaluation (Tessler et al.
            2019).
        twin: Two critics; the smaller value is used (Fujimoto et al. 2018).
        smoothing: Standard deviation of the noise on actions in the target (Fujimoto et al. 2018).
        delay: Number of critic steps per step of the players and the target networks (Fujimoto et al. 2018).
        every_draw: Whether the critic takes a step with every minibatch that the solver draws, K in a Langevin chain of
            K steps, instead of the first alone (Kamalaruban et al. 2020, whose target networks also follow as often).
        adversary: Kind of adversary: learned, or random, with uniform actions, the control that a claim of robustness
            has to beat.
        engine: What computes updates and actions. torch serves every solver and device. native is compiled code, for
            simultaneous Adam on a CPU, and needs numba. auto is native where that is possible, else torch.

    Raises:
        GameError: Numbers out of range, or unknown words.
    """

    hidden: tuple[int, ...] = (64, 64)
    layer_norm: bool = False
    final: float = 3e-3
    gamma: float = 0.99
    tau: float = 0.01
    critic_lr: float = 1e-3
    l2: float = 0.0
    batch_size: int = 128
    buffer_size: int = 1_000_000
    learning_starts: int = 1_000
    exploration: Exploration = "gaussian"
    noise: float = 0.1
    normalize: bool = False
    twin: bool = False
    smoothing: float = 0.0
    delay: int = 1
    every_draw: bool = False
    adversary: Adversary = "learned"
    engine: Engine = "auto"

    def __post_init__(self) -> None:
        check_positive(self, batch_size=128, buffer_size=1_000_000, delay=2)
        if not self.hidden or not all(isinstance(width, int) and width >= 1 for width in self.hidden):
            raise GameError(f"hidden is {self.hidden}: widths of at least one layer, each >= 1, e.g. (64, 64)")
        if not 0 <= self.final < float("inf"):
            raise GameError(f"final is {self.final}: half the width of the first weights, e.g. 3e-3, or 0")
        if self.learning_starts < 0 or not 0 <= self.noise < float("inf"):
            got = f"learning_starts is {self.learning_starts} and noise is {self.noise}"
            raise GameError(f"{got}: both are >= 0, e.g. learning_starts=1000 and noise=0.1")
        if self.learning_starts >= self.buffer_size:
            got = f"learning_starts is {self.learning_starts} and buffer_size {self.buffer_size}"
            raise GameError(f"{got}: the replay must hold more, or there is no update")
        if self.exploration == "parameter" and not self.noise > 0:
            raise GameError(f"noise is {self.noise}: parameter noise holds a distance > 0 of actions, e.g. noise=0.2")
        for name, kind in (("exploration", Exploration), ("adversary", Adversary), ("engine", Engine)):
            if getattr(self, name) not in (known := get_args(kind)):
                raise unknown(name, str(getattr(self, name)), known)

    def changed(self, settings: dict[str, Any]) -> Self:
        """Return these settings with some of them changed.

        Raises:
            GameError: An unknown name.
        """
        values = asdict(self)
        for name in settings:
            if name not in values:
                raise unknown("setting", name, values)
        hidden = settings.get("hidden", self.hidden)
        if not isinstance(hidden, list | tuple):
            raise GameError(f"hidden is {hidden!r}: the widths of the hidden layers, e.g. (64, 64)")
        return type(self)(**{**values, **settings, "hidden": tuple(hidden)})


def check_positive(settings: object, **usual: int) -> None:
    """Check that settings are whole numbers of at least 1; the usual ones are named as examples.

    Raises:
        GameError: One is not.
    """
    for name, example in usual.items():
        if not (isinstance(value := getattr(settings, name), int) and value >= 1):
            raise GameError(f"{name} is {value}: it must be a whole number of at least 1, e.g. {example}")
