"""On a GPU: the same numbers as on the CPU, and no host synchronization inside a step."""

import inspect
import re

import gymnasium as gym
import pytest
import torch

import robustgames as rg
from robustgames.games import L1BallInBox, Simplex
from robustgames.solvers import RECIPES, Adam
from robustgames.solvers.fused_adam import FusedAdam

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
IDS = [id for id in rg.game_ids() if id.startswith("robustgames/") and "ImageGAN" not in id]  # it needs a folder
ON_SIMPLICES = re.compile("Entropic|Magnetic|RegretMatching")
PAIRS = [
    (id, name)
    for id in IDS
    for name in RECIPES
    if name != "double_oracle"  # its linear programs are solved on a processor
    if not ON_SIMPLICES.search(repr(rg.make_solver(name))) or isinstance(gym.make(id).unwrapped.game.sets[0], Simplex)
    if name != "ibp_training" or isinstance(gym.make(id).unwrapped.game.sets[0], Simplex)  # they know best responses
]


def agent_on(device, id, name, z0=None, **settings):
    env = gym.make_vec(id, num_envs=4, device=device, dtype="float64", **settings)
    rate = {"lr": 1e-3} if "lr" in inspect.signature(RECIPES[name]).parameters else {}
    return rg.GameAgent(env, rg.make_solver(name, **rate), z0=z0)


@pytest.mark.parametrize(("id", "name"), PAIRS)
def test_no_step_waits_for_the_device(id, name):
    agent = agent_on("cuda", id, name)
    with torch.no_grad():
        z, state = agent.solver.step(agent.oracle, agent.z, agent.state)  # cuBLAS and the allocator set themselves up
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                z, state = agent.solver.step(agent.oracle, z, state)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(z).all() and z.device.type == "cuda"


@pytest.mark.parametrize(("id", "name"), [pair for pair in PAIRS if "Digits" not in pair[0]])
def test_gpu_equals_cpu(id, name):
    if "training" in name:
        pytest.skip("the attack starts at random, and each device has a random stream of its own")
    host = agent_on("cpu", id, name)
    start = host.z.clone()
    device = agent_on("cuda", id, name, z0=start)
    assert torch.allclose(host.learn(40).z, device.learn(40).z.cpu(), rtol=0, atol=1e-9)


def test_a_noisy_oracle_and_a_resume_stay_on_the_device(tmp_path):
    whole = agent_on("cuda", "robustgames/Forsaken-v0", "extra_adam", noise=0.1).learn(40)
    part = agent_on("cuda", "robustgames/Forsaken-v0", "extra_adam", noise=0.1).learn(20)
    part.save(tmp_path)
    env = gym.make_vec("robustgames/Forsaken-v0", num_envs=4, device="cuda", dtype="float64", noise=0.1)
    resumed = rg.GameAgent.load(tmp_path, env).learn(20, reset_num_timesteps=False)
    assert resumed.z.device.type == "cuda" and torch.equal(resumed.z, whole.z)


@pytest.mark.parametrize("solver", ["extragradient", "optimistic_gda"])
def test_leaps_of_a_toy_are_one_graph_and_equal_steps_of_the_cpu(solver):
    z0 = (2 * torch.rand(1000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1) * 1.2
    found = {}
    for device in ("cpu", "cuda"):
        env = gym.make_vec("robustgames/Forsaken-v0", num_envs=1000, device=device, dtype="float64")
        agent = rg.GameAgent(env, rg.make_solver(solver, lr=0.01), z0=z0, compile=device == "cuda")
        found[device] = agent.learn(1001)  # whole leaps and single steps
    assert found["cuda"]._columns._leaps  # captured
    torch.testing.assert_close(found["cuda"].z.cpu(), found["cpu"].z, rtol=0, atol=1e-12)
    assert found["cuda"].steps == found["cpu"].steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fused_adam_falls_back_to_adam(dtype):
    rule, z = FusedAdam(0.1), torch.randn(4, 50, device="cuda", dtype=dtype)
    plain, state, expected = Adam(0.1), rule.init(z), rule.init(z)
    a = b = z
    for _ in range(3):
        a, state = rule.step(a, a.cos(), state, torch.Generator("cuda"))
        b, expected = plain.step(b, b.cos(), expected, torch.Generator("cuda"))
    assert not rule.fits(z) and torch.equal(a, b)


def test_projections_do_not_wait_for_the_device():
    point = torch.randn(64, 50, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        u = L1BallInBox(2.0, -0.3, 0.7).project(point)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert float(u.abs().sum(-1).max()) <= 2.0 + 1e-4


@pytest.mark.parametrize("solver", ["adam", "extra_adam", "mixed_ne_ld"])
@pytest.mark.parametrize("settings", [{}, {"normalize": True, "exploration": "ou"}, {"exploration": "parameter"}])
def test_control_is_learned_on_the_device_without_waiting(solver, settings, tmp_path):
    env, small = "robustgames/RobustPendulum-v0", {"learning_starts": 20, "batch_size": 32, "hidden": (16, 16)}
    agent = rg.RobustTD3(env, solver, runs=64, device="cuda", **small, **settings).learn(30)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            for _ in range(20):
                agent._advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert agent.z.device.type == "cuda" and bool(torch.isfinite(agent.z).all())
    agent.save(tmp_path)
    again = rg.RobustTD3.load(tmp_path, env, device="cuda").learn(170, reset_num_timesteps=False)
    assert again.num_timesteps == 220 and len(again.episodes[63]) == 1
    assert again.predict([1.0, 0.0, 0.0], run=63)[0].shape == (1,)


def test_ten_thousand_pendulums_swing_on_the_device_as_on_the_cpu():
    envs = [gym.make_vec("robustgames/RobustPendulum-v0", num_envs=10_000, device=d) for d in ("cpu", "cuda")]
    state = torch.rand(10_000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = [env.reset(seed=0, options={"state": state})[0] for env in envs]
    for _ in range(100):
        actions = [{"protagonist": o[:, :1].clamp(-1, 1), "adversary": -o[:, 1:2]} for o in seen]
        seen = [env.step(a)[0] for env, a in zip(envs, actions, strict=True)]
    assert torch.allclose(seen[0], seen[1].cpu(), atol=1e-3)
