r"""
Adversarial training: a boundary that keeps its distance
========================================================

*Slides: "Towards adversarial training" and "Solving the outer problem" (17-19)*

Training against the attacker is the template :math:`\min_x \max_y \Phi(x, y)` with one
perturbation per input as the maximizer's strategy: :math:`\min_x \frac1n \sum_i f_i(x)` with

.. math:: f_i(x) = \max_{\|\eta_i\|_\infty \le \epsilon} L(h_x(a_i + \eta_i), b_i).

The weights descend on the gradient of :math:`L` at the perturbation that the attacker found, which
is the gradient of :math:`f_i` (Danskin's theorem, :ref:`sphx_glr_lecture_plot_20_danskin.py`). In
the plane one sees what this changes: the boundary passes around squares of radius :math:`\epsilon`.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg

eps, points = 0.05, []
for point in 0.06 + 0.88 * torch.rand(2000, 2, generator=torch.Generator().manual_seed(3)):
    if all((point - other).abs().max() > 2.3 * eps for other in points):  # squares stay apart
        points.append(point)
a = torch.stack(points)
b = (a[:, 1] > 0.5 + 0.25 * torch.sin(7 * a[:, 0])).long()
game = rg.games.AdversarialClassification(a, b, rg.MLP((2, 128, 128, 1)), eps, batch_size=None)

# %%
# One game and one network, with 0 and with 3 signed steps of the attacker per step of the weights.
solvers = {
    "standard": ("standard_training", {"lr": 0.01, "horizon": 600}),
    "adversarial": ("adversarial_training", {"lr": 0.01, "inner_lr": 0.025, "horizon": 6000}),
}
edge, u = torch.linspace(0, 1, 300), torch.linspace(-eps, eps, 41)
plane, square = (torch.cartesian_prod(v, v) for v in (edge, u))
(figure, axes), right, safe = plt.subplots(1, 2, figsize=(10, 5.2)), {}, {}
for panel, (name, (solver, settings)) in zip(axes, solvers.items(), strict=True):
    agent = rg.GameAgent(rg.GameVectorEnv(game), rg.make_solver(solver, **settings), seed=0)
    x = game.split(agent.learn(settings["horizon"]).best()[0])[0]
    right[name] = (game.logits(x, a)[:, 0] > 0) == b
    images = (a[:, None] + square).clamp(0, 1)  # every square on a grid of 41 x 41 points
    safe[name] = ((game.logits(x, images)[..., 0] > 0) == b[:, None]).all(-1)
    side = game.logits(x, plane).view(300, 300).T > 0
    panel.contourf(edge, edge, side, [-0.5, 0.5, 1.5], colors=["C4", "C3"], alpha=0.3)
    panel.scatter(*a.T, c=["C3" if label else "C4" for label in b], s=30)
    for point, kept in zip(a, safe[name], strict=True):
        line = {"ec": "k", "lw": 1} if kept else {"ec": "C5", "lw": 3}
        panel.add_patch(plt.Rectangle(point - eps, 2 * eps, 2 * eps, fill=False, **line))
    title = f"{name}: {right[name].sum()} points and {safe[name].sum()} squares of {len(a)} right"
    panel.set(aspect="equal", title=title, xlabel="$a_1$", ylabel="$a_2$")

# %%
# **Certificate.** Only the second is right on all squares: on the grid, and against PGD.
model = lambda images: torch.cat([-(score := game.logits(x, images)), score], -1)  # noqa: E731
attacked = rg.attacks.pgd(model, a, b, eps, restarts=5, loss="margin")
print("squares right:", {name: int(hits.sum()) for name, hits in safe.items()}, "of", len(a))
assert all(hits.all() for hits in right.values()) and safe["adversarial"].all()
assert safe["standard"].sum() < 0.9 * len(a) and (model(attacked).argmax(-1) == b).all()
