r"""
Which dimension? The one of the data, not of the space
======================================================
*Slide: "Learning without concentration" (30), the rate (7) and its source, Weed and Bach 2019*

In the worst case :math:`W_1(\mu^\natural, \hat\mu_n) \gtrsim n^{-1/p}` in :math:`\mathbb{R}^p`:
with p = 784 pixels a hundred times more images would lower the distance by 0.6 %. But the exponent
belongs to the *law*: one that lives on a surface of dimension d has the rate :math:`n^{-1/d}` of
its own dimension (:math:`n^{-1/2}` for d = 1), whatever the space around it. Here the uniform law
on :math:`[0, 1]^d` is compared with its image on a curved surface of :math:`\mathbb{R}^{48}`,
:math:`a = \cos(\Omega u + \beta) / \sqrt{24}`. The distance is that of two samples.
"""

import matplotlib.pyplot as plt
import torch

from robustgames.evaluation.rates import EmpiricalRate
from robustgames.evaluation.transport import wasserstein

generator = torch.Generator().manual_seed(0)
sizes, trials = (32, 64, 128, 256, 512), {1: 40, 3: 14, 6: 10}
omega = torch.randn(48, 6, generator=generator, dtype=torch.float64)
beta = 2 * torch.pi * torch.rand(48, generator=generator, dtype=torch.float64)


def measure(d: int, curved: bool) -> EmpiricalRate:
    """Return the rate of two samples on the cube of dimension d, or on its image in R^48."""
    draws = []
    for n in sizes:
        u = torch.rand(2, trials[d], n, d, generator=generator, dtype=torch.float64)
        a, b = (u @ omega[:, :d].T + beta).cos() / 24**0.5 if curved else u
        draws.append(wasserstein(a, b))
    mean, error = ([f(w) for w in draws] for f in (torch.mean, torch.std))
    return EmpiricalRate(d, sizes, torch.stack(mean), torch.stack(error) / trials[d] ** 0.5)


# %%
# Lines are cubes of dimension d, circles their curved images in 48 dimensions: only d matters.
# Dotted is what a law of full dimension 48 would do.
figure, axes = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
slopes = {}
for k, d in enumerate(trials):
    for curved in (False, True):
        found = measure(d, curved)
        slopes[d, curved] = found.slope()
        mark = {"ls": "", "marker": "o", "mfc": "none", "ms": 9} if curved else {"lw": 2}
        name = f"d = {d}, {'in $R^{48}$' if curved else 'cube'}: slope {found.slope().value:.2f}"
        axes.loglog(sizes, found.mean, color=f"C{k}", label=name, **mark)
axes.loglog(sizes, [0.66 * n ** (-1 / 48) for n in sizes], "0.5", ls=":", label="slope $-1/48$")
axes.set(xlabel="points n", ylabel="mean $W_1$ of two samples", xlim=(29, 2000))
axes.set_title("The rate has the dimension of the data")
axes.set_xticks(sizes, sizes)
axes.legend(loc="center right", fontsize=8)

# %%
# **Certificate.** Expected slopes are -1/2, -1/3, -1/6; at these n those of cubes are up to 0.04
# steeper (:doc:`/explain/wasserstein`). The 95 % intervals of the fits cover chance only.
for (d, curved), slope in slopes.items():
    print(f"d = {d}, curved {curved}: {slope.value:.3f} [{slope.low:.3f}, {slope.high:.3f}]")
    assert abs(slope.value + 1 / max(d, 2)) < 0.06 and slope.high < -1 / 10 < -1 / 48
