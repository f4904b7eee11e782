r"""
Gradient penalty and spectral norm: how steep is the critic?
============================================================
*Slide: "The theory-practice gap: Enforcing 1-Lipschitz of the discriminator" (35)*

A critic is 1-Lipschitz if :math:`\|\nabla_a d_y(a)\|_* \le 1`. The penalty (13) adds :math:`\lambda
\mathbf{E} (\|\nabla d_y\|_* - 1)^2` to its loss (the sign: :doc:`/explain/corrections`). A critic
of the right shape and slope L gains :math:`L W_1` and pays :math:`\lambda (L - 1)^2`: the best
slope is :math:`1 + W_1 / 2\lambda`, not 1. Spectral normalization divides weight matrices by
their largest singular values: the slope is at most 1, and ReLU layers lose some of it.
"""

import matplotlib.pyplot as plt
import torch

from robustgames.evaluation.transport import lipschitz_constant, wasserstein
from robustgames.games import GAN, MLP, Oracle
from robustgames.games.densities import GaussianMixture
from robustgames.solvers import Adam, Linear, respond

ring, generator = GaussianMixture.ring(), torch.Generator().manual_seed(1)
real = ring.sample((1000,), generator, torch.float32)
fake = torch.randn(1000, 2, generator=generator) / 2
between = torch.lerp(real, fake, torch.linspace(0, 1, 1000).unsqueeze(-1))


@torch.no_grad()
def critic(**control):
    """Return the slope of a critic between the laws, and the critic, trained against h(w) = w/2."""
    game = GAN(MLP((2, 2)), MLP((2, 48, 48, 1)), ring, objective="wasserstein", **control)
    oracle = Oracle(game, (), torch.Generator().manual_seed(0))
    z = torch.cat([torch.eye(2).flatten() / 2, torch.zeros(2), game.start(1, (), oracle.generator)])
    rule = Adam(Linear(1e-2, 300))
    z, _ = respond(rule, oracle, z, 1, 300, rule.init(z[6:]), hold=False)
    d = lambda a: game.score(z[6:], a)  # noqa: E731
    return float(lipschitz_constant(d, between)["lipschitz"]), d


# %%
# Slopes for five penalties; level sets, 0.25 apart, for clip 0.2, penalty 10 and spectral norm.
weights, slopes, side = (0.1, 0.3, 1.0, 3.0, 10.0), {}, torch.linspace(-2.5, 2.5, 101)
learned = [critic(lipschitz="gp", penalty=weight)[0] for weight in weights]
theory = [1 + float(wasserstein(real, fake)) / (2 * weight) for weight in weights]
figure, (first, *rest) = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
first.loglog(weights, theory, "k--", weights, learned, "C0o", lw=1, ms=8)
first.set(xlabel="weight $\\lambda$ of the penalty", title="largest slope")
controls = {"clip": {"clip": 0.2}, "gp": {"penalty": 10.0}, "spectral": {}}
for axes, (name, own) in zip(rest, controls.items(), strict=True):
    slopes[name], d = critic(lipschitz=name, **own)
    heights = (d(torch.cartesian_prod(side, side)) - d(between).mean()).view(101, 101).T
    axes.contourf(side, side, heights, torch.arange(-3, 3.1, 0.25), cmap="Blues", extend="both")
    axes.plot(*real[:300].T, "C5.", *fake[:200].T, "C1.", ms=4)
    axes.set(aspect="equal", xticks=[], yticks=[], title=f"{name}: slope {slopes[name]:.2f}")
_ = first.legend(["$1 + W_1 / 2\\lambda$", "learned critics"])

# %%
# **Certificate.** Slopes follow the theory for every weight; the spectral critic stays below 1.
ratios = torch.tensor(learned) / torch.tensor(theory)
print("slopes divided by those of the theory:", ratios)
assert (ratios - 1).abs().max() < 0.1 and 0.3 < slopes["spectral"] <= 1 < 2 < slopes["clip"]
