"""Bounds of actions: the closed form of a linear policy, trained agents under attack, models of Stable-Baselines3."""

import numpy as np
import pytest
import torch
from stable_baselines3 import DDPG, PPO, SAC
from torch import nn

import robustgames as rg
from robustgames.errors import GameError
from robustgames.evaluation.action_bounds import bound_actions
from robustgames.evaluation.observation_attacks import Differentiable, shift_states
from robustgames.experiment.stable_baselines import differentiable as differentiable_model

PENDULUM = "robustgames/ActionRobustPendulum-v0"
STATES = np.random.default_rng(0).standard_normal((20, 3))
SCALE = np.array([0.5, 1.0, 2.0])


def moved(own, eps, rounds=50):
    """Actions (rounds, N, k) of observations in the boxes: corners, random points, and maximal action differences."""
    rng, radius = np.random.default_rng(1), eps * SCALE
    ways = np.sign(rng.standard_normal((rounds, *STATES.shape))) * (rng.random((rounds, 1, 1)) ** 0.3)
    ways[: rounds // 2] = np.sign(ways[: rounds // 2])
    states, units = torch.as_tensor(STATES, dtype=torch.float32), torch.as_tensor(SCALE, dtype=torch.float32)
    before = own.act(states).detach()
    objective = lambda s: (own.act(s) - before).square().sum(-1)  # noqa: E731
    searched = shift_states(objective, states, units, eps, torch.Generator().manual_seed(0)).double().numpy()
    seen = [*(STATES + radius * ways), STATES + np.clip(searched - STATES, -radius, radius)]
    with torch.no_grad():
        return np.stack([own.act(torch.as_tensor(s.astype(np.float32))).double().numpy() for s in seen])


def test_a_linear_policy_has_its_closed_form():
    """max |W δ| over |δ| <= eps scale is eps |W| scale, component by component."""
    net = nn.Linear(3, 2)
    found = bound_actions(Differentiable(net, network=net), STATES, 0.3, SCALE)
    exact = 0.3 * net.weight.detach().abs().double().numpy() @ SCALE
    np.testing.assert_allclose(found.change, np.tile(exact, (20, 1)), atol=1e-5)
    np.testing.assert_allclose((found.low + found.high) / 2, found.actions, atol=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
def test_no_observation_of_1000_moves_a_trained_agent_further_than_its_bounds(normalize):
    agent = rg.RobustDDPG(PENDULUM, seed=0, env_settings={"alpha": 0.0}, normalize=normalize, final=0.0).learn(1500)
    own = agent.differentiable(0)
    found = bound_actions(own, STATES, 0.1, SCALE)
    np.testing.assert_allclose(found.actions[0], agent.policy()(STATES[0].astype(np.float32)), atol=1e-5)
    actions = moved(own, 0.1)  # 51 tries in each of 20 states
    assert (found.low <= actions).all() and (actions <= found.high).all()
    beyond = moved(own, 0.2)
    assert ((beyond < found.low) | (beyond > found.high)).any()  # the control: twice the radius is not certified
    loose = bound_actions(own, STATES, 0.1, SCALE, "ibp")
    assert (loose.low <= found.low).all() and (loose.high >= found.high).all()


def test_models_of_stable_baselines_have_bounds_if_their_layers_are_known():
    for kind in (DDPG, SAC):
        own = differentiable_model(kind("MlpPolicy", "Pendulum-v1", seed=0, policy_kwargs={"net_arch": [32, 32]}))
        found, actions = bound_actions(own, STATES, 0.1, SCALE), moved(own, 0.1)
        assert (found.low <= actions).all() and (actions <= found.high).all()
    with pytest.raises(GameError, match="no network whose layers are known"):
        bound_actions(differentiable_model(PPO("MlpPolicy", "Pendulum-v1", seed=0)), STATES, 0.1)
    with pytest.raises(GameError, match="eps is -1"):
        bound_actions(own, STATES, -1.0)
