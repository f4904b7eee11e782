"""The attacker as a reinforcement learner: it observes an image and the classifier's logits, but no gradient."""

from __future__ import annotations

from math import isqrt
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from robustgames.envs.game_env import build_game
from robustgames.errors import GameError, unknown
from robustgames.games.attack import ClassifierAttack
from robustgames.games.losses import as_logits


class BlackBoxAttack(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """One image an episode: η⁺ = P(η + step u), u the action, P the projection onto ball and box.

    Observation: {"image": a + η, "logits": h(a + η)}. Action: u in [-1, 1]^k, one number per patch of pixels. Reward:
    the increase of the margin max_{i != b} h_i - h_b, plus 1 if the image is misclassified, which ends the episode.
    `info` holds the label, the number of queries and whether the classifier is fooled. Only images that are classified
    correctly are played. Every step is one query of the classifier.

    Args:
        game: A `ClassifierAttack`, its class or "module:Class": the images, the classifier and the threat.
        step: Largest change of a pixel in one step; eps by default.
        patch: Side of the square patches that an action moves together (images must be square for patch > 1).
        queries: Number of steps after which an episode is truncated.
        render_mode: If "rgb_array", `render` returns the attacked image, enlarged, as (height, width, 3) in uint8.
        **settings: Settings of the game.

    Raises:
        GameError: A game without a fixed classifier, or sizes that do not fit.

    Example:
        >>> env = gym.make("robustgames/DigitsBlackBox-v0", eps=0.2)
        >>> observation, info = env.reset(seed=0)
        >>> observation["image"].shape, observation["logits"].shape
        ((64,), (10,))
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        game: ClassifierAttack | type[ClassifierAttack] | str,
        step: float | None = None,
        patch: int = 1,
        queries: int = 50,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise unknown("render_mode", str(render_mode), ["rgb_array"])
        self.render_mode = render_mode
        built = build_game(game, **settings)
        if not isinstance(built, ClassifierAttack):
            raise GameError(f"{built!r} has no fixed classifier: use a ClassifierAttack, e.g. DigitsAttack")
        self.game, self.queries = built.to("cpu", torch.float32), queries
        self.step_size = built.eps if step is None else step
        if not 0 < self.step_size < float("inf") or queries < 1:
            raise GameError(f"step is {self.step_size} and queries {queries}: both must be positive, e.g. step=0.1")
        width = built.images.shape[-1]
        self._patch, self._side = patch, isqrt(width)
        if patch < 1 or (patch > 1 and (self._side**2 != width or self._side % patch)):
            raise GameError(f"patch is {patch}: it must divide the side {self._side} of square images, or be 1")
        logits = self._logits(self.game.images)
        self._playable = (logits.argmax(-1) == self.game.labels).nonzero().squeeze(-1)
        if len(self._playable) == 0:
            raise GameError("the classifier is wrong on every image: there is nothing to attack")
        self.observation_space = gym.spaces.Dict(  # type: ignore[assignment]
            {
                "image": gym.spaces.Box(0.0, 1.0, (width,), np.float32),
                "logits": gym.spaces.Box(-np.inf, np.inf, (logits.shape[-1],), np.float32),
            }
        )
        self.action_space = gym.spaces.Box(-1.0, 1.0, (width // patch**2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start on a random image, or on the image with the number `options["image"]`.

        Raises:
            GameError: There is no such option or image, or the classifier is wrong on it from the start.
        """
        for name in options or {}:
            if name != "image":
                raise unknown("option of reset", str(name), ["image"])
        super().reset(seed=seed)
        playable = self._playable.tolist()
        chosen = (options or {}).get("image")
        if chosen is None:
            chosen = self.np_random.choice(playable)
        elif chosen not in playable:
            first = ", ".join(map(str, playable[:5]))
            raise GameError(f"image {chosen} is not one of the {len(playable)} classified correctly: {first}, …")
        self._image, self._label = self.game.images[chosen], int(self.game.labels[chosen])
        self._eta, self._used = torch.zeros_like(self._image), 0
        observation, self._margin = self._look()
        return observation, self._info()

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        u = torch.as_tensor(action, dtype=self._image.dtype).clamp(-1, 1)
        if u.shape != self.action_space.shape or u.isnan().any():
            got = "not a number" if u.isnan().any() else f"of shape {tuple(u.shape)}"
            raise GameError(f"the action is {got}: numbers of shape {self.action_space.shape} in [-1, 1] are needed")
        self._eta = self.game.threat.project(self._image, self._eta + self.step_size * self._spread(u))
        self._used, before = self._used + 1, self._margin
        observation, self._margin = self._look()
        fooled = self._margin > 0
        reward = self._margin - before + float(fooled)
        return observation, reward, fooled, self._used >= self.queries and not fooled, self._info()

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return the image that the classifier sees now; None without a render mode."""
        if self.render_mode is None:
            return None
        rows = self._side if self._side**2 == len(self._image) else 1
        image = (self._image + self._eta).clamp(0, 1).mul(255).round().to(torch.uint8).reshape(rows, -1).numpy()
        size = max(1, 128 // image.shape[1])
        return image.repeat(size, 0).repeat(size, 1)[..., None].repeat(3, -1)

    def _look(self) -> tuple[dict[str, np.ndarray], float]:
        image = (self._image + self._eta).clamp(0, 1)
        logits = self._logits(image.unsqueeze(0)).squeeze(0)
        others = logits.clone()
        others[self._label] = -float("inf")
        margin = float(others.max() - logits[self._label])
        return {"image": image.numpy().copy(), "logits": logits.numpy().copy()}, margin

    def _info(self) -> dict[str, Any]:
        return {"label": self._label, "queries": self._used, "fooled": self._margin > 0}

    @torch.no_grad()
    def _logits(self, images: Tensor) -> Tensor:
        """Return the logits of images (B, p), two or more each."""
        return as_logits(self.game.logits(images.new_empty(0), images))

    def _spread(self, u: Tensor) -> Tensor:
        if self._patch == 1:
            return u
        grid = u.view(self._side // self._patch, -1)
        return grid.repeat_interleave(self._patch, 0).repeat_interleave(self._patch, 1).flatten()
