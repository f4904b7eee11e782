r"""
Push-forward: a complicated law from a simple one
=================================================
*Slide: "A way to model complex distributions: The push-forward measure" (28)*

Draw :math:`\omega \sim p_\Omega` and apply a function :math:`h_x`: the law of :math:`h_x(\omega)`
is the push-forward :math:`h_x \# p_\Omega`. A generator is such a function. If h is invertible,
the density of :math:`y = h(\omega)` follows by a change of variables; if h has several branches g
of :math:`h^{-1}`, every one contributes:

.. math:: p_Y(y) = \sum_g p_\Omega(g(y))\, |\det J_g(y)|.

The modulus and the sum matter (:doc:`/explain/corrections`): :math:`h(\omega) = \omega^2` is not
monotonic, and from one branch alone half of the chi-square law is missing.
"""

import matplotlib.pyplot as plt
import torch
from scipy import stats
from torch.distributions import Normal

from robustgames.evaluation.modes import push_forward_density

normal, y = Normal(0.0, 1.0), torch.linspace(0.02, 4, 400, dtype=torch.float64).unsqueeze(-1)
w = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
branches = [torch.sqrt, lambda y: -y.sqrt()]  # both inverses of w -> w^2
density = push_forward_density(lambda w: normal.log_prob(w[:, 0]).exp(), branches, y)
half = push_forward_density(lambda w: normal.log_prob(w[:, 0]).exp(), branches[:1], y)

# %%
# The same in the plane: :math:`h(\omega) = (\omega_1, \omega_2 + \omega_1^2 - 1)` bends a round
# cloud into a banana. Its determinant is 1, so the density is only moved: level sets bend along.
plane = torch.cartesian_prod(*[torch.linspace(-4, 6, 201, dtype=torch.float64)] * 2)
unbend = lambda p: torch.stack([p[0], p[1] - p[0] ** 2 + 1])  # noqa: E731
banana = push_forward_density(lambda w: normal.log_prob(w).sum(-1).exp(), [unbend], plane)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
left.hist(w**2, 160, range=(0, 4), weights=torch.full_like(w, 40 / len(w)), color="0.85")
left.plot(y, density, "C0", lw=2.5, label="both branches: chi-square, 1 degree of freedom")
left.plot(y, half, "C5--", lw=2, label="one branch: half of it")
left.set(xlabel="$y = \\omega^2$", ylabel="density", ylim=(0, 2.2), title="200,000 samples (gray)")
left.legend()
axis, heights = torch.linspace(-4, 6, 201), banana.view(201, 201).T
right.contourf(axis, axis, heights, 12, cmap="Blues")
right.plot(w[:2000], w[2000:4000] + w[:2000] ** 2 - 1, "C5.", ms=1.5, alpha=0.6)
right.set(xlim=(-3.5, 3.5), xlabel="$y_1$", ylabel="$y_2$", title="samples on their density")

# %%
# **Certificate.** The density is the chi-square density, samples follow it, the banana has mass 1.
exact = torch.from_numpy(stats.chi2.pdf(y[:, 0].numpy(), 1))
error, test = float((density / exact - 1).abs().max()), stats.kstest((w**2).numpy(), "chi2", (1,))
mass = float(banana.sum() * 0.05**2)
print(f"density: relative error {error:.1e}; samples: Kolmogorov-Smirnov p-value {test.pvalue:.2f}")
print(f"mass of the banana in the window: {mass:.4f}")
assert error < 1e-12 and test.pvalue > 0.01 and 0.97 < mass < 1.0
assert torch.allclose(2 * half, density)
assert stats.kstest((w**2).numpy(), "chi2", (2,)).pvalue < 1e-9  # two degrees are rejected
