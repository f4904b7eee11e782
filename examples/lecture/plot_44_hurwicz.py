r"""
Hurwicz or not: eigenvalues decide, and the step size moves the border
======================================================================
*Slide: "Recall SGD results from Lecture 9" (44), with V in place of the gradient*

The flow :math:`\dot z = V(z)` converges to a critical point if all eigenvalues :math:`\lambda` of
DV (:func:`robustgames.diagnostics.spectrum`) have negative real parts (DV is Hurwicz), and leaves
it if one is positive. A solver of step :math:`\gamma` multiplies the error in an eigenvector by a
polynomial of :math:`w = \gamma \lambda`, GDA by :math:`1 + w`, extragradient by :math:`1 + w +
w^2`, and converges if the modulus is below 1. GDA's region is a disk in the left half-plane: γ must
be small, and on the bilinear game (imaginary eigenvalues) no γ will do. Extragradient's region
reaches over the imaginary axis: for some γ it converges to a point that the flow leaves
(:ref:`sphx_glr_lecture_plot_47_lost_cycle.py`).
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.games import AlmostBilinear, Bilinear, DiracGAN, Forsaken, Quadratic

games = {"x² - y²": Quadratic(), "DiracGAN, r1 = 0.3": DiracGAN(r1=0.3), "bilinear": Bilinear()}
games |= {"Forsaken, c = 0.45": Forsaken(0.45), "almost bilinear, ε = 0.1": AlmostBilinear(0.1)}
factors = {"gda": lambda w: abs(1 + w), "extragradient": lambda w: abs(1 + w + w * w)}

# %%
# Every game is a ray: a larger γ moves its eigenvalue away from 0, into a region or out of it.
figure, axes = plt.subplots(figsize=(8.5, 5), layout="constrained")
re, im = torch.meshgrid(torch.linspace(-2.1, 0.4, 401), torch.linspace(0, 1.3, 301), indexing="xy")
for color, (name, factor) in zip(("C1", "C0"), factors.items(), strict=True):
    axes.contourf(re, im, factor(torch.complex(re, im)), [0, 1], colors=[color], alpha=0.3)
    axes.plot([], [], color=color, lw=8, alpha=0.3, label=f"{name} converges")
for color, (name, game) in zip(("C2", "C3", "black", "C4", "C5"), games.items(), strict=True):
    value = rg.diagnostics.spectrum(game, game.solution())[0]
    ray = torch.linspace(0, 1.25, 6) / value.abs()
    label = f"{name}: λ = {value.real:.2g} ± {value.imag.abs():.2g}i"
    axes.plot(ray * value.real, ray * value.imag.abs(), ".-", color=color, label=label)
axes.axvline(0, color="black", lw=0.6, ls=":")
axes.set(xlabel="Re γλ", ylabel="Im γλ", aspect="equal", title="Eigenvalues γλ of five toy games")
figure.legend(loc="outside lower center", ncols=2, frameon=False)

# %%
# **Certificate.** In a left eigenvector, one step at the critical point has the predicted factor.
for name, game in games.items():
    game = game.to(dtype=torch.float64)
    z = game.solution()
    values, vectors = torch.linalg.eig(rg.diagnostics.jacobian(game, z).mT)
    for solver, factor in factors.items():
        for lr in (0.01, 0.3, 0.9):
            away = z + torch.tensor([1e-6, 2e-6]).double()
            error = rg.trajectory(rg.make_solver(solver, lr=lr), game, away, 1) - z
            before, after = abs(error.to(vectors.dtype) @ vectors[:, 0]).tolist()
            assert abs(after / before - factor(lr * complex(values[0]))) < 1e-4, (name, solver)
value = complex(0.05, 0.9975**0.5)  # almost bilinear: positive real part
found = [factors["extragradient"](lr * value) for lr in (0.103, 0.104)]
print(f"almost bilinear, extragradient: {found[0]:.7f} at γ = 0.103, {found[1]:.7f} at γ = 0.104")
assert found[0] > 1 > found[1] and factors["gda"](0.104 * value) > 1
