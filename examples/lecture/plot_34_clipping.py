r"""
Weight clipping: a box in place of a slope
==========================================
*Slide: "The theory-practice gap: Enforcing 1-Lipschitz of the discriminator" (34)*

The first WGAN keeps the critic's weights in a box, by a projection after every step, (12):
:math:`\pi_{\mathcal{B}}(y) = \mathrm{clip}(y, [-c, c])`. This bounds the slope, but not by 1: with
L layers it grows as :math:`c^L`. In a box a little too small the generator cannot feel the critic,
in one a little too large the critic is steep; and most weights end at faces of the box.
"""

import matplotlib.pyplot as plt
import torch

from robustgames.evaluation.transport import lipschitz_constant
from robustgames.games import GAN, MLP, Oracle
from robustgames.games.densities import GaussianMixture
from robustgames.solvers import Adam, respond


@torch.no_grad()
def critic(box):
    """Return a critic d(a) in a box, and its weights, after 500 steps against h(w) = w / 2."""
    settings = {"objective": "wasserstein", "lipschitz": "clip", "clip": box, "batch_size": 64}
    game = GAN(MLP((2, 2)), MLP((2, 48, 48, 48, 1)), GaussianMixture.ring(), **settings)
    oracle = Oracle(game, (), torch.Generator().manual_seed(0))
    z = torch.cat([torch.eye(2).flatten() / 2, torch.zeros(2), game.start(1, (), oracle.generator)])
    rule = Adam(2e-3, (0.5, 0.9))
    z, _ = respond(rule, oracle, z, 1, 500, rule.init(z[6:]), hold=False)
    return (lambda a: game.score(z[6:], a)), z[6:]


# %%
# Critics of four layers in four boxes: where their weights are, and their largest slopes on a grid.
plane, slopes, stuck = torch.cartesian_prod(*[torch.linspace(-2.5, 2.5, 41)] * 2), {}, {}
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
for k, c in enumerate((0.03, 0.06, 0.12, 0.24)):
    d, y = critic(c)
    slopes[c] = float(lipschitz_constant(d, plane)["lipschitz"])
    stuck[c] = float((y.abs() >= 0.999 * c).float().mean())
    left.hist(y / c, 41, range=(-1, 1), histtype="step", lw=1.8, color=f"C{k}", label=f"c = {c}")
left.set(xlabel="weight / c", ylabel="weights", title="4,897 weights after 500 steps of Adam")
left.legend(loc="upper center")
right.loglog(*zip(*slopes.items(), strict=True), "C0o-", ms=8, lw=2, label="clipped critics")
right.axline((0.12, slopes[0.12]), (0.24, 16 * slopes[0.12]), c="k", ls="--", lw=1, label="$c^4$")
right.axhline(1, color="C5", lw=1.5, label="what the theory needs: 1")
right.set(xlabel="half side c of the box", ylabel="largest slope", title="critics of 4 layers")
right.set_xticks(list(slopes), list(slopes))
right.set_xticks([], minor=True)
right.legend()

# %%
# **Certificate.** Most weights are at a face of their box; the slope grows as c to the layers.
x = torch.tensor([list(slopes), list(slopes.values())]).double().log()
power = float(x.cov()[0, 1] / x[0].var())
print("slopes:", {c: round(slope, 3) for c, slope in slopes.items()})
print(f"power of c: {power:.2f}; share of weights at a face: {min(stuck.values()):.2f} or more")
assert float(y.abs().max()) <= 0.24 + 1e-7 and min(stuck.values()) > 0.5
assert abs(power - 4) < 0.4 and max(slopes.values()) > 1000 * min(slopes.values())
