"""Certified returns: closed forms, coverage, linear policies for which the bound is attained, and attacks."""

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import norm

from robustgames.errors import GameError
from robustgames.evaluation.policy_smoothing import CertifiedReturns, survival_bounds
from robustgames.evaluation.smoothed_episodes import certify_returns, least_return, play_smoothed

PENDULUM = "robustgames/ActionRobustPendulum-v0"


# -- statistics ----------------------------------------------------------------------------------------------
def test_a_known_distribution_has_the_bounds_of_its_closed_form():
    """R uniform on [0, 1]: P(R >= r) = 1 - r, and ∫ Φ(Φ⁻¹(1 - r) - c) dr = E Φ(Z - c) = Φ(-c / √2)."""
    returns, noise = np.random.default_rng(0).random(100_000), 0.5
    found = CertifiedReturns(returns, noise, least=0.0)
    for budget in (0.0, 0.2, 0.5, 1.0):
        c = budget / noise
        exact = norm.cdf(-c / np.sqrt(2))
        assert exact - 0.0095 < found.mean(budget) <= exact
        for r in (0.1, 0.5, 0.9):
            assert norm.cdf(norm.ppf(1 - r) - c) - 0.016 < found.probability(r, budget) <= norm.cdf(norm.ppf(1 - r) - c)
        median = 1 - norm.cdf(c)  # P(R >= r) = Φ(c) without an attack is 1/2 with it
        assert median - 0.016 < found.quantile(budget) <= median
    assert found.probability(1.1, 0.0) == 0 and found.quantile(5.0) == -np.inf


def test_bounds_are_wrong_as_rarely_as_they_say_and_estimates_are_not_bounds():
    rng, alpha, wrong, naive, trials = np.random.default_rng(1), 0.2, 0, 0, 3000
    for _ in range(trials):
        x, p = survival_bounds(rng.random(40), alpha)
        wrong += bool((p > 1 - x).any())
        naive += bool((1 - np.arange(40) / 40 > 1 - x).any())
    assert 0.02 * trials < wrong < alpha * trials and naive > 0.9 * trials
    k = np.arange(1000)
    assert (np.diff(survival_bounds(rng.random(1000))[1]) <= 0).all() and k[-1] == 999


def test_refusals():
    for bad in ({"alpha": 0.0}, {"alpha": 1.5}):
        with pytest.raises(GameError, match="alpha"):
            survival_bounds(np.ones(3), **bad)
    with pytest.raises(GameError, match="finite"):
        survival_bounds(np.array([np.nan]))
    with pytest.raises(GameError, match="noise is 0"):
        CertifiedReturns(np.ones(3), 0.0)
    with pytest.raises(GameError, match="an episode returned 1"):
        CertifiedReturns(np.ones(3), 1.0, least=2.0)
    found = CertifiedReturns(np.ones(3), 1.0)
    with pytest.raises(GameError, match="pass least"):
        found.mean(0.0)
    with pytest.raises(GameError, match="budget"):
        found.quantile(-1.0)
    with pytest.raises(GameError, match="noise is -1"):
        certify_returns(lambda o: 0, "CartPole-v1", -1.0)
    with pytest.raises(GameError, match="FrozenLake-v1 observes Discrete"):
        play_smoothed(lambda o: 0, "FrozenLake-v1", 0.1, 1)


# -- a linear policy, for which everything is known --------------------------------------------------------------
STEPS, WEIGHTS, LEVEL, SIGMA = 3, np.array([0.6, -0.8]), 1.0, 0.5
ROOT = np.sqrt(STEPS) * np.linalg.norm(WEIGHTS)


