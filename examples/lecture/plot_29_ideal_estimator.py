r"""
The ideal density estimator: not smooth, not convex
===================================================
*Slide: "Towards an optimization problem" (29)*

Brought as close to the law of the data as it can be, a generator solves

.. math:: \min_x W_1(\mu^\natural, h_x \# p_\Omega). \tag{5}

Two generators on the line show why this is hard even if the law is known. A shift :math:`h_x(w) =
w + x` has :math:`W_1 = |m - x|`, with a kink *at the solution*. A scale :math:`h_x(w) = x w` has
:math:`W_1 = \big|1 - |x|\big| \sqrt{2/\pi}`: two solutions and a hill between, as :math:`\pm x`
generate one law. Networks have such symmetries by the thousand.
"""

import matplotlib.pyplot as plt
import torch
from torch.distributions import Normal

from robustgames.evaluation.transport import sliced_wasserstein, wasserstein

u = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
w = Normal(0.0, 1.0).icdf(u).unsqueeze(-1)  # N(0, 1) by its quantiles, (N, 1)
x = torch.linspace(-2.5, 2.5, 201, dtype=torch.float64)
shift = wasserstein(w + x.view(-1, 1, 1), w + 1.0)  # a batch of 201 generators
scale = wasserstein(w * x.view(-1, 1, 1), w)

# %%
# Subgradient descent by steps of 0.25 ends in a cycle around the kink, whose sides have slopes 1
# and -1. On the right, the start decides which of the two solutions is found.
paths = {}
for name, start in {"shift": -2.1, "scale": -0.4, "scale+": 0.4}.items():
    point, path = torch.tensor(start, dtype=torch.float64), []
    for _ in range(41):
        path.append(float(point))
        point.requires_grad_()
        fake, real = (w + point, w + 1.0) if name == "shift" else (w * point, w)
        (slope,) = torch.autograd.grad(sliced_wasserstein(fake, real, directions=1), point)
        point = (point - 0.25 * slope).detach()  # on the line, sliced is exact, and differentiable
    paths[name] = torch.tensor(path).double()
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
c = (2 / torch.pi) ** 0.5  # E|w|
left.plot(paths["shift"], (1 - paths["shift"]).abs(), "C1o-", lw=1, label="steps of 0.25")
left.set(xlabel="shift x", ylabel="$W_1$ to the data", title="not smooth: $|1 - x|$")
_ = left.plot(x, shift, "C0", lw=2.5), right.plot(x, scale, "C0", lw=2.5)
for name, color in (("scale", "C1o-"), ("scale+", "C2o-")):
    height = c * (1 - paths[name].abs()).abs()
    right.plot(paths[name], height, color, lw=1, label=f"start at {paths[name][0]:.1f}")
right.set(xlabel="scale x", title="not convex: $|1 - |x|| \\sqrt{2/\\pi}$")
_ = left.legend(), right.legend()

# %%
# **Certificate.** Both curves are the closed forms; the shift cycles; the starts end apart.
curves = (shift - (1 - x).abs(), scale - c * (1 - x.abs()).abs())
errors = [float(difference.abs().max()) for difference in curves]
ends = {name: path[-2:].numpy().round(3) for name, path in paths.items()}
print("largest errors {:.1e} and {:.1e}; last points".format(*errors), ends)
assert errors[0] < 1e-12 and errors[1] < 2e-3
assert ends["shift"].min() < 0.95 < 1.05 < ends["shift"].max()  # on either side of the kink
assert ends["scale"].max() < -0.7 and ends["scale+"].min() > 0.7
