"""The agent: one computation whichever way it is reached, bit-exact resume, honest divergence."""

import contextlib
import os
import signal

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

import robustgames as rg
from robustgames.agents.callbacks import Recorder
from robustgames.checkpoints import load_checkpoint
from robustgames.games import AdversarialClassification, DigitsAdversarial


def vector_env(name="Bilinear", runs=4, **settings):
    return gym.make_vec(f"robustgames/{name}-v0", num_envs=runs, dtype="float64", **settings)


def play_extra_adam_through_step(env, z, steps, lr=0.1, betas=(0.5, 0.9), eps=1e-8):
    """ExtraAdam written against the Gymnasium protocol alone."""
    first, second = env.unwrapped.players
    rule = rg.solvers.Adam(lr, betas, eps)
    state = rule.init(z)
    n = env.unwrapped.game.sizes[0]

    def feedback(point):
        observation, *_ = env.step({first: point[..., :n], second: point[..., n:]})
        return torch.cat([observation[first], observation[second]], -1)

    for _ in range(steps):
        half, state = rule.step(z, feedback(z), state, None)
        z, state = rule.step(z, feedback(half), state, None)
    return z


@pytest.mark.parametrize("name", ["Bilinear", "Forsaken", "AlmostBilinear"])
def test_env_path_equals_direct_path_bit_for_bit(name):
    env = vector_env(name, noise=0.1)
    agent = rg.GameAgent(env, rg.make_solver("extra_adam", lr=0.1), seed=3)
    start = agent.z.clone()
    agent.learn(100)
    agent_calls = env.unwrapped.oracle.calls
    env.unwrapped.oracle.generator.manual_seed(3)
    env.unwrapped.game.initial((4,), env.unwrapped.oracle.generator)  # the agent's own start draws come first
    env.unwrapped.oracle.calls = 0
    assert torch.equal(play_extra_adam_through_step(env, start, steps=50), agent.z)
    assert env.unwrapped.oracle.calls == agent_calls == 100


def test_numpy_env_and_vector_env_give_the_same_field():
    single = gym.make("robustgames/Forsaken-v0", dtype="float64")
    single.reset(seed=0)
    observation, reward, terminated, truncated, info = single.step({"x": np.array([0.3]), "y": np.array([0.7])})
    joint = {p: torch.tensor([[v]], dtype=torch.float64) for p, v in (("x", 0.3), ("y", 0.7))}
    batch, rewards, *_ = vector_env("Forsaken", runs=1).step(joint)
    assert reward == float(rewards[0]) == info["rewards"]["x"] == -info["rewards"]["y"]
    assert observation["x"][0] == float(batch["x"]) and observation["y"][0] == float(batch["y"])
    assert not terminated and not truncated


