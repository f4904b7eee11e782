"""The envs of an agent as callbacks of Stable-Baselines3 see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from gymnasium import Env, Wrapper
from stable_baselines3.common.vec_env import VecEnv

from robustgames.errors import GameError

Indices = int | Sequence[int] | None


class TrainingEnvs(VecEnv):
    """The envs that an agent trains in, to be read by callbacks: spaces, number of runs, attributes, methods.

    The agent alone steps and resets them.

    Args:
        envs: One env per run, or a list of one env that holds all runs.
        runs: Number of runs S.

    Raises:
        GameError: A step or a reset.
    """

    def __init__(self, envs: list[Any], runs: int) -> None:
        self.envs = envs if len(envs) == runs else envs * runs
        first = envs[0]
        observed = getattr(first, "single_observation_space", None) or first.observation_space
        acted = getattr(first, "single_action_space", None) or first.action_space
        super().__init__(runs, observed, acted)

    def reset(self) -> NoReturn:
        raise self._owned("reset")

    def step_async(self, actions: Any) -> NoReturn:
        raise self._owned("step")

    def step_wait(self) -> NoReturn:
        raise self._owned("step")

    def _owned(self, what: str) -> GameError:
        return GameError(f"{what} of the training envs would break the agent's episodes: make an env of your own")

    def close(self) -> None:
        """Leave the envs open: the agent closes them."""

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of every env."""
        return [_attribute(self.envs[i], attr_name) for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of every env."""
        for i in self._get_indices(indices):
            setattr(self.envs[i].unwrapped, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        """Call a method of every env."""
        return [_attribute(self.envs[i], method_name)(*args, **kwargs) for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Wrapper], indices: Indices = None) -> list[bool]:
        """Return whether every env is wrapped in a class."""
        return [_is_wrapped(self.envs[i], wrapper_class) for i in self._get_indices(indices)]


def _attribute(env: Any, name: str) -> Any:
    """Return the attribute of an env or of the env inside its wrappers."""
    return env.get_wrapper_attr(name) if isinstance(env, Env) else getattr(env, name)


def _is_wrapped(env: Any, wrapper: type[Wrapper]) -> bool:
    while isinstance(env, Wrapper):
        if isinstance(env, wrapper):
            return True
        env = env.env
    return False
