r"""
A robust policy against a plain one: the heat map, the worst case, and the control
==================================================================================
*Slide: "Robust Reinforcement Learning" (62), what it is for*

Pendulum-v1, eight runs of 12,000 steps per method, played without an adversary in 28 envs: relative
mass 0.5 to 2, up to 30 % of the actions random. *TD3* is plain; *PR-TD3* trained against a
learned adversary that takes 30 % of its actions; *random replacement* against chance with this
share, the control that a claim has to beat. Five CPU minutes write ``OUT/sweeps``, read here::

    python scripts/robustness.py --methods td3 pr_td3 replacement --seeds 8 --steps 12000 \
        --out OUT --alpha 0.3 --grid mass=0.5,0.75,1,1.25,1.5,1.75,2 action_noise=0,0.1,0.2,0.3
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from robustgames.evaluation.robustness import Sweep, compare

folder, sweeps = Path(__file__).parent / "results" / "robustness", {}
for key, name in {"td3": "TD3", "pr_td3": "PR-TD3", "replacement": "random replacement"}.items():
    sweeps[name] = Sweep.from_dict(json.loads((folder / f"{key}.json").read_text())["sweep"])

# %%
# The return in every cell, mean of eight runs and five episodes, on one scale.
figure, panels = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained", sharey=True)
for axes, (name, sweep) in zip(panels, sweeps.items(), strict=True):
    cells, (mass, noise) = sweep.cells.mean(0), sweep.axes.values()
    image = axes.imshow(cells.T, origin="lower", aspect="auto", vmin=-650, vmax=-100)
    for (i, j), value in np.ndenumerate(cells):
        color = "black" if value > -260 else "white"
        axes.text(i, j, f"{value:.0f}", ha="center", va="center", color=color, fontsize=8)
    axes.set(xticks=range(7), xticklabels=mass, yticks=range(4), yticklabels=noise)
    axes.set(xlabel="relative mass", title=f"{name}: worst {cells.min():.0f}")
panels[0].set_ylabel("share of random actions")
figure.colorbar(image, label="return")

# Runs of one seed are pairs (`compare`): 95 % intervals over runs and starts.
pairs = (("PR-TD3", "TD3"), ("random replacement", "TD3"), ("PR-TD3", "random replacement"))
found = [compare(sweeps[first], sweeps[second]) for first, second in pairs]
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for shift, what, color in ((0.1, "worst", "C5"), (-0.1, "nominal", "C0")):
    mean, low, high = np.array([one[what].difference for one in found]).T
    errors = [mean - low, high - mean]
    axes.errorbar(mean, np.arange(3) + shift, xerr=errors, fmt="o", color=color, label=what)
axes.axvline(0, color="black")
axes.set_yticks(range(3), [" - ".join(pair) for pair in pairs])
axes.set(xlabel="difference of returns", title="Worst and nominal cell")
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

# %%
# **Certificate.** PR-TD3 beats plain TD3 in the worst cell in all runs, and this is not paid for in
# the nominal env. That the learned adversary beats chance is not shown: the interval contains 0.
for pair, one in zip(pairs, found, strict=True):
    print(f"{' - '.join(pair)}, worst: {one['worst'].difference}, {one['worst'].wins} of 8 runs")
assert found[0]["worst"].difference.low > 100 and found[0]["worst"].wins == 8
assert abs(found[0]["nominal"].difference.estimate) < 20 and found[2]["worst"].difference.low < 0