def test_timesteps_are_oracle_calls():
    for name, per_step in (("gda", 1), ("alt_gda", 2), ("extragradient", 2), ("alt_extra_adam", 4)):
        agent = rg.GameAgent(vector_env(), rg.make_solver(name, lr=0.01)).learn(40)
        assert (agent.num_timesteps, agent.steps) == (40, 40 // per_step)


def test_reset_num_timesteps_follows_stable_baselines():
    agent = rg.GameAgent(vector_env(), "gda").learn(10)
    assert agent.learn(5, reset_num_timesteps=False).num_timesteps == 15
    assert agent.learn(5).num_timesteps == 5


@pytest.mark.parametrize("solver", ["extra_adam", "optimistic_gda", "alt_adam", "adversarial_training"])
def test_resume_is_bit_exact(tmp_path, solver):
    name = "DigitsAdversarial" if solver == "adversarial_training" else "Forsaken"
    settings = {} if solver == "adversarial_training" else {"noise": 0.3}
    whole, part = (rg.GameAgent(vector_env(name, **settings), rg.make_solver(solver, lr=0.01), seed=1) for _ in "ab")
    whole.learn(80, log_interval=80)
    part.learn(40, log_interval=40)
    part.save(tmp_path / "run")
    resumed = rg.GameAgent.load(tmp_path / "run", vector_env(name, **settings))
    assert resumed.solver == part.solver
    resumed.learn(40, log_interval=40, reset_num_timesteps=False)
    assert torch.equal(resumed.z, whole.z) and resumed.num_timesteps == whole.num_timesteps == 80


class Interrupted(rg.ZeroSumGame):
    """Φ = x y + x ζ; the user presses Ctrl-C inside the field at call 31, in the middle of an extragradient step."""

    sizes = (1, 1)
    calls = 0

    def draw(self, shape, generator):
        return torch.randn(shape, generator=generator, dtype=self.dtype)

    def payoff(self, x, y, sample):
        Interrupted.calls += 1
        if Interrupted.calls == 31:
            raise KeyboardInterrupt
        return (x * y).squeeze(-1) + x.squeeze(-1) * sample


def test_an_interrupt_inside_a_step_leaves_the_agent_between_two_steps():
    solver = rg.make_solver("extra_adam", lr=0.1)
    Interrupted.calls = 100
    whole = rg.GameAgent(rg.GameVectorEnv(Interrupted, num_envs=2, dtype="float64"), solver).learn(60, log_interval=4)
    agent = rg.GameAgent(rg.GameVectorEnv(Interrupted, num_envs=2, dtype="float64"), solver)
    Interrupted.calls = 0
    with pytest.raises(KeyboardInterrupt):
        agent.learn(60, log_interval=4)
    done = agent.num_timesteps
    assert done % 4 == 0 and 0 < done < 31 and agent.steps == done // 2
    agent.learn(60 - done, log_interval=4, reset_num_timesteps=False)
    assert torch.equal(agent.z, whole.z)


class Pressed(rg.ZeroSumGame):
    """Φ = x y; the user presses Ctrl-C inside the field at the calls of `at`."""

    sizes = (1, 1)
    calls = 0
    at = ()

    def payoff(self, x, y, sample):
        Pressed.calls += 1
        if Pressed.calls in Pressed.at:
            signal.raise_signal(signal.SIGINT)
        return (x * y).squeeze(-1)


@pytest.mark.parametrize(("at", "done"), [((21,), 22), ((21, 22), 10)])
def test_the_first_ctrl_c_ends_the_step_and_the_second_takes_effect_at_once(at, done):
    """A step has two calls; the second press undoes it, back to the last log."""
    agent = rg.GameAgent(rg.GameVectorEnv(Pressed, num_envs=2), rg.make_solver("extragradient", lr=0.1))
    handler, Pressed.at = signal.getsignal(signal.SIGINT), at
    agent.learn(10, log_interval=10)
    Pressed.calls = agent.num_timesteps
    with pytest.raises(KeyboardInterrupt):
        agent.learn(60, log_interval=100, reset_num_timesteps=False)
    assert agent.num_timesteps == done and agent.steps == done // 2
    assert signal.getsignal(signal.SIGINT) is handler


def test_load_knows_a_game_by_its_tensors_and_dtype(tmp_path):
    rg.GameAgent(vector_env("Quadratic", coupling=1.0), "extra_adam").save(tmp_path)
    with pytest.raises(rg.GameError, match="settings or data differ"):
        rg.GameAgent.load(tmp_path, vector_env("Quadratic", coupling=9.0))
    single = gym.make_vec("robustgames/Quadratic-v0", num_envs=4, coupling=1.0)
    with pytest.raises(rg.GameError, match=r"in torch.float64, the env .* in torch.float32"):
        rg.GameAgent.load(tmp_path, single)


def test_rates_must_fit_the_runs():
    rates = torch.full((4, 1), 0.1)
    assert rg.GameAgent(vector_env(), rg.make_solver("gda", lr=rates)).learn(4).z.dtype == torch.float64
    with pytest.raises(rg.GameError, match=r"lr has shape \(4, 1\): one rate per run has shape \(1, 1\) here"):
        rg.GameAgent(vector_env(runs=1), rg.make_solver("gda", lr=rates))


def test_a_start_that_is_not_finite_is_refused():
    with pytest.raises(rg.GameError, match="z0 has non-finite values"):
        rg.GameAgent(vector_env(), "gda", z0=[float("nan"), 1.0])


def test_a_half_open_box_has_finite_starts():
    box = rg.Box(0.0, float("inf"))
    points = box.sample((1000, 2), torch.Generator().manual_seed(0), torch.float64)
    assert torch.isfinite(points).all() and (points >= 0).all() and points.std() > 0.1


class NoisyBomb(rg.ZeroSumGame):
    """x walks at random; the field is NaN from x = 1 on."""

    sizes = (1, 1)

    def draw(self, shape, generator):
        return torch.randn((*shape, 1), generator=generator, dtype=self.dtype)

    def payoff(self, x, y, sample):
        return (x * sample * torch.where(x < 1.0, 1.0, float("nan")) - y * y).squeeze(-1)


def test_the_step_named_by_a_stochastic_divergence_is_the_true_one():
    def agent():
        env = rg.GameVectorEnv(NoisyBomb, num_envs=1, dtype="float64")
        return rg.GameAgent(env, rg.make_solver("gda", lr=0.1), z0=[0.0, 0.0], seed=4)

    path = agent()
    while torch.isfinite(path.z).all():
        path.z, path.state = path.solver.step(path.oracle, path.z, path.state)
        path.steps += 1
    with pytest.raises(rg.DivergedError, match=rf"at step {path.steps} \(.*the field is not finite at a finite point"):
        agent().learn(10_000, log_interval=path.steps + 7)


def test_langevin_noise_resumes_bit_exactly(tmp_path):
    solver = rg.solvers.Simultaneous(rg.solvers.Langevin(0.01, 0.5))
    whole = rg.GameAgent(vector_env("Quadratic"), solver).learn(50)
    part = rg.GameAgent(vector_env("Quadratic"), solver).learn(20)
    part.save(tmp_path / "run")
    resumed = rg.GameAgent.load(tmp_path / "run", vector_env("Quadratic")).learn(30, reset_num_timesteps=False)
    assert torch.equal(resumed.z, whole.z)


def test_load_refuses_another_game(tmp_path):
    rg.GameAgent(vector_env("Forsaken"), "gda").save(tmp_path)
    with pytest.raises(rg.GameError, match=r"is of Forsaken\(\).*the env is Forsaken\(offset=0.1\)"):
        rg.GameAgent.load(tmp_path, vector_env("Forsaken", offset=0.1))


@pytest.mark.parametrize("damage", ["truncate", "flip a byte", "change the count", "empty", "delete"])
def test_a_damaged_checkpoint_is_refused_and_the_previous_one_used(tmp_path, damage):
    agent = rg.GameAgent(vector_env(), "gda")
    agent.learn(10).save(tmp_path)
    agent.learn(10, reset_num_timesteps=False).save(tmp_path)
    current, previous = tmp_path / "checkpoint.safetensors", tmp_path / "previous.safetensors"
    data = current.read_bytes()
    if damage == "delete":  # as after a kill between two renames: no alarm
        current.unlink()
        assert load_checkpoint(tmp_path)["timesteps"] == 10
        return
    changed = {
        "truncate": data[:-8],
        "flip a byte": data[:-1] + bytes([data[-1] ^ 1]),
        "change the count": data.replace(b'timesteps\\": 20', b'timesteps\\": 21'),
        "empty": b"",
    }[damage]
    assert changed != data
    current.write_bytes(changed)
    with pytest.warns(
        UserWarning, match="checkpoint.safetensors (is cut off|was changed).*using the previous checkpoint"
    ):
        assert load_checkpoint(tmp_path)["timesteps"] == 10
    with pytest.warns(UserWarning):
        rg.GameAgent.load(tmp_path, vector_env()).save(tmp_path)  # does not push out the good one
    assert load_checkpoint(tmp_path)["timesteps"] == 10 and previous.exists()
    current.write_bytes(b"")
    previous.write_bytes(b"{}")
    with pytest.raises(rg.GameError, match="no usable checkpoint"):
        load_checkpoint(tmp_path)


def test_a_kill_between_any_two_renames_leaves_a_checkpoint(tmp_path, monkeypatch):
    """Whatever order the kills come in: before the first rename, between the two, again and again."""
    agent = rg.GameAgent(vector_env(), "gda").learn(10)
    agent.save(tmp_path)
    replace, last = os.replace, 10
    for survived in (1, 0, 1, 1, 0, 0, 1):
        agent.learn(10, reset_num_timesteps=False)
        done = []

        def killed(source, target, done=done, survived=survived):
            if len(done) == survived:
                raise KeyboardInterrupt
            done.append(replace(source, target))

        monkeypatch.setattr(os, "replace", killed)
        with contextlib.suppress(KeyboardInterrupt):
            agent.save(tmp_path)
        monkeypatch.setattr(os, "replace", replace)
        found = load_checkpoint(tmp_path)["timesteps"]
        assert last <= found <= agent.num_timesteps
        last = found


def test_a_single_diverging_run_does_not_stop_the_others(capsys):
    z0 = torch.tensor([[0.1, 0.1], [3.0, 3.0], [0.2, 0.0]])  # Forsaken's x⁵ throws the second out
    agent = rg.GameAgent(vector_env("Forsaken", runs=3), rg.make_solver("gda", lr=0.1), z0=z0).learn(100)
    assert agent.diverged == 1
    assert torch.isfinite(agent.z[[0, 2]]).all() and not torch.isfinite(agent.z[1]).all()
    alone = rg.GameAgent(vector_env("Forsaken", runs=2), rg.make_solver("gda", lr=0.1), z0=z0[[0, 2]]).learn(100)
    assert torch.equal(agent.z[[0, 2]], alone.z)


class Poisoned(rg.ZeroSumGame):
    """Φ = x y until x passes a wall, where the payoff is NaN."""

    sizes = (1, 1)

    def payoff(self, x, y, sample):
        return (x * y * torch.where(x < 1.0, 1.0, float("nan"))).squeeze(-1)


def test_when_all_runs_diverge_the_error_names_step_and_run():
    env = rg.GameVectorEnv(Poisoned, num_envs=2, dtype="float64")
    z0 = torch.tensor([[0.0, -1.0], [0.45, -1.0]])  # GDA lets x grow by 0.1 a step
    agent = rg.GameAgent(env, rg.make_solver("gda", lr=0.1), z0=z0)
    with pytest.raises(rg.DivergedError, match=r"run 1 of 2 diverged \(non-finite values\) at step 8 \(timestep 8\)"):
        agent.learn(100, log_interval=20)
    assert torch.isfinite(agent.z).all() and agent.num_timesteps == 0  # back at the last finite log


def test_a_learning_rate_per_run_equals_separate_runs():
    rates = torch.tensor([[0.05], [0.1], [0.2]], dtype=torch.float64)
    z0 = torch.tensor([1.0, 0.5])
    batch = rg.GameAgent(vector_env(runs=3), rg.make_solver("extra_adam", lr=rates), z0=z0).learn(60)
    for i, lr in enumerate([0.05, 0.1, 0.2]):
        alone = rg.GameAgent(vector_env(runs=1), rg.make_solver("extra_adam", lr=lr), z0=z0).learn(60)
        assert torch.equal(batch.z[i], alone.z[0])


def test_compiled_steps_equal_eager_steps():
    z0 = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).clamp(-1.2, 1.2)
    for name in ("extragradient", "extra_adam"):
        solver = rg.make_solver(name, lr=0.01)
        eager = rg.GameAgent(vector_env("Forsaken", runs=50), solver, z0=z0).learn(40)
        fast = rg.GameAgent(vector_env("Forsaken", runs=50), solver, z0=z0, compile=True).learn(40)
        assert torch.allclose(eager.z, fast.z, atol=1e-12) and fast.num_timesteps == 40


