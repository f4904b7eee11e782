"""scripts/mixed_ne.py: the published setting, the control without noise, and milestones that resume bit for bit."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Generator

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import mixed_ne
from results import Log
from safetensors.torch import load_file

from robustgames.errors import GameError
from robustgames.solvers import make_solver, trajectory

METHODS = mixed_ne.METHODS


def small():
    return mixed_ne.make_game(hidden=(8,), batch_size=8)


def path(agent, steps=20, **settings):
    game = small()
    return trajectory(make_solver(agent, **settings), game, game.initial((2,), Generator().manual_seed(1)), steps)


def test_the_game_is_that_of_the_code_of_wgan_gp():
    game = mixed_ne.make_game()
    assert game.generator.widths == (2, 512, 512, 512, 2) and game.critic.widths == (2, 512, 512, 512, 1)
    assert (game.objective, game.lipschitz, game.penalty, game.batch_size) == ("wasserstein", "gp", 0.1, 256)
    assert game.generator.initialization == game.critic.initialization == "he"
    assert float(game.source.means.max()) == pytest.approx(4 / 2.828) and len(game.source.means) == 25
    assert game.source.std == pytest.approx(0.05 / 2.828)


def test_mirror_gan_without_noise_and_damping_is_the_sgd_of_the_table_bit_for_bit():
    sgd = path("langevin", **METHODS["sgd"].settings)
    assert torch.equal(path("mirror_gan", **{**mixed_ne.CHAINS, "noise": 0.0, "damping": 1.0}), sgd)
    assert not torch.equal(path("mirror_gan", **{**mixed_ne.CHAINS, "damping": 1.0}), sgd)


def test_chains_of_one_step_without_noise_are_sgd_at_the_rate_times_the_damping_squared():
    assert METHODS["mirror_gan_off"].settings["damping"] == 0.9
    rate = {**mixed_ne.RATE, "lr": 0.81 * mixed_ne.RATE["lr"]}
    slower = path("langevin", **rate, noise=0.0)
    assert torch.allclose(path("mirror_gan", **METHODS["mirror_gan_off"].settings), slower, atol=1e-5)
    assert not torch.allclose(path("langevin", **METHODS["sgd"].settings), slower, atol=1e-5)


def test_chains_have_one_step_up_to_iteration_69315_and_two_at_the_end_of_the_published_run():
    solver = make_solver("mirror_gan", **mixed_ne.CHAINS)
    assert [solver.length(t) for t in (1, 69_315, 69_316, 100_000)] == [1, 1, 2, 2]


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_method_equals_an_uninterrupted_one(method, tmp_path, monkeypatch):
    monkeypatch.setattr(mixed_ne, "KEPT_EVERY", 4)
    there, here = tmp_path / "there", tmp_path / "here"
    whole = mixed_ne.reach(method, 2, 0, 10, there, small())
    assert mixed_ne.reach(method, 2, 0, 6, here, small())["steps"] == 6
    parts = mixed_ne.reach(method, 2, 0, 10, here, small())
    assert parts["steps"] == whole["steps"] == 10 and not parts["diverged"]
    assert {**parts, "cpu_seconds": 0} == {**whole, "cpu_seconds": 0}
    first, second = (load_file(each / f"{method}-2-0" / "samples-10.safetensors")["samples"] for each in (there, here))
    assert torch.equal(first, second) and first.shape == (2, 2500, 2)


def test_a_method_that_diverged_stays_at_its_last_finite_point_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "sgd", replace(METHODS["sgd"], settings={"lr": 1e6}))
    for iterations in (30, 60):
        line = mixed_ne.reach("sgd", 2, 0, iterations, tmp_path, small())
        assert line["diverged"] and line["steps"] < 30
        line = {**line, "method": "sgd", "iterations": iterations}
        assert mixed_ne.table({iterations: {"sgd": line}}).rows[0][-1] == f"diverged after {line['steps']}"


def test_a_checkpoint_beyond_the_milestone_is_refused(tmp_path):
    mixed_ne.reach("sgd", 2, 0, 5, tmp_path, small())
    with pytest.raises(GameError, match="sgd-2-0 is at iteration 5, beyond 3: start again with another --out"):
        mixed_ne.reach("sgd", 2, 0, 3, tmp_path, small())


def test_results_name_their_solver_and_their_arithmetic_and_those_of_another_are_not_reused(tmp_path, monkeypatch):
    monkeypatch.setattr(mixed_ne, "MILESTONES", (2,))
    monkeypatch.setattr(torch, "set_float32_matmul_precision", (precisions := []).append)
    for products in ("float32", "bfloat16", "float32"):
        options = mixed_ne.Options(methods=("sgd",), runs=2, iterations=2, products=products, out=tmp_path)
        train = partial(mixed_ne.reach, out=tmp_path, game=small())
        list(Log(tmp_path).complete(train, mixed_ne.jobs_of(options)))
        assert mixed_ne.reached(options)[2]["sgd"]["products"] == products
    assert precisions == ["highest", "medium"]
    assert [line["solver"] for line in Log(tmp_path).lines()] == [{"agent": "langevin", **METHODS["sgd"].settings}] * 2
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"sgd-2-0", "sgd-2-0-bfloat16"}


def test_all_methods_reach_a_milestone_before_any_reaches_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(mixed_ne, "MILESTONES", (2, 3, 1000))
    options = mixed_ne.Options(methods=("sgd", "adam"), runs=2, iterations=3, out=tmp_path)
    jobs = mixed_ne.jobs_of(options)
    assert [(job["iterations"], job["method"]) for job in jobs] == [(2, "sgd"), (2, "adam"), (3, "sgd"), (3, "adam")]
    list(Log(tmp_path).complete(partial(mixed_ne.reach, out=tmp_path, game=small()), jobs))
    found = mixed_ne.reached(options)
    assert list(found) == [2, 3] and list(found[2]) == ["sgd", "adam"]
    assert [row[:2] for row in mixed_ne.table(found).rows][2:] == [("3", "SGD"), ("3", "Adam")]
    mixed_ne.figure(found, tmp_path)
    assert (tmp_path / "samples.png").stat().st_size > 10_000
