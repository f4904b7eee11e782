r"""
Simultaneous or in turns: spirals, circles and lost modes
=========================================================
*Slide: "Difficulties of GAN training" (38)*

SimGD moves both players from the same point; AltGD moves the generator first, and the discriminator
sees where it went. On :math:`\Phi = x y` with step a the first multiplies the distance to the
saddle by :math:`\sqrt{1 + a^2}` in every step. The second conserves :math:`x^2 + y^2 - a x y`: it
circles for ever on an ellipse. On a real GAN without a penalty both lose modes: SimGD ends off the
data in most runs, AltGD on few modes that it draws sharply (mode collapse).
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.evaluation.generators import generator_metrics, samples
from robustgames.games import Bilinear, DiracGAN, GaussianRingGAN

a, start = 0.2, torch.tensor([1.0, 0.0], dtype=torch.float64)
solvers = {"SimGD": rg.make_solver("gda", lr=a), "AltGD": rg.make_solver("alt_gda", lr=a)}
paths = {name: rg.trajectory(solver, Bilinear(), start, 100) for name, solver in solvers.items()}
dirac = {name: rg.trajectory(solver, DiracGAN(), start, 400) for name, solver in solvers.items()}

# %%
# The two on xy, on the Dirac GAN, and on eight Gaussians: two perceptrons, non-saturating losses,
# steps of 0.3 and the same four seeds (one color each), 800 rounds. Circles are modes.
ring, drawn = GaussianRingGAN(std=0.1, hidden=(48, 48), batch_size=64, lipschitz="none"), {}
figure, panels = plt.subplots(1, 4, figsize=(13, 3.5), layout="constrained")
for k, (name, recipe) in enumerate({"SimGD": "gda", "AltGD": "alt_gda"}.items()):
    solver = rg.make_solver(recipe, lr=0.3)
    calls = 800 * solver.tally().calls
    agent = rg.GameAgent(rg.GameVectorEnv(ring, num_envs=4), solver, seed=0)
    agent.learn(calls, log_interval=calls)
    drawn[name] = generator_metrics(ring, agent.z, quick=True)
    for axes, path in zip(panels, (paths, dirac), strict=False):
        axes.plot(*path[name].T, f"C{k}", lw=1.2, label=name)
    view, modes = panels[2 + k], drawn[name]["modes"].int().tolist()
    view.plot(*ring.source.means.T, "C5o", mfc="none", ms=12)
    for run, points in enumerate(samples(ring, agent.z, 600)):
        view.plot(*points.T, f"C{run}o", ms=3)
    view.set(aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
    view.set_title(f"8 Gaussians, {name}\nmodes of 4 runs: {modes}")
for axes, title in zip(panels, ("$\\Phi = x y$, step 0.2", "Dirac GAN, step 0.2"), strict=False):
    axes.set(aspect="equal", xlabel="x (generator)", ylabel="y", title=title)
    axes.legend(loc="lower left", frameon=True)

# %%
# **Certificate.** The growth factor and the conserved form, exactly; both lose modes on the ring.
radius = paths["SimGD"].norm(dim=-1)
x, y = paths["AltGD"].T
form = x * x + y * y - a * x * y
print(f"SimGD: factor {radius[1] / radius[0]:.12f}, expected {(1 + a * a) ** 0.5:.12f}")
print(f"AltGD: x² + y² - a x y in [{form.min():.12f}, {form.max():.12f}]")
print({name: found["high_quality"].tolist() for name, found in drawn.items()})
assert (radius[1:] / radius[:-1] - (1 + a * a) ** 0.5).abs().max() < 1e-12
assert (form - 1).abs().max() < 1e-12
assert dirac["SimGD"][-1].norm() > 1.5 > dirac["AltGD"].norm(dim=-1).max()
assert all(found["modes"].max() < 8 for found in drawn.values())
assert drawn["AltGD"]["high_quality"].mean() > drawn["SimGD"]["high_quality"].mean() + 0.2