def test_callbacks_and_predict_have_the_surface_of_stable_baselines():
    class Stop(BaseCallback):
        def _on_step(self):
            return self.num_timesteps < 6

    agent = rg.GameAgent(vector_env(), "gda").learn(100, callback=Stop())
    assert agent.num_timesteps == 6
    action, state = agent.predict(None, deterministic=True)
    assert state is None and torch.equal(action["x"], agent.z[:, :1])
    assert agent.learn(100, callback=lambda local, _: local["self"].num_timesteps < 3).num_timesteps == 3


def test_average_is_the_mean_of_the_iterates():
    solver = rg.make_solver("alt_gda", lr=0.1, average="uniform")
    agent = rg.GameAgent(vector_env(), solver, z0=[1.0, 0.0]).learn(200)
    points = rg.trajectory(rg.make_solver("alt_gda", lr=0.1), agent.game, torch.tensor([1.0, 0.0]).double(), 100)
    assert torch.allclose(agent.average()[0], points[1:].mean(0), atol=1e-12)
    with pytest.raises(rg.GameError, match="keeps no average"):
        rg.GameAgent(vector_env(), "gda").average()


def test_bad_arguments_of_the_agent():
    with pytest.raises(rg.GameError, match="must be a scheme"):
        rg.GameAgent(vector_env(), rg.solvers.SGD(0.1))
    with pytest.raises(rg.GameError, match=r"rg.GameVectorEnv\(game"):
        rg.GameAgent(DigitsAdversarial(), "gda")
    with pytest.raises(rg.GameError, match="log_interval is -5"):
        rg.GameAgent(vector_env(), "gda").learn(10, log_interval=-5)
    with pytest.raises(rg.GameError, match="total_timesteps is -1"):
        rg.GameAgent(vector_env(), "gda").learn(-1)
    with pytest.raises(rg.GameError, match=r"z0 has shape \(3,\): expected \(2,\)"):
        rg.GameAgent(vector_env(), "gda", z0=[1.0, 2.0, 3.0])
    with pytest.raises(rg.GameError, match="is not an env of a game"):
        rg.GameAgent(gym.make("Pendulum-v1"), "gda")


