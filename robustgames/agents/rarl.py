"""RARL, RAP and ATLA: presets of players that learn in turns."""

from __future__ import annotations

from typing import Any, ClassVar

from robustgames.agents.alternating import AlternatingSettings, AlternatingTD3


class RARL(AlternatingTD3):
    """Robust adversarial reinforcement learning: in turns, an adversary pushes the bodies of a MuJoCo env.

    It is `AlternatingTD3` in the coupling "force", with the bodies and bounds of the published code.

    Source: Pinto et al. 2017, Robust Adversarial Reinforcement Learning.

    Example:
        >>> RARL(turn=20, learning_starts=10, batch_size=8, hidden=(8, 8)).learn(30).adversaries[0].num_timesteps
        10
    """

    env_defaults: ClassVar[dict[str, Any]] = {"coupling": "force"}
    usual_env = "robustgames/ActionRobustInvertedPendulum-v0"


class RAP(RARL):
    """Robustness by adversarial populations: `RARL` with three adversaries, of which an episode is against one.

    Source: Vinitsky et al. 2020, Robust Reinforcement Learning using Adversarial Populations.

    Example:
        >>> agent = RAP(turn=20, learning_starts=10, batch_size=8, hidden=(8, 8)).learn(70)
        >>> [adversary.num_timesteps for adversary in agent.adversaries]
        [20, 10, 0]
    """

    preset = AlternatingSettings(adversaries=3)


class ATLA(AlternatingTD3):
    """Alternating training with learned attacks: in turns, an adversary learns to shift what the protagonist observes.

    It is `AlternatingTD3` in the coupling "observation" (SA-MDP), whose adversary acts first, in every state.

    Source: Zhang et al. 2021, Robust Reinforcement Learning on State Observations with Learned Optimal Adversary.

    Example:
        >>> agent = ATLA(env_settings={"eps": 0.1}, turn=20, learning_starts=10, batch_size=8, hidden=(8, 8)).learn(30)
        >>> agent.policy(player="adversary")([1.0, 0.0, 0.0]).shape
        (3,)
    """

    env_defaults: ClassVar[dict[str, Any]] = {"coupling": "observation"}
