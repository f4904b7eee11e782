r"""
Danskin's theorem: the gradient of a maximum
============================================

*Slide: "Danskin's theorem" (20)*

Let :math:`f(x) = \max_{y \in Y} \Phi(x, y)` with :math:`Y` compact. The one-sided derivative
along :math:`d` is the largest :math:`\langle \nabla_x \Phi(x, y), d \rangle` over the maximizers.
With one, :math:`\nabla f(x) = \nabla_x \Phi(x, y^*)`: the attack is found, then held. At a tie,
:math:`\partial f(x)` is the convex hull of the gradients (:doc:`/explain/danskin`).
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.solvers.danskin import danskin_gradient, directional_derivative, subdifferential


class Farthest(rg.ZeroSumGame):
    """Φ(x, y) = Σ_i y_i ½ (x - c_i)², y in the simplex, which names the farthest of 3 places."""

    sizes, sets = (1, 3), (rg.Space(), rg.Simplex())

    def payoff(self, x, y, sample=None):
        return (0.5 * (x - torch.tensor([-1.2, 0.3, 1.0]).double()).square() * y).sum(-1)


ends, x, u = torch.eye(3).double(), torch.tensor([-0.1]).double(), torch.linspace(-1.5, 1.3, 200)
f = lambda x: torch.stack([Farthest().payoff(x, y) for y in ends]).amax(0)  # noqa: E731
slopes = subdifferential(Farthest(), x, ends)  # two generators: at -0.1 two places are farthest
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
left.plot(u, torch.stack([Farthest().payoff(u[:, None], y) for y in ends], 1), "--")
left.plot(u, f(u[:, None]), "k", lw=2.5, label="f(x), the largest of three payoffs")
for slope in torch.linspace(float(slopes.min()), float(slopes.max()), 7):
    left.axline((-0.1, float(f(x))), slope=float(slope), color="C3", lw=0.8)
left.set(xlabel="x", ylim=(-0.1, 2.6), title="A tie: ∂f(-0.1) = [-1.1, 1.1]")
kink = (f(x + 1e-6) - f(x)) / 1e-6 - directional_derivative(slopes, ends[0, :1])
# sphinx_gallery_defer_figures
# %%
# Right: the loss of a linear classifier of 30 features under its worst attack, in 200 directions.
data = rg.games.LinearAttack(eps=0.05).to(dtype=torch.float64)
sample, sign = data.everything(()), 2 * data.labels[:, None] - 1
game = rg.games.AdversarialClassification(data.images, data.labels, rg.MLP((30, 1)), 0.05, None)
worst = lambda x: data.threat.project(data.images, -sign * x[:30].sign()).flatten()  # noqa: E731
loss = lambda x: game.payoff(x, worst(x), sample)  # noqa: E731
x, *d = torch.randn(201, 31, generator=torch.Generator().manual_seed(0)).double()
measured = torch.stack([(loss(x + 1e-6 * v) - loss(x - 1e-6 * v)) / 2e-6 for v in d])
ys = worst(x), 0 * worst(x)
slope, naive = (torch.stack(d) @ danskin_gradient(game, x, y, sample) for y in ys)
right.plot(measured, naive, "C1o", ms=3, label="gradient without the attack")
right.plot(measured, slope, "C0o", ms=3, label="gradient at the worst attack")
right.set(xlabel="slope of f, measured", ylabel="⟨g, d⟩", title="200 directions")
_ = left.legend(loc="upper center"), right.legend()

# %%
# **Certificate.** The formula is the measured slope; the gradient at the clean inputs is not.
error, off = (slope - measured).abs().max(), (naive - measured).abs().max()
print(f"largest error: kink {kink:.0e}, Danskin {error:.0e}, clean gradient {off:.2f}")
assert abs(kink) < 1e-5 and error < 1e-7 and off > 0.01
