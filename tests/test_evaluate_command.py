"""`robustgames evaluate` on runs of control and on models of Stable-Baselines3."""

import json

import numpy as np
import pytest
from stable_baselines3 import DDPG
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import robustgames as rg
from robustgames import cli
from robustgames.evaluation.robustness import Sweep
from robustgames.evaluation.rollouts import play
from robustgames.experiment import Examination
from robustgames.experiment.examination import Subject, draw_sweeps, examine
from robustgames.experiment.grid_words import parse_grid
from robustgames.experiment.stable_baselines import policy_of

PENDULUM = "robustgames/ActionRobustPendulum-v0"
SMALL = ["--hidden", "8", "8", "--learning-starts", "20", "--batch-size", "8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    words = ["train", "robust_ddpg", PENDULUM, *SMALL, "--steps", "210", "--runs", "2", "--out", str(out)]
    assert cli.main([*words, "--set", "alpha=0.3", "coupling=probabilistic"]) == 0
    return next(out.glob("*/*/*"))


def test_a_run_of_control_is_swept_attacked_and_filmed(run, tmp_path, capsys):
    video = tmp_path / "episode.gif"
    words = ["--grid", "mass=0.5,1", "action_noise=0,0.5", "--episodes", "1", "--best-response", "60"]
    assert cli.main(["evaluate", str(run), *words, "--video", str(video), "--perturbation", "mass=2"]) == 0
    said = capsys.readouterr().out
    for part in ("return under adversary", "mass 0.5…1 x action_noise 0…0.5", "random replacement, share 0.3"):
        assert part in said
    result = json.loads((run / "evaluation.json").read_text())
    swept = Sweep.from_dict(result["robustness"]["sweep"])
    assert swept.returns.shape == (2, 2, 2, 1) and swept.nominal_point == {"mass": 1.0, "action_noise": 0.0}
    assert result["robustness"]["summary"]["worst"][0] == pytest.approx(swept.cells.min((1, 2)).mean())
    assert result["best_response"]["env_settings"] == {"alpha": 0.3, "coupling": "probabilistic"}
    assert (run / "figures" / "robustness.png").stat().st_size > 5_000 and video.read_bytes()[:3] == b"GIF"
    events = EventAccumulator(str(run), size_guidance={"images": 0}).Reload()
    assert {"figures/robustness", "figures/episode"} <= set(events.Tags()["images"])
    assert "rollout/ep_rew_mean" in events.Tags()["scalars"]


def test_a_model_of_stable_baselines_is_judged_by_the_same_command(tmp_path, capsys):
    """With the same weights, one on the env itself and one on a view play alike: actions leave their own box."""
    own = DDPG("MlpPolicy", "Pendulum-v1", seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    view = rg.PlayerView(PENDULUM, "protagonist", "random")
    seen = DDPG("MlpPolicy", view, seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    returns = [play(PENDULUM, policy_of(model, PENDULUM), episodes=2).returns for model in (own, seen)]
    assert np.allclose(*returns, rtol=1e-5)
    own.save(tmp_path / "own.zip")
    words = ["evaluate", str(tmp_path / "own.zip"), "--env", PENDULUM, "--algorithm", "DDPG", "--episodes", "2"]
    assert cli.main([*words, "--grid", "mass=1,2"]) == 0
    found = json.loads((tmp_path / "own" / "evaluation.json").read_text())["robustness"]["sweep"]
    assert np.allclose(found["returns"][0][0], returns[0], rtol=1e-5)
    assert (tmp_path / "own" / "robustness.png").exists() and "mean of 1 run " in capsys.readouterr().out


def test_an_axis_without_effect_is_told_and_not_drawn(capsys):
    still = Subject("still", [lambda seen: np.zeros(1)], "robustgames/ActionRobustInvertedPendulum-v0")
    found, figures = examine(still, Examination(("friction=0.5,1", "mass=1,2"), episodes=1))
    assert found["robustness"]["idle"] == {"friction": "no two geoms of the model touch with friction"}
    assert set(found["robustness"]["sweep"]["axes"]) == {"mass"} and set(figures) == {"robustness"}
    assert found["random_adversary"]["alpha"] == 0.1


def test_grids_of_three_axes_have_numbers_but_no_picture():
    still = Subject("still", [lambda seen: np.zeros(1)], PENDULUM)
    found, figures = examine(still, Examination(("mass=1,2", "length=1,2", "gravity=1,2"), episodes=1))
    assert figures == {} and np.shape(found["robustness"]["sweep"]["returns"]) == (1, 2, 2, 2, 1)
    assert draw_sweeps({"a": Sweep.from_dict(found["robustness"]["sweep"])}) == {}


def test_words_of_a_grid():
    assert parse_grid(["tessler-mass"]) == "tessler-mass"
    assert parse_grid(["mass:torso=0.5,2", "friction=1"]) == {("mass", "torso"): (0.5, 2.0), "friction": (1.0,)}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--grid", "tesler-mass"], "unknown grid 'tesler-mass': did you mean tessler-mass"),
        (["--grid", "mas=1,2"], "unknown axis of a perturbation 'mas': did you mean mass"),
        (["--grid", "mass=1,x"], "the grid has 'mass=1,x': a name such as"),
        (["--grid", "mass=0,1"], "mass is 0.0: a relative scale is positive"),
        (["--episodes", "0"], "episodes is 0: a whole number of at least 1"),
        (["--best-response", "-1"], "best_response is -1"),
        (["--perturbation", "mass=2"], "--perturbation is that of a video: --video episode.gif"),
        (["--video", "a.avi"], "a.avi is neither .gif nor .mp4"),
        (["--video", "a.gif", "--perturbation", "mass=1,2"], "a video has one perturbation"),
        (["--env", PENDULUM], "--env is for models of Stable-Baselines3"),
    ],
)
def test_wrong_words_are_told_in_one_line(run, words, error, capsys):
    assert cli.main(["evaluate", str(run), *words]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert error in said and "Traceback" not in said


def test_wrong_models_and_flags_are_told(tmp_path, capsys):
    (tmp_path / "no.zip").write_bytes(b"PK")
    assert cli.main(["evaluate", str(tmp_path / "no.zip")]) == 2
    assert "does not name its env: robustgames evaluate" in " ".join(capsys.readouterr().err.split())
    assert cli.main(["evaluate", str(tmp_path / "no.zip"), "--env", PENDULUM]) == 2
    assert "is not a model of TD3" in " ".join(capsys.readouterr().err.split())
    words = ["train", "gda", "robustgames/Bilinear-v0", "--steps", "10", "--runs", "1", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    folder = next(tmp_path.glob("Bilinear-v0/*/*"))
    assert cli.main(["evaluate", str(folder), "--best-response", "100"]) == 2
    assert "--best-response is for runs of control" in " ".join(capsys.readouterr().err.split())
    DDPG("MlpPolicy", "Pendulum-v1", device="cpu").save(tmp_path / "small.zip")
    words = ["evaluate", str(tmp_path / "small.zip"), "--algorithm", "DDPG", "--env"]
    assert cli.main([*words, "robustgames/ActionRobustHopper-v0"]) == 2
    assert "the model maps observations (3,)" in " ".join(capsys.readouterr().err.split())


def test_models_are_judged_under_any_coupling(tmp_path):
    DDPG("MlpPolicy", "Pendulum-v1", device="cpu").save(tmp_path / "m.zip")
    words = ["evaluate", str(tmp_path / "m.zip"), "--algorithm", "DDPG", "--env", PENDULUM, "--grid", "mass=1,2"]
    assert cli.main([*words, "--episodes", "1", "--set", "coupling=observation", "eps=0.1"]) == 0
