"""`robustgames evaluate` on runs of control and on models of Stable-Baselines3."""

import json

import numpy as np
import pytest
from stable_baselines3 import DDPG, PPO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import robustgames as rg
from robustgames import cli
from robustgames.cli.result_table import report, report_robustness
from robustgames.envs.control.grid_words import parse_bounds, parse_grid
from robustgames.evaluation.metrics import METRICS, metric_of, pgd_accuracy
from robustgames.evaluation.robustness import Sweep
from robustgames.evaluation.rollouts import play
from robustgames.evaluation.worst_case import WorstCase
from robustgames.experiment import Examination, GameExperiment
from robustgames.experiment.examination import Subject, draw_sweeps, examine
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


def test_the_same_quantity_has_one_number(run, capsys):
    """By default the return, the nominal point and the return without an adversary are of the same ten starts."""
    assert cli.main(["evaluate", str(run), "--grid", "mass=1,2"]) == 0
    result, said = json.loads((run / "evaluation.json").read_text()), capsys.readouterr().out
    random, found = result["random_adversary"], result["robustness"]
    assert result["metrics"]["return"]["runs"] == pytest.approx(found["per_run"]["nominal"])
    assert random["per_run"]["without"] == pytest.approx(found["per_run"]["nominal"]) and random["episodes"] == 10
    assert np.shape(found["sweep"]["returns"]) == (2, 2, 10)
    assert found["summary"]["nominal"][1:] == [None, None]  # two runs have no interval: each is printed
    numbers = " ".join(f"{value:.4g}" for value in found["per_run"]["nominal"]).replace(" ", ", ")
    assert f"({numbers})" in said and "nan" not in said
    assert "starts of every run: 10" in said and "CVaR" not in said and "no adversary, 10 episodes" not in said
    assert str(run / "figures" / "robustness.png") in said


def test_few_starts_of_a_grid_leave_ten_for_the_nominal_env(run, capsys):
    """The return, and what random adversaries leave of it, are of ten starts; the cell of two is not printed."""
    assert cli.main(["evaluate", str(run), "--grid", "mass=1,2", "--episodes", "2"]) == 0
    result, said = json.loads((run / "evaluation.json").read_text()), capsys.readouterr().out
    random = result["random_adversary"]
    assert random["per_run"]["without"] == pytest.approx(result["metrics"]["return"]["runs"])
    lines = [" ".join(line.replace("│", " ").split()) for line in said.splitlines()]
    assert random["episodes"] == 10 and "starts of every run 10" in lines
    [row] = [line for line in lines if line.startswith("nominal, no adversary")]
    assert row.startswith(f"nominal, no adversary, 10 starts {random['without'][0]:.4g} (")
    assert sum(line.startswith("random ") and "10 starts" in line for line in lines) == 2


def test_a_best_response_to_one_run_has_counts_and_no_interval(tmp_path, capsys):
    best = {"algorithm": "TD3", "steps": 60, "exploitability": [12.3, 1.0, 24.0], "starts": 10, "harmed": 9}
    report_robustness({**row_of(1), "best_response": best}, tmp_path / "none.png")
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "exploitability of run 0 (TD3, 60 steps) 12.3, harmed in 9 of 10 starts" in said and "[" not in said


def row_of(runs):
    rng = np.random.default_rng(0)
    returns = rng.normal(-140, 5, (runs, 11, 10))
    swept = Sweep("Toy-v0", {"mass": tuple(np.linspace(0.5, 1.5, 11))}, returns)
    interval, each = [-140.0, *((-145.0, -135.0) if runs >= 5 else (np.nan, np.nan))], returns.mean((1, 2)).tolist()
    random = {"alpha": 0.1, "without": interval, "mixing": interval, "replacement": interval}
    found = {"summary": {"nominal": interval, "cvar": interval}, "per_run": {"nominal": each, "cvar": each}}
    found |= {"nominal_point": swept.nominal_point, "idle": {}, "sweep": swept.to_dict()}
    return {"robustness": found, "random_adversary": {**random, "per_run": dict.fromkeys(random, each)}}


