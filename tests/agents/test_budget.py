"""Logs take a share of the time and change nothing in a training."""

from itertools import pairwise
from types import SimpleNamespace

import gymnasium as gym
import pytest
import torch
from stable_baselines3.common.logger import KVWriter, Logger

import robustgames as rg
from robustgames.agents import game_agent
from robustgames.agents.budget import Budget
from robustgames.errors import GameError


@pytest.mark.parametrize("cost, share", [(1, 0.05), (7, 0.05), (0.1, 0.02), (30, 0.1), (2000, 0.05)])
def test_measurements_take_at_most_their_share_and_come_at_equal_distances(cost, share):
    now, at = SimpleNamespace(time=0.0), []
    budget = Budget(share, clock=lambda: now.time)
    for k in range(1001):  # a second of training between two logs
        if k == 1000 or budget.is_due(k / 1000):
            at.append(k)
            with budget.spending():
                now.time += cost
        now.time += 1
    assert at[0] == 0 and at[-1] == 1000
    assert budget.spent == pytest.approx(cost * len(at))
    assert budget.spent - cost <= max(share * now.time, cost) + 1e-9  # both ends always
    if len(at) > 3:
        gaps = [b - a for a, b in pairwise(at)]
        assert max(gaps[:-1]) <= min(gaps[:-1]) + 1 and gaps[-1] <= gaps[0] and budget.spent > 0.8 * share * now.time


class Rows(KVWriter):
    """Keeps what is logged."""

    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append({**key_values, "step": step})

    def close(self):
        pass


ENVS = {"GaussianMixture-v0": {}, "DigitsAdversarial-v0": {"hidden": (8,)}, "MatchingPennies-v0": {"noise": 0.1}}


def agent_of(name, logger):
    env = gym.make_vec(f"robustgames/{name}", num_envs=2, **ENVS[name])
    agent = rg.GameAgent(env, rg.make_solver("extra_adam", lr=1e-3), seed=1)
    agent.set_logger(logger)
    return agent


@pytest.mark.parametrize("name", ENVS)
def test_logs_change_nothing_in_a_training(name):
    found = []
    for options in ({}, {"log_interval": 2}, {"log_interval": 10**9}, {"log_interval": 2, "evaluation_share": 0.01}):
        agent = agent_of(name, Logger(None, [Rows()])).learn(16, **options)
        found.append((agent.z, agent.oracle.generator.get_state()))
    found.append((lambda a: (a.z, a.oracle.generator.get_state()))(agent_of(name, Logger(None, [])).learn(16)))
    for z, state in found[1:]:
        assert torch.equal(z, found[0][0]) and torch.equal(state, found[0][1])


def test_an_explicit_interval_has_everything_at_every_log_and_a_share_leaves_out_what_takes_long(monkeypatch):
    def rows(name, **options):
        writer = Rows()
        agent_of(name, Logger(None, [writer])).learn(40, **options)
        return writer.rows

    evaluated = [any(key.startswith("eval/") for key in row) for row in rows("GaussianMixture-v0", log_interval=4)]
    assert evaluated == [True] * 11
    at = [row["step"] for row in rows("GaussianMixture-v0", log_interval=4, evaluation_share=1e-9)]
    assert at == list(range(0, 41, 4))  # cheap metrics do not depend on the time
    found = rows("GaussianMixture-v0", log_interval=4, evaluation_share=1e-9)
    assert [row["step"] for row in found if "eval/modes" in row] == [0, 40]
    assert all("game/residual" in row for row in found)
    assert all("eval/duality_gap" in row for row in rows("MatchingPennies-v0", evaluation_share=1e-9))


def test_nothing_is_measured_for_a_logger_without_outputs(monkeypatch):
    monkeypatch.setattr(game_agent, "record_runs", lambda *arguments: pytest.fail("measured"))
    agent_of("MatchingPennies-v0", Logger(None, [])).learn(20)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_lies_between_0_and_1(share):
    with pytest.raises(GameError, match="evaluation_share is"):
        agent_of("MatchingPennies-v0", Logger(None, [])).learn(4, evaluation_share=share)
