r"""
Danskin's theorem: the gradient of a maximum
============================================

*Slide: "Danskin's theorem" (20)*

Let :math:`f(x) = \max_{y \in Y} \Phi(x, y)`, with :math:`Y` compact and :math:`Y^*(x)` the set of
maximizers. The one-sided derivative along :math:`d` is :math:`f'(x; d) = \max_{y \in Y^*(x)}
\langle \nabla_x \Phi(x, y), d \rangle`. If :math:`y^*` is the only maximizer, :math:`\nabla f(x) =
\nabla_x \Phi(x, y^*)`: the attack is found, then held. At a tie, :math:`\partial f(x)` is the convex
hull of the gradients (:doc:`/explain/danskin`). Left: :math:`f` is half the squared distance to the
farthest of three places. Right: the loss of a linear classifier under its worst attack.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.solvers.danskin import directional_derivative, subdifferential

double = {"dtype": torch.float64}


class Farthest(rg.ZeroSumGame):
    """Φ(x, y) = Σ_i y_i ½ (x - c_i)², y in the simplex: the maximizer points to a farthest place."""

    sizes, sets, places = (
        (1, 3),
        (rg.Space(), rg.Simplex()),
        torch.tensor([-1.2, 0.3, 1.0], **double),
    )

    def payoff(self, x, y, sample=None):
        """Return Φ for x (*S, 1) and y (*S, 3)."""
        return (0.5 * (x - self.places).square() * y).sum(-1)


game, ends = Farthest(), torch.eye(3, **double)
f = lambda x: torch.stack([game.payoff(x, y) for y in ends]).amax(0)  # noqa: E731
u, x, t = torch.linspace(-1.5, 1.3, 200, **double)[:, None], torch.tensor([-0.1], **double), 1e-6
slopes = subdifferential(game, x, ends)  # two generators: at -0.1 two places are equally far
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for i, y in enumerate(ends):
    left.plot(u, game.payoff(u, y), f"C{i}--", lw=1, label=f"$\\Phi(x, y_{i + 1})$")
left.plot(u, f(u), "k", lw=2.5, label="f(x)")
for slope in torch.linspace(float(slopes.min()), float(slopes.max()), 7):
    left.axline((float(x), float(f(x))), slope=float(slope), color="C3", lw=0.8)
left.set(xlabel="x", ylim=(-0.1, 2.6), title="At a tie: a fan of slopes, ∂f(x) = [-1.1, 1.1]")
for d in (torch.ones(1, **double), -torch.ones(1, **double)):
    assert abs((f(x + t * d) - f(x)) / t - directional_derivative(slopes, d)) < 1e-5

# %%
# The classifier: 200 directions, the slope of :math:`f` measured by central differences.
data = rg.games.LinearAttack(eps=0.05)
a, b = data.images, data.labels
attack = rg.games.AdversarialClassification(a, b, rg.MLP((30, 1)), 0.05, None).to(
    dtype=torch.float64
)
everything = attack.everything(())
x = torch.randn(31, generator=torch.Generator().manual_seed(0), **double)


def worst(x):
    """Return the worst perturbations: against the sign of the weights, inside the box."""
    a = everything.images
    return ((a - 0.05 * (2 * b[:, None] - 1) * x[:30].sign()).clamp(0, 1) - a).flatten()
