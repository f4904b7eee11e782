r"""
Signed steps maximize a lower bound
===================================

*Slide: "Multiple steps of FGSM: A connection to majorization-minimization in Lecture 3" (16)*

If :math:`\|\nabla f(\eta) - \nabla f(\zeta)\|_1 \le L \|\eta - \zeta\|_\infty`, then :math:`f`,
concave or not, lies above its surrogate at each :math:`\zeta`, and touches it there:

.. math:: f(\zeta + d) \ge f(\zeta) + \langle \nabla f(\zeta), d \rangle - \tfrac L2 \|d\|_\infty^2

On the ball it is largest at :math:`\mathrm{clip}(\zeta + t^* \mathrm{sign} \nabla f(\zeta))`,
a signed step whose length :math:`t^*` follows from the gradient, so :math:`f` cannot fall:
:func:`robustgames.attacks.mm`. With the printed minus it descends (:doc:`/explain/corrections`).
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg


def ascend(f, start, smoothness, steps, sign=1):
    """Return iterates of majorize-minimize on sign * f in the ball of radius 1 around start."""
    model, y = lambda a: torch.stack([f(a), 0 * f(a)], -1), torch.tensor([0])
    given = {"smoothness": smoothness, "early": "last", "bounds": (-9, 9)}
    given["loss"] = lambda scores, labels: sign * scores[:, 0]
    found = [rg.attacks.mm(model, start, y, 1.0, k, **given) for k in range(1, steps + 1)]
    return torch.cat([start, *found])


hills, u = lambda a: (torch.sin(3 * a) + 0.5 * a).sum(-1), torch.linspace(-1.55, 0.45, 300)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
left.plot(u, hills(u[:, None]), "k", lw=2.5, label="f")
for i, zeta in enumerate(ascend(hills, torch.tensor([[-0.55]]), 9.0, 5)[[0, 3, 4, 5]]):
    below = hills(zeta) + (3 * torch.cos(3 * zeta) + 0.5) * (u - zeta) - 4.5 * (u - zeta) ** 2
    left.plot(u, below, f"C{i}", label=f"surrogate at step {(0, 3, 4, 5)[i]}")
    left.plot(zeta, hills(zeta), f"C{i}o", ms=8)
    assert (below <= hills(u[:, None]) + 1e-6).all()
left.set(ylim=(-1.6, 1.3), xlabel="a + η", title="L = 9, ε = 1")
# sphinx_gallery_defer_figures
# %%
# A quadratic in twelve dimensions, with curvature of both signs. The minus of print ascends -f.
random = {"generator": torch.Generator().manual_seed(7), "dtype": torch.float64}
A, start = torch.randn(12, 12, **random), torch.full((1, 12), 0.1, dtype=torch.float64)
A, f = A + A.T, lambda a: ((a @ A) * a).sum(-1) / 2 + a.sum(-1)
L = float(A.abs().sum())
up, down = (f(ascend(f, start, L, 60, sign)) for sign in (1, -1))
right.plot(torch.stack([up, down], 1), "o-", ms=3, label=["step + t* sign ∇f", "step - t* sign ∇f"])
right.set(xlabel="step", ylabel="f", title="Quadratic, 12 dimensions, indefinite")
_ = left.legend(), right.legend()

# %%
# **Certificate.** With the plus the loss never falls, with the minus it never rises; and the first
# step is the best point of the surrogate: none of 50,000 random points near it is higher.
step = ascend(f, start, L, 1)[1] - start
tried = torch.cat([step, step + 0.1 * step.abs().max() * torch.randn(50000, 12, **random)])
height = tried @ (start[0] @ A + 1) - L / 2 * tried.abs().amax(-1) ** 2
print(f"f from {up[0]:.2f} to {up[-1]:.2f} with plus, to {down[-1]:.2f} with minus")
assert height.argmax() == 0 and up.diff().min() > -1e-12 and down.diff().max() < 1e-12
