r"""
Stochastic adversarial training, line by line
=============================================

*Slide: "A practical implementation of adversarial training: Stochastic subgradient descent" (22)*

In each step, draw a minibatch, find a perturbation of each image by :math:`K` signed steps, and
move the weights along the mean gradient there. The attack costs :math:`K` gradients a step, so
curves are drawn against oracle calls. This is :class:`robustgames.solvers.BestResponse`.
"""

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import cross_entropy

import robustgames as rg
from robustgames.solvers import SGD, Adam, BestResponse, Sign

small, K = rg.games.DigitsAdversarial(hidden=(32,), batch_size=8).to(dtype=torch.float64), 3


def lecture(x, steps):
    """Return the weights after so many steps, image by image as on the slide."""
    random = torch.Generator().manual_seed(0)
    loss = lambda x, a, b: cross_entropy(small.logits(x, a[None]), b[None])  # noqa: E731
    for _ in range(steps):
        (images, labels, _), total = small.draw((), random), torch.zeros_like(x)
        for a, b in zip(images, labels, strict=True):
            eta, w = torch.zeros_like(a), x.clone().requires_grad_()
            for _ in range(K):
                (g,) = torch.autograd.grad(loss(x, a + eta.requires_grad_(), b), eta)
                eta = (a + (eta.detach() + 0.04 * g.sign()).clamp(-0.1, 0.1)).clamp(0, 1) - a
            total += torch.autograd.grad(loss(w, a + eta, b), w)[0]
        x = x - 0.05 / 8 * total
    return x


start = small.initial((), torch.Generator().manual_seed(1))
scheme = BestResponse(SGD(0.05), Sign(0.04), inner_steps=K, start="zero")
x0, x = small.split(rg.trajectory(scheme, small, start, steps=10)[[0, -1]])[0]
apart, moved = (x - lecture(x0, steps=10)).abs().max(), (x - x0).abs().max()

# %%
# Expensive, but worth it: 0, 1 and 3 attack steps on the digits, with four hidden layers of 128.
game, last = rg.games.DigitsAdversarial(), {}
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
for k, size in ((0, 0.1), (1, 0.1), (3, 0.08)):
    solver = BestResponse(Adam(3e-3), Sign(size), inner_steps=k)
    path = rg.trajectory(solver, game, game.initial((), torch.Generator().manual_seed(0)), 250)
    shares = rg.evaluation.accuracies(game.held_out, path[::50], 20)
    for panel, name in zip(axes, ("clean_accuracy", "pgd20_accuracy"), strict=True):
        panel.plot((k + 1) * torch.arange(0, 251, 50), shares[name], "o-", label=f"K = {k}")
        panel.set(xlabel="oracle calls", title=name.replace("_", " "), ylim=(0, 1))
    last[k] = round(float(shares["pgd20_accuracy"][-1]), 3)
_ = axes[0].set_ylabel("share of 360 held-out digits, ε = 0.1"), axes[1].legend()

# %%
# **Certificate.** Scheme and slide agree to rounding; one step of attack doubles the accuracy.
print(f"largest difference of the weights {apart:.0e}; accuracy under attack by K: {last}")
assert apart < 1e-12 < 0.01 < moved and last[1] > 2 * last[0]
