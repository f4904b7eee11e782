"""Exploration: the statistics that the processes have in closed form, and where adaptive noise settles."""

import pytest
import torch
from torch import Generator

import robustgames as rg
from robustgames.agents.control.exploration import AdaptiveParameterNoise, GaussianNoise, OrnsteinUhlenbeck
from robustgames.checkpoints import load_checkpoint, save_checkpoint

KIND = torch.float64
RUNS = 4000


def generator(seed=0):
    return Generator().manual_seed(seed)


def values(noise, steps, runs=RUNS, k=1):
    actions, g = torch.zeros(runs, k, dtype=KIND), generator()
    state, found = noise.init(actions), []
    for _ in range(steps):
        value, state = noise.step(state, actions, g)
        found.append(value)
    return torch.stack(found), state


def test_gaussian_noise_has_its_deviation_in_every_run_and_no_memory():
    stds = torch.tensor([0.1] * 2000 + [0.3] * 2000, dtype=KIND).unsqueeze(-1)
    noise, _ = values(GaussianNoise(stds), 20)
    for part, std in ((noise[:, :2000], 0.1), (noise[:, 2000:], 0.3)):
        assert abs(float(part.std()) / std - 1) < 4 / (2 * 40_000) ** 0.5
    first, second = noise[0].squeeze(-1) / stds.squeeze(-1), noise[1].squeeze(-1) / stds.squeeze(-1)
    assert abs(float((first * second).mean())) < 4 / RUNS**0.5


def test_ornstein_uhlenbeck_noise_is_stationary_with_its_deviation_and_correlation():
    noise = OrnsteinUhlenbeck(std=0.3, theta=0.5, dt=0.1)
    found, _ = values(noise, 300)
    late = found[250:].squeeze(-1)
    stationary = 0.3 / (2 * 0.5 - 0.5**2 * 0.1) ** 0.5
    assert abs(float(late[0].std()) / stationary - 1) < 4 / (2 * RUNS) ** 0.5
    for lag in (1, 10, 40):
        correlation = float((late[0] * late[lag]).mean()) / stationary**2
        assert abs(correlation - (1 - 0.05) ** lag) < 4 / RUNS**0.5, lag
    growing = found[:5].squeeze(-1).std(1)  # from 0: variance std² dt (1 + a² + a⁴ …) with a = 1 - theta dt
    expected = 0.09 * 0.1 * torch.tensor([sum(0.95 ** (2 * i) for i in range(t)) for t in range(1, 6)], dtype=KIND)
    assert torch.allclose(growing, expected.sqrt(), rtol=4 / (2 * RUNS) ** 0.5)


def test_the_default_ornstein_uhlenbeck_step_is_the_papers():
    found, _ = values(OrnsteinUhlenbeck(), 1)
    assert abs(float(found.std()) / 0.02 - 1) < 4 / (2 * RUNS) ** 0.5


def test_a_new_episode_begins_at_zero_in_its_own_run_only():
    noise, (_, state) = OrnsteinUhlenbeck(), values(OrnsteinUhlenbeck(), 5, runs=3, k=2)
    restarted = noise.restart(state, torch.tensor([False, True, False]))["u"]
    assert bool((restarted[1] == 0).all()) and torch.equal(restarted[::2], state["u"][::2])
    assert not bool((state["u"][1] == 0).any())
    assert GaussianNoise().restart({}, torch.tensor([True])) == {}


def test_the_runs_generator_decides_everything_and_states_are_saved(tmp_path):
    noise, actions, g = OrnsteinUhlenbeck(), torch.zeros(3, 2), generator(7)
    state = noise.step(noise.init(actions), actions, g)[1]
    save_checkpoint(tmp_path, {"noise": state, "generator": g.get_state()})
    loaded, other = load_checkpoint(tmp_path), generator()
    other.set_state(loaded["generator"])
    assert torch.equal(noise.step(state, actions, g)[0], noise.step(loaded["noise"], actions, other)[0])


# -- parameter noise -----------------------------------------------------------------------------------------
P, K = 25, 400


def linear(weights, states):
    """π(s) = W s without a bias, W (K, P): many actions, so that d is near its mean square."""
    return states @ weights.unflatten(-1, (K, P)).mT


