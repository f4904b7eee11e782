"""The hyper-parameters of `RobustDDPG`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from robustgames.errors import GameError, unknown

Exploration = Literal["gaussian", "ou", "parameter"]
Adversary = Literal["learned", "random"]


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of `RobustDDPG`.

    Attributes:
        hidden: widths of the hidden layers of all networks, ReLU between them; 64 64 as Tessler et al. 2019, 256 256
            as Stable-Baselines3 and CleanRL for larger robots.
        layer_norm: layer normalization in all networks, which parameter noise needs (Plappert et al. 2018).
        final: first weights of the last layers are uniform in ± this, so that first actions and values are near 0
            (Lillicrap et al. 2016); 0: as in the other layers (Stable-Baselines3).
        gamma: discount (Lillicrap et al. 2016).
        tau: by how much target networks follow in a step (Tessler et al. 2019).
        critic_lr: learning rate of the critic's Adam (Lillicrap et al. 2016).
        l2: weight decay of the critic, added to its gradient (Lillicrap et al. 2016: 0.01).
        batch_size: transitions of a minibatch.
        buffer_size: transitions that the replay of a run holds (Lillicrap et al. 2016).
        learning_starts: steps of random actions before the first update.
        exploration: noise on the protagonist's actions, gaussian (Fujimoto et al. 2018) or ou (Lillicrap et al. 2016,
            theta 0.15, dt 0.01); parameter: on the weights of both players, adapted (Plappert et al. 2018).
        noise: standard deviation of gaussian noise (Fujimoto et al. 2018: 0.1), sigma of ou (Lillicrap et al. 2016:
            0.2), or the distance of actions that parameter noise holds (Tessler et al. 2019: 0.2).
        normalize: scale observations by their running mean and deviation, frozen in evaluation (Tessler et al. 2019).
        twin: two critics, of whose values the smaller counts (Fujimoto et al. 2018).
        smoothing: standard deviation of the noise on actions in the target (Fujimoto et al. 2018).
        delay: critic steps per step of the players and the target networks (Fujimoto et al. 2018).
        every_draw: teach the critic with every minibatch that the solver draws, K of a Langevin chain of K steps
            (Kamalaruban et al. 2020, who let the target networks follow as often, too); else with the first alone.
        adversary: learned; or random, uniform actions, the control that a claim of robustness has to beat.

    Raises:
        GameError: numbers out of range, unknown words.
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

    def __post_init__(self) -> None:
        for name, usual in (("batch_size", 128), ("buffer_size", 1_000_000), ("delay", 2)):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise GameError(
                    f"{name} is {getattr(self, name)}: a whole number of at least 1 is needed, e.g. {usual}"
                )
        if not self.hidden or not all(isinstance(width, int) and width >= 1 for width in self.hidden):
            raise GameError(f"hidden is {self.hidden}: widths of at least one layer, each >= 1, e.g. (64, 64)")
        if not 0 <= self.final < float("inf"):
            raise GameError(f"final is {self.final}: half the width of the first weights, e.g. 3e-3, or 0")
        if self.learning_starts < 0 or not 0 <= self.noise < float("inf"):
            got = f"learning_starts is {self.learning_starts} and noise is {self.noise}"
            raise GameError(f"{got}: both are >= 0, e.g. learning_starts=1000 and noise=0.1")
        if self.learning_starts >= self.buffer_size:
            got = f"learning_starts is {self.learning_starts} and buffer_size {self.buffer_size}"
            raise GameError(f"{got}: the replay has to hold more, or nothing is ever learned")
        if self.exploration == "parameter" and not self.noise > 0:
            raise GameError(f"noise is {self.noise}: parameter noise holds a distance > 0 of actions, e.g. noise=0.2")
        for name, known in (("exploration", get_args(Exploration)), ("adversary", get_args(Adversary))):
            if getattr(self, name) not in known:
                raise unknown(name, str(getattr(self, name)), known)

    def changed(self, settings: dict[str, Any]) -> Settings:
        """Return these settings with some changed.

        Raises:
            GameError: a name is unknown.
        """
        values = asdict(self)
        for name in settings:
            if name not in values:
                raise unknown("setting", name, values)
        hidden = settings.get("hidden", self.hidden)
        if not isinstance(hidden, list | tuple):
            raise GameError(f"hidden is {hidden!r}: the widths of the hidden layers, e.g. (64, 64)")
        return Settings(**{**values, **settings, "hidden": tuple(hidden)})
