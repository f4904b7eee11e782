"""Compiled steps on columns are the steps of the solver, and only steps that can be written so are."""

import gymnasium as gym
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import robustgames as rg
from robustgames.solvers.column_graph import on_columns
from robustgames.solvers.columns import columns

RUNS = 37


class Ridge(rg.ZeroSumGame):
    """A game given by its payoff alone, with a projection, a reduction and a matrix."""

    sizes = (2, 2)
    sets = (rg.Box(-1.0, 1.0), rg.Box(-0.5, 2.0))

    def payoff(self, x, y, sample=None):
        matrix = torch.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=x.dtype)
        return ((x @ matrix) * y).sum(-1) + x.square().sum(-1) - torch.cos(y).sum(-1)


GAMES = {"Forsaken": (2, 1.2), "DiracGAN": (2, 1.2), "Ridge": (4, 0.9)}


def agent_of(name, solver, compile):
    size, width = GAMES[name]
    z0 = width * (2 * torch.rand(RUNS, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1)
    if name == "Ridge":
        env = rg.GameVectorEnv(Ridge(), num_envs=RUNS, dtype="float64")
    else:
        env = gym.make_vec(f"robustgames/{name}-v0", num_envs=RUNS, dtype="float64")
    return rg.GameAgent(env, solver, z0=z0, compile=compile)


@pytest.mark.parametrize(
    "game, solver, rounding",
    [("Forsaken", "extragradient", 0.0), ("DiracGAN", "optimistic_gda", 1e-13), ("Ridge", "alt_gda", 1e-13)],
)
def test_steps_on_columns_equal_eager_steps_and_do_not_depend_on_the_leaps(game, solver, rounding):
    solver = rg.make_solver(solver, lr=0.05)
    eager, fast, single = (agent_of(game, solver, compile) for compile in (False, True, True))
    eager.learn(300)
    fast.learn(300)
    single._columns = fast._columns
    single.learn(113).learn(300 - single.num_timesteps, lambda *_: True, reset_num_timesteps=False)  # step by step
    assert fast._columns is not None
    torch.testing.assert_close(fast.z, eager.z, rtol=0, atol=rounding)
    assert torch.equal(fast.z, single.z)
    counts = [(agent.num_timesteps, agent.steps) for agent in (eager, fast, single)]
    assert counts[0] == counts[1] == counts[2]
    assert {k: v for k, v in fast.state.items() if k == "k"} == {k: v for k, v in eager.state.items() if k == "k"}


@pytest.mark.parametrize(
    "id, solver",
    [
        ("Forsaken", rg.make_solver("adam")),  # depends on its count
        ("Forsaken", rg.make_solver("gda", anneal=100)),
        ("Forsaken", rg.make_solver("gda", average="uniform")),
        ("Forsaken", rg.solvers.Turns(rg.solvers.SGD(0.1), ratio=3)),
        ("Forsaken", rg.make_solver("langevin")),  # draws random numbers
        ("Forsaken", rg.make_solver("gda", lr=torch.rand(RUNS, 1))),  # a rate per run
        ("RockPaperScissors", rg.make_solver("gda")),  # projects by sorting
    ],
    ids=["count", "anneal", "average", "turns", "noise", "rates", "simplex"],
)
def test_other_steps_are_not_on_columns(id, solver):
    env = gym.make_vec(f"robustgames/{id}-v0", num_envs=RUNS)
    agent = rg.GameAgent(env, solver)
    with torch.no_grad():
        assert columns(agent.solver, agent.game, agent.z, agent.state) is None


def test_a_noisy_game_is_not_on_columns():
    agent = rg.GameAgent(gym.make_vec("robustgames/Forsaken-v0", num_envs=RUNS, noise=0.1), "gda")
    assert columns(agent.solver, agent.game, agent.z, agent.state) is None


def test_columns_take_the_values_of_all_outputs_before_one_is_overwritten():
    def turn(x, y):
        return [y, torch.cat([x[1:] * 2, x[:1].neg()])]

    first = torch.arange(1.0, 3), torch.arange(3.0, 5)
    graph = on_columns(make_fx(turn)(*first))
    found = [torch.full((5,), value) for value in (1.0, 2.0, 3.0, 4.0)]
    graph(*found)
    assert [column.unique().tolist() for column in found] == [[3.0], [4.0], [4.0], [-1.0]]


def test_an_operation_on_all_runs_of_a_column_is_refused():
    with pytest.raises(TypeError, match="elementwise"):
        on_columns(make_fx(lambda x: [x.sort().values])(torch.arange(2.0)))
