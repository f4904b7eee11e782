"""Videos of a policy: an episode as GIF or MP4, and GIFs in TensorBoard."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from PIL import Image

from robustgames.envs.control.perturbations import Perturbation
from robustgames.errors import GameError
from robustgames.evaluation.rollouts import Opponent, Policy, control_env, play

if TYPE_CHECKING:
    from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

FASTEST = 30  # frames per second: browsers slow down a GIF of more than 50


@dataclass(frozen=True, eq=False)
class Film:
    """Frames of an episode.

    Attributes:
        frames: Frames of 8 bits, each (height, width, 3).
        fps: Frames per second of the env's time.
    """

    frames: Sequence[np.ndarray]
    fps: float

    def gif(self) -> bytes:
        """Return an endless GIF."""
        buffer, pictures = BytesIO(), [Image.fromarray(frame) for frame in self.frames]
        milliseconds = 10 * max(2, round(100 / self.fps))  # GIF counts in hundredths of a second
        pictures[0].save(
            buffer, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, optimize=False
        )
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write a .gif, or an .mp4 if imageio-ffmpeg is installed, creating its folder.

        Raises:
            GameError: The suffix is another, or the encoder is missing.
        """
        path = writable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gif":
            path.write_bytes(self.gif())
            return path
        import imageio.v2 as imageio

        with imageio.get_writer(path, fps=self.fps, macro_block_size=2) as writer:  # type: ignore[call-arg]
            for frame in self.frames:
                writer.append_data(frame)  # type: ignore[attr-defined]
        return path


def writable(path: str | Path) -> Path:
    """Return the path after a check that a film can be written to it.

    Raises:
        GameError: It is neither .gif nor .mp4, or the encoder of .mp4 is missing.
    """
    path = Path(path)
    if path.suffix not in (".gif", ".mp4"):
        raise GameError(f"{path} is neither .gif nor .mp4: use one of the two, e.g. episode.gif")
    if path.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise GameError(f"{path} requires an encoder: pip install imageio-ffmpeg, or write {path.with_suffix('.gif')}")
    return path


def film(
    env: gym.Env | str,
    policy: Policy,
    seed: int = 0,
    perturbation: Perturbation | None = None,
    adversary: Opponent = None,
    env_settings: Mapping[str, Any] | None = None,
    seconds: float = 20.0,
    width: int = 320,
) -> Film:
    """Play one episode and return its frames, at most 30 per second of the env's time.

    Args:
        env: An `ActionRobustEnv` made with render_mode="rgb_array", or an id.
        policy: Policy of the protagonist.
        seed: Seed of the episode, as in `play`.
        perturbation: Perturbation of the env, see `play`.
        adversary: The adversary, see `play`.
        env_settings: Settings of an id.
        seconds: Length of the film in the env's time; the episode continues without a camera.
        width: Largest width of the frames in pixels.

    Raises:
        GameError: The env cannot be rendered; the message names the package to install or the variable to set.
    """
    settings = {"render_mode": "rgb_array", **(env_settings or {})} if isinstance(env, str) else env_settings
    try:
        made = control_env(env, settings)
    except (AttributeError, RuntimeError) as error:  # a backend named in MUJOCO_GL is loaded with MuJoCo
        raise _no_picture(error) from error
    if made.render_mode != "rgb_array":
        raise GameError(f"render_mode is {made.render_mode!r}: make the env with render_mode='rgb_array'")
    camera = _Camera(made, seconds, width)
    with _headless():
        play(camera, policy, 1, seed, perturbation, adversary)
    if made is not env:
        made.close()
    return Film(camera.frames, camera.fps)


def record(path: str | Path, env: gym.Env | str, policy: Policy, **options: Any) -> Path:
    """Play one episode and write it as .gif or .mp4; the options are those of `film`.

    Raises:
        GameError: See `film` and `Film.save`.
    """
    path = writable(path)  # checked before the episode is played
    return film(env, policy, **options).save(path)


