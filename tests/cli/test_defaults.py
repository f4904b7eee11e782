"""The settings with which the command line starts an agent on a game: printed, stored, and given up for flags."""

import inspect
import shlex
from pathlib import Path

import pytest
import yaml
from in_process import command, in_an_empty_folder, only_run  # noqa: F401 (a fixture)

import robustgames as rg
from robustgames.cli.train import parse
from robustgames.envs.defaults import AGENTS, DEFAULTS, defaults_of, id_of
from robustgames.envs.registration import BUILT_IN
from robustgames.errors import GameError
from robustgames.experiment import GameExperiment, train
from robustgames.experiment.naming import command as command_of
from robustgames.solvers import RECIPES

MIXTURE = "robustgames/GaussianMixture-v0"
SMALL = "--runs 1 --steps 20 --set hidden=[4,4] batch_size=8"
ROWS = [(agent, game) for agents, games in DEFAULTS for agent in agents.split() for game in games.split()]


def experiment_of(words):
    return parse(shlex.split(words))[0]


def test_the_tables_name_what_exists():
    assert {id_of(game) for game in AGENTS} == set(BUILT_IN) and set(AGENTS.values()) <= set(RECIPES)
    for (agents, games), settings in DEFAULTS.items():
        assert {id_of(game) for game in games.split()} <= set(BUILT_IN)
        for agent in agents.split():
            assert settings.keys() <= {
                *inspect.signature(RECIPES[agent]).parameters,
                *GameExperiment.__dataclass_fields__,
            }
    assert len(set(ROWS)) == len(ROWS)


def test_they_are_printed_and_stored(capsys):
    assert command(f"train extra_adam {MIXTURE} {SMALL}") == 0
    out = capsys.readouterr().out
    assert out.startswith("defaults of extra_adam on GaussianMixture-v0: --lr 0.008 --anneal --average 0.995\n")
    config = yaml.safe_load((only_run(Path("runs")) / "config.yaml").read_text())
    assert (config["settings"]["lr"], config["anneal"], config["average"]) == (8e-3, True, 0.995)


def test_a_flag_replaces_its_own_entry_alone(capsys):
    words = f"extra_adam {MIXTURE} {SMALL}"
    found = experiment_of(f"{words} --lr=0.01 --no-anneal")
    assert (found.settings["lr"], found.anneal, found.average) == (0.01, False, 0.995)
    assert experiment_of(f"{words} --average none").average is None
    assert command(f"train {words} --lr 8e-3 --average none") == 0
    assert capsys.readouterr().out.startswith("defaults of extra_adam on GaussianMixture-v0: --anneal\n")
    assert command(f"train {words} --lr 1e-3 --average none --no-anneal") == 0
    assert "defaults of" not in capsys.readouterr().out


def test_other_games_and_python_keep_the_defaults_of_the_recipe():
    assert experiment_of("extra_adam robustgames/MatrixGame-v0").settings["lr"] == 1e-3
    found = GameExperiment("extra_adam", MIXTURE)
    assert (found.settings, found.anneal, found.average) == ({}, False, None)
    solver = rg.GameAgent(MIXTURE, "extra_adam").solver
    assert solver.rule.lr == 1e-3


def test_a_run_resumes_with_the_settings_that_it_began_with(capsys):
    small = {"hidden": [4, 4], "batch_size": 8}
    folder, _ = train(GameExperiment("extra_adam", MIXTURE, steps=20, runs=1, env_settings=small), "runs")
    assert command(f"train --resume {folder} --steps 40") == 0
    assert "defaults of" not in capsys.readouterr().out
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["settings"], config["anneal"], config["average"], config["steps"]) == ({}, False, None, 40)


def test_every_trial_of_a_sweep_stores_them(capsys):
    assert command(f"sweep extra_adam {MIXTURE} {SMALL} --grid lr=1e-3,2e-3") == 0
    assert "defaults of extra_adam on GaussianMixture-v0: --anneal --average 0.995\n" in capsys.readouterr().out
    configs = [yaml.safe_load(path.read_text()) for path in sorted(Path("runs").rglob("seed0/config.yaml"))]
    assert [(config["settings"]["lr"], config["anneal"]) for config in configs] == [(1e-3, True), (2e-3, True)]


def test_a_horizon_is_that_of_the_steps(capsys):
    words = "adversarial_training robustgames/MnistAdversarial-v0"
    with pytest.raises(GameError, match="steps cannot change in a run with --horizon"):
        experiment_of(f"{words} --steps 70").extended(90)
    assert experiment_of(f"{words} --steps 70 --horizon 0").extended(90).steps == 90
    assert experiment_of(f"{words} --steps 70").settings["horizon"] == 70
    assert experiment_of(f"{words} --steps 70 --horizon 0").settings["horizon"] == 0
    assert command(f"sweep {words} --grid steps=10,20 --runs 1") == 2
    assert "--horizon 1000" in " ".join(capsys.readouterr().err.split())


def test_help_and_list_show_them(capsys):
    with pytest.raises(SystemExit):
        command(f"train extra_adam {MIXTURE} --help")
    assert "default: 0.008" in capsys.readouterr().out
    assert command("list --defaults") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert f"robustgames train extra_adam {MIXTURE}" in lines
    assert any(line.startswith("extra_adam") and "--lr 0.008 --anneal --average 0.995" in line for line in lines)
    assert command(f"train {MIXTURE}") == 2
    assert f"the agent comes first: robustgames train extra_adam {MIXTURE}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_the_command_of_a_run_repeats_it_with_and_without_the_table(row):
    agent, env = row[0], id_of(row[1])
    typed = experiment_of(f"{agent} {env} --steps 700")
    assert experiment_of(shlex.join(shlex.split(command_of(typed))[2:])) == typed
    plain = GameExperiment(agent, env, steps=700)
    again = experiment_of(shlex.join(shlex.split(command_of(plain))[2:]))
    used = {name: getattr(again, name, again.settings.get(name)) for name in defaults_of(agent, env)}
    own = {name: part.default for name, part in inspect.signature(RECIPES[agent]).parameters.items()}
    assert used == {name: getattr(plain, name, own.get(name)) for name in used}


def test_rates_that_fall_can_be_varied_on_a_small_game():
    words = "robustgames/Bilinear-v0 --grid lr=0.01,0.02 --seeds 0:2 --steps 200"
    assert command(f"sweep extra_adam {words}") == 0
    configs = [yaml.safe_load(path.read_text()) for path in Path("runs").rglob("seed*/config.yaml")]
    assert sorted(config["settings"]["lr"] for config in configs) == [0.01, 0.01, 0.02, 0.02]
    assert all(config["anneal"] for config in configs)
