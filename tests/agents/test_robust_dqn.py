"""RobustDQN: its operator against enumeration, its update against Stable-Baselines3, envs with discrete actions."""

from itertools import product

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.type_aliases import ReplayBufferSamples

import robustgames as rg
from robustgames.agents import RobustDQN
from robustgames.agents.control.q_learning import QGame, robust_value
from robustgames.envs.control.discrete_actions import Preferences
from robustgames.evaluation.rollouts import play

ENV = "robustgames/ActionRobust-v0"
ROUNDS = {"train_freq": 4, "gradient_steps": 3, "target_update_interval": 6}
SMALL = {"hidden": (16, 16), "learning_starts": 20, "batch_size": 8, **ROUNDS}


def cartpole(alpha=0.0, coupling="probabilistic"):
    return {"env_id": "CartPole-v1", "coupling": coupling, "alpha": alpha}


# -- the operator ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_fixed_point_is_the_value_of_the_best_pair_of_policies(alpha):
    """Among all pairs of deterministic policies max min = min max, and both are the fixed point, to 1e-9."""
    rng, states, actions, gamma = np.random.default_rng(0), 4, 2, 0.9
    chances = rng.dirichlet(np.ones(states), (states, actions))
    rewards = rng.standard_normal((states, actions))
    v = torch.zeros(states, 1, dtype=torch.float64)
    for _ in range(400):
        q = torch.as_tensor(rewards + gamma * np.einsum("saz,z->sa", chances, v[:, 0].numpy()))
        v = robust_value(q, alpha)
    every = list(product(range(actions), repeat=states))
    table = np.empty((len(every), len(every), states))
    rows = np.arange(states)
    for (i, own), (j, other) in product(enumerate(map(list, every)), enumerate(map(list, every))):
        r = (1 - alpha) * rewards[rows, own] + alpha * rewards[rows, other]
        p = (1 - alpha) * chances[rows, own] + alpha * chances[rows, other]
        table[i, j] = np.linalg.solve(np.eye(states) - gamma * p, r)
    np.testing.assert_allclose(v[:, 0], table.min(1).max(0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(v[:, 0], table.max(0).min(0), rtol=0, atol=1e-9)
    if 0 < alpha < 1:
        assert (v[:, 0].numpy() < table.max((0, 1)) - 0.01).all()


def test_double_and_random_values_by_hand():
    q, chosen = torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[3.0, 9.0, 0.0]])
    assert robust_value(q, 0.25, chosen).item() == 0.75 * 2 + 0.25 * 6
    assert robust_value(q, 0.25, random=True).item() == 0.75 * 6 + 0.25 * 3


# -- the update --------------------------------------------------------------------------------------------------
def filled(alpha=0.0, **settings):
    agent = RobustDQN(ENV, "adam", 0, 1, cartpole(alpha), **{**SMALL, "learning_starts": 60, "tau": 0.1, **settings})
    agent.learn(60)
    assert agent.updates == 0
    return agent


@pytest.mark.parametrize(("tau", "norm"), [(1.0, 10.0), (0.3, 0.2)])
def test_rounds_of_updates_are_those_of_stable_baselines3(tau, norm):
    """Six rounds of three updates, and targets that move every six env steps, on the same minibatches."""
    agent = filled(double=False, huber=True, batch_size=32, tau=tau, max_grad_norm=norm)
    agent.practice.target[0] += 0.05 * torch.randn(agent.game.sizes[0], generator=torch.Generator().manual_seed(1))
    kwargs = {"net_arch": [16, 16], "optimizer_kwargs": {"eps": 1e-8}}
    model = DQN(
        "MlpPolicy", "CartPole-v1", 1e-3, batch_size=32, tau=tau, max_grad_norm=norm,
        policy_kwargs=kwargs, device="cpu", **ROUNDS,
    )  # fmt: skip
    for net, weights in ((model.q_net, agent.z[0]), (model.q_net_target, agent.practice.target[0])):
        torch.nn.utils.vector_to_parameters(weights.clone(), net.parameters())
    sample = agent.practice._sample
    agent.practice._sample = lambda generator: batches.append(sample(generator)) or batches[-1]
    batches, start = [], agent.z.clone()
    agent.learn(24, reset_num_timesteps=False)
    assert len(batches) == agent.updates == 18
    model._logger = type("Silent", (), {"record": lambda *_, **__: None})()
    model.replay_buffer = type("Same", (), {"sample": lambda *_, **__: _sb3_batch(batches.pop(0))})()
    model._n_calls = 60
    for step in range(61, 85):
        model._on_step()
        if step % ROUNDS["train_freq"] == 0:
            model.train(ROUNDS["gradient_steps"], 32)
    for net, own in ((model.q_net, agent.z), (model.q_net_target, agent.practice.target)):
        theirs = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
        torch.testing.assert_close(own[0], theirs, rtol=0, atol=2e-5)
    assert (agent.z - start).abs().mean() > 5e-3 and not torch.equal(agent.z, agent.practice.target)


