r"""
Adversarial training for interpretability
=========================================

*Slide: "Application: Adversarial training for better interpretability" (23)*

Why did a classifier decide for class :math:`b`? A saliency map shows the derivative of its score
in the *input*, :math:`\nabla_a h_b(a)`: red pixels raise the score, blue ones lower it.
(The derivative in the weights is not a picture: :doc:`/explain/corrections`.) The map of a standard
network has spots anywhere; that of a robust one follows the strokes, since it must not react to
small changes elsewhere. The lecture shows retinas; these are digits. Both networks were trained
by ``python examples/lecture/results/mnist_classifiers.py``, which stores their weights.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import robustgames as rg
from robustgames.evaluation.saliency import compare_saliency, saliency_map

game = rg.games.MnistAdversarial(channels=(8, 16), hidden=32, eps=0.2)
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
stored = np.load(here / "results" / "mnist_classifiers.npz")
weights = {name: torch.from_numpy(stored[name]).float() for name in ("standard", "robust")}
models = {name: (lambda a, x=x: game.logits(x, a)) for name, x in weights.items()}
a, b = game.held_out.images[:200], game.held_out.labels[:200]
shown = [int((b == digit).nonzero()[0]) for digit in range(8)]
figure, axes = plt.subplots(3, 8, figsize=(11, 4.4), layout="constrained")
for panel, i in zip(axes[0], shown, strict=True):
    panel.imshow(a[i].view(28, 28).numpy(), cmap="gray")
for row, model in zip(axes[1:], models.values(), strict=True):
    for panel, values in zip(row, saliency_map(model, a[shown], b[shown]), strict=True):
        most = float(values.abs().quantile(0.995))
        panel.imshow(values.view(28, 28).numpy(), cmap="RdBu_r", vmin=-most, vmax=most)
for panel in axes.flat:
    panel.set(xticks=[], yticks=[])
for panel, name in zip(axes[:, 0], ("image", *models), strict=True):
    panel.set_ylabel(name, size=12)
figure.suptitle("Saliency maps of a standard and of a robust classifier, MNIST, trained at ε = 0.2")

# %%
# **Certificate.** The robust map is sparser, lies on the strokes, and finds the pixels that decide
# the class better, compared with a random order (gain of deletion, 200 images).
table = compare_saliency(models["standard"], models["robust"], a, b)
on, kept = {}, {}
for name, model in models.items():
    size = saliency_map(model, a, b).abs()
    on[name] = float((size * (a > 0)).sum() / size.sum())
    kept[name] = float(rg.evaluation.accuracies(game.held_out, weights[name], 10)["pgd10_accuracy"])
    means = {key: round(mean, 3) for key, (mean, _) in table[name].items()}
    print(f"{name}: accuracy under PGD-10 {kept[name]:.3f}, on strokes {on[name]:.2f}, {means}")
mean, error = table["difference"]["deletion_gain"]
assert kept["standard"] < 0.01 and kept["robust"] > 0.8 and on["robust"] > 2 * on["standard"]
assert table["difference"]["sparsity"][0] > 0.3 and mean > 2 * error
