"""Every callback of Stable-Baselines3, found by introspection: it works on both agents, or is refused by name."""

import inspect

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common import callbacks as sb3
from stable_baselines3.common.logger import Logger, make_output_format
from stable_baselines3.common.vec_env import DummyVecEnv

import robustgames as rg
from robustgames.evaluation.rollouts import play

PENDULUM = "robustgames/ActionRobustPendulum-v0"
BATCH = "robustgames/RobustPendulum-v0"
SMALL = {"learning_starts": 5, "batch_size": 4, "hidden": (8,)}


def game_agent():
    return rg.GameAgent(gym.make_vec("robustgames/Quadratic-v0", num_envs=3, dtype="float64"), "extragradient")


def single_game_agent():
    return rg.GameAgent(gym.make("robustgames/Quadratic-v0"), rg.make_solver("gda", lr=0.1))


def control_agent():
    env = gym.make(PENDULUM, alpha=0.3, max_episode_steps=7)
    return rg.RobustDDPG(env, **SMALL)


def batch_agent():
    env = gym.make_vec(BATCH, num_envs=3, max_episode_steps=7, alpha=0.3)
    return rg.RobustDDPG(env, **SMALL)


def pair_agent():
    return rg.RobustDDPG("robustgames/ActionRobust-v0", runs=2, env_settings={"env_id": "Pendulum-v1"}, **SMALL)


AGENTS = {f.__name__: f for f in (game_agent, single_game_agent, control_agent, batch_agent, pair_agent)}


def still(observation):
    return np.zeros(1, np.float32)


def evaluation_env(seed=None, **settings):
    env = DummyVecEnv([lambda: rg.PlayerView(gym.make(PENDULUM, alpha=0.3, **settings), "protagonist", still)])
    env.seed(seed)
    return env


class Counted(sb3.BaseCallback):
    """Counts every hook of a callback."""

    def __init__(self):
        super().__init__()
        self.at, self.hooks = [], []

    def _on_step(self):
        self.at.append(self.num_timesteps)
        self.hooks.append("step")
        return True

    def _on_training_start(self):
        self.hooks.append("training start")

    def _on_rollout_start(self):
        self.hooks.append("rollout start")

    def _on_rollout_end(self):
        self.hooks.append("rollout end")

    def _on_training_end(self):
        self.hooks.append("training end")


def evaluated(**inside):
    return sb3.EvalCallback(evaluation_env(max_episode_steps=4), eval_freq=3, n_eval_episodes=1, verbose=0, **inside)


MADE = {
    "BaseCallback": lambda folder: Counted(),
    "CallbackList": lambda folder: sb3.CallbackList([Counted(), Counted()]),
    "CheckpointCallback": lambda folder: sb3.CheckpointCallback(
        5, str(folder), save_replay_buffer=True, save_vecnormalize=True
    ),
    "ConvertCallback": lambda folder: sb3.ConvertCallback(lambda local, other: True),
    "EvalCallback": lambda folder: evaluated(),
    "EventCallback": lambda folder: sb3.EventCallback(Counted()),
    "EveryNTimesteps": lambda folder: sb3.EveryNTimesteps(4, Counted()),
    "LogEveryNTimesteps": lambda folder: sb3.LogEveryNTimesteps(4),
    "ProgressBarCallback": lambda folder: sb3.ProgressBarCallback.__new__(sb3.ProgressBarCallback),
    "StopTrainingOnMaxEpisodes": lambda folder: sb3.StopTrainingOnMaxEpisodes(100),
    "StopTrainingOnNoModelImprovement": lambda folder: evaluated(
        callback_after_eval=sb3.StopTrainingOnNoModelImprovement(50)
    ),
    "StopTrainingOnRewardThreshold": lambda folder: evaluated(
        callback_on_new_best=sb3.StopTrainingOnRewardThreshold(1e9)
    ),
}
"""One of each; a callback that a new version of Stable-Baselines3 adds has to be entered here."""

