"""RARL, RAP and ATLA: whose turn it is, what each player learns from, that a saved run goes on, that they learn."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch

from robustgames.agents import ATLA, RAP, RARL, AlternatingTD3, RobustTD3
from robustgames.agents.alternating import AlternatingSettings, OnePlayerTD3
from robustgames.agents.control.episode_factory import make_separate
from robustgames.agents.control.player_episodes import PlayerEpisodes
from robustgames.envs.control.coupling import Coupling, Play
from robustgames.errors import GameError
from robustgames.evaluation.rollouts import play
from robustgames.experiment import ControlExperiment

PENDULUM = "robustgames/ActionRobustPendulum-v0"
INVERTED, HOPPER = "robustgames/ActionRobustInvertedPendulum-v0", "robustgames/ActionRobustHopper-v0"
SMALL = {"hidden": (8, 8), "learning_starts": 20, "batch_size": 8}


def newest(learner):
    """Return (state, action, reward, next state) of the last transition of the first run."""
    replay = learner.practice.replay
    s, a, after, reward, _ = (part[replay.position - 1] for part in replay._arrays)
    return s[0].copy(), a[0].copy(), float(reward[0]), after[0].copy()


class Pull(Coupling):
    """The adversary's action is subtracted from the protagonist's, at a half: a coupling of one's own."""

    def apply(self, env, action, adversary):
        return Play(np.clip(action - 0.5 * adversary, -1, 1).astype(np.float32))


def test_turns_follow_the_number_of_steps_and_each_player_stores_its_own():
    agent = AlternatingTD3(PENDULUM, turn=10, adversaries=2, **SMALL)
    order = []
    for _ in range(60):
        counts = [learner.practice.replay.size for learner in agent.learners]
        agent.learn(1, reset_num_timesteps=False)
        order.append([learner.practice.replay.size - n for learner, n in zip(agent.learners, counts, strict=True)])
    movers = [row.index(1) for row in order]
    assert [sum(row) for row in order] == [1] * 60
    assert movers == [0] * 10 + [1] * 10 + [0] * 10 + [2] * 10 + [0] * 10 + [1] * 10
    assert agent.stored == 30 and [one.num_timesteps for one in agent.adversaries] == [20, 10]


def test_in_an_observation_attack_the_protagonist_stores_what_it_sees_and_the_adversary_the_truth():
    """SA-MDP: the protagonist's rows are s + eps ν(s); both store actions of their own; rewards are opposite."""
    eps = 0.25
    agent = ATLA(PENDULUM, env_settings={"eps": eps}, turn=50, noise=0.0, **SMALL).learn(30)
    core, adversary = agent.env.unwrapped, agent.policy(player="adversary")
    shown = np.array(core._shown)
    agent.learn(1, reset_num_timesteps=False)
    state, action, reward, after = newest(agent)
    low, high = core.observation_space.low, core.observation_space.high
    assert np.allclose(state, np.clip(shown + eps * adversary(shown), low, high), atol=1e-6)
    assert np.allclose(after, np.clip(core._shown + eps * adversary(core._shown), low, high), atol=1e-6)
    assert reward <= 0 and action.shape == (1,)
    agent.learn(40, reset_num_timesteps=False)  # now the adversary has the turn
    state, action, reward, after = newest(agent.adversaries[0])
    assert action.shape == (3,) and reward >= 0 and np.array_equal(after, core._shown.astype(np.float32))


@pytest.mark.parametrize(
    "settings",
    [{"coupling": "noisy", "alpha": 0.5}, {"coupling": Pull()}, {"coupling": "dynamics", "scales": {"mass": (0.5, 2)}}],
)
def test_in_every_coupling_the_critic_learns_from_the_players_own_action(settings):
    agent = AlternatingTD3(PENDULUM, env_settings=settings, turn=25, noise=0.0, **SMALL).learn(24)
    for learner, player in ((agent, "protagonist"), (agent.adversaries[0], "adversary")):
        for _ in range(2):
            policy, replay = agent.policy(player=player), learner.practice.replay
            before = replay.size
            agent.learn(1, reset_num_timesteps=False)
            state, action, _, _ = newest(learner)
            if replay.size > max(before, 21):
                assert np.allclose(action, policy(state), atol=1e-6)
        agent.learn(24, reset_num_timesteps=False)


