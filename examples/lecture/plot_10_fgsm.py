r"""
The fast gradient sign method
=============================

*Slides: "Adversarial examples in neural networks" and "Results of FGSM on MNIST" (10-11)*

The inner problem :math:`\max_{\|\eta\|_\infty \le \epsilon} L(h_x(a + \eta), b)` is not concave for
a network. Its linearization at :math:`a`, :math:`L + \langle g, \eta \rangle` with :math:`g =
\nabla_a L(h_x(a), b)`, has a known maximizer :math:`\eta = \epsilon\,\mathrm{sign}(g)` and maximum
:math:`L + \epsilon \|g\|_1`. This is :func:`robustgames.attacks.fgsm`, at the cost of one gradient.
"""

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import cross_entropy

import robustgames as rg

game, eps = rg.games.MnistAttack(count=200), 0.1  # a trained network, and 200 held-out images
a, b = game.images.clone().requires_grad_(), game.labels


def model(images):
    """Return the scores of the fixed classifier, whose player has no coordinates."""
    return game.logits(torch.empty(0), images)


(g,) = torch.autograd.grad(cross_entropy(model(a), b, reduction="sum"), a)
a, attacked = a.detach(), rg.attacks.fgsm(model, a.detach(), b, eps)
right = {name: model(images).argmax(-1) == b for name, images in (("clean", a), ("FGSM", attacked))}
figure, axes = plt.subplots(2, 10, figsize=(10, 2.5), layout="constrained")
for digit in range(10):
    i = int(((b == digit) & right["clean"]).nonzero()[0])
    for panel, images in zip(axes[:, digit], (a, attacked), strict=True):
        guess = int(model(images)[i].argmax())
        panel.imshow(images[i].view(28, 28).numpy(), cmap="gray", vmin=0, vmax=1)
        panel.set_title(guess, color="C2" if guess == digit else "C5", fontweight="bold")
        panel.set(xticks=[], yticks=[])
figure.suptitle("One network's predictions, clean and after FGSM with ε = 0.1")

# %%
# The linearization is exact for small :math:`\epsilon` only. A random sign does next to nothing.
t = torch.linspace(0, 0.15, 31)
noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(0)).sign()
figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, u in {"sign(g)": g.sign(), "random sign": noise}.items():
    axes.plot(t, [cross_entropy(model(a + s * u), b) for s in t], label=name, lw=2)
axes.plot(t, cross_entropy(model(a), b) + t * g.abs().sum(-1).mean(), "k--", label="linearization")
axes.set(xlabel="size of the step", ylabel="mean loss", title="MNIST, 200 images, no clipping")
axes.legend()

# %%
# **Certificate.** The attack is the formula bit for bit; the loss rises with slope
# :math:`\|g\|_1`; and it leaves under a tenth of the accuracy that a random sign leaves.
assert torch.equal(attacked, (a + eps * g.sign()).clamp(0, 1))
rise = (cross_entropy(model(a + 1e-4 * g.sign()), b) - cross_entropy(model(a), b)) / 1e-4
slope, kept = g.abs().sum(-1).mean(), (model((a + eps * noise).clamp(0, 1)).argmax(-1) == b)
shares = [float(hits.float().mean()) for hits in (*right.values(), kept)]
print(f"slope {rise:.2f}, norm {slope:.2f}, accuracy clean {shares[0]:.1%}, FGSM {shares[1]:.1%}")
assert abs(rise / slope - 1) < 0.02 and shares[1] < 0.1 * shares[2]
