"""Attacks on observations: closed forms on linear policies, the ball, the protocol, fitted critics, trained agents."""

from itertools import product

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DDPG, PPO, SAC

import robustgames as rg
from robustgames.evaluation.observation_attacks import Differentiable, attack_observations, shift_states
from robustgames.evaluation.robust_sarsa import fit_robust_sarsa
from robustgames.evaluation.rollouts import play
from robustgames.evaluation.side_by_side import SideBySide
from robustgames.experiment.stable_baselines import differentiable as differentiable_model
from robustgames.experiment.stable_baselines import policy_of

PENDULUM = "robustgames/ActionRobustPendulum-v0"
INVERTED = "robustgames/ActionRobustInvertedPendulum-v0"
GAIN = np.array([[0.05, 0.8, 0.06, 0.15]])  # position, angle, and their velocities: balances for 1000 steps


def balance(observation):
    return np.clip(GAIN @ observation, -1, 1).astype(np.float32)


def search(objective, p, eps, scale, rows=5):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(rows, p, generator=generator, dtype=torch.float64)
    return states, shift_states(objective(states), states, scale, eps, generator)


# -- optima in closed form -----------------------------------------------------------------------------------
def test_maximal_action_difference_of_a_linear_policy_is_that_of_a_vertex():
    """|W δ|² is convex: its maximum over the ball is at a vertex; for one action it is (eps Σ scale |w|)²."""
    eps, scale = 0.3, torch.tensor([1.0, 0.5, 2.0, 0.1], dtype=torch.float64)
    for k in (1, 2):
        weights = torch.randn(k, 4, generator=torch.Generator().manual_seed(k), dtype=torch.float64)

        def difference(states, weights=weights):
            before = states @ weights.T
            return lambda seen: (seen @ weights.T - before).square().sum(-1)

        states, shifted = search(difference, 4, eps, scale)
        vertices = eps * scale * torch.tensor(list(product((-1.0, 1.0), repeat=4)), dtype=torch.float64)
        best = (vertices @ weights.T).square().sum(-1).max()
        if k == 1:
            assert best == pytest.approx(float((eps * (scale * weights[0].abs()).sum()) ** 2))
            np.testing.assert_allclose(difference(states)(shifted), best, rtol=1e-9)
        else:  # a convex function may have other local maxima, none above the best vertex
            found = difference(states)(shifted)
            assert (found <= best * (1 + 1e-9)).all() and found.max() == pytest.approx(float(best), rel=1e-9)


