r"""
Your data: a GAN on arrays of your own
======================================

A source of data is anything with ``size`` and ``sample(shape, generator, dtype)``. Here it draws
rows of an array with replacement, and two perceptrons play on it. Images are read by
:class:`robustgames.data.ImageArray`, :func:`robustgames.data.image_folder` and
:func:`robustgames.data.lsun`.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import robustgames as rg
from robustgames.evaluation.transport import sliced_wasserstein
from robustgames.games import GAN


class Rows:
    """The rows of an array (N, p), drawn with replacement."""

    def __init__(self, array):
        self.points = torch.as_tensor(array, dtype=torch.float32)
        self.size = self.points.shape[1]

    def sample(self, shape, generator, dtype):
        return self.points[torch.randint(len(self.points), shape, generator=generator)].to(dtype)


# %%
# Two half moons, standardized.
rng = np.random.default_rng(0)
angle = rng.uniform(0, np.pi, 2000)
upper = np.stack([np.cos(angle), np.sin(angle)], 1)
moons = np.where(np.arange(2000)[:, None] % 2, upper, [1, 0.5] - upper)
moons += rng.normal(0, 0.06, moons.shape)
moons = (moons - moons.mean(0)) / moons.std(0)

# %%
# The game, and three runs of one solver side by side. The average of the iterates is judged: one
# run of three misses parts of the moons, and its distance shows it.
game = GAN(
    rg.MLP((2, 48, 48, 2)), rg.MLP((2, 48, 48, 1)), Rows(moons), lipschitz="r1", batch_size=64
)
solver = rg.make_solver("extra_adam", lr=4e-3, average=0.99, anneal=1600)
agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=3), solver, seed=0)


def distances(weights):
    """Return the sliced Wasserstein distance of 1,000 generated points to the data, per run."""
    noise = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1))
    runs = [game.generate(game.split(w)[0], noise) for w in weights]
    points = torch.as_tensor(moons[:1000], dtype=torch.float32)
    generator = torch.Generator().manual_seed(2)
    return runs, [float(sliced_wasserstein(p, points, generator=generator)) for p in runs]


before = distances(agent.z)[1]
agent.learn(1600, log_interval=1600)  # each log measures distances, which costs time
generated, after = distances(agent.average())
print("sliced Wasserstein, before:", np.round(before, 2), "after:", np.round(after, 2))

figure, panels = plt.subplots(1, 4, figsize=(9, 2.6), sharex=True, sharey=True)
panels[0].plot(*moons[:1000].T, ".", color="0.4", ms=2)
panels[0].set_title("data")
for panel, points, distance in zip(panels[1:], generated, after, strict=True):
    panel.plot(*points.T, ".", color="C0", ms=2)
    panel.set_title(f"distance {distance:.2f}")
figure.suptitle("ExtraAdam, lr 0.004 to 0, 1,600 oracle calls, three runs", y=1.04)
plt.show()
assert max(after) < 0.5 * min(before)
