r"""
Robustness in high dimension
============================

*Slide: "Challenge: Robustness to adversarial examples" (8)*

Let a class be Gaussian in :math:`\mathbb{R}^d` with covariance :math:`I/d`: inputs are at a
distance near 1 from their mean in every dimension. A classifier errs on a set :math:`E` of
probability :math:`p`; an :math:`\ell_2` attacker of radius :math:`\epsilon` also wins within
:math:`\epsilon` of :math:`E`. By Gaussian isoperimetry *every* classifier keeps at most :math:`1 -
\Phi(\Phi^{-1}(p) + \epsilon \sqrt d)`, with equality for a half-space. In high dimension
almost every input has an error nearby. Shafahi et al. (2019) argue likewise on sphere and cube.
"""

import matplotlib.pyplot as plt
import torch
from scipy.stats import chi, norm

import robustgames as rg

p, eps, n, dimensions = 0.01, 0.1, 2000, (2, 10, 50, 100, 200, 400, 800, 1600, 3072)

# %%
# Three classifiers with 1 % of errors, :math:`E = \{s(a) > t\}`. The law of :math:`s(a) \sqrt d` is
# known, and one fast-gradient step in :math:`\ell_2` is the worst perturbation.
kinds = {
    "half-space": (lambda a: a[:, 0], lambda d: norm()),
    "two half-spaces": (lambda a: a[:, 0].abs(), lambda d: chi(1)),
    "outside of a ball": (lambda a: a.norm(dim=-1), chi),
}
measured, exact = {name: [] for name in kinds}, {}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for i, (name, (s, law)) in enumerate(kinds.items()):
    t = [law(d).isf(p) / d**0.5 for d in dimensions]
    exact[name] = [law(d).cdf((t - eps) * d**0.5) for d, t in zip(dimensions, t, strict=True)]
    for d, edge in zip(dimensions, t, strict=True):
        a = torch.randn(n, d, generator=torch.Generator().manual_seed(d)) / d**0.5
        model = lambda a, s=s, t=edge: torch.stack([t - s(a), s(a) - t], -1)  # noqa: E731
        attacked = rg.attacks.fgsm(model, a, 0 * a[:, 0].long(), eps, "l2", bounds=(-99, 99))
        measured[name].append(float((s(attacked) < edge).double().mean()))
    left.plot(dimensions, exact[name], f"C{i}", label=f"{name}, exact")
    left.plot(dimensions, measured[name], f"C{i}o", label="attacked: 2,000 inputs")
left.set(xscale="log", xlabel="d", ylabel="accuracy under attack", title="p = 1 %, ε = 0.1")
for i, d in enumerate((10, 200, 3072)):
    away = norm.isf(p, scale=d**-0.5) - norm.rvs(scale=d**-0.5, size=n, random_state=d)
    right.hist(away, 40, density=True, alpha=0.7, color=f"C{i + 3}", label=f"d = {d:,}")
right.axvline(eps, color="k", ls="--", label="ε")
right.set(xlabel="distance to the errors (half-space)", ylabel="density", title="Errors come near")
_ = left.legend(fontsize=8), right.legend()

# %%
# **Certificate.** Measured and exact accuracy agree within 4 standard errors, none is above the
# bound, and in the dimension of 32 x 32 color images none keeps 0.1 %.
bound = [norm.sf(norm.ppf(p) + eps * d**0.5) for d in dimensions]
for name in kinds:
    print(name, [f"{value:.3f}" for value in measured[name]])
    for share, value, most in zip(measured[name], exact[name], bound, strict=True):
        assert abs(share - value) <= 4 * (value * (1 - value) / n) ** 0.5 + 1 / n
        assert value <= most + 1e-12
    assert exact[name][-1] < 1e-3
