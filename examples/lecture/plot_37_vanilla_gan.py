r"""
The first GAN: the best discriminator measures a divergence
===========================================================
*Slide: "Some historical background for a Turing award" (37)*

.. math:: \min_x \max_y \; \mathbf{E}_{a \sim \hat\mu_n} [\log d_y(a)]
          + \mathbf{E}_{\omega \sim p_\Omega} [\log(1 - d_y(h_x(\omega)))] \tag{14}

Against a fixed generator the best discriminator is :math:`d^* = \mu / (\mu + \nu)`, of the value
:math:`2\, \mathrm{JSD} - \log 4` with the *mixture* m = (μ + ν)/2 in
:math:`\mathrm{JSD} = \tfrac12 D(\mu \| m) + \tfrac12 D(\nu \| m)`. (The sum on the slide is another
divergence, infinite on disjoint supports: :doc:`/explain/corrections`.) If the generator is right,
d is 1/2 everywhere and the value is -log 4.
"""

import matplotlib.pyplot as plt
import torch

from robustgames.evaluation.modes import discriminator_value, jensen_shannon, optimal_discriminator

a = torch.arange(-8, 16, 0.05, dtype=torch.float64)  # laws on the line, as probabilities of cells


def law(mean):
    """Return the probabilities of the cells under N(mean, 1)."""
    return torch.softmax(-((a - mean) ** 2) / 2, 0)


mu, nu = law(0.0), law(2.5)
best = optimal_discriminator(mu, nu)

# %%
# Two laws and the best discriminator; and, as the generator moves away, a divergence that saturates
# at log 2, so its gradient vanishes. :math:`W_1` keeps its slope.
shifts = torch.linspace(0, 8, 81)
jsd = torch.stack([jensen_shannon(mu, law(float(shift))) for shift in shifts])
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
left.fill_between(a, mu / 0.05, color="C0", alpha=0.3, label="data $\\mu = N(0, 1)$")
left.fill_between(a, nu / 0.05, color="C1", alpha=0.3, label="generator $\\nu = N(2.5, 1)$")
left.plot(a, best, "k", lw=2.5, label="$d^* = \\mu / (\\mu + \\nu)$")
left.set(xlim=(-4, 8), xlabel="a", title="the best discriminator")
right.plot(shifts, shifts / 8, "C2", lw=2, label="$W_1$, divided by 8")
right.plot(shifts, jsd, "C0", lw=2.5, label="JSD, at most log 2")
right.set(xlabel="distance of the generator", title="N(0, 1) against its shift")
_ = left.legend(loc="upper right"), right.legend()

# %%
# **Certificate.** The value at d* is 2 JSD - log 4; it is a maximum: 1,000 random discriminators
# and every d* + t (d - d*) towards one of them are below.
value, log4 = discriminator_value(mu, nu, best), torch.tensor(4.0).double().log()
print(f"value {value:.12f}, 2 JSD - log 4 = {2 * jensen_shannon(mu, nu) - log4:.12f}")
assert abs(value - 2 * jensen_shannon(mu, nu) + log4) < 1e-12
tried = torch.rand(1000, len(a), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
for t in (1.0, 0.1, 1e-2, 1e-3):
    assert discriminator_value(mu, nu, best.lerp(tried, t)).max() < value
same = discriminator_value(mu, mu, optimal_discriminator(mu, mu))
print(f"equal laws: {same:.12f}, - log 4 = {-log4:.12f}; far apart: JSD {jsd[-1]:.5f}")
assert abs(same + log4) < 1e-12 and 0 < log4 / 2 - jsd[-1] < 1e-3
assert jsd[-1] - jsd[-2] < 0.01 * (jsd[20] - jsd[19])  # the slope has vanished