REFUSED = {
    "ProgressBarCallback": (AGENTS, "pass learn.*progress_bar=True"),
    "EvalCallback": (("game_agent", "single_game_agent"), "EvalCallback needs episodes.*log_interval"),
    "StopTrainingOnMaxEpisodes": (("game_agent", "single_game_agent"), "needs episodes.*total_timesteps"),
    "StopTrainingOnNoModelImprovement": (("game_agent", "single_game_agent"), "EvalCallback needs episodes"),
    "StopTrainingOnRewardThreshold": (("game_agent", "single_game_agent"), "EvalCallback needs episodes"),
}


def all_callbacks():
    found = inspect.getmembers(sb3, inspect.isclass)
    return [name for name, cls in found if issubclass(cls, sb3.BaseCallback) and cls.__module__ == sb3.__name__]


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("name", all_callbacks())
@pytest.mark.filterwarnings("ignore:EvalCallback evaluates run 0")
@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")
def test_every_callback_works_or_is_refused_by_name(name, agent, tmp_path):
    callback, made = MADE[name](tmp_path), AGENTS[agent]()
    if name == "ProgressBarCallback":  # its constructor needs rich
        sb3.BaseCallback.__init__(callback)
    agents, message = REFUSED.get(name, ((), ""))
    if agent in agents:
        before = made.z.clone()
        with pytest.raises(rg.GameError, match=message) as caught:
            made.learn(12, callback=callback)
        assert "\n" not in str(caught.value) and torch.equal(made.z, before) and made.num_timesteps in (0, 1)
        return
    plain = AGENTS[agent]().learn(12)
    made.learn(12, callback=callback)
    assert torch.equal(made.z, plain.z) and made.num_timesteps == plain.num_timesteps  # watching changes nothing
    calls = 6 if agent == "game_agent" else 12  # an extragradient step pays two oracle calls
    assert callback.n_calls == calls


@pytest.mark.parametrize(("agent", "steps"), [("game_agent", [2, 4, 6]), ("control_agent", [1, 2, 3, 4, 5, 6])])
def test_every_hook_is_called_in_order(agent, steps):
    counted = Counted()
    AGENTS[agent]().learn(6, callback=counted)
    rollout = ["rollout start", "step", "rollout end"]
    assert counted.at == steps and counted.hooks == ["training start", *rollout * len(steps), "training end"]


@pytest.mark.parametrize(("agent", "at"), [("game_agent", [6, 12]), ("control_agent", [5, 10, 15])])
def test_every_n_timesteps_and_logs_come_at_their_steps(agent, at, tmp_path):
    counted, made = Counted(), AGENTS[agent]()
    made.set_logger(Logger(str(tmp_path), [make_output_format("csv", str(tmp_path))]))
    both = [sb3.EveryNTimesteps(5, counted), sb3.LogEveryNTimesteps(5)]
    made.learn(16, callback=both, log_interval=16)
    assert counted.at == at
    rows = np.genfromtxt(tmp_path / "progress.csv", delimiter=",", names=True)["timetimesteps"].tolist()
    assert rows == [0] * (agent == "game_agent") + [*at, 16]  # once each, and the one of `log_interval`


@pytest.mark.parametrize(("agent", "runs"), [("control_agent", 1), ("batch_agent", 3)])
def test_max_episodes_stops_at_the_end_of_that_episode(agent, runs):
    """Episodes have 7 steps; every run plays 2."""
    stop = sb3.StopTrainingOnMaxEpisodes(2)
    made = AGENTS[agent]().learn(100, callback=stop)
    assert made.num_timesteps == 14 and stop.n_episodes == 2 * runs
    assert [len(recent) for recent in made.episodes] == [2] * runs


@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")
def test_the_reward_of_eval_callback_is_that_of_our_own_evaluation(tmp_path):
    callback = sb3.EvalCallback(
        evaluation_env(seed=11), eval_freq=20, n_eval_episodes=1, verbose=0, log_path=str(tmp_path)
    )
    agent = control_agent().learn(20, callback=callback)
    own = play(gym.make(PENDULUM, alpha=0.3), agent.policy(), episodes=1, seed=11, adversary=still)
    assert callback.last_mean_reward == pytest.approx(own.returns[0], rel=1e-5)
    written = np.load(tmp_path / "evaluations.npz")
    assert written["timesteps"].tolist() == [20] and written["ep_lengths"].tolist() == [[200]]
    assert written["results"][0, 0] == pytest.approx(own.returns[0], rel=1e-5)