class Threshold(gym.Env):
    """Reward 1 at the end if the actions of an episode have a sum of at least -LEVEL, without noise 0."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-np.inf, np.inf, (), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.total, self.count = 0.0, 0
        return np.zeros(2), {}

    def step(self, action):
        self.total, self.count = self.total + float(action), self.count + 1
        return np.zeros(2), float(self.count == STEPS and self.total >= -LEVEL), self.count == STEPS, False, {}


def linear(observation):
    return WEIGHTS @ observation


def exact(shifts):
    """P(Σ <w, δ_t + η_t> >= -LEVEL) for fixed shifts (..., STEPS, 2)."""
    return norm.cdf(((shifts @ WEIGHTS).sum(-1) + LEVEL) / (SIGMA * ROOT))


def test_no_attack_in_1000_on_a_linear_policy_is_below_the_bound_and_the_best_one_attains_it():
    rng, budget = np.random.default_rng(2), 0.7
    directions = rng.standard_normal((1000, STEPS, 2))
    shifts = budget * directions / np.linalg.norm(directions, axis=(1, 2), keepdims=True)
    bound = norm.cdf(norm.ppf(exact(np.zeros((STEPS, 2)))) - budget / SIGMA)
    assert (exact(shifts) >= bound).all()
    best = -np.tile(WEIGHTS, (STEPS, 1)) * budget / ROOT
    assert np.linalg.norm(best) == pytest.approx(budget) and exact(best) == pytest.approx(bound, abs=1e-12)
    assert exact(2 * best) < bound - 0.2  # the control: twice the radius is not certified


def test_the_certificate_from_episodes_is_near_the_exact_one_and_a_doubled_radius_is_beaten():
    budget, n = 0.3, 4000
    found = certify_returns(linear, Threshold(), SIGMA, n, least=0.0)
    bound = norm.cdf(norm.ppf(exact(np.zeros((STEPS, 2)))) - budget / SIGMA)
    assert bound - 0.06 < found.mean(budget) < bound
    assert found.mean(budget) == pytest.approx(float(found.probability(1.0, budget)))

    def attack(observation, step):
        return -WEIGHTS * 9.0  # more than there is: cut to the budget, all of it in the first step

    # the whole budget in one step of three is the best fixed attack on that step alone
    once = norm.cdf((LEVEL - budget * np.linalg.norm(WEIGHTS)) / (SIGMA * ROOT))
    attacked = play_smoothed(linear, Threshold(), SIGMA, n, n, attack=attack, budget=budget)
    assert attacked.mean() == pytest.approx(once, abs=0.03) and attacked.mean() > found.mean(budget)

    def spread(observation, step):
        return -WEIGHTS * 2 * budget / ROOT

    beaten = play_smoothed(linear, Threshold(), SIGMA, n, n, attack=spread, budget=2 * budget)
    assert beaten.mean() < found.mean(budget) - 0.05


# -- CartPole and pendulum ----------------------------------------------------------------------------------------
def balance(observation):
    return int(0.05 * observation[0] + 0.1 * observation[1] + observation[2] + 0.4 * observation[3] > 0)


class RandomAttacker:
    """Another random strategy in every episode: where it begins, which way it points, and how long it lasts."""

    def __init__(self, budget, size, seed, harm=None):
        self.rng, self.budget, self.size, self.harm = np.random.default_rng(seed), budget, size, harm

    def __call__(self, observation, step):
        if step == 0:
            self.begin, self.length = self.rng.integers(0, 60), self.rng.integers(1, 40)
            self.way = self.rng.standard_normal(self.size) if self.harm is None or self.rng.random() < 0.3 else None
        if not self.begin <= step < self.begin + self.length:
            return np.zeros(self.size)
        way = self.harm(observation) if self.way is None else self.way
        return self.budget / np.sqrt(self.length) * way / np.linalg.norm(way)


def test_no_attacker_of_1000_beats_the_certificate_of_a_cartpole():
    env, noise = gym.make("CartPole-v1", max_episode_steps=100, disable_env_checker=True), 0.2
    found = certify_returns(balance, env, noise, 1000, least=0.0)
    hide = lambda o: -np.sign(0.1 * o[1] + o[2] + 0.4 * o[3]) * np.array([0.05, 0.1, 1.0, 0.4])  # noqa: E731
    for budget in (0.2, 0.6):
        attacker = RandomAttacker(budget, 4, 3, hide)
        attacked = play_smoothed(balance, env, noise, 1000, 1000, attack=attacker, budget=budget)
        assert 0 < found.mean(budget) <= attacked.mean()
        for threshold in (20.0, 50.0, 100.0):
            assert found.probability(threshold, budget) <= (attacked >= threshold).mean()
    assert attacked.mean() < found.returns.mean()


@pytest.mark.slow
def test_no_attacker_of_1000_beats_the_certificate_of_a_trained_pendulum():
    import robustgames as rg

    agent = rg.RobustDDPG(PENDULUM, seed=0, env_settings={"alpha": 0.0}).learn(6000)
    policy, scale, noise = agent.policy(), np.array([0.6, 0.5, 1.5]), 0.2
    found = certify_returns(policy, PENDULUM, noise, 1000, scale=scale)
    assert found.least == pytest.approx(200 * -16.2736044, abs=1e-4) and found.returns.mean() > -250
    hide = lambda o: np.array([0.0, -np.sign(o[1]), -np.sign(o[2])])  # noqa: E731
    for budget in (0.1, 0.4):
        attacker = RandomAttacker(budget, 3, 3, hide)
        attacked = play_smoothed(policy, PENDULUM, noise, 1000, 1000, scale, attacker, budget)
        assert found.mean(budget) <= attacked.mean() and found.quantile(budget) <= np.median(attacked)


# -- episodes ----------------------------------------------------------------------------------------------------
def test_episodes_are_those_of_play_without_noise_and_their_streams_do_not_depend_on_the_attack():
    from robustgames.evaluation.rollouts import play

    lean = lambda o: np.clip(np.array([[0.1, -0.9, -0.3]]) @ o, -1, 1).astype(np.float32)  # noqa: E731
    np.testing.assert_array_equal(play_smoothed(lean, PENDULUM, 0.0, 2, 5), play(PENDULUM, lean, 2, 5).returns)
    calm = play_smoothed(lean, PENDULUM, 0.1, 2)
    still = play_smoothed(lean, PENDULUM, 0.1, 2, attack=lambda o, t: np.zeros(3), budget=1.0)
    np.testing.assert_array_equal(calm, still)
    unpaid = play_smoothed(lean, PENDULUM, 0.1, 2, attack=lambda o, t: np.ones(3), budget=0.0)
    np.testing.assert_array_equal(calm, unpaid)


def test_shifts_never_exceed_the_budget():
    seen = []

    class Watched(Threshold):
        pass

    def watching(observation):
        seen.append(observation)
        return 0.0

    play_smoothed(watching, Watched(), 0.0, 1, attack=lambda o, t: np.array([0.4, 0.0]), budget=0.5)
    np.testing.assert_allclose(np.array(seen)[:, 0], [0.4, 0.3, 0.0])


def test_least_returns_belong_to_models_whose_rewards_are_bounded():
    assert least_return("InvertedPendulum-v5", 1000) == 0 and least_return("Acrobot-v1", 500) == -500
    assert least_return("Hopper-v5", 1000) is None and least_return("Pendulum-v1", None) is None
    few = certify_returns(balance, "CartPole-v1", 0.1, 2, env_settings={"sutton_barto_reward": True})
    assert few.least is None  # another reward
    assert certify_returns(lambda o: np.zeros(1), PENDULUM, 0.1, 1, env_settings={"alpha": 0.2}).least is not None
    env, cart = "robustgames/ActionRobust-v0", {"env_id": "CartPole-v1", "coupling": "probabilistic"}
    never = lambda o: np.zeros(2)  # noqa: E731
    for settings, least in ((cart, 0.0), ({**cart, "sutton_barto_reward": True}, None)):
        assert certify_returns(never, env, 0.1, 1, env_settings=settings).least == least


def test_a_policy_with_memory_begins_with_every_episode():
    begun = []

    class Recurrent:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            begun.append((state, bool(episode_start[0])))
            return np.zeros(1, np.float32), (state or 0) + 1

    play_smoothed(Recurrent(), PENDULUM, 0.1, 2)
    assert [k for k, one in enumerate(begun) if one == (None, True)] == [0, 200]


def test_one_unit_for_all_components_gives_each_one_noise_of_its_own():
    seen = {name: [] for name in ("one", "each")}

    def watching(name):
        return lambda observation: seen[name].append(observation) or 0

    play_smoothed(watching("one"), "CartPole-v1", 0.5, 1, scale=0.5)
    play_smoothed(watching("each"), "CartPole-v1", 0.5, 1, scale=np.full(4, 0.5))
    np.testing.assert_array_equal(seen["one"], seen["each"])
    clean = gym.make("CartPole-v1").reset(seed=0)[0]
    np.testing.assert_allclose(seen["one"][0] - clean, 0.25 * np.random.default_rng((0, 4)).normal(size=4), atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"scale": np.ones(3)}, "scale is .1. 1. 1..: finite units >= 0 of 4 components"),
        ({"scale": np.full(4, np.nan)}, "scale is"),
        ({"scale": -1.0}, "scale is -1.0"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"noise": np.nan}, "noise is nan"),
        ({"budget": -1.0}, "budget is -1.0"),  # whose square is that of 1
        ({"budget": np.nan}, "budget is nan"),
    ],
)
def test_units_noise_and_budgets_that_mean_nothing_are_refused(wrong, said):
    with pytest.raises(GameError, match=said):
        play_smoothed(balance, "CartPole-v1", **{"noise": 0.1, "episodes": 1, **wrong})


@pytest.mark.parametrize("least", [np.nan, -np.inf])
def test_a_least_return_that_is_not_finite_is_refused(least):
    with pytest.raises(GameError, match="least is"):
        CertifiedReturns(np.full(100, 500.0), 0.2, least=least)
