"""The compiled updates and actions of control against the passes of PyTorch, which are their definition."""

import builtins
import os
import subprocess
import sys
import warnings
from itertools import product

import gymnasium as gym
import numpy as np
import pytest
import torch

import robustgames as rg
from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.critics import TemporalDifference
from robustgames.agents.control.engines import why_not
from robustgames.agents.control.kernels import compiling, networks, products, rules, updating
from robustgames.agents.control.kernels.tile import FITS
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.policy_game import PolicyGame
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3
from robustgames.games import MLP
from robustgames.solvers import Adam, make_solver

PENDULUM = "robustgames/ActionRobustPendulum-v0"
SMALL = {"learning_starts": 20, "batch_size": 16, "hidden": (16, 24)}
SHARES = {"0": 0.0, "0.1": 0.1, "per run": [0.0, 0.1, 0.5]}
EXTRA = {
    "plain": {},
    "random": {"adversary": "random"},
    "norm": {"layer_norm": True},
    "l2": {"l2": 0.01, "final": 0.0},
    "normalize": {"normalize": True},
    "parameter": {"exploration": "parameter", "layer_norm": True},
    "ou": {"exploration": "ou", "hidden": (8,)},
}
CASES = [
    (kind, coupling, share, extra, runs)
    for kind, coupling, share, extra, runs in product(
        (RobustDDPG, RobustTD3), ("noisy", "probabilistic"), SHARES, EXTRA, (1, 3)
    )
    if (share != "per run" or runs == 3) and (share, extra) != ("0", "random")
]


def trained(engine, kind=RobustDDPG, steps=50, env=PENDULUM, solver=None, **settings):
    agent = kind(env, solver, seed=3, engine=engine, **{**SMALL, **settings})
    return agent.learn(steps, log_interval=1000)


def everything(agent):
    """Return all that an update changes, in one tensor."""
    practice, moments = agent.practice, agent.state if "k" in agent.state else agent.state["x"]
    tensors = (agent.z, moments["m"], practice.target, practice.state["w"], practice.state["target"])
    return torch.cat([t.flatten() for t in (*tensors, practice.state["rule"]["m"], practice.error, practice.states)])


@pytest.mark.parametrize(("kind", "coupling", "share", "extra", "runs"), CASES)
def test_30_updates_are_those_of_torch(kind, coupling, share, extra, runs):
    options = {"runs": runs, "env_settings": {"alpha": SHARES[share], "coupling": coupling}, **EXTRA[extra]}
    plain, native = (trained(engine, kind, **options) for engine in ("torch", "native"))
    assert (plain.engine.name, native.engine.name) == ("torch", "native")
    assert plain.updates == native.updates == 30 and native.state["k"] == plain.state["k"]
    assert plain.generator.count == native.generator.count  # the same random numbers
    a, b = (agent.practice.replay._rows[:50] for agent in (plain, native))
    assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)
    assert torch.allclose(everything(plain), everything(native), rtol=1e-5, atol=1e-5)


def test_rates_of_their_own_and_a_batch_of_pendulums():
    rates = make_solver("adam", lr=1e-3, lr_y=3e-4), make_solver("adam", lr=torch.tensor([[1e-3], [3e-3]]))
    for env, solver in product((PENDULUM, "robustgames/RobustPendulum-v0"), rates):
        plain, native = (trained(e, env=env, solver=solver, runs=2) for e in ("torch", "native"))
        assert torch.allclose(everything(plain), everything(native), rtol=1e-5, atol=1e-5)


