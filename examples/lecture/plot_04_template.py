r"""
One template, four families, one solver
=======================================

*Slide: "Adversarial machine learning" (4)*

Toy formulas, classifiers, GANs and controllers share :math:`\min_x \max_y \Phi(x, y)`. Each is a
:class:`robustgames.Game`: a field :math:`V = (-\nabla_x \Phi, +\nabla_y \Phi)` that both ascend.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.evaluation import accuracies
from robustgames.evaluation.generators import generator_metrics

solver = rg.make_solver("extra_adam", lr=3e-3)  # one object for everything below
toy, ring = rg.games.Quadratic(convex=2.0, concave=2.0, coupling=3.0), rg.games.GaussianRingGAN()
digits = rg.games.DigitsAdversarial(hidden=(64, 64), attacker="remembered")
control = rg.RobustDDPG("robustgames/RobustPendulum-v0", solver, seed=0, learning_starts=200)
agents = [*(rg.GameAgent(rg.GameVectorEnv(g), solver) for g in (toy, digits, ring)), control]
measures = {  # name: (timesteps between two points, label, measure)
    "x² - y² + 3xy": (200, "distance to saddle", lambda z: toy.metrics(z)["distance"]),
    "attacker": (80, "PGD-10", lambda z: accuracies(digits.held_out, z, 10)["pgd10_accuracy"]),
    "GAN": (60, "distance", lambda z: generator_metrics(ring, z, True)["sliced_wasserstein"]),
    "adversary": (220, "return of an episode", lambda z: control.episodes[0][-1][0]),
}


def gains(agent, player, steps):
    """Return the change of a player's reward over |V|, for steps of given lengths along V."""
    game, z, held = agent.game.to(dtype=torch.float64), agent.z.double(), agent.oracle.sample
    sample = rg.tensors.map_tensors(held, lambda t: t.double() if t.is_floating_point() else t)
    rewards, v = game.evaluate(z, sample)
    along, ascent = torch.zeros_like(v), game.split(v)[player]
    game.split(along)[player].copy_(ascent / ascent.norm())
    changes = [game.evaluate(z + s * along, sample)[0][player] - rewards[player] for s in steps]
    return torch.cat(changes) / ascent.norm()


s, slopes, curves = torch.linspace(-1, 1, 20).double() ** 3 / 25, [], []  # fine at 0
figure, axes = plt.subplots(2, 4, figsize=(13, 5.2), layout="constrained")
for agent, (top, bottom), (name, row) in zip(agents, axes.T, measures.items(), strict=True):
    (calls, label, measure), curve = row, []
    for k in range(6):
        curve.append(float(measure(agent.learn(calls, None, 10**6, "", False).z)))
        if k == 2:
            sides = torch.stack([-gains(agent, 0, s), gains(agent, 1, s)], 1)
    slopes, curves = [*slopes, (sides[10] - sides[9]) / (s[10] - s[9])], [*curves, curve]
    top.plot(s, sides)
    bottom.plot(calls * torch.arange(1, 7), curve, "C2o-")
    top.set(title=name, xlabel="step of x (blue), y (orange) along V", ylabel="change of Φ / |V|")
    bottom.set(xlabel="timesteps", ylabel=label)

# %%
# **Certificate.** Φ falls and rises with slope 1 in all families; the first three problems improve.
print("slopes:", [[round(v, 3) for v in pair.tolist()] for pair in slopes])
assert all(abs(x + 1) < 1e-3 and abs(y - 1) < 1e-3 for x, y in slopes)
assert curves[0][-1] < 0.1 and curves[1][-1] > 0.6 and curves[2][-1] < 0.5 * curves[2][0]