def test_against_an_adversary_without_effect_the_protagonist_is_td3():
    """Turns of one side alone against nothing: the same episodes, minibatches and updates as RobustTD3 with alpha 0."""
    envs = make_separate(PENDULUM, 2, {"alpha": 0.0})
    episodes = PlayerEpisodes(envs, "protagonist", 5, lambda run: [lambda observation: np.zeros(1, np.float32)])
    ours = OnePlayerTD3(episodes, None, 5, 2, **SMALL).learn(300)
    plain = RobustTD3(PENDULUM, None, 5, 2, {"alpha": 0.0}, **SMALL).learn(300)
    assert torch.allclose(ours.z, plain.z, atol=1e-4)  # a view rounds actions by a digit
    assert np.allclose([e[0][0] for e in ours.episodes], [e[0][0] for e in plain.episodes], rtol=1e-5)


def test_an_episode_of_a_population_is_against_one_of_them_chosen_by_its_seed():
    agent = RAP(INVERTED, turn=400, **SMALL)
    faced = []
    for _ in range(150):
        agent.learn(1, reset_num_timesteps=False)
        if agent._ended[0]:
            agent.ongoing.observe()
            policy = agent.ongoing.views[0]._policy.args[0]
            weights = [agent.adversaries[k].z[0] for k in range(3)]
            found = [k for k in range(3) if np.allclose(policy.args[1], weights[k].numpy())]
            faced += found
    assert len(faced) > 8 and set(faced) == {0, 1, 2}


HOW = [
    (ATLA, None, {"eps": 0.1}, {}),
    (RAP, INVERTED, {}, {"normalize": True}),
    (AlternatingTD3, PENDULUM, {"coupling": "probabilistic", "alpha": 0.3}, {"exploration": "ou", "adversaries": 2}),
    (RARL, HOPPER, {}, {"adversary": "random"}),
    (AlternatingTD3, PENDULUM, {"coupling": "delayed_observation"}, {"exploration": "parameter", "layer_norm": True}),
]


@pytest.mark.parametrize("steps", [0, 25, 60, 100])
@pytest.mark.parametrize(("agent_class", "env", "played", "settings"), HOW)
def test_a_saved_run_goes_on_bit_for_bit_in_the_middle_of_a_turn_too(
    agent_class, env, played, settings, steps, tmp_path
):
    """At 60 and 100 steps a turn has just ended; Hopper's and the pendulum's episodes are cut there."""
    env = env or PENDULUM
    first = agent_class(env, seed=3, runs=2, env_settings=played, turn=20, **SMALL, **settings).learn(steps)
    first.save(tmp_path)
    second = agent_class.load(tmp_path, env, env_settings=played)
    for agent in (first, second):
        agent.learn(65, reset_num_timesteps=False)
    assert len(first.learners) == len(second.learners)
    for ours, theirs in zip(first.learners, second.learners, strict=True):
        assert torch.equal(ours.z, theirs.z) and ours.updates == theirs.updates
        assert ours.episodes == theirs.episodes and ours.num_timesteps == theirs.num_timesteps


def test_a_run_is_the_same_next_to_others():
    several, one = (ATLA(PENDULUM, seed=4, runs=runs, turn=30, **SMALL).learn(120) for runs in (3, 1))
    for ours, theirs in zip(several.learners, one.learners, strict=True):
        assert torch.allclose(ours.z[0], theirs.z[0], atol=1e-4)


def test_a_diverged_adversary_stops_no_other_run():
    agent = ATLA(PENDULUM, runs=2, turn=20, **SMALL).learn(45)
    agent.adversaries[0].z[0] = float("nan")
    agent.learn(60, reset_num_timesteps=False)
    assert agent.is_finite() and bool(torch.isfinite(agent.z).all())