@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")
def test_callbacks_of_an_evaluation_stop_the_training():
    reached = evaluated(callback_on_new_best=sb3.StopTrainingOnRewardThreshold(-1e9))
    assert control_agent().learn(50, callback=reached).num_timesteps == 3  # the first evaluation
    same = evaluated(callback_after_eval=sb3.StopTrainingOnNoModelImprovement(2))
    same.best_mean_reward = 0.0  # no return of a pendulum is higher
    same.callback.last_best_mean_reward = 0.0
    assert control_agent().learn(50, callback=same).num_timesteps == 9  # more than 2 without a better one
    for alone in (sb3.StopTrainingOnRewardThreshold(0.0), sb3.StopTrainingOnNoModelImprovement(1)):
        for nested in (alone, sb3.CallbackList([alone])):
            with pytest.raises(rg.GameError, match=rf"pass EvalCallback\(env, callback_.*={type(alone).__name__}"):
                control_agent().learn(1, callback=nested)
    listed = sb3.CallbackList([sb3.StopTrainingOnRewardThreshold(-1e9)])
    assert control_agent().learn(50, callback=evaluated(callback_on_new_best=listed)).num_timesteps == 3


def test_an_evaluation_in_another_action_box_is_refused():
    """In Pendulum-v1 itself the actions are torques in [-2, 2], so a policy would play half of what it means."""
    for env in (gym.make("Pendulum-v1"), gym.make("MountainCarContinuous-v0")):
        with pytest.raises(rg.GameError, match=r"PlayerView\(env, 'protagonist', opponent\)|observes"):
            control_agent().learn(1, callback=sb3.EvalCallback(env))
    with pytest.raises(rg.GameError, match="EvalCallback needs episodes"):
        game_agent().learn(2, callback=sb3.EveryNTimesteps(1, evaluated()))


@pytest.mark.parametrize("agent", ["game_agent", "control_agent"])
def test_checkpoints_of_the_callback_load_and_continue(agent, tmp_path):
    whole = AGENTS[agent]().learn(16, callback=sb3.CheckpointCallback(4, str(tmp_path), "run"))
    reached = 8 if agent == "game_agent" else 4
    path = tmp_path / f"run_{reached}_steps.zip"
    env = gym.make_vec("robustgames/Quadratic-v0", num_envs=3, dtype="float64")
    if agent == "control_agent":
        env = gym.make(PENDULUM, alpha=0.3, max_episode_steps=7)
    resumed = type(whole).load(path, env)
    assert resumed.num_timesteps == reached
    assert torch.equal(resumed.learn(16 - reached, reset_num_timesteps=False).z, whole.z)


def test_the_training_envs_can_be_read_and_not_stepped():
    envs = pair_agent().get_env()
    assert envs.num_envs == 2 and envs.get_attr("env_id") == ["Pendulum-v1"] * 2
    assert envs.env_is_wrapped(gym.wrappers.TimeLimit) == [True, True]
    envs.env_method("set_perturbation", {"mass": 2.0}, indices=1)
    assert envs.get_attr("perturbation") == [{}, {"mass": 2.0}]
    for call in (envs.reset, lambda: envs.step(np.zeros((2, 1)))):
        with pytest.raises(rg.GameError, match="of the training envs would break the agent's episodes"):
            call()
    assert batch_agent().get_env().get_attr("max_episode_steps") == [7, 7, 7]


def test_functions_stop_by_false_and_not_by_silence():
    assert game_agent().learn(20, callback=lambda local, other: None).num_timesteps == 20
    assert game_agent().learn(20, callback=[lambda local, other: np.False_]).num_timesteps == 2
    with pytest.raises(rg.GameError, match="callback is 'log': pass a callback, a function"):
        game_agent().learn(20, callback=["log"])
