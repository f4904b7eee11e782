r"""
On a GPU
========

A batch of runs is one tensor, so it moves to a GPU as a whole: ``device="cuda"`` in the env, in the
agent or on the command line. This page runs where it is built, on a CPU if there is nothing else.
"""

import time

import gymnasium as gym
import matplotlib.pyplot as plt
import torch

import robustgames as rg

device = "cuda" if torch.cuda.is_available() else "cpu"
print("device:", device)

# %%
# The env holds the tensors, and the agent follows it. Results of one device repeat bit for bit;
# those of two devices differ by rounding, and by their random numbers.
env = gym.make_vec("robustgames/Bilinear-v0", num_envs=64, device=device)
agent = rg.GameAgent(env, rg.make_solver("extragradient", lr=0.3), seed=0, device=device)
agent.learn(200)
print(agent.z.shape, agent.z.device)

# %%
# More runs cost little until the device is full, so a GPU pays off for large batches or networks.
# What a step must not do is wait for the device: no ``.item()`` and no ``if tensor:`` inside it.
solver, game = rg.make_solver("extra_adam", lr=0.1), rg.games.Quadratic(n=16).to(device)
sizes, seconds = (1, 16, 256, 4096), []
for runs in sizes:
    start = game.initial((runs,), torch.Generator(device).manual_seed(0))
    rg.trajectory(solver, game, start, 20)  # warm up
    began = time.perf_counter()
    z = rg.trajectory(solver, game, start, 200)[-1]
    float(z.sum())  # waits for the device
    seconds.append(time.perf_counter() - began)
plt.loglog(sizes, [s / 200 * 1e3 for s in seconds], "o-")
plt.title(f"ExtraAdam on a game of 16 + 16 dimensions, {device}")
plt.xlabel("runs side by side")
plt.ylabel("milliseconds per step")
plt.show()
assert z.device.type == device and agent.z.isfinite().all()

# %%
# On the command line, and for agents of control:
#
# .. code-block:: text
#
#    robustgames train adam robustgames/MnistGAN-v0 --device cuda --compile
#    robustgames train robust_td3 robustgames/RobustPendulum-v0 --device cuda --runs 64
