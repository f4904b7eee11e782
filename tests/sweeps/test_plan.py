"""Plans of sweeps: what varies, how many trials there are, and the folder of each."""

import pytest

import robustgames as rg
from robustgames.cli import axes
from robustgames.experiment import ControlExperiment, GameExperiment
from robustgames.sweeps import Plan, Range
from robustgames.sweeps.plan import label

BASE = GameExperiment("extra_adam", "robustgames/Quadratic-v0", runs=1, steps=40)


def test_trials_are_all_combinations_with_all_seeds():
    plan = Plan(BASE, {"lr": (0.1, 0.2), "steps": (10, 20), "set.coupling": (0.5, 2.0)}, seeds=(3, 5))
    trials = list(plan.trials())
    assert len(plan) == len(trials) == len({trial.folder for trial in trials}) == 16
    last = trials[-1]
    assert str(last.folder) == "lr=0.2,steps=20,coupling=2.0/seed5"
    assert last.experiment.settings == {"lr": 0.2} and last.experiment.env_settings == {"coupling": 2.0}
    assert (last.experiment.steps, last.experiment.seed, last.experiment.runs) == (20, 5, 1)


def test_of_control_the_rate_is_the_solvers_and_hidden_the_agents():
    base = ControlExperiment("robust_ddpg", "robustgames/ActionRobustPendulum-v0", runs=1)
    (trial,) = Plan(base, {"lr": (1e-4,), "hidden": ([32, 32],), "solver": ("extra_adam",)}).trials()
    assert trial.experiment.solver_settings == {"lr": 1e-4} and trial.experiment.settings == {"hidden": [32, 32]}
    assert trial.experiment.solver == "extra_adam" and str(trial.folder).startswith(
        "lr=0.0001,hidden=32_32,solver=extra"
    )


def test_folders_of_any_settings_are_names_and_differ():
    odd = [{"a": "x/y"}, {"a": "x y"}, {"a": "../.."}, {"a": "x" * 500}, {"a": "x" * 501}, {"a": "ünï"}, {}]
    names = [label(settings) for settings in odd]
    assert len(set(names)) == len(odd) and all(len(name) <= 120 and "/" not in name for name in names)
    assert label({"noise": 1, "set.noise": 2}) == "noise=1,set.noise=2"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"axes": {"lrr": (1,)}}, "unknown setting of extra_adam 'lrr': did you mean lr"),
        ({"axes": {"lr": ()}}, "lr has no values"),
        ({"axes": {"lr": (0.1, 0.1)}}, "lr has a value twice"),
        ({"axes": {"seed": (1,)}}, "unknown setting"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (1, 1)}, "a seed twice"),
    ],
)
def test_a_plan_that_nothing_can_run_is_refused(given, said):
    with pytest.raises(rg.GameError, match=said):
        Plan(BASE, **given)


def test_a_grid_has_no_ranges_and_names_the_value_that_fails():
    with pytest.raises(rg.GameError, match=r"lr is the range 0.001..0.1: a grid needs values"):
        Plan(BASE, {"lr": Range(1e-3, 1e-1)}).choices()
    with pytest.raises(rg.GameError, match="with lr=-1: lr is -1"):
        Plan(BASE, {"lr": (0.1, -1)}).check()
    with pytest.raises(rg.GameError, match=r"with coupling=b: "):
        Plan(BASE, {"set.coupling": (1, "b")}).check()


def test_ranges_are_logarithmic_from_a_factor_of_ten_on():
    assert Range(1e-3, 1e-2).log and not Range(1e-3, 9e-3).log and not Range(-1.0, 10.0).log
    assert Range(1, 8).whole and not Range(1.0, 8.0).whole


def test_words_of_axes():
    found = axes.axes(["lr=1e-3,3e-3", "betas=[0.5,0.9],[0,0.9]", "steps=10..200", "twin=true,false"], "--grid")
    assert found == {
        "lr": (1e-3, 3e-3),
        "betas": ([0.5, 0.9], [0, 0.9]),
        "steps": Range(10, 200),
        "twin": (True, False),
    }
    assert axes.seeds("0:3,7") == (0, 1, 2, 7)


@pytest.mark.parametrize("word", ["lr", "lr=", "lr=1,,2", "lr=2..1", "lr=a..b", "lr=[1", "1r=2", "lr=1..2..3"])
def test_words_that_are_no_axes(word):
    with pytest.raises(rg.GameError):
        axes.axes([word], "--grid")


@pytest.mark.parametrize("word", ["", "a", "1:", ":3", "-1", "1.5", "0:1000000", "9" * 30])
def test_words_that_are_no_seeds(word):
    with pytest.raises(rg.GameError):
        axes.seeds(word)


def test_a_file_stands_for_words():
    content = {"agent": "gda", "env": "E", "grid": {"lr": [0.1, 0.2], "betas": [[0, 1]]}, "anneal": True, "steps": 5}
    assert axes.words_of(content, "a.yaml") == [
        *["gda", "E", "--grid", "lr=0.1,0.2", "betas=[0,1]", "--anneal", "--steps", "5"]
    ]
    with pytest.raises(rg.GameError, match="must name an agent and an env"):
        axes.words_of({"agent": 3}, "a.yaml")
