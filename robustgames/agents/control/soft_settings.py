"""The hyper-parameters of `RobustSAC`."""

from __future__ import annotations

from dataclasses import dataclass

from robustgames.agents.control.settings import Settings
from robustgames.agents.control.soft_critics import check_temperature


@dataclass(frozen=True)
class SoftSettings(Settings):
    """Hyper-parameters of `RobustSAC`: those of `Settings`, and those of the entropies.

    Both players explore by their own draws. Noise of `exploration`, 0 by default, is added to the protagonist's.

    Attributes:
        temperature: First temperature T of both players, the weight of their entropies.
        temperature_lr: Learning rate of Adam on log T of each player; 0 keeps the temperature.
        target_entropy: Entropy in nats that tuned temperatures hold, below the k log 2 of k uniform actions; by default
            -k (Haarnoja et al. 2018).

    Raises:
        GameError: Numbers out of range, or unknown words.
    """

    twin: bool = True
    noise: float = 0.0
    temperature: float = 1.0
    temperature_lr: float = 1e-3
    target_entropy: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.temperature, self.temperature_lr, self.target_entropy)