@pytest.mark.parametrize(("runs", "part"), [(1, "mean of 1 run "), (4, "(each run)"), (5, "[95 % interval]")])
def test_intervals_are_printed_from_five_runs_on(runs, part, tmp_path, capsys):
    report_robustness(row_of(runs), tmp_path / "none.png")
    said = capsys.readouterr().out
    assert part in said and ("[-145, -135]" in said) == (runs >= 5)
    assert "CVaR" in said and "figure" not in said  # of 11 points it is not the worst one


def test_a_model_of_stable_baselines_is_judged_by_the_same_command(tmp_path, capsys):
    """With the same weights, one on the env itself and one on a view play alike: actions leave their own box."""
    own = DDPG("MlpPolicy", "Pendulum-v1", seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    view = rg.PlayerView(PENDULUM, "protagonist", "random")
    seen = DDPG("MlpPolicy", view, seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    returns = [play(PENDULUM, policy_of(model, PENDULUM), episodes=2).returns for model in (own, seen)]
    assert np.allclose(*returns, rtol=1e-5)
    own.save(tmp_path / "own.zip")
    words = [
        "evaluate",
        str(tmp_path / "own.zip"),
        "--env",
        PENDULUM,
        "--algorithm",
        "DDPG",
        "--episodes",
        "2",
        "--trust",
    ]
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


def test_grids_of_three_axes_and_more_have_pictures():
    still = Subject("still", [lambda seen: np.full(1, 0.5)], PENDULUM)  # without torque the mass has no effect
    axes = ["mass=1,2", "length=1,2", "gravity=1,2"]
    found, figures = examine(still, Examination(tuple(axes), episodes=1))
    swept = Sweep.from_dict(found["robustness"]["sweep"])
    assert swept.returns.shape == (1, 2, 2, 2, 1)
    assert len(figures["robustness"].axes) == 4  # three planes and the bar of their colors
    found, figures = examine(still, Examination((*axes, "action_noise=0,1"), episodes=1))
    assert len(figures["robustness"].axes) == 1
    lines = figures["robustness"].axes[0].collections[0].get_segments()
    assert np.shape(lines) == (16, 5, 2)
    alike = Sweep("Toy-v0", {}, np.ones((1, 1)))
    assert draw_sweeps({"a": alike}) == {}


def test_the_worst_point_of_every_run_is_searched_for(run, capsys):
    words = ["--grid", "mass=0.5,1,2", "--episodes", "1", "--worst-case", "mass,damping", "--budget", "6"]
    assert cli.main(["evaluate", str(run), *words]) == 0
    shown = capsys.readouterr().out
    assert "worst of 6 points of a search" in shown and "that point, 1 other start" in shown
    found = json.loads((run / "evaluation.json").read_text())
    search = WorstCase.from_dict(found["worst_case"]["search"])
    assert search.points.shape == (2, 6, 1) and search.idle == {"damping": "the env has no damping"}
    grid, worst = (np.array(found[name]["per_run"]["worst"]) for name in ("robustness", "worst_case"))
    assert (worst <= grid).all()  # the search begins with the worst point of the grid, on the same starts
    assert "damping left out: the env has no damping" in shown
    for k, point in enumerate(search.worst_points):
        assert f"worst case of run {k}: mass {point['mass']:.4g}" in shown
    assert (run / "figures" / "worst_case.png").is_file() and not (run / "worst_case.jsonl").exists()


def test_observations_of_a_run_and_of_a_model_are_attacked(run, tmp_path, capsys):
    words = ["--grid", "mass=1,2", "--episodes", "1", "--eps", "0.25", "--observation-attack"]
    assert cli.main(["evaluate", str(run), *words, "random", "mad", "critic"]) == 0
    shown = capsys.readouterr().out
    for label in ("random", "mad", "critic", "strongest"):
        assert f"observation attack {label}, eps 0.25" in shown
    found = json.loads((run / "evaluation.json").read_text())["observation_attacks"]
    each = found["per_run"]
    [row] = [line for line in shown.splitlines() if "no observation attack" in line]  # other rows have 10 starts
    assert f"{np.mean(each['nominal']):.4g} ({', '.join(f'{value:.4g}' for value in each['nominal'])})" in row
    assert len(found["scale"]) == 2 and len(found["scale"][0]) == 3
    assert each["worst"] == [min(each[name][k] for name in ("random", "mad", "critic")) for k in range(2)]
    DDPG("MlpPolicy", "Pendulum-v1", device="cpu", seed=0).save(tmp_path / "m.zip")
    model = ["evaluate", str(tmp_path / "m.zip"), "--trust", "--algorithm", "DDPG", "--env", PENDULUM]
    assert cli.main([*model, *words, "critic"]) == 0
    assert "observation attack critic, eps 0.25" in capsys.readouterr().out


def test_policies_of_a_run_and_of_a_model_are_certified(run, tmp_path, capsys):
    words = ["--grid", "mass=1,2", "--episodes", "1", "--eps", "0.1", "--certify", "all", "--certify-episodes", "30"]
    assert cli.main(["evaluate", str(run), *words, "--smoothing", "0.2"]) == 0
    shown = capsys.readouterr().out
    assert "action change at eps 0.1: at most" in shown and "mean return, mean of 2" in shown
    found = json.loads((run / "evaluation.json").read_text())["policy_certificates"]
    actions, returns = (found[name]["per_run"] for name in ("actions", "returns"))
    for name in ("mean", "largest"):
        assert all(a <= c for a, c in zip(actions[f"attacked_{name}"], actions[name], strict=True))
    assert found["returns"]["budgets"] == [0.0, 0.1, 0.2, 0.4] and len(returns["mean"]) == 2
    for mean, bounds in zip(returns["mean"], returns["certified_mean"], strict=True):
        assert mean >= bounds[0] > bounds[1] > bounds[2] > bounds[3] >= -3254.73
    PPO("MlpPolicy", "Pendulum-v1", device="cpu", seed=0).save(tmp_path / "m.zip")
    model = ["evaluate", str(tmp_path / "m.zip"), "--trust", "--algorithm", "PPO", "--env", PENDULUM]
    assert cli.main([*model, *words]) == 0
    assert "bounds of actions left out: this policy has no network" in capsys.readouterr().out


def test_without_an_axis_that_acts_no_figure_of_an_earlier_grid_is_named(run, capsys):
    for grid, named in (("mass=0.5,1", True), ("friction=1,2", False)):
        assert cli.main(["evaluate", str(run), "--grid", grid, "--episodes", "1"]) == 0
        shown = capsys.readouterr().out
        assert ("robustness.png" in shown) == named and ("no adversary: no axis" in shown) != named


def test_words_of_a_worst_case():
    assert parse_bounds(["mass,friction:foot", "action_noise"]) == {
        "mass": (0.5, 2.0),
        ("friction", "foot"): (0.5, 2.0),
        "action_noise": (0.0, 0.5),
    }
    assert parse_bounds(["mass=0.1,3", "gravity"]) == {"mass": (0.1, 3.0), "gravity": (0.5, 2.0)}
    assert parse_bounds(["rrls-hopper-3d"]) == "rrls-hopper-3d"


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
        (["--worst-case", "mas,friction"], "unknown axis or set of a worst case 'mas': did you mean mass"),
        (["--worst-case", "mass=1,2,3"], "the worst case has mass=1,2,3: two bounds"),
        (
            ["--worst-case", "mass:pole=2"],
            "the worst case has mass:pole=2: two bounds, the lower first, e.g. mass:pole=0.5",
        ),
        (["--worst-case", "mass=2,1"], "two bounds, the lower first, e.g. mass=0.5,2"),
        (["--worst-case", "mass=0,1"], "mass is 0.0: a relative scale is positive"),
        (["--worst-case", "mass,mass"], "the grid has mass twice"),
        (["--worst-case", "mass", "--budget", "0"], "budget is 0: a whole number of at least 1"),
        (["--certify", "action"], "unknown certificate of policies 'action': did you mean actions"),
        (["--certify", "actions"], "no radius is published for Pendulum-v1 (only Hopper 0.075"),
        (["--certify", "returns", "--smoothing", "0"], "smoothing is 0.0: a smoothed policy has noise > 0"),
        (["--observation-attack", "madd"], "unknown observation attack 'madd': did you mean mad"),
        (["--observation-attack", "mad"], "no radius is published for Pendulum-v1 (only Hopper 0.075"),
        (["--observation-attack", "all", "--eps", "-1"], "eps is -1.0: the radius of an attack is finite"),
        (["--workers", "0"], "workers is 0: a whole number of at least 1"),
        (["--perturbation", "mass=2"], "--perturbation is that of a video: --video episode.gif"),
        (["--video", "a.avi"], "a.avi is neither .gif nor .mp4"),
        (["--video", "a.gif", "--perturbation", "mass=1,2"], "a video has one perturbation"),
        (["--env", PENDULUM], "--env is for models of Stable-Baselines3"),
        (["--budget", "50"], "--budget is that of --worst-case: add --worst-case mass,friction, or leave it out"),
        (["--budget", "200"], "--budget is that of --worst-case"),  # the default, typed: it has no use either
        (["--eps", "0.1"], "--eps is that of --observation-attack and --certify actions: add --observation-attack all"),
        (["--certify", "returns", "--eps", "0.1"], "--eps is that of --observation-attack and --certify actions"),
        (["--smoothing", "0.2"], "--smoothing is that of --certify returns: add --certify returns, or leave it out"),
        (["--certify", "actions", "--smoothing=0.2"], "--smoothing is that of --certify returns"),
        (["--certify-episodes", "50"], "--certify-episodes is that of --certify returns: add --certify returns"),
        (["--algorithm", "PPO"], "--algorithm is that of --best-response: add --best-response 10000, or leave it out"),
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
    assert cli.main(["evaluate", str(tmp_path / "no.zip"), "--env", PENDULUM, "--trust"]) == 2
    assert "is not a model of TD3" in " ".join(capsys.readouterr().err.split())
    words = ["train", "gda", "robustgames/Bilinear-v0", "--steps", "10", "--runs", "1", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    folder = next(tmp_path.glob("Bilinear-v0/*/*"))
    assert cli.main(["evaluate", str(folder), "--best-response", "100"]) == 2
    assert "--best-response is for runs of control" in " ".join(capsys.readouterr().err.split())
    DDPG("MlpPolicy", "Pendulum-v1", device="cpu").save(tmp_path / "small.zip")
    words = ["evaluate", str(tmp_path / "small.zip"), "--trust", "--algorithm", "DDPG", "--env"]
    assert cli.main([*words, "robustgames/ActionRobustHopper-v0"]) == 2
    assert "the model maps observations (3,)" in " ".join(capsys.readouterr().err.split())


def test_models_are_judged_under_any_coupling(tmp_path):
    DDPG("MlpPolicy", "Pendulum-v1", device="cpu").save(tmp_path / "m.zip")
    words = [
        "evaluate",
        str(tmp_path / "m.zip"),
        "--trust",
        "--algorithm",
        "DDPG",
        "--env",
        PENDULUM,
        "--grid",
        "mass=1,2",
    ]
    assert cli.main([*words, "--episodes", "1", "--set", "coupling=observation", "eps=0.1"]) == 0


# -- help, contracts, tables ------------------------------------------------------------------------------------
def help_of(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_shows_the_flags_that_apply(run, tmp_path, capsys):
    assert cli.main(["evaluate", "--help"]) == 0
    usage = capsys.readouterr().out
    assert all(part in usage for part in ("evaluate RUN", "MODEL.zip --env", "--best-response"))
    of_control, of_model = help_of(["evaluate", str(run)], capsys), help_of(["evaluate", "any.zip"], capsys)
    assert "--grid" in of_control and "--env" not in of_control and "MODEL.zip" not in of_control
    assert "--grid" in of_model and "--env" in of_model and "MODEL.zip" in of_model
    words = ["train", "gda", "robustgames/Bilinear-v0", "--steps", "10", "--runs", "1", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    folder = next(tmp_path.glob("Bilinear-v0/*/*"))
    capsys.readouterr()
    of_game = help_of(["evaluate", str(folder)], capsys)
    assert "RUN" in of_game and "--grid" not in of_game and "--env" not in of_game


def test_flags_may_come_before_the_run_but_not_without_one(run, capsys):
    assert cli.main(["evaluate", "--env", "x", str(run)]) == 2
    assert "--env is for models of Stable-Baselines3" in " ".join(capsys.readouterr().err.split())
    assert cli.main(["evaluate", "--episodes", "2"]) == 2
    assert "name the run first, robustgames evaluate RUN --episodes 2" in " ".join(capsys.readouterr().err.split())


def test_a_game_refuses_the_examination_of_control(tmp_path):
    experiment = GameExperiment("gda", "robustgames/Bilinear-v0", steps=4, runs=2, device="cpu")
    agent = experiment.make_agent()
    assert list(experiment.examine(agent, tmp_path, Examination())) == ["verdicts"]
    with pytest.raises(rg.GameError, match=r"episodes=3.* is for runs of control, robustgames/Bilinear-v0 is a game"):
        experiment.examine(agent, tmp_path, Examination(episodes=3))


def test_evaluate_draws_and_animates_a_game(tmp_path, capsys):
    words = ["train", "optimistic_mwu", "robustgames/RockPaperScissors-v0", "--steps", "40", "--runs", "2"]
    assert cli.main([*words, "--out", str(tmp_path)]) == 0
    folder, film = next(tmp_path.glob("RockPaperScissors-v0/*/*")), tmp_path / "path.gif"
    for picture in (folder / "figures").iterdir():
        picture.unlink()
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder), "--animate", str(film)]) == 0
    said = capsys.readouterr().out
    assert f"figures      {folder / 'figures'}: learning_curves, simplices" in said and str(film) in said
    assert film.read_bytes()[:3] == b"GIF"
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    assert {"figures/animation", "figures/simplices"} <= set(events.Tags()["images"])
    assert cli.main(["evaluate", str(folder), "--animate", "path.avi"]) == 2
    assert "path.avi is neither .gif nor .mp4" in capsys.readouterr().err


def test_games_without_paths_or_generators_have_no_animation(tmp_path, capsys):
    words = ["train", "gda", "robustgames/Bilinear-v0", "--set", "n=3", "--steps", "10", "--runs", "1"]
    assert cli.main([*words, "--out", str(tmp_path)]) == 0
    folder = next(tmp_path.glob("Bilinear-v0/*/*"))
    assert cli.main(["evaluate", str(folder), "--animate", str(tmp_path / "a.gif")]) == 2
    assert "has no animation: small games and GANs have one" in " ".join(capsys.readouterr().err.split())


def row(mean, std):
    return {"mean": mean, "std": std, "runs": [mean, mean]}


def test_a_table_shows_units_and_rounds_the_mean_to_its_spread(tmp_path, capsys):
    metrics = {
        "pgd40_accuracy": row(0.8664, 0.0091),
        "reverse_kl": row(0.4859, 0.1),
        "payoff": row(-0.0001166, 0.00029),
        "residual": row(4.859, 10.2),
        "my_loss": row(2.0, 0.0),
    }
    old = {"agent": "gda", "env": "m:mine/Ridge-v0", "runs": 2, "timesteps": 1234, "game": "Ridge(n=3)", "diverged": 0}
    report([{**old, "start": {}, "metrics": metrics}], [tmp_path])  # results of 0.1.0 have no settings
    lines = [" ".join(line.replace("│", " ").split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "mine/Ridge-v0, mean ± std over 2 runs"
    for line in (
        "PGD-40 accuracy 86.6 ± 0.9 %",
        "reverse KL 0.49 ± 0.10 nats",
        "payoff -0.00012 ± 0.00029",
        "residual 5 ± 10",
        "my loss 2 ± 0",
        "oracle calls 1,234",
    ):
        assert line in lines
    report([{**old, "settings": {"n": 3, "eps": 0.1}, "start": {}, "metrics": metrics}], [tmp_path])
    assert capsys.readouterr().out.startswith("mine/Ridge-v0 (n=3, eps=0.1), mean ± std over 2 runs")


def test_every_metric_names_its_unit_and_direction():
    assert all(name == metric.name for name, metric in METRICS.items())
    assert pgd_accuracy(7).label == "PGD-7 accuracy" and metric_of("pgd40_accuracy") == pgd_accuracy(40)
    assert metric_of("residual").better == "lower" and metric_of("return").better == "higher"
    assert (metric_of("theirs").label, metric_of("theirs").unit, metric_of("theirs").better) == ("theirs", "", None)