def test_the_critic_attack_on_linear_policy_and_critic_is_exact():
    """min over δ of q · W (s + δ) = q · W s - eps Σ scale |Wᵀ q|."""
    eps, scale = 0.3, torch.tensor([1.0, 0.5, 2.0, 0.1], dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    weights, slope = torch.randn(2, 4, generator=generator).double(), torch.randn(2, generator=generator).double()
    q = lambda states: lambda seen: -(seen @ weights.T @ slope)  # noqa: E731
    states, seen = search(q, 4, eps, scale)
    least = states @ weights.T @ slope - eps * (scale * (weights.T @ slope).abs()).sum()
    np.testing.assert_allclose(-q(states)(seen), least, rtol=1e-9, atol=1e-12)


def test_shifts_stay_in_the_ball_and_are_never_worse_than_none():
    eps, scale = 0.2, torch.tensor([1.0, 3.0], dtype=torch.float64)
    for objective in (_waves, _nearness):
        states, shifted = search(objective, 2, eps, scale)
        assert ((shifted - states).abs() <= eps * scale + 1e-12).all()
        assert (objective(states)(shifted) >= objective(states)(states)).all()


def _waves(states):
    return lambda seen: torch.sin(40 * seen).sum(-1)


def _nearness(states):
    return lambda seen: -(seen - states).abs().sum(-1)


# -- episodes ------------------------------------------------------------------------------------------------
def test_episodes_side_by_side_are_those_of_play():
    with SideBySide(INVERTED, {"alpha": 0.3}, 4) as envs:
        played = envs.play(balance, 3, seed=7)
    alone = play(INVERTED, balance, 3, seed=7)
    np.testing.assert_array_equal(played.returns, alone.returns)
    assert [len(rewards) for rewards in played.rewards] == alone.lengths.tolist()
    assert [len(states) for states in played.states] == (alone.lengths + 1).tolist()


LEAN = np.array([[0.1, -0.9, -0.3]])  # a linear policy of the pendulum


def lean(observation):
    return np.clip(LEAN @ observation, -1, 1).astype(np.float32)


def lean_rows(states):
    return (states @ torch.tensor(LEAN.T, dtype=states.dtype)).clamp(-1, 1)


def test_an_attack_with_radius_zero_changes_nothing():
    own = Differentiable(lean_rows, value=lambda states: states[:, 0])
    calm = attack_observations([lean], [own], PENDULUM, 0.0, ("random", "mad", "critic"), episodes=2)
    for returns in calm.returns.values():
        np.testing.assert_array_equal(returns, calm.nominal)
    np.testing.assert_array_equal(calm.nominal[0], play(PENDULUM, lean, 2).returns)


def test_an_attack_that_is_named_twice_is_played_once_for_each_run():
    own, other = Differentiable(lean_rows), Differentiable(lambda states: -lean_rows(states))
    policies = [lean, lambda observation: -lean(observation)]
    once = attack_observations(policies, [own, other], PENDULUM, 0.1, ["random"], episodes=1)
    twice = attack_observations(policies, [own, other], PENDULUM, 0.1, ["random", "random"], episodes=1)
    np.testing.assert_array_equal(twice.returns["random"], once.returns["random"])
    np.testing.assert_array_equal(twice.worst(), once.returns["random"])


@pytest.mark.parametrize("episodes", [0, -1])
def test_no_episodes_are_refused(episodes):
    with pytest.raises(rg.GameError, match=f"episodes is {episodes}"):
        attack_observations([lean], [Differentiable(lean_rows)], PENDULUM, 0.1, ["random"], episodes=episodes)


def test_without_an_attack_that_applies_there_is_no_strongest_one():
    found = attack_observations([lean], [Differentiable(lean_rows)], PENDULUM, 0.1, ["critic"], episodes=1)
    with pytest.raises(rg.GameError, match=r"no attack was played \(critic: the model has no critic\)"):
        found.worst()


def test_the_units_are_standard_deviations_of_the_observations_or_given():
    seen = []

    def watched(observation):
        seen.append(observation)
        return lean(observation)

    own, units = Differentiable(lean_rows), np.array([0.1, 0.0, 2.0])
    found = attack_observations([lean], [own], PENDULUM, 0.5, ["random"], episodes=1)
    assert found.scale.shape == (1, 3) and (found.scale > 0).all()
    given = attack_observations([watched], [own], PENDULUM, 0.5, ["mad"], 1, scale=units)
    nominal, attacked = (np.array(part) for part in (seen[2000:2200], seen[2200:]))  # after the walk for the units
    assert given.scale.tolist() == [units.tolist()] and len(attacked) == 200
    shift = np.abs(attacked[0] - nominal[0])
    np.testing.assert_allclose(shift, 0.5 * units, atol=1e-5)  # a vertex, in the first state


@pytest.fixture(scope="module")
def trained():
    return rg.RobustDDPG(PENDULUM, seed=0, env_settings={"alpha": 0.0}, gamma=0.95, normalize=True).learn(4000)


@pytest.mark.parametrize("attacks", [["mad", "critic"], pytest.param(["sarsa"], marks=pytest.mark.slow)])
def test_attacks_take_more_from_a_trained_agent_than_chance(attacks, trained):
    policy, own = trained.policy(), trained.differentiable(0)
    states = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(own.act(states), [policy(s) for s in states.numpy()], atol=1e-6)
    found = attack_observations([policy], [own], PENDULUM, 0.3, ["random", *attacks], episodes=4, seed=3)
    means = {name: returns.mean() for name, returns in found.returns.items()}
    assert found.left_out == {}
    for name in attacks:
        assert means[name] < min(means["random"], found.nominal.mean()) - 50
    assert found.strongest()[0] in attacks and found.worst().mean() == min(means.values())
    again = attack_observations([policy], [own], PENDULUM, 0.3, attacks[:1], episodes=4, seed=3)
    np.testing.assert_array_equal(again.returns[attacks[0]], found.returns[attacks[0]])  # seeded, each on its own


def test_robust_sarsa_orders_actions_as_the_returns_that_follow_them():
    """Where the pole leans, a push to the wrong side is worth less than one under it."""
    with SideBySide(INVERTED, None, 3) as envs:
        q = fit_robust_sarsa(balance, envs)
        played = envs.play(balance, 2, seed=50)
    states = torch.as_tensor(np.concatenate([s[:-1] for s in played.states])[::50], dtype=torch.float32)
    leaning = states.clone()
    leaning[:, 1] = 0.1 * torch.sign(states[:, 1] + 1e-9)
    right, wrong = (q(leaning, side * leaning[:, 1:2].sign()) for side in (1.0, -1.0))
    assert (right > wrong).float().mean() > 0.9


@pytest.mark.parametrize("algorithm", [DDPG, SAC, PPO])
def test_models_of_stable_baselines_act_the_same_for_gradients(algorithm):
    model = algorithm("MlpPolicy", "Pendulum-v1", device="cpu", seed=0)
    policy, own = policy_of(model, PENDULUM), differentiable_model(model)
    states = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    np.testing.assert_allclose(own.act(states).detach(), [policy(s) for s in states.detach().numpy()], atol=1e-6)
    assert torch.autograd.grad(own.act(states).sum(), states)[0].abs().sum() > 0
    assert (own.q is None) == (algorithm is PPO) == (own.value is not None)
    judged = own.value(states) if own.q is None else own.q(states, own.act(states))
    assert judged.shape == (5,)


def test_a_model_on_actions_in_double_precision_is_attacked_through_every_q():
    double = gym.spaces.Box(-2.0, 2.0, (1,), np.float64)
    env = gym.wrappers.TransformAction(gym.make("Pendulum-v1"), lambda action: action, double)
    model = PPO("MlpPolicy", env, device="cpu", seed=0)
    own = differentiable_model(model)
    assert own.act(torch.zeros(2, 3)).dtype == torch.float32
    found = attack_observations([policy_of(model, PENDULUM)], [own], PENDULUM, 0.1, ["sarsa"], episodes=1)
    assert np.isfinite(found.returns["sarsa"]).all()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (
            lambda own: attack_observations([lean], [own], PENDULUM, 0.1, ["madd"]),
            "unknown observation attack 'madd'",
        ),
        (lambda own: attack_observations([lean], [own], PENDULUM, -0.1), "eps is -0.1: the radius of the balls"),
        (lambda own: attack_observations([lean], [], PENDULUM, 0.1), "1 policies and 0 for gradients"),
    ],
)
def test_wrong_input_is_refused(call, error):
    with pytest.raises(rg.GameError, match=error):
        call(Differentiable(lean_rows))


def test_a_policy_without_a_critic_has_no_critic_attack():
    found = attack_observations([lean], [Differentiable(lean_rows)], PENDULUM, 0.1, ["critic", "mad"], episodes=1)
    assert found.left_out == {"critic": "the model has no critic"} and list(found.returns) == ["mad"]
