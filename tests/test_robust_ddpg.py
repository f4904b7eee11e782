"""DDPG and TD3 with an adversary: what is stored, what a checkpoint holds, that they learn."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import robustgames as rg
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3
from robustgames.solvers import make_solver

PENDULUM = "robustgames/ActionRobustPendulum-v0"
SMALL = {"hidden": (8, 8), "learning_starts": 20, "batch_size": 8}


def test_the_adversarys_share_is_what_is_stored():
    """With alpha = 1 the executed action is the adversary's alone; with 0 it is the protagonist's."""
    for alpha, player in ((1.0, "adversary"), (0.0, "protagonist")):
        agent = RobustDDPG(PENDULUM, noise=0.0, env_settings={"alpha": alpha}, **SMALL).learn(21)
        frozen, before = agent.z.clone(), agent._observations[0]
        agent.learn(1, reset_num_timesteps=False)
        stored = agent.practice.replay._rows[agent.practice.replay.position - 1, 0, 3:4]
        agent.z = frozen
        assert torch.allclose(stored, torch.from_numpy(agent.predict(before, player=player)[0]), atol=1e-6)


def test_a_time_limit_is_no_end():
    agent = RobustDDPG(PENDULUM, runs=2, **SMALL).learn(250)
    assert [len(recent) for recent in agent.episodes] == [1, 1] and agent.episodes[0][0][1] == 200
    replay = agent.practice.replay
    assert replay.size == 250 and bool((replay._rows[:250, :, -1] == 1).all())
    step = replay._rows[199]  # the last of the episode: its s' is where it ended, not where the next began
    assert not torch.allclose(step[:, 4:7], replay._rows[200, :, :3])


@pytest.mark.parametrize("agent_class", [RobustDDPG, RobustTD3])
def test_a_run_saved_between_episodes_goes_on_bit_for_bit(agent_class, tmp_path):
    first = agent_class(PENDULUM, make_solver("extra_adam", lr=1e-3), seed=3, runs=2, **SMALL).learn(200)
    first.save(tmp_path)
    second = agent_class.load(tmp_path, PENDULUM)
    for agent in (first, second):
        agent.learn(230, reset_num_timesteps=False)
    assert torch.equal(first.z, second.z) and first.num_timesteps == second.num_timesteps == 430
    assert first.episodes == second.episodes and first.updates == second.updates


def test_without_a_share_the_adversary_stays_and_ddpg_is_left():
    agent = RobustDDPG(PENDULUM, make_solver("adam", lr=1e-3), env_settings={"alpha": 0.0}, **SMALL)
    start = agent.z.clone()
    agent.learn(60)
    x, y = agent.game.split(agent.z)
    assert torch.equal(y, agent.game.split(start)[1]) and not torch.equal(x, agent.game.split(start)[0])


@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
@pytest.mark.parametrize("solver", ["alt_adam", "extra_adam", "rmsprop", "mirror_gan"])
def test_any_solver_moves_both_players(solver, coupling):
    agent = RobustTD3(
        PENDULUM, make_solver(solver, lr=1e-3), env_settings={"coupling": coupling, "alpha": 0.3}, **SMALL
    )
    start = agent.z.clone()
    agent.learn(40)
    assert torch.isfinite(agent.z).all()
    assert all(not torch.equal(a, b) for a, b in zip(agent.game.split(agent.z), agent.game.split(start), strict=True))


def test_a_random_adversary_is_the_control():
    agent = RobustDDPG(PENDULUM, adversary="random", env_settings={"alpha": 1.0}, **SMALL).learn(60)
    stored = agent.practice.replay._rows[:60, 0, 3]
    assert agent.game.sizes[1] == 0 and float(stored.std()) > 0.3
    with pytest.raises(rg.GameError, match="draws its actions at random: it has no policy"):
        agent.predict(np.zeros(3), player="adversary")


def test_runs_are_independent_and_repeat():
    together = RobustDDPG(PENDULUM, seed=1, runs=3, **SMALL).learn(30)
    again = RobustDDPG(PENDULUM, seed=1, runs=3, **SMALL).learn(30)
    assert torch.equal(together.z, again.z) and not torch.equal(together.z[0], together.z[1])
    assert together.predict(np.zeros((5, 3)), run=2)[0].shape == (5, 1)


class Breaks(gym.Env):
    """Returns a reward that is no number in its fifth step."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), float("nan") if self.t == 5 else 0.0, False, False, {}


def test_a_broken_env_says_where_and_loses_nothing():
    gym.register("test/Breaks-v0", entry_point=Breaks, max_episode_steps=100)
    agent = RobustDDPG("robustgames/ActionRobust-v0", env_settings={"env_id": "test/Breaks-v0"}, **SMALL)
    with pytest.raises(rg.GameError, match=r"run 0, timestep 4: .*nan"):
        agent.learn(50)
    assert agent.num_timesteps == 4 and agent.practice.replay.size == 4


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: RobustDDPG("Pendulum-v1"), "is no env with an adversary"),
        (lambda: RobustDDPG(PENDULUM, runs=0), "runs is 0: at least one run"),
        (lambda: RobustDDPG(PENDULUM, batchsize=3), "unknown setting 'batchsize': did you mean batch_size"),
        (lambda: RobustDDPG(PENDULUM, delay=0), "delay is 0: a whole number of at least 1"),
        (lambda: RobustDDPG(PENDULUM, noise=-1.0), "noise is -1.0: both are >= 0"),
        (lambda: RobustDDPG(PENDULUM, adversary="none"), "adversary is 'none': learned or random"),
        (lambda: RobustDDPG(PENDULUM, env_settings={"alpha": 1.5}), "alpha"),
        (lambda: RobustDDPG(gym.make(PENDULUM), runs=2), "serves one run as it is: pass its id"),
        (lambda: RobustDDPG(PENDULUM, env_settings={"coupling": "observation"}), "train a view for others"),
        (lambda: RobustDDPG(PENDULUM, **SMALL).learn(-1), "total_timesteps is -1"),
    ],
)
def test_impossible_settings_are_refused(make, error):
    with pytest.raises(rg.GameError, match=error):
        make()


def test_a_checkpoint_of_another_agent_is_refused(tmp_path):
    RobustDDPG(PENDULUM, **SMALL).save(tmp_path)
    with pytest.raises(rg.GameError, match="is of RobustDDPG, not RobustTD3"):
        RobustTD3.load(tmp_path, PENDULUM)


@pytest.mark.slow
def test_ddpg_swings_the_pendulum_up_in_6000_steps_on_8_of_8_seeds():
    agent = RobustDDPG(PENDULUM, seed=0, runs=8, env_settings={"alpha": 0.0}).learn(6000, log_interval=6000)
    env, returns = gym.make(PENDULUM, alpha=0.0), np.zeros((8, 20))
    for run in range(8):
        for episode in range(20):
            observation, over = env.reset(seed=1000 + episode)[0], False
            while not over:
                action = agent.predict(observation, run=run)[0]
                observation, reward, _, over, _ = env.step({"protagonist": action, "adversary": np.zeros(1)})
                returns[run, episode] += reward
    assert bool((returns.mean(1) > -200).all()), returns.mean(1)
