r"""
Wasserstein GANs: a game whose value is a distance
==================================================
*Slide: "Wasserstein GANs formulation" (32)*

A network :math:`d_y` takes the place of the duality's critic, a generator that of the second law:

.. math:: \min_x \max_y \; \mathbf{E}_{a \sim \hat\mu_n} [d_y(a)]
          - \mathbf{E}_{\omega \sim p_\Omega} [d_y(h_x(\omega))]. \tag{11}

The inner maximum is :math:`W_1` if the critics cover the 1-Lipschitz functions, and less otherwise.
:class:`robustgames.games.GaussianWGAN1D` is the smallest example: laws :math:`N(3, 1)` and
:math:`N(x, 1)`, critics :math:`d_y(a) = y a` with :math:`|y| \le 1`.
"""

from functools import partial

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.evaluation.generators import samples
from robustgames.evaluation.transport import dual_estimate, lipschitz_constant, wasserstein
from robustgames.games import GaussianRingGAN, GaussianWGAN1D

small, x = GaussianWGAN1D(mean=3.0), torch.linspace(0, 6, 121).unsqueeze(-1)
lines = torch.stack([small.payoff(x, y.expand_as(x)) for y in torch.linspace(-1, 1, 5)])

# %%
# Two networks, five critic steps per generator step: the critic's gap divided by its slope.
control = {"objective": "wasserstein", "lipschitz": "gp", "penalty": 1.0, "batch_size": 64}
game = GaussianRingGAN(6, 2.0, 0.1, hidden=(48, 48), **control)
solver = rg.make_solver("wgan", rule="adam", lr=1e-3)
agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=1), solver, seed=0)
real = game.source.sample((500,), torch.Generator().manual_seed(1), torch.float32)
calls, gap, exact = range(120, 1441, 120), [], []
for _ in calls:
    agent.learn(120, log_interval=120, reset_num_timesteps=False)
    fake, (_, y) = samples(game, agent.z[0], 500), game.split(agent.z[0])
    points = torch.cat([real, fake, (real + fake) / 2])
    slope = lipschitz_constant(partial(game.score, y), points)["lipschitz"]
    gap.append(float(dual_estimate(game.score(y, real), game.score(y, fake), slope)))
    exact.append(float(wasserstein(real, fake)))
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
left.plot(x, lines.T, "0.7", lw=1.2, label=["critics of slopes -1 … 1", *4 * [None]])
left.plot(x, lines.amax(0), "C0", lw=3, label="the best critic: $W_1 = |3 - x|$")
left.set(xlabel="generator x", ylabel="payoff $\\Phi(x, y)$", title="N(3, 1) against N(x, 1)")
right.plot(calls, exact, "C0", lw=2.5, label="exact $W_1$")
right.plot(calls, gap, "C1o-", ms=4, label="gap / slope of the critic")
right.set(xlabel="oracle calls", title="6 Gaussians, gradient penalty 1, Adam 0.001")
_ = left.legend(), right.legend()

# %%
# **Certificate.** The best linear critic finds the distance of the normal laws, and against it the
# generator's field points to the data. The network's gap stays below the exact distance.
assert torch.allclose(lines.amax(0), (3 - x[:, 0]).abs())
assert torch.equal(small.field(torch.cat([x, (3 - x).sign()], -1), None, 0), (3 - x).sign())
ratios = torch.tensor(gap) / torch.tensor(exact)
print(f"W1 {exact[0]:.2f} to {exact[-1]:.2f}, share {ratios.min():.2f} to {ratios.max():.2f}")
assert exact[-1] < 0.5 * exact[0] and ratios.max() < 1.01 and ratios.median() > 0.4
