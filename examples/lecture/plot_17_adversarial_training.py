r"""
Adversarial training: a boundary that keeps its distance
========================================================

*Slides: "Towards adversarial training" and "Solving the outer problem" (17-19)*

Training against the attacker is the template :math:`\min_x \max_y \Phi(x, y)` with one perturbation
for each input as the strategy :math:`y` of the maximizer,

.. math:: \min_x \frac1n \sum_i f_i(x), \qquad
          f_i(x) = \max_{\|\eta_i\|_\infty \le \epsilon} L(h_x(a_i + \eta_i), b_i).

The weights move along a gradient of :math:`f_i`, which is that of :math:`L` at the perturbation that
the attacker found (Danskin's theorem, :ref:`sphx_glr_lecture_plot_20_danskin.py`). In the plane one
sees what that changes: the boundary goes around the squares of radius :math:`\epsilon`.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg

eps, points, generator = 0.05, [], torch.Generator().manual_seed(3)
while len(points) < 40:  # squares that keep apart
    p = 0.08 + 0.84 * torch.rand(2, generator=generator)
    if all((p - q).abs().max() > 2.3 * eps for q in points):
        points.append(p)
a = torch.stack(points)
b = (a[:, 1] > 0.5 + 0.25 * torch.sin(7 * a[:, 0])).long()
game = rg.games.AdversarialClassification(a, b, rg.MLP((2, 64, 64, 1)), eps, batch_size=None)

# %%
# The same game and network, without and with an attacker (five signed steps per step of the weights).
solvers = {
    "standard": rg.make_solver("standard_training", lr=5e-3, horizon=1000),
    "adversarial": rg.make_solver("adversarial_training", 5e-3, inner_steps=5, inner_lr=0.02, horizon=9000, ema=0.0),
}
env, right, safe = rg.GameVectorEnv(game), {}, {}
edge, u = torch.linspace(0, 1, 300), torch.linspace(-eps, eps, 41)
plane = torch.stack(torch.meshgrid(edge, edge, indexing="xy"), -1).view(-1, 2)
square = torch.stack(torch.meshgrid(u, u, indexing="xy"), -1).view(-1, 2)
figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
for panel, (name, solver) in zip(axes, solvers.items(), strict=True):
    agent = rg.GameAgent(env, solver, seed=0).learn(1000 if name == "standard" else 9000)
    x = game.split(agent.z[0])[0]
    score = game.logits(x, (a[:, None] + square).clamp(0, 1).view(-1, 2)).view(40, -1)
    hit = (score > 0) == b[:, None]
    right[name], safe[name] = int((game.logits(x, a)[:, 0] > 0).eq(b).sum()), hit.all(-1)
    panel.contourf(
        edge, edge, game.logits(x, plane).view(300, 300) > 0, [-0.5, 0.5, 1.5], colors=["C4", "C3"], alpha=0.3
    )
    for point, label, kept in zip(a, b, safe[name], strict=True):
        panel.add_patch(
            plt.Rectangle(point - eps, 2 * eps, 2 * eps, fill=False, ec="k" if kept else "C5", lw=1 if kept else 2.5)
        )
    panel.scatter(*a.T, c=["C3" if label else "C4" for label in b], s=30)
    panel.set(aspect="equal", title=f"{name}: {right[name]} of 40 right, {int(safe[name].sum())} safe")
