r"""
Resume a run, and compare runs
==============================

A run folder holds the config that repeats the run, its curves, its figures and a checkpoint. A run
that was interrupted continues bit for bit, and one that is finished can be extended.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from robustgames.experiment import GameExperiment, load, resume, train

out = Path(tempfile.mkdtemp())
common = {"env": "robustgames/Bilinear-v0", "runs": 2, "seed": 0, "settings": {"lr": 0.3}}

# %%
# Two methods with the same seed, so they have the same starts.
folders = {}
for name in ("alt_gda", "extragradient"):
    folders[name], result = train(
        GameExperiment(name, steps=100, **common), out, progress_bar=False
    )
    distance = result["metrics"]["distance"]
    print(f"{name:14} distance {distance['mean']:.1e} ± {distance['std']:.1e}")
files = sorted(path.name for path in folders["extragradient"].iterdir())
print(*(name for name in files if not name.startswith((".", "events"))), sep="\n")

# %%
# ``resume`` extends a run. The result is that of a run of this length from the beginning.
extended, result = resume(folders["extragradient"], progress_bar=False, steps=200)
whole, expected = train(
    GameExperiment("extragradient", steps=200, **common), out / "whole", progress_bar=False
)
one, other = load(extended)[1], load(whole)[1]
print("bit for bit:", bool((one.z == other.z).all()))
assert (one.z == other.z).all() and result["metrics"] == expected["metrics"]

# %%
# Curves of several runs in one figure: ``learning_curves`` takes their ``progress.csv``. On the
# command line, ``tensorboard --logdir runs`` compares them.
for name, folder in folders.items():
    table = np.genfromtxt(folder / "progress.csv", delimiter=",", names=True, deletechars="")
    calls, mean = table["time/timesteps"], table["game/distance"]
    plt.semilogy(calls, mean, label=name)
plt.title("Bilinear game, lr 0.3, mean of 2 runs")
plt.xlabel("oracle calls")
plt.ylabel("distance to the saddle")
plt.legend()
plt.show()

# %%
# The same from the command line:
#
# .. code-block:: text
#
#    robustgames train extragradient robustgames/Bilinear-v0 --lr 0.3 --steps 100 --runs 2
#    robustgames train --resume runs/Bilinear-v0/extragradient/TIME-lr=0.3-seed0 --steps 200
#    robustgames evaluate runs/Bilinear-v0/extragradient/TIME-lr=0.3-seed0
