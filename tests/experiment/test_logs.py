"""What TensorBoard and notebooks show of a run folder."""

import csv
import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from robustgames.agents import M2TD3, AlternatingTD3
from robustgames.errors import GameError
from robustgames.evaluation.rollouts import play
from robustgames.experiment import ControlExperiment, GameExperiment, Result, evaluate, load, logs, resume, train
from robustgames.experiment.logs import RunLogger
from robustgames.experiment.return_curve import ReturnCurve

SMALL = {"hidden": (8, 8), "learning_starts": 20, "batch_size": 8}


@pytest.fixture(scope="module")
def game(tmp_path_factory):
    settings = {"lr": 0.05}
    experiment = GameExperiment(
        "extra_adam", "robustgames/DiracGAN-v0", settings=settings, average="uniform", steps=160, runs=3, device="cpu"
    )
    return train(experiment, tmp_path_factory.mktemp("runs"), progress_bar=False)


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    experiment = ControlExperiment(
        "robust_ddpg",
        "robustgames/ActionRobustPendulum-v0",
        settings=SMALL,
        env_settings={"alpha": 0.3},
        steps=450,
        runs=2,
    )
    return train(experiment, tmp_path_factory.mktemp("runs"), progress_bar=False)


def events_of(folder):
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_the_folder_is_named_by_the_settings(game):
    folder = game[0]
    assert "-lr=0.05-average=uniform-seed0" in folder.name and folder.name[8] == "-"


def test_tensorboard_has_hyper_parameters_with_their_metrics(game):
    events = events_of(game[0])
    data = HParamsPluginData.FromString(events.summary_metadata["_hparams_/session_start_info"].plugin_data.content)
    chosen = data.session_start_info.hparams
    assert chosen["lr"].number_value == 0.05 and chosen["agent"].string_value == "extra_adam"
    told = HParamsPluginData.FromString(events.summary_metadata["_hparams_/experiment"].plugin_data.content)
    metrics = {info.name.tag for info in told.experiment.metric_infos}
    assert metrics == {"eval/distance", "eval/payoff", "eval/residual"} <= set(events.Tags()["scalars"])


def test_tensorboard_has_the_config_and_the_command(game):
    [event] = events_of(game[0]).Tensors("run/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    assert text.startswith(
        "`robustgames train extra_adam robustgames/DiracGAN-v0 --lr 0.05 --average uniform --no-anneal --steps 160"
    )
    body = "\n".join(line[4:] for line in text.splitlines()[2:])
    assert yaml.safe_load(body) == yaml.safe_load((game[0] / "config.yaml").read_text())


def test_tensorboard_has_the_spread_of_the_runs(game):
    events, (folder, result) = events_of(game[0]), game
    last = {name: events.Scalars(name)[-1].value for name in events.Tags()["scalars"]}
    runs = result["metrics"]["distance"]["runs"]
    shown = [last[name] for name in ("spread/eval/distance/min", "eval/distance", "spread/eval/distance/max")]
    assert shown == pytest.approx([min(runs), sum(runs) / 3, max(runs)], rel=1e-5)
    [layout] = events.Tensors("custom_scalars__config__")
    charts = Layout.FromString(layout.tensor_proto.string_val[0]).category[0].chart
    bands = {chart.title: chart.margin.series[0] for chart in charts}
    assert bands["eval/distance"].lower == "spread/eval/distance/min" and len(bands) == 6
    with open(folder / "progress.csv") as file:
        assert not any("spread" in name for name in csv.DictReader(file).fieldnames)


def test_tensorboard_has_figures_of_several_steps(game):
    assert [image.step for image in events_of(game[0]).Images("figures/phase_portrait")] == [20, 40, 80, 160]


def test_a_saved_run_has_its_path_and_average(game):
    experiment, agent = load(game[0])
    path = experiment._path(agent, experiment.restored(agent))
    assert path["trajectory"].shape == path["average"].shape == (81, 3, 2)  # two calls a step
    assert torch.equal(path["trajectory"][-1], agent.z) and torch.equal(path["average"][-1], agent.best())
    torch.testing.assert_close(path["average"][-1], path["trajectory"][1:].mean(0), rtol=0, atol=0.2)


@pytest.mark.parametrize(
    "damage", [{"points": torch.zeros(3)}, {"points": torch.zeros(4, 3, 5)}, {"stride": 0}, {"stride": "x"}, None]
)
def test_a_damaged_path_is_an_error_of_one_line(game, damage):
    experiment, agent = load(game[0])
    state = agent.callback_states["Recorder"]
    agent.callback_states = {
        "Recorder": {} if damage is None else {**state, "averages": state["averages"][:0], **damage}
    }
    with pytest.raises(GameError, match="checkpoint"):
        experiment._path(agent, experiment.restored(agent))


