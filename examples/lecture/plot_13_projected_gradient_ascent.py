r"""
Projected gradient ascent goes where one sign step cannot
=========================================================

*Slide: "Adversarial examples and proximal gradient descent (cont'd)" (13)*

With the indicator's proximal operator, proximal gradient ascent on the attacker's loss :math:`f`
is :math:`\eta^{k+1} = \pi_N(\eta^k + \alpha \nabla f(\eta^k))`, :func:`robustgames.attacks.pga`.
It follows the loss where FGSM trusts one linearization. Practice prefers the sign of the gradient,
which is tiny on trained networks. An attack is a game whose player :math:`x` has no coordinates:
the solver ``gda`` is this ascent, ``pgd`` the signed one.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg

net, zero = rg.MLP((2, 32, 2), activation="tanh"), torch.zeros(1, dtype=torch.long)
weights = net.initial((), torch.Generator().manual_seed(9), torch.float32)
weights = weights * torch.tensor([8.0] * 96 + [2.0] * 66)  # a random network with a hilly loss
game = rg.games.ClassifierAttack(torch.full((1, 2), 0.5), zero, net, weights, eps=0.4)
edge = torch.linspace(-0.5, 0.5, 101)
grid = torch.stack(torch.meshgrid(edge, edge, indexing="xy"), -1).view(-1, 2)
loss = torch.stack([game.metrics(eta)["loss"] for eta in grid]).view(101, 101)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
left.contourf(edge, edge, loss, 24, cmap="Greys")
left.plot([-0.4, 0.4, 0.4, -0.4, -0.4], [-0.4, -0.4, 0.4, 0.4, -0.4], "k--", lw=1)
kinds, paths = {"PGA": ("gda", 0.05, 99), "signed": ("pgd", 0.03, 60), "FGSM": ("pgd", 0.4, 1)}, {}
for i, (name, (solver, alpha, steps)) in enumerate(kinds.items()):
    path = rg.trajectory(rg.make_solver(solver, lr=alpha), game, torch.zeros(2), steps)
    paths[name] = [float(game.metrics(eta)["loss"]) for eta in path], float(game.residual(path[-1]))
    left.plot(*path.T, f"C{i}o-", ms=3, label=f"{name}: f = {paths[name][0][-1]:.2f}")
left.set(aspect="equal", xlabel="$\\eta_1$", ylabel="$\\eta_2$", title="One input, ε = 0.4")
# sphinx_gallery_defer_figures
# %%
# A network on 200 digits: raw steps wait for the images whose gradient is nearly 0.
train, solver = rg.games.DigitsAdversarial(), rg.make_solver("standard_training", lr=3e-3)
x = train.split(rg.GameAgent(rg.GameVectorEnv(train), solver, seed=0).learn(300).z[0])[0]
a, b = train.held_out.images[:200], train.held_out.labels[:200]
attack, shares = rg.games.ClassifierAttack(a, b, train.network, x, eps=0.1), {}
kinds = {"PGA": ("gda", 1000.0, 40), "signed": ("pgd", 0.01, 40), "FGSM": ("pgd", 0.1, 1)}
for i, (name, (solver, alpha, steps)) in enumerate(kinds.items()):
    path = rg.trajectory(rg.make_solver(solver, lr=alpha), attack, torch.zeros(200 * 64), steps)
    found = [attack.metrics(eta) for eta in path]
    shares[name] = float(found[-1]["loss"]), float(found[-1]["accuracy"])
    label = f"{name}: accuracy {shares[name][1]:.1%}"
    right.plot([m["loss"] for m in found], f"C{i}o-", ms=3, label=label)
right.axhline(shares["FGSM"][0], color="C2", ls="--", lw=1)
right.set(xlabel="step", ylabel="mean loss", title="200 digits, ε = 0.1")
_ = left.legend(loc="lower left"), right.legend()

# %%
# **Certificate.** On the one input, PGA never lowers the loss and ends where a step stays; FGSM
# does not. On the digits both ascents reach a higher loss, and the signed one a lower accuracy.
(values, still), (corner, unrest) = paths["PGA"], paths["FGSM"]
print(f"residual of PGA {still:.1e}, of FGSM {unrest:.2f}; (loss, accuracy): {shares}")
assert torch.tensor(values).diff().min() > -1e-6 and still < 1e-6 < 0.1 < unrest
assert min(shares["PGA"][0], shares["signed"][0]) > shares["FGSM"][0]
assert shares["signed"][1] < shares["FGSM"][1] and values[-1] > corner[-1]
