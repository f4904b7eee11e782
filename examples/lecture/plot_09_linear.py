r"""
The worst perturbation of a linear model
========================================

*Slide: "A robustness example: Linear prediction" (9)*

For :math:`h_x(a) = \langle x, a \rangle` the attacker's problem has a closed form: the score rises
by the dual norm, :math:`\max_{\|\eta\| \le \epsilon} \langle x, a + \eta \rangle = \langle x, a
\rangle + \epsilon \|x\|_*`. In :math:`\ell_\infty` the worst perturbation is :math:`\epsilon\,
\mathrm{sign}(x)` and the dual norm :math:`\|x\|_1`; in :math:`\ell_2` it is :math:`\epsilon x /
\|x\|_2`; in :math:`\ell_1` it moves one coordinate, a largest one of :math:`x`, by
:math:`\epsilon`. The :math:`\epsilon` before the sign is easily lost (:doc:`/explain/corrections`).
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import minmax_scale

import robustgames as rg

x, t = torch.tensor([0.8, 0.5]), torch.linspace(0, 2 * torch.pi, 721)
circle = torch.stack([t.cos(), t.sin()], -1)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
left.quiver(0, 0, *x, angles="xy", scale_units="xy", scale=1, label="$x$")
balls = {"linf": rg.linf_ball(1.0), "l2": rg.L2Ball(1.0), "l1": rg.L1Ball(1.0)}
for i, (norm, ball) in enumerate(balls.items()):
    left.plot(*(circle / rg.games.ThreatModel(norm).size(circle)[:, None]).T, f"C{i}", lw=2)
    eta = ball.maximize(x)
    left.axline(eta, slope=-0.8 / 0.5, color=f"C{i}", ls="--", lw=1)  # level set of <x, .>
    left.plot(*eta, f"C{i}o", ms=9, label=f"{norm}: $\\|x\\|_* = {x @ eta:.2f}$")
left.set(aspect="equal", xlim=(-2.8, 1.6), ylim=(-1.2, 1.2), title="Largest $⟨x, η⟩$ in a ball")
left.legend(loc="lower left")
# sphinx_gallery_defer_figures
# %%
# Sparse models resist: for weights of one length, few non-zero ones have the least :math:`\|x\|_1`.
data, labels = load_breast_cancer(return_X_y=True)
a, b = torch.from_numpy(minmax_scale(data)), torch.from_numpy(2 * labels - 1)
radii, lost = torch.linspace(0, 0.15, 31).double(), []
for name, ratio in (("ridge", 0.0), ("lasso", 1.0)):
    model = LogisticRegression(l1_ratio=ratio, solver="saga", max_iter=5000, random_state=0)
    model.fit(a, b)
    x, margin = torch.from_numpy(model.coef_[0]), b * torch.from_numpy(model.decision_function(a))
    share = (margin > radii[:, None] * x.abs().sum()).double().mean(-1)
    used, spread = int((x.abs() > 1e-6).sum()), float(x.abs().sum() / x.norm())
    right.plot(radii, share, lw=2, label=f"{name}: {used} weights, $|x|_1 / |x|_2$ = {spread:.1f}")
    scores, anywhere = torch.stack([-x, x]) / 2, (-torch.inf, torch.inf)
    worst = rg.attacks.linear_worst_case(scores, a, (b + 1) // 2, 0.1, bounds=anywhere)
    lost.append(float((b * ((a - worst) @ x) - 0.1 * x.abs().sum()).abs().max()))
right.set(xlabel="radius, $\\ell_\\infty$", ylabel="accuracy under attack", title="569 tumors")
right.legend(loc="lower left")

# %%
# **Certificate.** Every margin loses :math:`0.1 \|x\|_1`; no random point of a ball does more.
for norm, order in {"linf": 1, "l2": 2, "l1": torch.inf}.items():
    tried = balls[norm].sample((20000, 30), torch.Generator().manual_seed(0), torch.float64) @ x
    best, dual = float(x @ balls[norm].maximize(x)), float(torch.linalg.vector_norm(x, order))
    print(f"{norm}: dual norm {dual:.4f}, attained {best:.4f}, 20,000 points {tried.max():.4f}")
    assert abs(best - dual) < 1e-9 > max(lost) and float(tried.max()) < best