def test_a_resumed_run_continues_its_path(game, tmp_path):
    experiment, whole = load(game[0])
    first = dataclasses.replace(experiment, steps=80)
    folder, _ = train(first, tmp_path, progress_bar=False)
    resume(folder, progress_bar=False, steps=160)
    _, resumed = load(folder)
    paths = [experiment._path(agent, experiment.restored(agent)) for agent in (whole, resumed)]
    assert torch.equal(paths[0]["trajectory"], paths[1]["trajectory"]) and paths[0]["dt"] == paths[1]["dt"]


def test_evaluate_draws_the_figures_of_a_game(game):
    for picture in (drawn := game[0] / "figures").iterdir():
        picture.unlink()
    evaluate(game[0])
    assert {picture.name for picture in drawn.iterdir()} == {"phase_portrait.png", "learning_curves.png"}


def test_no_panel_is_flat(control):
    scalars = {name: events_of(control[0]).Scalars(name) for name in events_of(control[0]).Tags()["scalars"]}
    flat = [n for n, events in scalars.items() if len(events) > 1 and len({e.value for e in events}) == 1]
    assert not [name for name in flat if not name.startswith("time/")]
    assert "rollout/ep_len_mean" not in scalars and "train/diverged_runs" not in scalars
    with open(control[0] / "progress.csv") as file:
        assert {"rollout/ep_len_mean", "train/diverged_runs"} <= set(csv.DictReader(file).fieldnames)


def test_control_logs_returns_without_exploration_and_what_the_critic_expects(control):
    folder, _ = control
    events = events_of(folder)
    last = {name: events.Scalars(name)[-1] for name in events.Tags()["scalars"] if name.startswith(("eval", "train"))}
    experiment, agent = load(folder)
    curve = ReturnCurve(agent, lambda run: experiment._make_env(0.3), 9, 450)
    again = {name: float(value.mean()) for name, value in curve.measure().items()}
    assert {name: last[name].value for name in again} == pytest.approx(again, rel=1e-4)
    assert {"eval/return", "eval/return_under_adversary", "eval/value_at_start", "eval/discounted_return"} == set(again)
    assert last["eval/return"].step == 450 and {
        "train/payoff",
        "train/q_of_protagonist",
        "train/q_of_adversary",
    } <= set(last)
    assert events.Scalars("eval/return")[:-1] == []  # 450 steps pay for no other look
    q = [last[f"train/q_of_{name}"].value for name in ("protagonist", "adversary")]
    assert min(q) - 1 < -last["train/payoff"].value < max(q) + 1  # noisy: Q at a mixture of both actions


def test_the_adversary_of_uncertain_parameters_is_the_worst_candidate():
    small = {"hidden": (8, 8), "learning_starts": 20, "batch_size": 8}

    def make(run):
        return gym.make("robustgames/ActionRobustPendulum-v0", alpha=0.0)

    agent = M2TD3(runs=2, uncertainty="mass=0.5:2,length=0.5:1.5", **small).learn(60)
    found = ReturnCurve(agent, make, 9, 60).measure()
    for run in range(2):
        at_worst = play(make(run), agent.policy(run), 2, perturbation=agent.worst_perturbation(run)).returns.mean()
        assert float(found["eval/return_under_adversary"][run]) == pytest.approx(at_worst, rel=1e-6)
    assert (found["eval/return"] != found["eval/return_under_adversary"]).all()
    assert agent.worst_perturbation(1) == agent.worst_candidate(1)  # of all bodies
    point = M2TD3(uncertainty="mass=1.5:1.5", **small).learn(30)
    assert "eval/return_under_adversary" not in ReturnCurve(point, make, 9, 30).measure()