class _Camera(gym.Wrapper[Any, Any, Any, Any]):
    """Wrapper that keeps every k-th frame."""

    def __init__(self, env: gym.Env, seconds: float, width: int) -> None:
        super().__init__(env)
        rate = float(env.metadata.get("render_fps") or FASTEST)
        self._every = max(1, round(rate / FASTEST))
        self.fps = rate / self._every
        self._most, self._width = max(1, round(seconds * self.fps)), width
        self.frames: list[np.ndarray] = []
        self._steps = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        result = self.env.reset(**options)
        self._take()
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        result = self.env.step(action)
        self._steps += 1
        if self._steps % self._every == 0 and len(self.frames) < self._most:
            self._take()
        return result

    def _take(self) -> None:
        picture = Image.fromarray(np.ascontiguousarray(_rendered(self.env)))
        if picture.width > self._width:
            picture = picture.resize((self._width, round(picture.height * self._width / picture.width)))
        self.frames.append(np.asarray(picture))


def _rendered(env: gym.Env) -> np.ndarray:
    try:
        frame = env.render()
    except gym.error.DependencyNotInstalled as error:
        raise GameError(f"{env.unwrapped} requires pygame: pip install 'gymnasium[classic-control]'") from error
    except Exception as error:
        raise _no_picture(error) from error
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:
        raise GameError(f"{env.unwrapped} rendered {type(frame).__name__}: it must be an array (height, width, 3)")
    return frame.astype(np.uint8)


def _no_picture(error: Exception) -> GameError:
    reason = " ".join(str(error).split())[:160]
    return GameError(
        f"rendering failed with {type(error).__name__}: {reason}; MuJoCo requires OpenGL without a window: set "
        f"MUJOCO_GL=egl (Debian: apt install libegl1 libgl1-mesa-dri) or MUJOCO_GL=osmesa (apt install libosmesa6) "
        f"before Python starts; it is {os.environ.get('MUJOCO_GL')!r}"
    )


@contextmanager
def _headless() -> Iterator[None]:
    """Without a display, render MuJoCo through EGL and pygame without a window, unless the environment chooses."""
    display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    windowless = {"MUJOCO_GL": "egl", "SDL_VIDEODRIVER": "dummy"} if sys.platform == "linux" and not display else {}
    chosen = {name: value for name, value in windowless.items() if name not in os.environ}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name in chosen:
            os.environ.pop(name, None)


def log_video(logger: Logger, name: str, video: Film | bytes, step: int) -> bool:
    """Write a GIF to TensorBoard, as an animated image, and return whether the logger writes to TensorBoard.

    Args:
        logger: Logger of Stable-Baselines3, e.g. `agent.logger`.
        name: Tag, e.g. "eval/episode".
        video: A film, or the bytes of a GIF.
        step: Timesteps.
    """
    from stable_baselines3.common.logger import TensorBoardOutputFormat

    gif = video.gif() if isinstance(video, Film) else video
    outputs = [out for out in logger.output_formats if isinstance(out, TensorBoardOutputFormat)]
    for out in outputs:
        log_picture(out, name, gif, step)
    return bool(outputs)


def log_picture(output: TensorBoardOutputFormat, name: str, data: bytes, step: int) -> None:
    """Write the bytes of a GIF or PNG to TensorBoard as they are; torch's add_video would require moviepy."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

    width, height = Image.open(BytesIO(data)).size
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
    summary = Summary(value=[Summary.Value(tag=name, image=image)])
    output.writer._get_file_writer().add_summary(summary, step)  # type: ignore[union-attr]
    output.writer.flush()


def log_to(folder: Path, name: str, video: Film, step: int) -> None:
    """Write a film to a new event file of TensorBoard in the folder of a run; see `log_video`."""
    from stable_baselines3.common.logger import Logger, make_output_format

    logger = Logger(None, [make_output_format("tensorboard", str(folder))])
    log_video(logger, name, video, step)
    logger.close()
