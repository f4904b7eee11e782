"""The hyper-parameters of agents whose env has uncertain parameters."""

from __future__ import annotations

from dataclasses import dataclass

from robustgames.agents.control.settings import Settings, check_positive
from robustgames.errors import GameError


@dataclass(frozen=True)
class RandomizationSettings(Settings):
    """Hyper-parameters of `DomainRandomizedTD3`: those of `Settings`, and the uncertain parameters.

    Attributes:
        uncertainty: Uncertain parameters with the bounds of their scales, axis=low:high,axis:body=low:high …, or the
            name of an uncertainty set such as rrls-hopper-2d-published, whose least and largest values are the bounds.
    """

    uncertainty: str = "mass=0.5:2"


@dataclass(frozen=True)
class UncertaintySettings(RandomizationSettings):
    """Hyper-parameters of `M2TD3`. Lengths are in coordinates, in which every side of the box has length 2.

    Attributes:
        candidates: Number N of candidates of the worst parameters (Tanabe et al. 2022: 5).
        soft: Whether the policy ascends the mean over the candidates, weighted by their shares, instead of the worst.
        least_share: Share below which a candidate is drawn again before an episode (Tanabe et al. 2022: 0.05).
        least_distance: Distance in the 1-norm at which one of two candidates is drawn again (Tanabe et al. 2022: 0.1 in
            units of the parameters).
        spread: Standard deviation of the noise on the candidate that an episode gets (Tanabe et al. 2022: 1.0, half a
            side of the box).
        final_spread: Standard deviation after `spread_steps` steps (Tanabe et al. 2022: 0.1).
        spread_steps: Number of steps after `learning_starts` in which the noise decreases linearly; 0 keeps it (code of
            Tanabe et al. 2022: half of all steps, 1,000,000, for soft M2TD3, and none for M2TD3).
    """

    candidates: int = 5
    soft: bool = False
    least_share: float = 0.05
    least_distance: float = 0.1
    spread: float = 1.0
    final_spread: float = 0.1
    spread_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, candidates=5)
        if self.adversary != "learned":
            control = "parameters that are drawn at random are dr_td3 (DomainRandomizedTD3)"
            raise GameError(f"adversary is {self.adversary}: the candidates learn; {control}")
        if not 0 <= self.least_share * self.candidates < 1:
            got = f"least_share is {self.least_share} with {self.candidates} candidates"
            raise GameError(f"{got}: it must be in [0, 1 / candidates), or all are drawn again, e.g. 0.05")
        if not self.spread_steps and self.final_spread != type(self).final_spread:
            got = f"final_spread is {self.final_spread} and spread_steps 0"
            raise GameError(f"{got}: the noise does not fall; say in how many steps, e.g. spread_steps=1000000")
        for name, usual in (("least_distance", 0.1), ("spread", 1.0), ("final_spread", 0.1), ("spread_steps", 0)):
            if not 0 <= getattr(self, name) < float("inf"):
                raise GameError(f"{name} is {getattr(self, name)}: it must be a number >= 0, e.g. {usual}")