def test_a_diverged_adversary_counts_as_a_diverged_run_everywhere():
    made = ControlExperiment("atla", PENDULUM, settings={"turn": 20, **SMALL}, steps=40, runs=3, device="cpu")
    agent = made.make_agent().learn(45)
    agent.adversaries[0].z[1] = float("nan")
    assert agent.finite_runs().tolist() == [True, False, True] and agent.diverged == 1 and agent.is_finite()
    seen = {}
    agent.logger.record = lambda name, value, exclude=None: seen.setdefault(name, value)
    agent._log(1.0)
    assert seen["train/diverged_runs"] == 1
    values = made.measure(agent)
    assert made.details(agent, values)["diverged"] == 1
    assert (
        values["return"].isnan().tolist() == values["return_under_adversary"].isnan().tolist() == [False, True, False]
    )
    assert len(made.subject(agent).policies) == 2
    agent.adversaries[0].z[:] = float("nan")
    assert agent.diverged == 3 and not agent.is_finite()
    with pytest.raises(GameError, match="all 3 runs of atla diverged"):
        made.subject(agent)


def test_logs_hold_both_players(tmp_path):
    agent, seen = RAP(INVERTED, runs=2, turn=30, **SMALL), {}
    agent.logger.record = lambda name, value, exclude=None: seen.setdefault(name, value)
    agent.learn(200)
    agent._log(1.0)
    assert {"rollout/ep_rew_mean", "train/critic_loss", "train/q_of_protagonist"} <= seen.keys()
    assert {f"adversary_{k}/{name}" for k in range(3) for name in ("ep_rew_mean", "q", "critic_loss")} <= seen.keys()
    assert seen["adversary_0/ep_rew_mean"] < 0 < seen["rollout/ep_rew_mean"]  # the reward of each player


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: RARL(PENDULUM), "has no bodies to push"),
        (lambda: RARL(INVERTED, env_settings={"alpha": 0.1}), "has no meaning in coupling 'force'"),
        (lambda: ATLA("robustgames/RobustPendulum-v0"), "is a batch: players that take turns need an env per run"),
        (lambda: ATLA("Pendulum-v1"), "has no adversary"),
        (lambda: ATLA("robustgames/Nope-v0"), "unknown env"),
        (lambda: ATLA(turn=0), "turn is 0"),
        (lambda: RAP(adversaries=0), "adversaries is 0"),
        (lambda: RAP(adversary="random", adversaries=2), "adversaries is 2: a random adversary is one"),
        (lambda: ATLA(runs=0), "runs is 0"),
        (lambda: ATLA(gym.make(PENDULUM), runs=2), "serves one run"),
        (lambda: ATLA(turns=3), "unknown setting 'turns'"),
        (lambda: ATLA(adversary="random").predict(np.zeros(3), player="adversary"), "draws its actions at random"),
        (lambda: ATLA().predict(np.zeros(3), player="x"), "unknown player 'x'"),
    ],
)
def test_impossible_settings_are_refused(make, error):
    with pytest.raises((GameError, TypeError), match=error):
        make()


def test_turns_that_cut_episodes_are_told():
    with pytest.warns(UserWarning, match="a turn of 150 steps .* no state after step 150 .* give e.g. turn=200"):
        ATLA(PENDULUM, turn=150)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ATLA(PENDULUM, turn=200)
        ATLA(PENDULUM, turn=150, adversary="random")  # it has no turns
        RAP(INVERTED, adversary="random")


def test_defaults_are_those_of_td3():
    own, td3 = AlternatingSettings(), RobustTD3.preset
    assert all(getattr(own, name) == getattr(td3, name) for name in td3.__dataclass_fields__)


@pytest.mark.slow
def test_a_learned_attack_on_observations_takes_more_than_a_random_one_and_alternating_training_answers():
    """On Pendulum at radii of half a unit: against frozen TD3, and after training against such an adversary."""
    shifts = {"coupling": "observation", "eps": (0.3, 0.3, 1.0)}
    same = {"hidden": (64, 64), "learning_starts": 1_000, "runs": 2}
    plain = RobustTD3(PENDULUM, env_settings={"alpha": 0.0}, **same).learn(10_000)
    frozen = [plain.policy(run) for run in range(2)]
    episodes = PlayerEpisodes(make_separate(PENDULUM, 2, shifts), "adversary", 1, lambda run: [frozen[run]])
    attacker = OnePlayerTD3(episodes, None, 1, **same).learn(10_000)
    for run in range(2):
        against = [None, "random", attacker.policy(run)]
        found = [play(PENDULUM, frozen[run], 10, adversary=one, env_settings=shifts).returns.mean() for one in against]
        assert found[2] < found[1] - 100 and found[0] > found[2]