def test_large_smoothing_noise_is_drawn_like_that_of_torch():
    options = {"batch_size": 2048, "runs": 2}  # from 2048 numbers on, PyTorch draws them
    plain, native = (trained(engine, RobustTD3, 26, **options) for engine in ("torch", "native"))
    assert torch.allclose(everything(plain), everything(native), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
def test_passes_are_those_of_autograd(norm):
    net, rows = MLP((3, 8, 5, 2), last="tanh", norm=norm), 7
    weights = net.initial((), torch.Generator().manual_seed(0), torch.float32).requires_grad_()
    inputs = torch.randn(rows, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    ascent = torch.randn(rows, 2, generator=torch.Generator().manual_seed(2))
    output = net(weights, inputs)
    output.backward(ascent)
    widths, memory, slopes = np.array(net.widths), np.empty(1000, np.float32), np.empty((3, 100), np.float32)
    w, x = weights.detach().numpy(), inputs.detach().numpy()
    panel = np.empty(products.room(8), np.float32)
    found = networks.forward(w, widths, norm, True, x, memory, 0, panel)
    assert np.allclose(found, output.detach().numpy(), atol=1e-6)
    slope = (ascent * (1 - output.detach() ** 2)).numpy()
    in_weights, in_inputs = np.empty_like(w), np.empty_like(x)
    networks.backward(w, widths, norm, x, memory, 0, slope.copy(), slopes, in_weights, x[:0], panel)
    networks.backward(w, widths, norm, x, memory, 0, slope.copy(), slopes, w[:0], in_inputs, panel)
    assert np.allclose(in_weights, weights.grad.numpy(), atol=1e-6)
    assert np.allclose(in_inputs, inputs.grad.numpy(), atol=1e-6)


SHAPES = [
    (7, 5, 3),
    (40, 5, 1),
    (40, 64, 64),
    (33, 65, 64),
    (1, 1, 1),
    (9, 15, 31),
    (5, 40, 50),
    (130, 33, 100),
    (256, 16, 8),
]


@pytest.mark.parametrize("kind", ["tiles", "blas"])
@pytest.mark.parametrize(("rows", "p", "q"), SHAPES)
def test_products_are_those_in_double_precision_and_write_nothing_else(kind, rows, p, q):
    rng = np.random.default_rng(0)
    h, w, slope = (rng.standard_normal(shape) for shape in ((rows, p), (q, p), (rows, q)))
    memory = np.full(products.room(max(rows, p, q)) + 1, np.nan, np.float32)
    for name, a, b, wanted in (
        ("forward", h, w, h @ w.T),
        ("below", slope, w, slope @ w),
        ("in_matrix", slope, h, slope.T @ h),
    ):
        given, out = [t.astype(np.float32).ravel() for t in (a, b)], np.full(wanted.size + 2, 7, np.float32)
        getattr(products, f"_{kind}_{name}")(*given, rows, p, q, out[1:-1], memory[:-1])
        assert np.allclose(out[1:-1].reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-4)
        assert out[0] == out[-1] == 7 and np.isnan(memory[-1])


def test_products_are_tiles_on_processors_that_these_are_made_for():
    wanted = products._tiles_forward if FITS else products._blas_forward
    assert products.forward is wanted and networks._forward is wanted


@pytest.mark.parametrize("kind", ["tiles", "blas"])
def test_a_nan_in_one_row_reaches_that_row_alone(kind):
    h, w = np.ones((20, 40), np.float32), np.ones((50, 40), np.float32)
    h[13, 7] = np.nan
    out = np.empty(20 * 50, np.float32)
    memory = np.full(products.room(50), np.nan, np.float32)
    getattr(products, f"_{kind}_forward")(h.ravel(), w.ravel(), 20, 40, 50, out, memory)
    assert np.array_equal(np.isnan(out.reshape(20, 50)).all(1), np.arange(20) == 13)
    assert np.isnan(out).sum() == 50


def test_moments_that_vanish_become_zero_and_nan_stays():
    adam = Adam(1e-3)
    v = np.array([0.0, 0.0, 1e-3, np.nan, 1e-25], np.float32)
    w, m, s = np.ones(5, np.float32), np.float32([1.2e-38, -1.2e-38, 1e-3, 0, 0]), np.float32([1e-38, 1, 1e-3, 0, 0])
    z, state = adam.step(
        *(torch.from_numpy(t.copy()) for t in (w, v)),
        {"k": 4, "m": torch.from_numpy(m.copy()), "s": torch.from_numpy(s.copy())},
        torch.Generator(),
    )
    rules.adam(w, v, m, s, np.array([1e-3, 0.9, 0.999, 1e-8, 5]))
    found, wanted = np.stack([w, m, s]), torch.stack([z, state["m"], state["s"]]).numpy()
    assert np.allclose(found, wanted, rtol=1e-6, atol=1.2e-38, equal_nan=True)
    assert np.isnan(found[:, 3]).all() and not any((m[0], m[1], s[0]))
    assert not ((found != 0) & (abs(found) < np.finfo(np.float32).tiny)).any()


# -- NaN -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [RobustDDPG, RobustTD3])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_nan_reward_reaches_every_weight_that_it_reaches_in_torch(kind, layer_norm):
    finite = []
    for engine in ("torch", "native"):
        agent = trained(engine, kind, runs=2, layer_norm=layer_norm)
        agent.practice.replay._rows[:, 1, -2] = float("nan")
        with agent.engine.mode():
            for _ in range(4):
                agent._update()
        tensors = (agent.z, agent.practice.state["w"], agent.practice.state["target"], agent.practice.target)
        finite.append([torch.isfinite(t).clone() for t in tensors])
    assert all(torch.equal(a, b) for a, b in zip(*finite, strict=True))
    assert all(bool(t[0].all()) and not bool(t[1].all()) for t in finite[1])
    assert not finite[1][0][1].any() and not finite[1][1][1].any()


def test_a_diverging_rate_is_an_error():
    with pytest.raises(rg.DivergedError, match="try a smaller lr"):
        trained("native", steps=3000, solver=make_solver("adam", lr=1e38), env_settings={"alpha": 0.0})


# -- the choice ----------------------------------------------------------------------------------------------------
def test_auto_is_native_where_that_is_possible():
    assert RobustDDPG(PENDULUM, **SMALL).engine.name == "native"
    for settings in ({"solver": "extra_adam"}, {"solver": "alt_adam"}, {"engine": "torch"}):
        assert RobustDDPG(PENDULUM, **SMALL, **settings).engine.name == "torch"
    with pytest.raises(rg.GameError, match=r"simultaneous Adam only, .*; engine='auto' takes torch then"):
        RobustDDPG(PENDULUM, "extra_adam", engine="native")
    with pytest.raises(rg.GameError, match="engine"):
        RobustDDPG(PENDULUM, engine="numba")


def test_what_is_not_known_by_its_own_type_is_refused():
    class OtherDifference(TemporalDifference):
        pass

    class OtherTraining(CriticTraining):
        pass

    class OtherGame(PolicyGame):
        pass

    agent = RobustDDPG(PENDULUM, **SMALL)
    practice, learning, solver = agent.practice, agent.practice.learning, agent.solver
    policies = learning.policies
    assert why_not(practice, solver, agent.game) is None
    other = OtherTraining(practice.replay, learning, 16, torch.Generator())
    assert "CriticTraining, and this is OtherTraining" in why_not(other, solver, agent.game)
    other = OtherGame(policies, learning.critic, practice)
    assert "PolicyGame, and this is OtherGame" in why_not(practice, solver, other)
    other = CriticTraining(practice.replay, OtherDifference(policies, learning.critic), 16, torch.Generator())
    assert "TemporalDifference, and this is OtherDifference" in why_not(other, solver, agent.game)
    deep = TemporalDifference(policies, MLP((4, 8, 8, 8, 1)))
    assert "critic as deep" in why_not(CriticTraining(practice.replay, deep, 16, torch.Generator()), solver, agent.game)
    open_ended = Policies(MLP((3, 16, 24, 1)), None, 0.0)
    found = TemporalDifference(open_ended, learning.critic)
    assert "end in tanh" in why_not(CriticTraining(practice.replay, found, 16, torch.Generator()), solver, agent.game)


@pytest.fixture
def without_numba(monkeypatch):
    compiled = "numba", "robustgames.agents.control.native", "robustgames.agents.control.kernels"
    for name in [name for name in sys.modules if name in compiled or name.startswith(f"{compiled[-1]}.")]:
        monkeypatch.delitem(sys.modules, name)
    original = builtins.__import__
    monkeypatch.setitem(sys.modules, "numba", None)  # its import then raises an ImportError
    assert original is builtins.__import__


def test_without_numba_auto_is_torch_and_native_an_error(without_numba):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RobustDDPG(PENDULUM, **SMALL).engine.name == "torch"
    with pytest.raises(rg.GameError, match=r"engine is native: it needs numba: pip install 'robustgames\[fast\]'$"):
        RobustDDPG(PENDULUM, engine="native")


# -- checkpoints ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize("kind", [RobustDDPG, RobustTD3])
def test_a_run_resumes_bit_for_bit_with_its_engine(engine, kind, tmp_path):
    first = trained(engine, kind, 37, runs=2)
    first.save(tmp_path)
    second = kind.load(tmp_path, PENDULUM)
    assert second.engine.name == engine and second.settings == first.settings
    for agent in (first, second):
        agent.learn(30, reset_num_timesteps=False)
    assert torch.equal(everything(first), everything(second))


def test_a_native_run_continues_in_torch_without_numba(tmp_path, request):
    whole, agent = trained("auto", steps=60), trained("auto", steps=40)
    agent.save(tmp_path)
    request.getfixturevalue("without_numba")
    with pytest.warns(UserWarning, match="trained by engine native, it needs numba.*: torch continues it"):
        loaded = RobustDDPG.load(tmp_path, PENDULUM)
    assert loaded.engine.name == "torch"
    loaded.learn(20, reset_num_timesteps=False)
    assert torch.allclose(loaded.z, whole.z, rtol=1e-5, atol=1e-5)


def test_an_engine_can_be_chosen_for_a_saved_run(tmp_path):
    trained("torch", steps=30).save(tmp_path)
    assert RobustDDPG.load(tmp_path, PENDULUM, engine="native").engine.name == "native"


# -- the folder of the compiled code -------------------------------------------------------------------------------
CALL = """
import numpy as np
from robustgames.agents.control.kernels.acting import act
one, none = np.ones((1, 8), np.float32), np.empty((0, 0), np.float32)
actions = np.zeros((1, 2, 1), np.float32)
act(1, False, False, np.array([7, 1]), one, one[:, :7].copy(), none, none,
    np.empty((0, 0, 0), np.float32), 0, actions, np.empty((4, 7), np.float32))
print(actions[0, 0, 0] == np.float32(np.tanh(np.float32(8))))
"""


@pytest.mark.parametrize("folder", ["missing", "a file"])
def test_a_folder_that_cannot_be_written_breaks_nothing(folder, tmp_path):
    path = tmp_path / "cache"
    path.write_text("") if folder == "a file" else None
    place = str(path) if folder == "a file" else "/proc/nowhere"
    environment = {**os.environ, "NUMBA_CACHE_DIR": place}
    done = subprocess.run([sys.executable, "-c", CALL], capture_output=True, text=True, env=environment)
    assert done.stdout == "True\n", done.stderr


def test_what_is_kept_is_made_again_if_any_file_of_the_kernels_changes(monkeypatch, tmp_path):
    files = {name for name, _, _ in compiling.stamp()}
    assert {"updating.py", "networks.py", "tile.py"} <= files
    assert updating.update._cache._cache_file._source_stamp == compiling.stamp()  # of Numba's, which has one file
    (tmp_path / "a.py").write_text("1")
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "compiling.py"))
    before = compiling.stamp()
    (tmp_path / "a.py").write_text("12")
    assert compiling.stamp() != before


# -- the env -------------------------------------------------------------------------------------------------------
def test_an_action_of_a_unit_box_is_played_as_it_is():
    env = gym.make("robustgames/ActionRobustHopper-v0", alpha=0.0)
    plain = gym.make("Hopper-v5")
    env.reset(seed=0), plain.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(10):
        action = rng.uniform(-1, 1, 3).astype(np.float32)
        seen = env.step({"protagonist": action, "adversary": -action})[0]
        assert np.array_equal(seen, plain.step(action)[0])
