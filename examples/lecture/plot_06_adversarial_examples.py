r"""
Adversarial examples: many small changes or few large ones
==========================================================

*Slide: "...Into adversarial examples" (6-7)*

The classifier :math:`h_x` is trained and fixed. An adversarial example adds to an image :math:`a`
of class :math:`b` a small perturbation that misleads it,

.. math:: \eta \in \arg\max_{\|\eta\| \le \epsilon} L(h_x(a + \eta), b), \; a + \eta \in [0, 1]^p.

The norm defines "small": an :math:`\ell_\infty` attack moves half of the pixels a little and is
hard to see; an :math:`\ell_1` attack moves few pixels by a lot, as a handful of specks.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg

game = rg.games.MnistAttack(count=50)  # a network with one hidden layer, and 50 held-out images
a, b = game.images, game.labels


def model(images):
    """Return the scores of the fixed classifier, whose player has no coordinates."""
    return game.logits(torch.empty(0), images)


# %%
# :func:`robustgames.attacks.fmn` seeks, for every image, the *smallest* perturbation in a norm that
# changes the prediction. Red raises a pixel, blue lowers it.
attacked = {norm: rg.attacks.fmn(model, a, b, norm) for norm in ("linf", "l1")}
guess = {norm: model(images).argmax(-1) for norm, images in [("clean", a), *attacked.items()]}
figure, axes = plt.subplots(3, 5, figsize=(10, 6.4), layout="constrained")
for row, digit in zip(axes, (2, 3, 5), strict=True):
    i = int((b == digit).nonzero()[0])
    pictures = [(a[i], f"clean: predicted {guess['clean'][i]}", "gray", 0, 1)]
    for norm, order in (("linf", torch.inf), ("l1", 1)):
        eta = attacked[norm][i] - a[i]
        size, moved = torch.linalg.vector_norm(eta, order), int((eta.abs() > 1e-3).sum())
        pictures += [(eta, f"|η| = {size:.3f}, {moved} pixels", "RdBu_r", -0.1, 0.1)]
        pictures += [(attacked[norm][i], f"{norm}: predicted {guess[norm][i]}", "gray", 0, 1)]
    for panel, (image, title, colors, low, high) in zip(row, pictures, strict=True):
        panel.imshow(image.view(28, 28).numpy(), cmap=colors, vmin=low, vmax=high)
        panel.set_title(title)
        panel.axis("off")

# %%
# **Certificate.** All images stay in [0, 1] and are misclassified, and each attack is the smaller
# one in its own norm, by a factor of more than 3 at the median image.
size = {}
for norm, images in attacked.items():
    assert torch.equal(images, images.clamp(0, 1)) and not (guess[norm] == b).any()
    size[norm] = [torch.linalg.vector_norm(images - a, p, dim=-1).median() for p in (torch.inf, 1)]
    print(f"{norm}: median size {size[norm][0]:.3f} in linf, {size[norm][1]:.2f} in l1")
assert 3 * size["linf"][0] < size["l1"][0] and 3 * size["l1"][1] < size["linf"][1]