def test_a_network_of_a_user_trains_by_the_same_agent():
    images, labels = DigitsAdversarial().images[:64], DigitsAdversarial().labels[:64]

    def build():
        layers = [torch.nn.Unflatten(-1, (1, 8, 8)), torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(144, 10))

    game = AdversarialClassification(images, labels, rg.Network(build), eps=0.05, batch_size=32)
    env = rg.GameVectorEnv(game, num_envs=2)
    agent = rg.GameAgent(env, rg.make_solver("adversarial_training", lr=0.01, inner_lr=0.02, inner_steps=2))
    sample = game.to().draw((2,), torch.Generator().manual_seed(9))
    before = game.metrics(agent.z, sample)["loss"]
    agent.learn(180)
    assert (game.metrics(agent.z, sample)["loss"] < 0.5 * before).all()


def test_a_resumed_run_has_the_trajectory_of_the_whole_run():
    """The recorder thins its points while it is stopped and resumed; the phase portrait is drawn from them."""
    whole, parts = Recorder(runs=2, most=10), Recorder(runs=2, most=10)
    rg.GameAgent(vector_env(), "gda", seed=1).learn(47, callback=whole)
    agent = rg.GameAgent(vector_env(), "gda", seed=1).learn(23, callback=parts)
    resumed = Recorder(runs=2, most=10)
    resumed.load_state_dict(parts.state_dict())
    agent.learn(24, callback=resumed, reset_num_timesteps=False)
    assert resumed.stride == whole.stride == 8 and torch.equal(resumed.trajectory, whole.trajectory)
    assert whole.trajectory.shape == (6, 2, 2)
    assert {point.untyped_storage().nbytes() for point in whole.points} == {2 * 2 * 8}  # not those of all runs
    for change in ({"points": torch.zeros(3, 2)}, {"stride": -1}, {"steps": "x"}):
        with pytest.raises(rg.GameError, match="checkpoint"):
            again = Recorder(runs=2, most=10)
            again.load_state_dict({**parts.state_dict(), **change})
            agent.learn(2, callback=again, reset_num_timesteps=False)
