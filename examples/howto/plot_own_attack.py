r"""
An attack of your own
=====================

An attack is a frozen dataclass of settings whose ``run`` returns one perturbation per row of a
problem: flat inputs, a threat model that projects exactly, and a victim that counts its passes.
Everything else (checks of the input, norms, targets, bounds, randomized models) comes with it. Here
it is a random search along coordinates, without gradients.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.attacks.attack import Attack
from robustgames.attacks.members import MEMBERS, Member
from robustgames.data import digits


@dataclass(frozen=True, kw_only=True)
class Coordinates(Attack):
    """Flip one random coordinate to ±eps at a time, and keep what raises the loss."""

    norms = ("linf",)
    steps: int = 200

    def run(self, p):
        eta = p.project(torch.zeros_like(p.a))
        best, _ = p.losses(eta)
        for _ in range(self.steps):
            i = torch.randint(p.a.shape[1], (len(p.a), 1), generator=p.generator)
            sign = torch.randint(2, (len(p.a), 1), generator=p.generator) * 2.0 - 1
            tried = p.project(eta.scatter(1, i, sign * p.threat.eps))
            loss, _ = p.losses(tried)
            better = loss > best
            best = torch.where(better, loss, best)
            eta = torch.where(better.unsqueeze(-1), tried, eta)
        return eta


# %%
# One line of the table makes it a name of :func:`robustgames.attacks.evaluate` and of the command
# ``robustgames attack``.
MEMBERS["coordinates"] = Member(Coordinates())

# %%
# A linear classifier has an exact worst case, so the search can be judged.
data = digits()
x, y = data.test_images[:100], data.test_labels[:100]
torch.manual_seed(0)
model = torch.nn.Linear(64, 10)
optimizer = torch.optim.Adam(model.parameters(), 0.05)
for _ in range(100):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(data.train_images), data.train_labels).backward()
    optimizer.step()

report = rg.attacks.evaluate(model, x, y, eps=0.08, attacks=("square", "coordinates"))
for tally in report.attacks:
    print(f"{tally.name:12} fooled {tally.fooled:2} of {tally.attacked}")
print(f"accuracy {report.clean_accuracy:.2f}, under attack {report.robust_accuracy:.2f}")


# %%
# The margin of the search approaches the exact worst case as the queries grow. What remains are
# images whose search ended at another class than the worst one.
@torch.no_grad()
def margin(images):
    """Return max over wrong classes of z_c - z_y, (N,)."""
    z = model(images)
    own = z.gather(1, y[:, None])
    return (z.scatter(1, y[:, None], -torch.inf) - own).amax(1)


parameters = {"weights": model.weight.detach(), "bias": model.bias.detach()}
exact = margin(rg.attacks.linear_worst_case(x=x, y=y, eps=0.08, **parameters))
steps, gaps = (25, 100, 400, 1600), []
for count in steps:
    found = margin(Coordinates(steps=count)(model, x, y, 0.08, "linf", loss="margin"))
    assert (found <= exact + 1e-4).all()  # nothing beats the exact worst case
    gaps.append(float((exact - found).mean()))
plt.loglog(steps, gaps, "o-")
plt.title("Random coordinates against a linear classifier, ℓ∞, eps 0.08")
plt.xlabel("forward passes")
plt.ylabel("margin below the exact worst case")
plt.show()
print("mean distance to the worst case:", [f"{gap:.4f}" for gap in gaps])
assert gaps[-1] < 0.05 * gaps[0]
