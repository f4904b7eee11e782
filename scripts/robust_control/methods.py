"""The methods of `robustness.py`, and their budget and hyper-parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import nan
from typing import Any


@dataclass(frozen=True)
class Agent:
    """Hyper-parameters of all methods; the defaults are those of Pendulum-v1.

    Attributes:
        hidden: Widths of the hidden layers of all networks.
        batch_size: Transitions of a minibatch.
        lr: Learning rate of the policies.
        critic_lr: Learning rate of the critics.
        tau: Rate at which target networks follow.
        gamma: Discount.
        learning_starts: Steps of random actions before the first update.
        noise: Standard deviation of the exploration noise on actions in [-1, 1].
        final: Half the width of the first weights of the last layers. If 0, it is that of the other layers, as always
            in Stable-Baselines3.
    """

    hidden: tuple[int, ...] = (64, 64)
    batch_size: int = 128
    lr: float = 1e-3
    critic_lr: float = 1e-3
    tau: float = 0.01
    gamma: float = 0.99
    learning_starts: int = 1_000
    noise: float = 0.1
    final: float = 3e-3

    def settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the settings of the agent and those of its solver, as a `ControlExperiment` has them."""
        values = asdict(self)
        lr = values.pop("lr")
        return {**values, "hidden": list(self.hidden)}, {"lr": lr}


