r"""
Learning from samples: the plug-in estimator and its price
==========================================================
*Slide: "Learning without concentration" (30)*

The data come as n points, with the empirical law :math:`\hat\mu_n`. The plug-in estimator trains on
them, and the triangle inequality bounds what it cannot see:

.. math:: W_1(\mu^\natural, h_x \# p_\Omega) \le W_1(\mu^\natural, \hat\mu_n)
          + W_1(\hat\mu_n, h_x \# p_\Omega). \tag{6}

The first term on the right has nothing to do with training. On the line all three can be evaluated:
for :math:`N(0, 1)`, and a generator :math:`x_1 + x_2 w` with the moments of the sample.
"""

import matplotlib.pyplot as plt
import torch
from torch.distributions import Normal

from robustgames.evaluation.rates import rate
from robustgames.evaluation.transport import wasserstein

K, trials, sizes = 8192, 200, torch.tensor([8, 16, 32, 64, 128, 256, 512, 1024])
u = (torch.arange(K, dtype=torch.float64) + 0.5) / K
law, generator = Normal(0.0, 1.0).icdf(u).unsqueeze(-1), torch.Generator().manual_seed(0)
rows = []
for n in sizes.tolist():
    a = torch.randn(trials, n, 1, generator=generator, dtype=torch.float64)
    fitted = a.mean(1, keepdim=True) + a.std(1, correction=0, keepdim=True) * law
    many = law.expand(trials, K, 1)
    rows.append([wasserstein(many, fitted), wasserstein(many, a), wasserstein(a, fitted)])
left_side, sample, training = torch.tensor([[term.mean() for term in row] for row in rows]).T
slack = torch.stack([row[1] + row[2] - row[0] for row in rows])  # (sizes, trials), never negative

# %%
# Left: the terms of (6). The bound is honest and loose: the fitted law is *nearer* to the truth
# than the sample it was fitted to. The parameters interpolate harmlessly, as the slide hopes.
# Right: the first term for uniform laws in p dimensions decays as :math:`n^{-1/p}` (7).
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
names = ("generator to law", "sample to law", "generator to sample")
for k, (name, term) in enumerate(zip(names, (left_side, sample, training), strict=True)):
    left.loglog(sizes, term, f"C{k}o-", label=name)
left.loglog(sizes, sample + training, "k--", lw=1, label="bound (6)")
left.set(xlabel="points n", ylabel="mean $W_1$", title=f"N(0, 1), {trials} samples of each size")
left.legend()
slopes, points = {}, (32, 64, 128, 256, 512)
for k, p in enumerate((1, 3, 6)):
    measured = rate(p, points, (60, 60, 40, 20, 10), generator)
    slopes[p] = measured.slope().value
    right.loglog(points, measured.mean, f"C{k}o-", label=f"p = {p}: slope {slopes[p]:.2f}")
right.set(xlabel="points n", title="uniform laws: $-1/2, -1/3, -1/6$ expected")
right.set_xticks(points, points)
right.set_xticks([], minor=True)
right.legend()

# %%
# **Certificate.** (6) holds for every sample, and the slopes are near the theorem's.
print(f"least slack of (6) in {slack.numel()} samples: {slack.min():.4f}; slopes", slopes)
assert slack.min() > -1e-12 and (left_side < sample).all()
assert all(abs(slopes[p] + e) < 0.05 for p, e in ((1, 1 / 2), (3, 1 / 3), (6, 1 / 6)))
