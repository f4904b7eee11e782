r"""
The cone of descent directions
==============================

*Slide: "A corollary to Danskin's theorem" (21)*

Is minus the gradient at *some* worst attack a descent direction of :math:`f = \max_y \Phi(\cdot,
y)`? Not if several maximizers tie. Then :math:`d` descends if and only if :math:`\langle g_i, d
\rangle < 0` for the gradients :math:`g_i` at *all* maximizers: an open cone, in which no
:math:`-g_i` need lie. Minus the element of least norm of :math:`\mathrm{conv}\{g_i\}` always does,
if it is not 0, and no unit vector descends faster (:doc:`/explain/danskin`). Here :math:`f` is half
the squared distance to the farthest of three places; at :math:`x = 0` two of them tie.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.solvers.danskin import directional_derivative, min_norm_element, subdifferential

places, ends = torch.tensor([[1.0, -3.0], [-3.0, 1.0], [1.0, 1.0]]).double(), torch.eye(3).double()


class Farthest(rg.ZeroSumGame):
    """Φ(x, y) = Σ_i y_i ½ |x - c_i|², y in the simplex, which names the farthest of 3 places."""

    sizes, sets = (2, 3), (rg.Space(), rg.Simplex())

    def payoff(self, x, y, sample=None):
        return (0.5 * (x.unsqueeze(-2) - places).square().sum(-1) * y).sum(-1)


game, x = Farthest(), torch.zeros(2).double()
f = lambda x: torch.stack([game.payoff(x, y) for y in ends]).amax(0)  # noqa: E731
slopes = subdifferential(game, x, ends)  # of the two farthest places
least = min_norm_element(slopes)
angle = torch.linspace(0, 2 * torch.pi, 721).double()
circle = torch.stack([angle.cos(), angle.sin()], -1)
rate = directional_derivative(slopes, circle)
edge, t = torch.linspace(-1.6, 1.6, 161).double(), torch.linspace(0, 1.2, 50).double()
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
left.contour(edge, edge, f(torch.cartesian_prod(edge, edge)).view(161, 161).T, 24, colors="0.8")
left.fill(*torch.cat([x[None], 1.5 * circle[rate < 0]]).T, "C2", alpha=0.3, label="cone of descent")
names = {"$-g_1$": slopes[0], "$-g_2$": slopes[1], "minus the least element": least}
for i, (name, g) in enumerate(names.items()):
    d = -g / g.norm()
    left.annotate("", d, (0, 0), arrowprops={"arrowstyle": "->", "color": f"C{i}", "lw": 2.5})
    right.plot(t, f(x + t[:, None] * d), f"C{i}" + "-:-"[i], lw=2.5, label=name)
left.set(aspect="equal", title="Level sets of f around a tie", xlabel="$x_1$", ylabel="$x_2$")
right.set(xlabel="t", ylabel="f(x + t d)", title="Two worst attacks, and both fail")
_ = left.legend(loc="upper left"), right.legend()

# %%
# **Certificate.** Minus each gradient raises :math:`f`; minus the least element :math:`g^*` lowers
# it with slope :math:`-\|g^*\|^2`; none of 721 unit directions is steeper. Differences agree.
rates = directional_derivative(slopes, -torch.stack([*slopes, least]))
measured = torch.stack([(f(x - 1e-7 * g) - f(x)) / 1e-7 for g in (*slopes, least)])
print(f"slopes along -g_1, -g_2, -g*: {[round(rate, 6) for rate in rates.tolist()]}")
assert rates[0] > 0 and rates[1] > 0 and abs(rates[2] + least @ least) < 1e-12
assert rate.min() > -least.norm() - 1e-12 and (measured - rates).abs().max() < 1e-5