def test_adaptive_noise_settles_where_the_distance_is_delta():
    """On a linear policy d = std |s|: from either side std ends at delta / |s|."""
    noise, g = AdaptiveParameterNoise(std=0.2, delta=0.2, interval=1), generator()
    weights = torch.randn(2, K * P, dtype=KIND, generator=g)
    states = torch.zeros(2, 1, P, dtype=KIND)
    states[0, 0, :] = 1.0  # |s| = 5
    states[1, 0, 0] = 0.4
    state = noise.init(weights, g)
    late = []
    for step in range(320):
        state = noise.adapt(state, linear, weights, states, g)
        late += [state["std"]] if step >= 260 else []
    settled = torch.stack(late).mean(0).squeeze(-1)
    assert torch.allclose(settled, torch.tensor([0.2 / 5, 0.2 / 0.4], dtype=KIND), rtol=0.02)
    others = weights + state["std"] * torch.randn(weights.shape, dtype=KIND, generator=g)
    assert torch.allclose(noise.distance(linear, weights, others, states), torch.full((2,), 0.2, dtype=KIND), rtol=0.1)


def test_the_distance_is_the_root_of_the_mean_square_over_states_and_actions():
    noise, weights = AdaptiveParameterNoise(), torch.zeros(3, K * P, dtype=KIND)
    states = torch.ones(3, 6, P, dtype=KIND)
    d = noise.distance(linear, weights, weights + 0.1, states)
    assert torch.allclose(d, torch.full((3,), 0.1 * P, dtype=KIND))


def test_an_adaptation_comes_every_interval_steps_and_is_a_factor():
    noise, g = AdaptiveParameterNoise(std=0.1, delta=1e9, factor=1.05, interval=4), generator()
    weights, states = torch.zeros(2, K * P), torch.ones(2, 3, P)
    state, stds = noise.init(weights, g), []
    for _ in range(9):
        state = noise.adapt(state, linear, weights, states, g)
        stds.append(float(state["std"][0]))
    expected = [0.1] * 3 + [0.105] * 4 + [0.1 * 1.05**2] * 2
    assert stds == pytest.approx(expected) and state["k"] == 9
    shrinking = AdaptiveParameterNoise(std=0.1, delta=1e-9, factor=1.05, interval=1)
    assert float(shrinking.adapt(shrinking.init(weights, g), linear, weights, states, g)["std"][1]) == pytest.approx(
        0.1 / 1.05
    )


def test_weights_stay_for_an_episode_and_are_drawn_around_the_present_ones():
    noise, g = AdaptiveParameterNoise(std=0.1), generator()
    state = noise.init(torch.zeros(3, 5000), g)
    assert abs(float(state["weights"].std()) / 0.1 - 1) < 0.03
    moved = noise.restart(state, torch.full((3, 5000), 7.0), torch.tensor([True, False, True]), g)
    assert torch.equal(moved["weights"][1], state["weights"][1])
    assert abs(float(moved["weights"][::2].mean()) - 7.0) < 0.01


def test_both_players_are_disturbed_and_adapted_in_every_update():
    agent = rg.RobustTD3(exploration="parameter", hidden=(8, 8), learning_starts=20, batch_size=8).learn(20 + 101)
    state = agent.behavior.state
    assert state["k"] == agent.updates == 101 and float(state["std"]) != 0.1  # two adaptations, whatever the delay
    for noisy, own in zip(agent.game.split(state["weights"]), agent.game.split(agent.z), strict=True):
        assert bool((noisy != own).all())


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: GaussianNoise(-0.1), "std is -0.1: it must be a standard deviation >= 0"),
        (lambda: GaussianNoise(torch.tensor([[0.1], [-1.0]])), "every standard deviation is >= 0"),
        (lambda: GaussianNoise(float("nan")), "std is nan"),
        (lambda: OrnsteinUhlenbeck(theta=0.0), r"theta dt is 0: it lies in \(0, 1\]"),
        (lambda: OrnsteinUhlenbeck(theta=30.0, dt=0.1), "theta dt is 3"),
        (lambda: AdaptiveParameterNoise(std=0.0), "both are positive"),
        (lambda: AdaptiveParameterNoise(delta=-0.1), "delta is -0.1: both are positive"),
        (lambda: AdaptiveParameterNoise(factor=1.0), "factor is 1.0 and interval 50: above 1"),
        (lambda: AdaptiveParameterNoise(interval=0), "interval 0: above 1, and at least 1"),
    ],
)
def test_impossible_noise_is_refused(make, error):
    with pytest.raises(rg.GameError, match=error):
        make()
