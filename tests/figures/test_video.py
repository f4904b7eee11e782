"""Videos of episodes: files, TensorBoard, and errors where nothing can be rendered."""

import os
from io import BytesIO

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image, ImageSequence
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import robustgames as rg
from robustgames.evaluation.rollouts import control_env
from robustgames.figures import video
from robustgames.figures.video import Film, film, log_video, record


class Walker(gym.Env):
    """A white bar on black, as far to the right as the sum of the actions; a red one with twice the mass."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}  # noqa: RUF012
    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    perturbable = {"mass": "mass"}  # noqa: RUF012

    def __init__(self, render_mode=None, breaks=None):
        self.render_mode, self.breaks, self.mass, self.x = render_mode, breaks, 1.0, 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = 0.0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.x += float(action[0])
        return np.zeros(1, np.float32), 0.0, self.x >= 20, False, {}

    def render(self):
        if self.breaks:
            raise self.breaks
        picture = np.zeros((40, 80, 3), np.uint8)
        picture[:, int(2 * self.x) : int(2 * self.x) + 4] = (255, 255, 255) if self.mass == 1 else (255, 0, 0)
        return picture


@pytest.fixture(scope="module", autouse=True)
def registered():
    gym.register("Walker-v0", Walker)
    yield
    del gym.registry["Walker-v0"]


GENERIC = "robustgames/ActionRobust-v0"
WALKER = {"env_id": "Walker-v0"}


def ahead(observation):
    return np.ones(1)


def bar(frame):
    """Return the column of the bar, and its color."""
    pixels = np.asarray(Image.fromarray(np.asarray(frame)).convert("RGB"))
    return int(np.argmax(pixels[0].max(-1) > 128)), pixels[0].max(0)


def test_every_second_frame_of_sixty_is_kept_in_order():
    frames = film(GENERIC, ahead, env_settings=WALKER)
    assert frames.fps == 30.0 and [bar(f)[0] for f in frames.frames] == list(range(0, 41, 4))
    short = film(GENERIC, ahead, env_settings=WALKER, seconds=0.1, width=40)
    assert len(short.frames) == 3 and short.frames[0].shape == (20, 40, 3)


def test_a_gif_shows_the_episode_under_the_perturbation(tmp_path):
    path = record(tmp_path / "new" / "heavy.gif", GENERIC, ahead, env_settings=WALKER, perturbation={"mass": 2.0})
    with Image.open(path) as gif:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(gif)]
        assert gif.info["duration"] == 30 and gif.info["loop"] == 0
    assert [bar(frame)[0] for frame in frames] == list(range(0, 41, 4))
    assert bar(frames[3])[1].tolist()[0] > 200 and bar(frames[3])[1].tolist()[2] < 50


def test_tensorboard_gets_the_moving_gif(tmp_path):
    logger = configure(str(tmp_path), ["tensorboard", "csv"])
    frames = film(GENERIC, ahead, env_settings=WALKER)
    assert log_video(logger, "eval/episode", frames, 1234)
    logger.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    [image] = events.Images("eval/episode")
    assert (image.step, image.width, image.height) == (1234, 80, 40)
    with Image.open(BytesIO(image.encoded_image_string)) as gif:
        assert gif.format == "GIF" and gif.n_frames == len(frames.frames) == 11
    assert not log_video(configure(str(tmp_path), ["csv"]), "eval/episode", frames, 1)


def test_errors_say_what_to_install_or_to_set(tmp_path, monkeypatch):
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(rg.GameError, match=r"pip install imageio-ffmpeg, or write .*episode\.gif"):
        record(tmp_path / "episode.mp4", GENERIC, ahead, env_settings=WALKER)
    with pytest.raises(rg.GameError, match=r"neither \.gif nor \.mp4"):
        Film([], 30).save(tmp_path / "episode.avi")
    with pytest.raises(rg.GameError, match="make the env with render_mode='rgb_array'"):
        film(control_env(GENERIC, WALKER), ahead)
    missing = gym.error.DependencyNotInstalled("pygame is not installed")
    with pytest.raises(rg.GameError, match=r"pip install 'gymnasium\[classic-control\]'"):
        film(GENERIC, ahead, env_settings={**WALKER, "breaks": missing})
    with pytest.raises(rg.GameError, match=r"RuntimeError: no context; .* set MUJOCO_GL=egl .*libegl1.* it is 'egl'"):
        monkeypatch.setenv("MUJOCO_GL", "egl")
        film(GENERIC, ahead, env_settings={**WALKER, "breaks": RuntimeError("no context")})


def test_mujoco_renders_without_a_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    try:
        hopper = film("robustgames/ActionRobustHopper-v0", lambda o: np.ones(3), seconds=0.3)
    except rg.GameError as error:
        pytest.skip(str(error))
    assert "MUJOCO_GL" not in os.environ
    assert hopper.frames[0].shape == (320, 320, 3) and hopper.frames[0].std() > 5
    assert (hopper.frames[0] != hopper.frames[-1]).any() and 25 <= hopper.fps <= 35
