r"""
The Wasserstein distance: the cheapest coupling
===============================================
*Slide: "The Wasserstein distance" (26-27)*

A coupling of :math:`\mu` and :math:`\nu` is a joint law with these marginals; :math:`\Gamma(\mu,
\nu)` is the set of all of them. The distance is the cost of the best one,

.. math:: W_q(\mu, \nu) = \Big(\inf_{\pi \in \Gamma(\mu, \nu)}
          \mathbf{E}_{(a, a') \sim \pi} \|a - a'\|^q\Big)^{1/q}, \qquad q = 1, 2. \tag{3}

On the line the best coupling never crosses itself: it sends the u-quantile of :math:`\mu` to that
of :math:`\nu`. For normal laws this gives :math:`W_2^2 = (m - m')^2 + (s - s')^2`, and :math:`W_1 =
\mathbf{E} |m - m' + (s - s') \xi|` with :math:`\xi \sim N(0, 1)`.
"""

import matplotlib.pyplot as plt
import torch
from torch.distributions import Normal

from robustgames.evaluation.transport import wasserstein

# %%
# **By hand.** Mass 1/2 at 0 and at 1, to be moved to 1 and 4. Either everything moves right
# (0 to 1, 1 to 4: costs 1 and 3), or one half stays and the other goes all the way (4 and 0). For
# q = 1 both cost 2: a tie. For q = 2 long ways are expensive: 5 against 8.
a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [4.0]])
print(f"W1 = {wasserstein(a, b, 1):.4f}, W2 = {wasserstein(a, b, 2):.4f}")

# %%
# **Couplings of N(0, 1) and N(1, 1/4).** All three have the right marginals; their costs differ.
u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
m, s = 1.0, 0.5
source, image = Normal(0.0, 1.0).icdf(u), Normal(m, s).icdf(u)
shuffled = image[torch.randperm(4000, generator=torch.Generator().manual_seed(0))]
couplings = {"independent": shuffled, "crossing": image.flip(0), "monotone": image}
figure, panels = plt.subplots(1, 3, figsize=(11, 3.9), sharey=True, layout="constrained")
cost = {}
for k, (axes, (name, to)) in enumerate(zip(panels, couplings.items(), strict=True)):
    cost[name] = [float(((source - to).abs() ** q).mean() ** (1 / q)) for q in (1, 2)]
    axes.plot(source[::8], to[::8], f"C{k}.", ms=4)
    axes.axline((0, 0), slope=1, color="0.7", lw=1)
    axes.set_title("{}\nq = 1: {:.3f},  q = 2: {:.3f}".format(name, *cost[name]))
    axes.set_xlabel("$a \\sim N(0, 1)$")
panels[0].set_ylabel("$a' \\sim N(1, 1/4)$")

# %%
# **Certificate.** The monotone coupling attains the exact distance and both closed forms.
assert wasserstein(a, b, 1) == 2.0 and abs(wasserstein(a, b, 2) - 5**0.5) < 1e-6
mean = torch.tensor(m).double() / (1 - s)  # W1 = E|m - (1 - s) xi|, a folded normal
folded = (1 - s) * (2 * Normal(0.0, 1.0).log_prob(mean).exp() + mean * torch.erf(mean / 2**0.5))
closed = [float(folded), (m**2 + (1 - s) ** 2) ** 0.5]
for q in (1, 2):
    exact = float(wasserstein(source.unsqueeze(-1), image.unsqueeze(-1), q))
    print(f"W{q}: 4,000 quantiles {exact:.5f}, closed form {closed[q - 1]:.5f}")
    assert abs(exact - closed[q - 1]) < 1e-3 and abs(exact - cost["monotone"][q - 1]) < 1e-12
    assert exact < cost["independent"][q - 1] < cost["crossing"][q - 1]
