r"""
The training loop of a WGAN, line by line
=========================================
*Slide: "Practical implementation of GANs" (36)*

For every step of the generator the critic takes M steps of ascent, each on new noise and new data,
each followed by a projection. The slide's pseudo-code draws a new critic in every round and lets
the generator *descend* on what it should ascend (:doc:`/explain/corrections`). The loop here has
the right sign and keeps the critic: it is ``wgan`` of :func:`robustgames.make_solver`.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.evaluation.generators import samples
from robustgames.games import GAN, MLP, Oracle
from robustgames.games.densities import GaussianMixture

ring, clip, lr, M = GaussianMixture.ring(6, 2.0, 0.1), 0.2, 1e-3, 5
control = {"objective": "wasserstein", "lipschitz": "clip", "clip": clip, "batch_size": 64}
game = GAN(MLP((2, 48, 48, 2)), MLP((2, 48, 48, 1)), ring, **control).to(dtype=torch.float64)
start = game.initial((), torch.Generator().manual_seed(0))

# %%
# By hand, with PyTorch's autograd and optimizers and the two networks alone:
draws = Oracle(game, (), torch.Generator().manual_seed(7))  # of minibatches
x, y = (part.clone().requires_grad_() for part in game.split(start))
rule_x, rule_y = (torch.optim.RMSprop([player], lr) for player in (x, y))
for _ in range(20):
    for _ in range(M):
        draws.draw()
        real, fake = draws.sample.real, game.generate(x, draws.sample.noise)
        rule_y.zero_grad()
        (game.score(y, fake).mean() - game.score(y, real).mean()).backward()
        rule_y.step()
        y.data.clamp_(-clip, clip)  # enforce the constraint
    draws.draw()
    rule_x.zero_grad()
    (-game.score(y, game.generate(x, draws.sample.noise)).mean()).backward()
    rule_x.step()

# %%
# By name, from the same start with the same minibatches, and on to 500 rounds:
solver, oracle = rg.make_solver("wgan", lr=lr), Oracle(game, (), torch.Generator().manual_seed(7))
z, state, panels = start, solver.init(oracle, start), {0: start}
for k in range(1, 501):
    z, state = solver.step(oracle, z, state)
    panels |= {k: z} if k in (20, 100, 500) else {}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), layout="constrained")
for ax, (k, point) in zip(axes, panels.items(), strict=True):
    ax.plot(*samples(game, point, 500).T, "C0.", ms=3)
    ax.plot(*ring.means.T, "C5o", mfc="none", ms=12)
    ax.set(aspect="equal", xlim=(-3, 3), ylim=(-3, 3), title=f"{k} rounds")

# %%
# **Certificate.** The loops agree, at the same cost, and the critic is in its box.
error = float((panels[20] - torch.cat([x, y]).detach()).abs().max())
print(f"largest difference after 20 rounds of 6 calls: {error:.1e}")
assert error < 1e-8 and float(game.split(z)[1].abs().max()) <= clip and solver.tally().calls == 6
