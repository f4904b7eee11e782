r"""
Robust control is max-min: the smallest example
===============================================
*Slide: "Robust Reinforcement Learning" (62)*

An adversary ν disturbs the actions of μ, so robust control is :math:`\max_\mu \min_\nu`; the slide
prints a second max, an adversary that helps (:doc:`/explain/corrections`). With a share α, *noisy*
control executes :math:`(1 - \alpha) a + \alpha b`; in *probabilistic* control b replaces a with
probability α (Tessler, Efroni and Mannor 2019). With one state, r(a) = a², a and b in [-1, 1], the
noisy game has :math:`\max_a \min_b = (1 - 2 \alpha)^2` up to α = ½ and 0 beyond, but
:math:`\min_b \max_a = (1 - \alpha)^2`; the probabilistic one has 1 - α in both orders. Two maxima,
as printed, have the value 1 for every α.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.solvers import SGD, BestResponse, InversePower

alpha = torch.linspace(0.1, 0.75, 14).double()


class OneState(rg.ZeroSumGame):
    """min over x, max over y of phi(x, y) on [-1, 1]², for one share α in every run."""

    sizes, sets = (1, 1), (rg.Box(-1.0, 1.0), rg.Box(-1.0, 1.0))

    def __init__(self, phi):
        self.phi = phi

    def payoff(self, x, y, sample=None):
        return self.phi(x[..., 0], y[..., 0])


first = OneState(lambda a, b: -(((1 - alpha) * a + alpha * b) ** 2))  # x moves, y answers
second = OneState(lambda b, a: ((1 - alpha) * a + alpha * b) ** 2)
either = OneState(lambda a, b: -(1 - alpha) * a**2 - alpha * b**2)
names = ("noisy, protagonist first", "noisy, adversary first", "probabilistic")
closed = ((1 - 2 * alpha).clamp(min=0) ** 2, (1 - alpha) ** 2, 1 - alpha)
solver = BestResponse(SGD(InversePower(1.0)), SGD(1.0), 50, start="zero")
start, errors = torch.tensor([0.9, 0.1]).double().expand(14, 2), {}
figure, axes = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
for i, (name, game) in enumerate(zip(names, (first, second, either), strict=True)):
    value = game.payoff(*game.split(rg.trajectory(solver, game, start, 60)[-1])).abs()
    axes.plot(alpha, closed[i], color=f"C{5 - 2 * i}")
    axes.plot(alpha, value, "o", color=f"C{5 - 2 * i}", label=name)
    errors[name] = float((value - closed[i]).abs().max())
axes.axhline(1, color="black", ls="--", label="max max, as printed")
axes.set(xlabel="share α", ylabel="value", ylim=(-0.05, 1.4), title="r(a) = a²: the order decides")
axes.legend(frameon=False, ncols=2)

# %%
# **Certificate.** The solver (dots), the closed forms (lines) and a search over a grid agree.
b = torch.linspace(-1, 1, 201)
noisy = (0.7 * b[:, None] + 0.3 * b) ** 2  # α = 0.3: rows a, columns b
found = [noisy.amin(1).amax(), noisy.amax(0).amin(), noisy.amax()]
print(f"largest errors {errors}, by search at α = 0.3 {[round(float(v), 4) for v in found]}")
assert max(errors.values()) < 0.02
assert torch.allclose(torch.stack(found), torch.tensor([0.16, 0.49, 1.0]), atol=1e-4)