@dataclass(frozen=True)
class Method:
    """An agent of robustgames with its adversary and solver, or one of Stable-Baselines3."""

    label: str
    source: str
    agent: str = "robust_td3"
    coupling: str = ""  # of the adversary; empty if there is none
    adversary: str = "learned"
    solver: str = "adam"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return "plain", "control" (random actions or parameters of an adversary) or "robust" (learned ones)."""
        if self.agent in UNCERTAIN:
            return UNCERTAIN[self.agent]
        return "plain" if not self.coupling else "control" if self.adversary == "random" else "robust"

    @property
    def family(self) -> str:
        """Return what methods share their controls: "td3" (and DDPG), "sac", "uncertain" or "force"."""
        if self.coupling == FORCE:
            return FORCE
        return "uncertain" if self.agent in UNCERTAIN else "sac" if self.agent == SOFT["agent"] else "td3"

    @property
    def has_share(self) -> bool:
        """Whether the adversary has a share alpha of the action."""
        return self.coupling in (NR, PR)

    def share(self, alpha: float) -> float:
        """Return alpha if the adversary has a share, 0 without an adversary, NaN in a coupling without a share."""
        return alpha if self.has_share else nan if self.coupling else 0.0

    @property
    def turns(self) -> int:
        """Return the env steps of the training for each of the protagonist: 2 if adversaries learn in turns with it."""
        return 2 if self.agent in IN_TURNS and self.adversary == "learned" else 1


NR, PR, FORCE = "noisy", "probabilistic", "force"
IN_TURNS = ("rarl", "rap", "atla")
PEERS = ("DDPG", "TD3")  # agents of Stable-Baselines3
UNCERTAIN = {"dr_td3": "control", "m2td3": "robust", "soft_m2td3": "robust"}
"""Agents whose env has parameters of its own in every episode, and their kinds."""
DDPG, TD3, SB3 = "Lillicrap et al. 2016", "Fujimoto et al. 2018", "Raffin et al. 2021"
TESSLER, CONTROL = "Tessler et al. 2019", "control that a learned adversary has to beat"
KAMALARUBAN, TANABE = "Kamalaruban et al. 2020", "Tanabe et al. 2022"
PINTO, VINITSKY = "Pinto et al. 2017", "Vinitsky et al. 2020"
HAARNOJA = "Haarnoja et al. 2018"
SOFT: dict[str, Any] = {"agent": "robust_sac", "settings": {"noise": 0.0}}
"""SAC explores by its own draws, so the noise of the other methods is not added."""
METHODS: dict[str, Method] = {
    "ddpg": Method("DDPG", DDPG, "robust_ddpg"),
    "td3": Method("TD3", TD3),
    "nr_ddpg": Method("NR-DDPG", TESSLER, "robust_ddpg", NR),
    "nr_td3": Method("NR-TD3", f"{TESSLER} on {TD3}", coupling=NR),
    "pr_ddpg": Method("PR-DDPG", TESSLER, "robust_ddpg", PR),
    "pr_td3": Method("PR-TD3", f"{TESSLER} on {TD3}", coupling=PR),
    "mixing": Method("random mixing", CONTROL, coupling=NR, adversary="random"),
    "replacement": Method("random replacement", CONTROL, coupling=PR, adversary="random"),
    "extra_td3": Method("NR-TD3, ExtraAdam", "Gidel et al. 2019", coupling=NR, solver="extra_adam"),
    "mixed_ne_ld": Method(
        "NR-TD3, MixedNE-LD", KAMALARUBAN, coupling=NR, solver="mixed_ne_ld", settings={"every_draw": True}
    ),
    "dr_td3": Method("domain randomization", f"{TD3}; {CONTROL}", "dr_td3"),
    "m2td3": Method("M2TD3", TANABE, "m2td3"),
    "soft_m2td3": Method("soft M2TD3", TANABE, "soft_m2td3"),
    "rarl": Method("RARL", f"{PINTO} on {TD3}", "rarl", FORCE),
    "rap": Method("RAP, 3 adversaries", f"{VINITSKY} on {TD3}", "rap", FORCE),
    "forces": Method("random forces", CONTROL, "rarl", FORCE, adversary="random"),
    "sac": Method("SAC", HAARNOJA, **SOFT),
    "nr_sac": Method("NR-SAC", f"{TESSLER} on {HAARNOJA}", coupling=NR, **SOFT),
    "pr_sac": Method("PR-SAC", f"{TESSLER} on {HAARNOJA}", coupling=PR, **SOFT),
    "sac_mixing": Method("SAC, random mixing", CONTROL, coupling=NR, adversary="random", **SOFT),
    "sac_replacement": Method("SAC, random replacement", CONTROL, coupling=PR, adversary="random", **SOFT),
    "sb3_ddpg": Method("DDPG of SB3", SB3, "DDPG"),
    "sb3_td3": Method("TD3 of SB3", SB3, "TD3"),
}


def missing_controls(method: Method, present: Iterable[Method]) -> list[str]:
    """Return the names of the controls that a method with a learned adversary has to beat and that are not present.

    They learn as the method does: SAC against random actions for a variant of SAC, for the agents of `UNCERTAIN` the
    one that draws the parameters at random, and for adversaries that push bodies random forces.
    """
    known = {(one.family, one.coupling) for one in present if one.kind == "control"}
    wanted = {name: one for name, one in METHODS.items() if one.kind == "control" and one.family == method.family}
    return [name for name, one in wanted.items() if (one.family, one.coupling) not in known]


@dataclass(frozen=True)
class Budget:
    """The budget and the settings that all methods share.

    Attributes:
        env: Gymnasium id.
        seeds: Runs of a method.
        seed: Seed of the first run.
        steps: Env steps of the protagonist in a run.
        alpha: Share of the adversary.
        agent: Hyper-parameters.
        uncertainty: Parameters of the env that differ between the episodes of the agents of `UNCERTAIN`.
    """

    env: str
    seeds: int
    seed: int
    steps: int
    alpha: float
    agent: Agent
    uncertainty: str = ""


def describe(method: Method, budget: Budget) -> dict[str, Any]:
    """Return all that determines a training, as JSON restores it; what nothing depends on is left out."""
    settings = {"method": asdict(method), **asdict(budget)}
    del settings["method"]["label"], settings["method"]["source"]
    if not method.has_share:
        del settings["alpha"]
    if method.agent not in UNCERTAIN:
        del settings["uncertainty"]
    return json.loads(json.dumps(settings))
