"""Models of Stable-Baselines3 as policies to examine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

from robustgames.errors import GameError, unknown
from robustgames.evaluation.adversaries import ALGORITHMS
from robustgames.evaluation.observation_attacks import Differentiable
from robustgames.evaluation.rollouts import Policy, control_env


def load_model(path: Path, algorithm: str, trust: bool = False) -> BaseAlgorithm:
    """Return the model in a zip file that `model.save` of Stable-Baselines3 wrote.

    Such a file contains pickles: loading it runs whatever code its author put there.

    Args:
        path: Path of the file.
        algorithm: Name of the algorithm that wrote it.
        trust: Whether the user consents to running code from the file.

    Raises:
        GameError: No consent, no such file or algorithm, or a model of another algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise unknown("algorithm", algorithm, ALGORITHMS)
    if not path.is_file():
        raise GameError(f"{path} does not exist: name the .zip file that model.save wrote")
    if not trust:
        raise GameError(
            f"{path} is a pickle of Stable-Baselines3, and loading it runs the code in it: "
            "if you trust whoever wrote it, add --trust"
        )
    try:
        return getattr(stable_baselines3, algorithm).load(path, device="cpu")
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise GameError(f"{path} is not a model of {algorithm} ({reason}): see --algorithm") from error


def policy_of(model: BaseAlgorithm, env: str, env_settings: Mapping[str, object] | None = None) -> Policy:
    """Return the policy of a trained model, whose actions are stretched from its own box to [-1, 1]^n.

    A model that was trained on the env itself is then evaluated like one that was trained on a `PlayerView`.

    Raises:
        GameError: The model was trained on observations or actions of other shapes than those of `env`.
    """
    made = control_env(env, env_settings)
    observations, actions = made.observation_space, made.action_space
    made.close()
    assert isinstance(actions, gym.spaces.Dict)
    wanted, own = (observations.shape, actions["protagonist"].shape), model.action_space
    trained = model.observation_space.shape, own.shape
    if not isinstance(own, gym.spaces.Box) or trained != wanted:
        raise GameError(
            f"the model maps observations {trained[0]} to {own}: {env} has {wanted[0]} and actions {wanted[1]}"
        )
    return partial(_action, model.policy, (own.high + own.low) / 2, (own.high - own.low) / 2)


def differentiable(model: BaseAlgorithm) -> Differentiable:
    """Return the policy of a trained model for attacks by gradients, with its Q, or its V if it has none."""
    policy: Any = model.policy
    policy.set_training_mode(False)
    own = model.action_space
    assert isinstance(own, gym.spaces.Box)
    center, half = (torch.as_tensor((own.high + sign * own.low) / 2, dtype=torch.float32) for sign in (1, -1))
    if hasattr(policy, "critic"):

        def q(states: Tensor, actions: Tensor) -> Tensor:
            return torch.cat(policy.critic(states, actions), -1).amin(-1)

        mean = {"deterministic": True} if isinstance(model, stable_baselines3.SAC) else {}
        return Differentiable(lambda s: policy.actor(s, **mean), q, network=_network(policy.actor))  # in [-1, 1]

    def act(states: Tensor) -> Tensor:
        return ((policy.get_distribution(states).mode() - center) / half).clamp(-1, 1)

    return Differentiable(act, value=lambda states: policy.predict_values(states).squeeze(-1))


def _network(actor: Any) -> nn.Module | None:
    """Return the layers of an actor of DDPG, TD3 or SAC on a vector, or None."""
    if not isinstance(actor.features_extractor, FlattenExtractor):
        return None
    if hasattr(actor, "latent_pi"):  # with state-dependent exploration SAC clips its mean
        return nn.Sequential(*actor.latent_pi, actor.mu, nn.Tanh()) if isinstance(actor.mu, nn.Linear) else None
    return actor.mu


def _action(policy: BasePolicy, center: np.ndarray, half: np.ndarray, observation: Any) -> np.ndarray:
    """Return an action in [-1, 1]^n; a function with arguments can be sent to another process, a closure cannot."""
    return (policy.predict(observation, deterministic=True)[0] - center) / half
