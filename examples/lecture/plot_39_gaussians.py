r"""
25 Gaussians: the algorithm matters, and so does the seed
=========================================================
*Slide: "Application to 25 Gaussians: Algorithms matter" (39)*

One law, one pair of networks, one budget of 12,000 oracle calls: five methods, four seeds each. One
panel for each method could show anything, as seeds of one method differ by up to a dozen modes. All
panels together show this: SGD stops where the discriminator is certain, or diverges (empty panels);
Adam, Mirror-GAN and Mirror-Prox-GAN find a part of the modes, each in the spread of the others; and
with a penalty on the discriminator's slope at the data (R1) Adam finds them all, with every seed.
:doc:`/explain/gans` has seventeen methods and ten seeds, and where this differs from the slide.

The samples are stored by ``python scripts/gaussians_page.py``, in eight minutes of CPU.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from robustgames.evaluation.modes import mode_metrics
from robustgames.games.densities import GaussianMixture

stored = np.load(Path(__file__).parent / "results" / "gaussians.npz")
samples = torch.from_numpy(stored["samples"]).float() / 1000  # methods, seeds, samples, 2
methods, grid = stored["methods"].tolist(), GaussianMixture.grid()
found = mode_metrics(samples, grid.means, grid.std)

# %%
# Rows are methods, columns seeds. Below each panel: modes of 25, share of samples within 3 std.
rows, columns = samples.shape[:2]
figure, panels = plt.subplots(rows, columns, figsize=(8.4, 11), layout="constrained")
for (i, k), axes in np.ndenumerate(panels):
    axes.plot(*grid.means.T, "o", color="C5", mfc="none", ms=7, mew=0.7)
    axes.plot(*samples[i, k, :600].T, f"C{i % 5}.", ms=2)
    axes.set(aspect="equal", xlim=(-5.4, 5.4), ylim=(-5.4, 5.4), xticks=[], yticks=[])
    modes, quality = int(found["modes"][i, k]), float(found["high_quality"][i, k])
    axes.set_xlabel(f"{modes} modes, {100 * quality:.0f} %", fontsize=9)
    axes.set_ylabel(methods[i] if k == 0 else "", fontsize=10)
    axes.set_title(f"seed {k}" if i == 0 else "")

# %%
# **Certificate.** Four seeds agree with the ten of the documentation's table: means are within
# one standard deviation of its runs, which is two standard errors.
table = {  # modes and high quality in %: mean, std
    "SGD": (1.3, 2.3, 0.7, 1.8),
    "Adam": (12.9, 2.5, 93.8, 3.0),
    "Mirror-GAN": (13.8, 4.3, 83.7, 29.0),
    "Mirror-Prox-GAN": (16.1, 3.6, 60.6, 13.1),
    "Adam + R1": (25.0, 0.0, 95.7, 0.8),
}
for name, modes, quality in zip(methods, found["modes"], 100 * found["high_quality"], strict=True):
    m, m_std, q, q_std = table[name]
    print(f"{name:16} modes {modes.int().tolist()}, high quality {quality.int().tolist()} %")
    assert abs(modes.mean() - m) <= m_std and abs(quality.mean() - q) <= q_std
assert found["modes"][:4].max() < 25 and found["modes"][4].min() == 25
