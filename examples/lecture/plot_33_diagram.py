r"""
The parts of a GAN, and their names here
========================================
*Slide: "General diagram of GANs" (33)*

Noise enters the generator, its samples and real ones the discriminator, and one payoff grades both.
Solid arrows are data, dashed ones gradients. Every box is an object of the package; one oracle call
goes once around: ``V = game.field([x | y], game.draw(...))``, see :class:`robustgames.games.GAN`.
"""

import matplotlib.pyplot as plt
import torch

from robustgames.games import GAN, MLP
from robustgames.games.densities import GaussianMixture

networks, source = (MLP((2, 32, 2)), MLP((2, 32, 1))), GaussianMixture.ring()
game = GAN(*networks, source, objective="wasserstein", lipschitz="clip")

figure, axes = plt.subplots(figsize=(11, 4.6), layout="constrained")
axes.set_axis_off()
axes.set(xlim=(0, 11), ylim=(0.3, 4.5), title="One oracle call: data solid, gradients dashed")
boxes = {  # name: (x, y, color, text)
    "noise": (1.1, 3.5, "0.9", "noise $\\omega \\sim N(0, I)$\nsample.noise"),
    "G": (3.9, 3.5, "#56B4E9", "generator $h_x$\ngame.generate(x, noise)"),
    "data": (3.9, 1.1, "#9FD8C4", "data $a \\sim \\hat\\mu_n$\ngame.source.sample(...)"),
    "D": (6.9, 2.3, "#F3C766", "discriminator $d_y$\ngame.score(y, points)"),
    "payoff": (9.75, 2.3, "0.9", "payoff $\\Phi(x, y; \\zeta)$\ngame.losses(x, y, sample)"),
}
for x, y, color, text in boxes.values():
    style = {"boxstyle": "round,pad=0.5", "fc": color, "ec": "0.3"}
    axes.text(x, y, text, ha="center", va="center", fontsize=10.5, bbox=style)


def arrow(start, end, text="", at=(0, 1), bend=0.0):
    """Draw an arrow between two points and its text; a gradient is dashed and bent."""
    color, dashes = ("C5", "--") if bend else ("0.2", "-")
    look = {"arrowstyle": "-|>", "lw": 1.8, "color": color, "ls": dashes}
    axes.annotate("", end, start, arrowprops=look | {"connectionstyle": f"arc3,rad={bend}"})
    axes.text(*at, text, ha="center", va="center", fontsize=10, color=color)


arrow((1.95, 3.5), (2.7, 3.5))
arrow((5.1, 3.4), (6.3, 2.8), "$h_x(\\omega)$", (6.15, 3.25))
arrow((5.1, 1.2), (6.3, 1.8), "$a$", (5.95, 1.35))
arrow((8.0, 2.3), (8.5, 2.3))
arrow((9.6, 2.8), (4.2, 4.0), "$-\\nabla_x \\Phi$: rule of player x", (8.7, 4.2), 0.28)
arrow((9.6, 1.8), (6.9, 1.75), "$+\\nabla_y \\Phi$: rule of player y", (8.6, 0.95), -0.28)

# %%
# **Certificate.** The pieces put together by hand are the payoff and the field of the game.
generator = torch.Generator().manual_seed(0)
z, zeta = game.initial((), generator), game.draw((), generator)
x, y = (part.requires_grad_() for part in game.split(z.detach()))
fake, real = game.score(y, game.generate(x, zeta.noise)), game.score(y, zeta.real)
payoff = real.mean() - fake.mean()  # (11)
slope_x, slope_y = torch.autograd.grad(payoff, (x, y))
error = float((game.field(z, zeta) - torch.cat([-slope_x, slope_y])).abs().max())
print(f"sizes {game.sizes}; largest difference of the fields {error:.1e}")
assert error < 1e-7 and torch.allclose(game.losses(x, y, zeta)[0], payoff)