def test_of_several_adversaries_the_strongest_is_the_one_of_the_curve():
    settings = {"env_id": "Pendulum-v1", "alpha": 0.5}
    agent = AlternatingTD3("robustgames/ActionRobust-v0", env_settings=settings, adversaries=3, runs=2, **SMALL)
    for k, learner in enumerate(agent.adversaries):  # as if they had learned
        learner.z = torch.randn(learner.z.shape, generator=torch.Generator().manual_seed(k))
    curve = ReturnCurve(agent, lambda run: gym.make("robustgames/ActionRobust-v0", **settings), 9, 450)
    assert curve.stride == -(-(1 + 3) * 2 * 200 // 0.6)
    env, found, gamma = gym.make("robustgames/ActionRobust-v0", **settings), curve.measure(), agent.settings.gamma
    each = [[play(env, agent.policy(run), 2, adversary=one) for one in agent.adversaries_of(run)] for run in range(2)]
    means = np.array([[one.returns.mean() for one in row] for row in each])
    assert found["eval/return_under_adversary"].numpy() == pytest.approx(means.min(1), rel=1e-6)
    assert (means.argmin(1) != 0).any() and found["eval/return"].shape == (2,)
    whole = [[discounted(env, agent.policy(run), one, gamma) for one in agent.adversaries_of(run)] for run in range(2)]
    ends = agent.values(torch.tensor(np.array([[x for _, x in row] for row in whole])).flatten(1, 2)).mean(-1).double()
    sums = torch.tensor([[x for x, _ in row] for row in whole], dtype=torch.float64).mean((1, 2))
    assert found["eval/discounted_return"].numpy() == pytest.approx((sums + gamma**200 * ends).numpy(), rel=1e-5)


def discounted(env, policy, adversary, gamma):
    """Return the discounted returns of two episodes, and their last observations."""
    sums, lasts = [], []
    for seed in range(2):
        (seen, _), total, over, k = env.reset(seed=seed), 0.0, False, 0
        while not over:
            seen, reward, terminated, truncated, _ = env.step(
                {"protagonist": policy(seen), "adversary": adversary(seen)}
            )
            total, over, k = total + gamma**k * reward, terminated or truncated, k + 1
        sums.append(total)
        lasts.append(seen)
    return sums, lasts


def rows_of(folder):
    with open(folder / "progress.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "agent, env, metric", [("adam", "GaussianMixture-v0", "eval/modes"), ("robust_ddpg", "", "eval/return")]
)
def test_a_number_of_evaluations_is_obeyed_and_a_resumed_run_has_the_same(agent, env, metric, tmp_path):
    kind, first = (GameExperiment, ["0"]) if env else (ControlExperiment, [])
    experiment = kind(
        agent,
        f"robustgames/{env or 'ActionRobustPendulum-v0'}",
        settings={} if env else SMALL,
        steps=35,
        runs=1,
        evaluations=4,
        checkpoint=1,
    )
    whole, _ = train(experiment, tmp_path / "a", progress_bar=False)
    rows = {row["time/timesteps"]: row[metric] for row in rows_of(whole)}
    assert list(rows) == [*first, "9", "18", "27", "35"] and all(rows.values())
    assert yaml.safe_load((whole / "config.yaml").read_text())["evaluations"] == 4

    agent, part = type(experiment.make_agent()), tmp_path / "b"
    before = agent._called
    with pytest.MonkeyPatch.context() as stop, pytest.raises(ZeroDivisionError):
        stop.setattr(agent, "_called", lambda self, given: before(self, given) if self.num_timesteps < 20 else 1 / 0)
        train(experiment, part, progress_bar=False)
    [folder] = [path.parent for path in part.rglob("config.yaml")]
    resume(folder, progress_bar=False)
    found = {}
    for path in sorted(folder.glob("progress*.csv")):
        with open(path) as file:
            found |= {row["time/timesteps"]: row[metric] for row in csv.DictReader(file)}
    assert found == rows


def test_looks_depend_on_the_timestep_alone(control):
    _, agent = load(control[0])
    curve = ReturnCurve(agent, lambda run: None, interval=100, last=10_000)
    assert curve.stride == -(-2 * 2 * 200 // 0.6)  # two opponents, two starts, 200 steps
    looks = []
    curve.measure = lambda: looks.append(agent.num_timesteps) or {}
    for agent.num_timesteps in range(100, 10_001, 100):
        curve()
    assert looks == [1400, 2700, 4100, 5400, 6700, 8100, 9400, 10_000]


def test_results_and_agents_show_as_tables(game, control):
    result, (_, agent) = game[1], load(game[0])
    assert isinstance(result, Result) and repr(result).startswith(
        "extra_adam on robustgames/DiracGAN-v0, 3 runs, 160 or"
    )
    html = result._repr_html_()
    assert html.count("<tr>") == 1 + len(result["metrics"]) and ">start</th>" in html and "residual" in html
    assert repr(agent) == f"GameAgent(DiracGAN(), {agent.solver!r}, 3 runs, seed 0, cpu, 160 oracle calls)"
    assert "<td style='text-align: left'>160 oracle calls</td>" in agent._repr_html_()
    _, other = load(control[0])
    assert repr(other).startswith("RobustDDPG(Pendulum-v1 with noisy adversary, alpha 0.3, ")
    assert "at 0x" not in repr(other) + repr(agent) + repr(agent.game)
    assert "Φ(x, y)" in agent.game._repr_html_() or "generator" in agent.game._repr_html_()


def test_a_log_is_one_event_that_waits_until_it_is_flushed(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "PATIENCE", 1000.0)
    logger = RunLogger(tmp_path, "")
    for step in range(3):  # the first one is on the disk at once
        logger.record("a/x", float(step)), logger.record("a/hidden", 1.0, exclude="tensorboard")
        logger.record("b/y", np.float32(2 * step), exclude="csv")
        logger.dump(step)
    path = next(tmp_path.glob(logs.EVENTS))
    numbers = [[v.tag for v in event.summary.value] for event in logs._events(path) if event.HasField("summary")]
    assert numbers[0] == ["a/x", "b/y"] and len(numbers) == 1
    logger.flush()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("b/y")] == [(0, 0.0), (1, 2.0), (2, 4.0)]
    assert events.Tags()["scalars"] == ["a/x", "b/y"]
    logger.close()
    logger.close()
    assert (tmp_path / "progress.csv").read_text().splitlines()[0].count("a/") == 2
