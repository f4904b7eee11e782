"""Words of the command line: repeated flags, values, grids."""

import shlex

import pytest

from robustgames.cli.experiment_words import parse
from robustgames.cli.words import gather, pairs, path
from robustgames.envs.control.grid_words import parse_grid
from robustgames.errors import GameError, shorten, unknown


@pytest.mark.parametrize(
    "words",
    [
        ["--set", "a=1", "b=2"],
        ["--set=a=1", "--set", "b=2"],
        ["--set", "a=1", "--set=b=2"],
        ["--set=a=1", "--set=b=2"],
    ],
)
def test_every_way_to_repeat_a_flag_is_the_same(words):
    assert gather(["env", *words, "--lr", "0.1"]) == ["env", "--lr", "0.1", "--set", "a=1", "b=2"]


def test_underscores_and_dashes_are_the_same_flag():
    assert gather(["--solver_set", "a=1", "--solver-set", "b=2"], "--solver-set") == ["--solver-set", "a=1", "b=2"]
    with pytest.raises(GameError, match="without a value"):
        gather(["--set", "--lr", "1"])


def test_values_are_numbers_lists_and_words():
    words = ["a=1e-3", "b=[1e-2, x]", "c=2001-01-01", "d=true", "e=null", "f=L2", "g={mass: 1e1}", "h="]
    wanted = {"a": 1e-3, "b": [1e-2, "x"], "c": "2001-01-01", "d": True, "e": None, "f": "L2", "g": {"mass": 10.0}}
    assert pairs(words) == {**wanted, "h": None}
    assert pairs(["a=2001-99-99"]) == {"a": "2001-99-99"}


def test_numbers_are_those_of_python_and_not_those_of_clocks():
    words = ["a=10:15", "b=010", "c=[1:30, -007]", "d=1_000", "e=0x10", "f=None", "g=1:30.5"]
    wanted = {"a": "10:15", "b": 10, "c": ["1:30", -7], "d": 1000, "e": 16, "f": None, "g": "1:30.5"}
    assert pairs(words) == wanted


@pytest.mark.parametrize("data", ["photos #1", "a: b", "2024", "[x]", "~/a b", "null"])
def test_data_is_a_path_as_it_is_typed(data):
    from robustgames.experiment.naming import command

    experiment = parse(["adam", "robustgames/ImageGAN-v0", "--data", data])[0]
    assert experiment.env_settings == {"data": data}
    again = parse(shlex.split(command(experiment))[2:])[0]  # by --set data=
    assert again.env_settings == {"data": data}
    with pytest.raises(GameError, match="give it once"):
        parse(["adam", "robustgames/ImageGAN-v0", "--data", data, "--set", "data=x"])


@pytest.mark.parametrize("value", ["[" * 2000, "9" * 5000, "[1,", "!!binary aGk=", "{1: 2}", "[[" * 11 + "]]" * 11])
def test_other_values_are_refused(value):
    with pytest.raises(GameError) as caught:
        pairs([f"a={value}"])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("word", ["", "a\0b", "a" * 300, "run\udcff"])
def test_words_that_cannot_be_a_path_are_refused(word):
    with pytest.raises(GameError, match="not a path"):
        path(word)


@pytest.mark.parametrize(
    "words", [[], ["=1"], ["mass:=1"], ["mass=1", "mass=2"], ["mass=1", "mass:pole=1"], ["mass=1e308"], ["mass=nan"]]
)
def test_grids_that_say_two_things_or_none_are_refused(words):
    with pytest.raises(GameError):
        parse_grid(words)


def test_bodies_of_one_axis_may_differ():
    assert parse_grid(["mass:a=1,2", "mass:b=3"]) == {("mass", "a"): (1.0, 2.0), ("mass", "b"): (3.0,)}


def test_messages_stay_short():
    names = [f"env-{i}" for i in range(1000)]
    assert len(str(unknown("env", "x" * 5000, names))) < 400
    assert str(unknown("env", "zzz", ["a", "b"])) == "unknown env 'zzz': known: a, b"
    assert shorten("a" * 100, 10) == "a" * 6 + "…" + "a" * 3
    assert len(shorten("b" * 1000)) == 80
