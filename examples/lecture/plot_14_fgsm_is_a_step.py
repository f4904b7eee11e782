r"""
FGSM is one long step of projected gradient ascent
==================================================

*Slide: "A proposed link between FGSM and PGD" (14-15)*

One step of projected gradient ascent from zero in the :math:`\ell_\infty` ball clips the gradient
:math:`g = \nabla f(0)`, to :math:`\mathrm{clip}(\alpha g_i, [-\epsilon, \epsilon])`. This is FGSM,
:math:`\epsilon\,\mathrm{sign}(g)`, if and only if :math:`\alpha |g_i| \ge \epsilon` wherever
:math:`g_i \ne 0`, that is from :math:`\alpha^* = \epsilon / \min |g_i|` on. A condition on a norm,
:math:`\alpha \|g\| > \epsilon`, is not enough: it constrains the largest coordinate only
(:doc:`/explain/corrections`).
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg

alphas, g, eps = torch.logspace(-2, 2, 400, dtype=torch.float64), torch.tensor([1.0, -0.15]), 0.5
path = rg.linf_ball(eps).project(alphas[:, None] * g)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.plot([-eps, eps, eps, -eps, -eps], [-eps, -eps, eps, eps, -eps], "k", lw=1)
left.plot(*path.T, "C0", lw=3, label="$\\pi_N(\\alpha g)$ for $0 < \\alpha < ∞$")
left.quiver(0, 0, *g, angles="xy", scale_units="xy", scale=1.2, width=0.008, color="C1", label="g")
left.plot(*(eps * g.sign()), "C2*", ms=16, label="FGSM")
left.set(aspect="equal", xlim=(-0.6, 1), ylim=(-0.6, 0.6), title="To the wall, then to the corner")
# sphinx_gallery_defer_figures
# %%
# Three digits: the distance of :func:`robustgames.attacks.pga` with one step to FGSM. Circles are
# at :math:`\alpha^*`; crosses are at the condition with the largest coordinate.
game, eps = rg.games.DigitsAttack(count=3).to(dtype=torch.float64), 0.1
a, b = game.images, game.labels
g = 3 * game.field(torch.zeros_like(a).flatten()).view(a.shape)  # the payoff is a mean of 3 losses


def distance(alpha):
    """Return the distance of one step of length alpha to FGSM, for each image."""
    model = lambda images: game.logits(images.new_empty(0), images)  # noqa: E731
    free = {"bounds": (-torch.inf, torch.inf)}
    step = rg.attacks.pga(model, a, b, eps, steps=1, step_size=alpha, early="last", **free)
    return (step - rg.attacks.fgsm(model, a, b, eps, **free)).abs().amax(-1)


exact, loose = eps / torch.where(g == 0, torch.inf, g.abs()).amin(-1), eps / g.abs().amax(-1)
grid = torch.logspace(-1, 4, 100).tolist()
for i, curve in enumerate(torch.stack([distance(alpha) for alpha in grid]).T):
    right.semilogx(grid, curve, f"C{i}", label=f"a digit {b[i]}")
    right.plot(exact[i], 0, f"C{i}o", ms=9, mfc="none", clip_on=False)
    right.plot(loose[i], distance(float(loose[i]))[i], f"C{i}x", ms=9)
right.set(xlabel="α", ylabel="largest $|η_{PGA} - η_{FGSM}|$", title="One step, ε = 0.1")
_ = left.legend(loc="upper right"), right.legend()

# %%
# **Certificate.** One step is FGSM just above :math:`\alpha^*`, and not just below; where the norm
# exceeds :math:`\epsilon` it is far from it.
for i in range(3):
    above, below = distance(1.001 * float(exact[i]))[i], distance(0.999 * float(exact[i]))[i]
    print(f"α* = {exact[i]:.0f}: above {above:.0e}, below {below:.0e}")
    assert above < 1e-12 < 5e-5 < below and distance(1.001 * float(loose[i]))[i] > 0.9 * eps
