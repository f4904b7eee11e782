"""The methods of `robustness.py`, and what they train with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Agent:
    """Hyper-parameters of all methods; the defaults are those of Pendulum-v1.

    Attributes:
        hidden: widths of the hidden layers of all networks.
        batch_size: transitions of a minibatch.
        lr: learning rate of the policies.
        critic_lr: learning rate of the critics.
        tau: by how much target networks follow in a step.
        gamma: discount.
        learning_starts: steps of random actions before the first update.
        noise: standard deviation of the exploration noise on actions in [-1, 1].
        final: half the width of the first weights of the last layers; 0: as in the other layers, and as always in
            Stable-Baselines3.
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


@dataclass(frozen=True)
class Method:
    """An agent of robustgames with its adversary and solver, or one of Stable-Baselines3."""

    label: str
    source: str
    agent: str = "robust_td3"
    coupling: str = ""  # of the adversary; "": there is none
    adversary: str = "learned"
    solver: str = "adam"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return "plain", "control" (a random adversary) or "robust" (a learned one)."""
        return "plain" if not self.coupling else "control" if self.adversary == "random" else "robust"


NR, PR = "noisy", "probabilistic"
PEERS = ("DDPG", "TD3")  # agents of Stable-Baselines3
DDPG, TD3, SB3 = "Lillicrap et al. 2016", "Fujimoto et al. 2018", "Raffin et al. 2021"
TESSLER, ANSWER = "Tessler et al. 2019", "control: what a learned adversary has to beat"
KAMALARUBAN = "Kamalaruban et al. 2020"
METHODS: dict[str, Method] = {
    "ddpg": Method("DDPG", DDPG, "robust_ddpg"),
    "td3": Method("TD3", TD3),
    "nr_ddpg": Method("NR-DDPG", TESSLER, "robust_ddpg", NR),
    "nr_td3": Method("NR-TD3", f"{TESSLER} on {TD3}", coupling=NR),
    "pr_ddpg": Method("PR-DDPG", TESSLER, "robust_ddpg", PR),
    "pr_td3": Method("PR-TD3", f"{TESSLER} on {TD3}", coupling=PR),
    "mixing": Method("random mixing", ANSWER, coupling=NR, adversary="random"),
    "replacement": Method("random replacement", ANSWER, coupling=PR, adversary="random"),
    "extra_td3": Method("NR-TD3, ExtraAdam", "Gidel et al. 2019", coupling=NR, solver="extra_adam"),
    "mixed_ne_ld": Method(
        "NR-TD3, MixedNE-LD", KAMALARUBAN, coupling=NR, solver="mixed_ne_ld", settings={"every_draw": True}
    ),
    "sb3_ddpg": Method("DDPG of SB3", SB3, "DDPG"),
    "sb3_td3": Method("TD3 of SB3", SB3, "TD3"),
}  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """What all methods train with.

    Attributes:
        env: Gymnasium id.
        seeds: runs of a method.
        seed: of the first run.
        steps: of the env, in a run.
        alpha: the adversary's share.
        agent: hyper-parameters.
    """

    env: str
    seeds: int
    seed: int
    steps: int
    alpha: float
    agent: Agent


def describe(method: Method, budget: Budget) -> dict[str, Any]:
    """Return all that determines a training, as JSON gives it back; alpha is left out where nothing depends on it."""
    told = {"method": asdict(method), **asdict(budget)}
    del told["method"]["label"], told["method"]["source"]
    if not method.coupling:
        del told["alpha"]
    return json.loads(json.dumps(told))
