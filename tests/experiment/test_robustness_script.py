"""The experiment on robustness from start to end: trained, resumed, evaluated elsewhere, wrong input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from robustgames.errors import DivergedError

SCRIPT = Path(__file__).parents[2] / "scripts" / "robustness.py"
SMALL = "--env InvertedPendulum-v5 --seeds 2 --steps 60 --learning-starts 20 --hidden 8 8 --batch-size 8 --episodes 1"
GRID = "--grid mass=1,2 friction=0.5,1 action_noise=0,0.3"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def main(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import robustness
    import tyro
    from robust_control.options import Options

    return lambda words: robustness.main(tyro.cli(Options, args=words.split()))


def test_every_method_is_trained_played_attacked_and_compared(tmp_path, main, capsys):
    attack = "--best-response 30 --best-response-runs 1 --attack-episodes 1"
    words = f"--methods td3 pr_td3 replacement sb3_td3 {SMALL} {GRID} {attack}"
    done = subprocess.run([sys.executable, SCRIPT, *words.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "robustness"
    assert {"heat_maps.png", "over_mass.png", "over_action_noise.png", "table.md"} <= {p.name for p in out.iterdir()}
    text = (out / "table.md").read_text()
    assert (
        "Axis without effect on InvertedPendulum-v5, left out: friction" in text and "No verdict over 2 runs:" in text
    )
    for pair in ("| PR-TD3 | TD3 |", "| PR-TD3 | random replacement |", "| random replacement | TD3 |"):
        assert pair in text
    assert "CVaR" not in text  # of so few cells it is the worst one
    assert "| TD3 of SB3 | random replacement |" not in text and "30 steps of TD3" in text
    swept = json.loads((out / "sweeps" / "pr_td3.json").read_text())["sweep"]
    assert list(swept["axes"]) == ["mass", "action_noise"] and swept["idle"] and len(swept["returns"]) == 2

    # as it stands nothing is trained again; what was lost is computed again, with the same numbers
    (out / "sweeps" / "pr_td3.json").unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("checkpoint.safetensors")}
    assert main(words) == 0 and (out / "table.md").read_text() == text
    assert {path: path.stat().st_mtime_ns for path in out.rglob("checkpoint.safetensors")} == kept

    # other settings are not mixed in
    assert main(f"{words} --tau 0.5") == 2
    assert "training.agent.tau 0.01 and not 0.5" in capsys.readouterr().err
    shutil.rmtree(out / "sweeps")
    assert main(f"--methods td3 {SMALL} --tau 0.5") == 2

    # the policies are played on another grid, from their folders or as run folders
    elsewhere = f"--training robustness/training {SMALL} --grid gravity=0.5,1 --out other"
    run = next((out / "training" / "pr_td3").rglob("config.yaml")).parent
    assert main(f"--methods td3 --runs-from mine={run} {elsewhere}") == 0
    found = [json.loads((tmp_path / "other" / "sweeps" / f"{name}.json").read_text()) for name in ("td3", "mine")]
    assert found[0]["steps"] == found[1]["steps"] == 60
    assert "| mine | TD3 |" in (tmp_path / "other" / "table.md").read_text()
    capsys.readouterr()
    assert main(f"--runs-from td3={run} {elsewhere}") == 2
    assert "give it a name of its own" in capsys.readouterr().err


def test_agents_of_uncertain_parameters_are_compared_with_the_control_that_draws_them(tmp_path, main):
    words = f"--methods dr_td3 m2td3 {SMALL} --uncertainty mass:pole=0.5:2 --grid mass=1,2"
    assert main(words) == 0
    text = (tmp_path / "robustness" / "table.md").read_text()
    assert "| M2TD3 | domain randomization |" in text
    settings = json.loads((tmp_path / "robustness" / "training" / "m2td3" / "settings.json").read_text())
    assert settings["uncertainty"] == "mass:pole=0.5:2"


def test_players_that_learn_in_turns_have_the_protagonist_s_steps_of_the_others(tmp_path, main):
    assert main(f"--methods td3 rarl forces {SMALL} --grid mass=1,2") == 0
    text = (tmp_path / "robustness" / "table.md").read_text()
    assert "| RARL | random forces |" in text and "| TD3 | 0 | 60 |" in text and "| random forces |  | 60 |" in text
    assert "| RARL |  | 120 |" in text and "Half of the env steps of RARL are those of the adversaries." in text
    assert "not on equal terms" not in text
    settings = json.loads((tmp_path / "robustness" / "training" / "rarl" / "settings.json").read_text())
    assert "alpha" not in settings and settings["steps"] == 60


@pytest.mark.parametrize(
    "words, message",
    [
        ("--methods pr_tdd", "did you mean pr_td3"),
        ("--methods", "no method: give some"),
        ("--grid mas=1,2", "did you mean mass?"),
        ("--grid mass=a", "mass=0.5,1,2"),
        ("--grid mass=-1", "a relative scale is positive"),
        ("--env CartPole-v1", "this agent needs a Box"),
        ("--methods td3 rarl", "Pendulum-v1 has no bodies to push"),
        ("--alpha 2", "lies in [0, 1]"),
        ("--alpha 0", "nr_td3 would have no adversary"),
        ("--seeds 0", "seeds is 0"),
        ("--runs-from td3", "NAME=RUN_FOLDER"),
        ("--runs-from td3=nowhere", "no config.yaml"),
        ("--methods sb3_td3 --critic-lr 0.01", "give the same twice"),
        ("--attack-coupling nois", "did you mean noisy"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_trained(tmp_path, main, capsys, words, message):
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("agent", "env", "settings", "found"),
    [
        ("m2td3", {}, {}, ("", "learned", 0.0, "robust")),
        ("sa_td3", {}, {}, ("", "learned", 0.0, "plain")),
        ("rarl", {}, {}, ("force", "learned", float("nan"), "robust")),
        ("atla", {"eps": 0.1}, {"adversary": "random"}, ("observation", "random", float("nan"), "control")),
        ("robust_td3", {"coupling": "probabilistic", "alpha": 0.3}, {}, ("probabilistic", "learned", 0.3, "robust")),
    ],
)
def test_the_coupling_and_the_share_of_a_run_folder_are_those_it_trained_with(main, agent, env, settings, found):
    from robust_control.training import method_of

    from robustgames.experiment.control import ControlExperiment

    id = "robustgames/ActionRobustInvertedPendulum-v0"
    run = ControlExperiment(agent, id, env_settings=env, settings=settings)
    env_id, method, alpha = method_of("mine", run)
    assert env_id == "InvertedPendulum-v5"
    assert repr((method.coupling, method.adversary, alpha, method.kind)) == repr(found)


def test_a_method_with_a_diverged_run_is_reported_and_the_others_are_not_lost(main, monkeypatch):
    from robust_control import training

    run, agent = Mock(), Mock(finite_runs=lambda: torch.tensor([True, False]))
    run.load_agent.return_value = agent
    monkeypatch.setattr(training, "read_run", lambda folder: run)
    with pytest.raises(DivergedError, match=r"runs \[1\] of folder diverged"):  # which `parts.run` turns into a reason
        training.from_run(Path("folder"))


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        ("td3 nr_td3 mixing replacement", []),
        ("td3 nr_td3 mixing", ["NR-TD3 without random controls: --methods replacement."]),
        ("td3 m2td3 soft_m2td3", ["M2TD3 and soft M2TD3 without random controls: --methods dr_td3."]),
        ("td3 m2td3 dr_td3", []),
        ("td3 rarl rap mixing replacement", ["RARL and RAP, 3 adversaries without random controls: --methods forces."]),
        ("td3 rarl forces", []),
        ("sac nr_sac mixing replacement", ["NR-SAC without random controls: --methods sac_mixing sac_replacement."]),
        ("nr_sac sac_mixing sac_replacement", []),
        (
            "nr_ddpg pr_sac m2td3 sac_mixing",
            [
                "NR-DDPG without random controls: --methods mixing replacement.",
                "PR-SAC without random controls: --methods sac_replacement.",
                "M2TD3 without random controls: --methods dr_td3.",
            ],
        ),
        ("td3 mixing", []),
    ],
)
def test_the_closing_advice_names_the_controls_of_the_same_learner(main, names, advice):
    from robust_control.methods import METHODS
    from robust_control.parts import Result
    from robust_control.report import advice as lines

    found = lines({name: Result(METHODS[name], 0.3, None, 1, {}) for name in names.split()})
    assert found == [f"No claim of robustness can be made for {text}" for text in advice]


def test_methods_are_compared_with_what_learns_as_they_do(main):
    from robust_control.methods import METHODS
    from robust_control.parts import Result
    from robust_control.report import rivals

    names = "ddpg td3 pr_td3 mixing replacement dr_td3 m2td3 sac pr_sac sac_replacement rarl"
    results = {name: Result(METHODS[name], 0.3, None, 1, {}) for name in names.split()}
    name_of = {id(one): name for name, one in results.items()}
    found = {name: " ".join(name_of[id(other)] for other in rivals(one, results)) for name, one in results.items()}
    assert found == {
        "ddpg": "td3",
        "td3": "",
        "pr_td3": "td3 mixing replacement",
        "mixing": "td3",
        "replacement": "td3",
        "dr_td3": "td3",
        "m2td3": "td3 dr_td3",
        "sac": "td3",
        "pr_sac": "sac sac_replacement",
        "sac_replacement": "sac",
        "rarl": "td3",
    }
    alone = {name: results[name] for name in ("pr_sac", "sac_replacement")}  # the first one is the baseline
    assert [rivals(one, alone) for one in alone.values()] == [[results["sac_replacement"]], [results["pr_sac"]]]


def test_the_table_of_attacks_on_observations_has_td3_even_if_it_is_not_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from observations import Options, part, table

    options = Options(methods=("sa_td3",), eps=(0.2,), out=tmp_path)
    assert options.names == ["td3", "sa_td3"]
    for name, weaker in (("td3", 6.0), ("sa_td3", 4.0)):  # the strongest attack of run 0 is mad, that of run 1 random
        returns = {"nominal": [[0.0], [0.0]], "random": [[-1.0], [-weaker]], "mad": [[-weaker], [-2.0]]}
        path = part(name, 0.2, options)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"returns": returns}))
    assert "| worst − TD3 |" in (text := table(options))
    assert "| TD3 | 0 | -3.5 | -4 | -6 |  |" in text and "| SA-TD3, steps | 0 | -2.5 | -3 | -4 | 2 |" in text