def _sb3_batch(batch):
    parts = (
        batch.states,
        batch.actions.argmax(-1, keepdim=True),
        batch.next_states,
        1 - batch.continues,
        batch.rewards,
    )
    return ReplayBufferSamples(*(torch.tensor(part[0].numpy()) for part in parts), None)


@pytest.mark.parametrize("settings", [{}, {"double": False, "huber": True}, {"adversary": "random", "huber": True}])
def test_the_field_is_that_of_autograd_on_the_robust_target(settings):
    alpha = 0.3
    agent = filled(alpha, batch_size=64, max_grad_norm=0.0, **settings)
    agent.z = 20 * agent.z  # errors on both sides of 1
    game, batch = agent.game, agent.practice.batch(agent.generator)
    x = agent.z.clone().requires_grad_()
    goal, chosen = (agent._q(w, batch.after).detach() for w in (batch.target, x))
    by = chosen if settings.get("double", True) else goal
    low = goal.mean(-1) if "adversary" in settings else goal.gather(-1, by.argmin(-1, keepdim=True))[..., 0]
    v = (1 - alpha) * goal.gather(-1, by.argmax(-1, keepdim=True))[..., 0] + alpha * low
    target = batch.rewards[..., 0] + 0.99 * batch.continues[..., 0] * v
    q = agent._q(x, batch.states).gather(-1, batch.actions)[..., 0]
    kind = torch.nn.functional.smooth_l1_loss if settings.get("huber", False) else torch.nn.functional.mse_loss
    loss = kind(q, target) * (1 if settings.get("huber", False) else 0.5)
    (g,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(game.field(agent.z, batch), -g, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(game.evaluate(agent.z, batch)[0][1][0], loss.detach())
    for longest in (0.5, 2.0):
        game.longest = longest * float(g.norm())
        torch.testing.assert_close(game.field(agent.z, batch), -min(longest, 1) * g, rtol=1e-4, atol=1e-6)
    assert 0 < float(batch.continues.mean()) < 1  # both kinds of transitions are there


# -- env and agent -------------------------------------------------------------------------------------------------
def test_preferences_execute_the_largest_and_the_coupling_replaces_actions():
    env = gym.make(ENV, **cartpole(0.25))
    plain = gym.make("CartPole-v1")
    env.reset(seed=3)
    plain.reset(seed=3)
    acted = 0
    for k in range(2000):
        after, *_, over, _, info = env.step({"protagonist": [1.0, -1.0], "adversary": [-0.5, 0.5]})
        same, *_, gone, _, _ = plain.step(int(info["adversary_acted"]))
        np.testing.assert_array_equal(after, same)
        acted += info["adversary_acted"]
        assert over == gone
        if over:
            env.reset(seed=k)
            plain.reset(seed=k)
    assert acted == pytest.approx(500, abs=60)
    assert int(Preferences(gym.make("CartPole-v1")).action(np.zeros(2))) == 0


def test_the_adversary_takes_the_least_q_and_runs_resume_bit_for_bit(tmp_path):
    agent = RobustDQN(ENV, seed=1, runs=2, env_settings=cartpole(0.2), exploration_steps=100, **SMALL).learn(150)
    state = np.array([0.1, 0.2, 0.03, -0.4], np.float32)
    q = agent._q(agent.z, torch.as_tensor(state).expand(2, 1, 4))[:, 0]
    for run in range(2):
        assert agent.policy(run)(state).argmax() == q[run].argmax()
        assert agent.policy(run, "adversary")(state).argmax() == q[run].argmin()
    value = 0.8 * q.amax(-1) + 0.2 * q.amin(-1)
    torch.testing.assert_close(agent.values(torch.as_tensor(state).expand(2, 1, 4))[:, 0], value)
    assert agent.behavior.epsilon == 0.04
    agent.save(tmp_path / "c")
    again = RobustDQN.load(tmp_path / "c", ENV, cartpole(0.2))
    for one in (agent, again):
        one.learn(60, reset_num_timesteps=False)
    assert torch.equal(agent.z, again.z) and torch.equal(agent.practice.target, again.practice.target)


@pytest.mark.parametrize("name", ["CartPole", "Acrobot"])
def test_runs_in_a_batch_of_torch_resume_bit_for_bit_and_are_those_of_any_batch(name, tmp_path):
    """Episodes end one by one, in the middle of one the agent is saved, and its runs do not depend on each other."""
    batch, cut = f"robustgames/Robust{name}-v0", {"max_episode_steps": 37}
    given = {"alpha": 0.2, "perturbation": {"gravity": (0.8, 1.2)}, **cut}
    agent, fewer = (RobustDQN(batch, seed=1, runs=runs, env_settings=given, **SMALL).learn(75) for runs in (3, 2))
    rows = [one.practice.replay._rows[:20] for one in (agent, fewer)]  # before the first update: all are random
    assert torch.equal(rows[0][:, :2], rows[1]) and not torch.equal(rows[1][:, 0], rows[1][:, 1])
    lengths = [length for recent in agent.episodes for _, length in recent]
    assert lengths and all(0 < length <= 37 for length in lengths)
    assert all(
        total == (length if name == "CartPole" else -length) for recent in agent.episodes for total, length in recent
    )
    agent.save(tmp_path / "c")
    again = RobustDQN.load(tmp_path / "c", batch, given)
    for one in (agent, again):
        one.learn(60, reset_num_timesteps=False)
    assert torch.equal(agent.z, again.z) and agent.episodes == again.episodes
    assert torch.equal(agent.practice.replay._rows[:135], again.practice.replay._rows[:135])


def test_a_batch_stores_the_transition_before_its_env_begins_again():
    agent = RobustDQN("robustgames/RobustCartPole-v0", seed=0, env_settings={"alpha": 0.0}, **SMALL).learn(60)
    row = agent.practice.replay._rows[:60, 0]
    ended = row[:, -1] == 0
    assert 0 < int(ended.sum()) < 10
    beyond = (row[:, 6].abs() > 2.4) | (row[:, 8].abs() > 12 * 2 * np.pi / 360)  # (s, a, s', r, continues): x', θ'
    assert torch.equal(beyond, ended)
    assert bool((row[1:, :4][ended[:-1]].abs() <= 0.05).all())  # the next row begins at a start
    assert torch.equal(row[1:, :4][~ended[:-1]], row[:-1, 6:10][~ended[:-1]])


def test_a_round_that_fails_halfway_is_owed_and_taken_bit_for_bit(tmp_path, monkeypatch):
    whole, agent = (RobustDQN(ENV, seed=2, env_settings=cartpole(0.2), **SMALL) for _ in "ab")
    original = QGame.field

    def fails(self, *args):
        if agent.updates == 11:  # the second of the round of step 36, in which the targets also move
            raise MemoryError("no memory left")
        return original(self, *args)

    monkeypatch.setattr(QGame, "field", fails)
    with pytest.raises(MemoryError):
        agent.learn(60)
    monkeypatch.undo()
    assert agent.num_timesteps == agent.practice.replay.size == 36 and agent.updates == 9
    agent.save(tmp_path / "c")
    whole.learn(60)
    for left in (agent, RobustDQN.load(tmp_path / "c", ENV, cartpole(0.2))):
        assert torch.equal(left.learn(24, reset_num_timesteps=False).z, whole.z)
        assert left.updates == whole.updates == 30 and torch.equal(left.practice.target, whole.practice.target)


def test_a_run_is_the_same_in_a_batch_of_any_size():
    few, many = (RobustDQN(ENV, seed=5, runs=runs, env_settings=cartpole(0.2), **SMALL).learn(45) for runs in (2, 3))
    assert torch.equal(few.practice.replay._rows[:20, 1], many.practice.replay._rows[:20, 1])
    assert torch.allclose(few.z[1], many.z[1], rtol=0, atol=1e-5) and not torch.equal(few.z[1], few.z[0])


def test_the_share_of_random_actions_is_epsilon():
    agent = RobustDQN(ENV, env_settings=cartpole(), exploration_steps=10, epsilon=0.3, **SMALL)
    behavior, states = agent.behavior, torch.zeros(1, 1, 4)
    greedy = agent.policies.act(agent.z, states)[0].argmax()
    behavior.state = {"k": 5}
    assert behavior.epsilon == pytest.approx(0.65)
    behavior.state = {"k": 10}
    other = sum(int(behavior.act(agent.z, states)[0].argmax() != greedy) for _ in range(2000))
    assert other / 2000 == pytest.approx(0.3 / 2, abs=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RobustDQN(ENV, env_settings=cartpole(0.1, "noisy")), "--set coupling=probabilistic"),
        (lambda: RobustDQN("robustgames/ActionRobustPendulum-v0"), "Pendulum-v1 has continuous actions"),
        (lambda: rg.RobustDDPG(ENV, env_settings=cartpole()), "train robust_dqn robustgames/ActionRobust-v0"),
        (lambda: RobustDQN(ENV, env_settings=cartpole(), epsilon=2.0), "epsilon is 2.0"),
        (lambda: RobustDQN(ENV, env_settings=cartpole(), twin=True), "unknown setting 'twin'"),
        (lambda: RobustDQN(ENV, env_settings=cartpole(), exploration_steps=0), "exploration_steps is 0"),
        (lambda: RobustDQN(ENV, env_settings=cartpole(), train_freq=0), "train_freq is 0"),
        (lambda: RobustDQN(ENV, env_settings=cartpole(), max_grad_norm=-1.0), "max_grad_norm is -1.0"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(rg.GameError, match=message):
        make()


@pytest.mark.slow
def test_cartpole_is_solved_by_four_of_five_seeds():
    """A random policy balances for 22 steps on average, and an episode ends after 500."""
    agent = RobustDQN(ENV, seed=0, runs=5, env_settings=cartpole()).learn(50_000)
    returns = [play(ENV, agent.policy(run), 20, 1000, env_settings=cartpole()).returns.mean() for run in range(5)]
    assert sorted(returns)[1] >= 475, returns
