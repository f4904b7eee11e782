r"""
From a fitted density to a learned sampler
==========================================
*Slide: "Introduction to Generative Adversarial Networks (GANs)" (24)*

Parametric density estimation picks a family of laws and a member of it by maximum likelihood. If
the family is wrong, nothing helps: the best normal law of a spiral is a blob. A generative network
writes down no density. It learns a *map* from noise to data, :math:`\omega \mapsto h_x(\omega)`,
and a second network, the discriminator, grades its samples. What comes out is a sampler
(:class:`robustgames.games.SwissRollGAN`; all the rest of this part is about how to train it).
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.evaluation.generators import samples
from robustgames.evaluation.transport import wasserstein
from robustgames.games import SwissRollGAN

game = SwissRollGAN(batch_size=64, penalty=0.1)  # two perceptrons, R1 penalty 0.1
solver = rg.make_solver("adam", lr=4e-3, betas=(0.0, 0.9), anneal=1800, average=0.99)
agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=1), solver, seed=0)
agent.learn(1800, log_interval=1800)

# %%
# The data, the maximum-likelihood normal law, and the push-forward of noise by the network.
generator = torch.Generator().manual_seed(1)
real, other = game.source.sample((2, 2000), generator, torch.float32)
mean, root = real.mean(0), torch.linalg.cholesky(real.T.cov())
normal = mean + torch.randn(2000, 2, generator=generator) @ root.T
generated = samples(game, agent.best()[0], 2000)
panels = {"data": other, "maximum likelihood: normal law": normal, "GAN": generated}
figure, every = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
distance, view = {}, (-3.2, 3.2)
for k, (axes, (name, points)) in enumerate(zip(every, panels.items(), strict=True)):
    distance[name] = float(wasserstein(points[:1000], real[:1000]))
    axes.plot(*points.T, f"C{k}.", ms=2.5)
    axes.set(
        aspect="equal",
        xlim=view,
        ylim=view,
        title=f"{name}\n$W_1$ to real points: {distance[name]:.3f}",
    )

# %%
# **Certificate.** Two samples of one law are at a positive distance, the floor of this scale. The
# sampler comes near it; the best normal law does not.
floor, likelihood, gan = distance.values()
print(f"floor {floor:.3f}, normal law {likelihood:.3f}, GAN {gan:.3f}")
assert gan < 0.5 * likelihood and gan < 2.5 * floor
