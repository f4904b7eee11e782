r"""
Your classifier under attack
============================

Attacks take any ``torch.nn.Module``, or any function from inputs to logits. They change neither its
gradients nor its mode, nor its BatchNorm statistics, nor the global generator.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.data import digits

data = digits()
x, y = data.test_images[:200], data.test_labels[:200]

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
)
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(100):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(data.train_images), data.train_labels).backward()
    optimizer.step()
model.eval()

# %%
# One call runs several attacks, each on the inputs that the previous ones did not fool, and reports
# what each of them cost.
report = rg.attacks.evaluate(model, x, y, eps=0.1, attacks=("fgsm", "apgd-ce", "apgd-t"))
print(f"clean {report.clean_accuracy:.3f}, robust {report.robust_accuracy:.3f}")
for tally in report.attacks:
    passes = f"{tally.forwards:.0f} forward, {tally.backwards:.0f} backward passes per image"
    print(f"{tally.name:8} fooled {tally.fooled:3} of {tally.attacked:3}; {passes}")

# %%
# Each image before and after, with the prediction.
guess, fooled = model(report.x_adv).argmax(1), report.clean & ~report.robust
figure, panels = plt.subplots(2, 6, figsize=(7.5, 2.9), layout="constrained")
for (above, below), i in zip(panels.T, fooled.nonzero()[:, 0].tolist(), strict=False):
    above.imshow(x[i].view(8, 8), cmap="gray_r", vmin=0, vmax=1)
    below.imshow(report.x_adv[i].view(8, 8), cmap="gray_r", vmin=0, vmax=1)
    above.set_title(f"{int(y[i])}", color="C2")
    below.set_title(f"{int(guess[i])}", color="C5")
for panel in panels.flat:
    panel.set(xticks=[], yticks=[])
    panel.grid(visible=False)
figure.suptitle("ℓ∞, eps 0.1: the digit, and what fools the classifier")
plt.show()

# %%
# The examples obey the threat model, and the attack left the model as it was.
eta = report.x_adv - x
print(f"largest change of a pixel: {eta.abs().max():.4f}")
assert eta.abs().max() <= 0.1 + 1e-6
assert report.x_adv.min() >= 0 and report.x_adv.max() <= 1
assert report.robust_accuracy < 0.5 < report.clean_accuracy

# %%
# On the command line a function of your file returns the model:
#
# .. code-block:: text
#
#    robustgames attack --model my_nets:robust --data digits
