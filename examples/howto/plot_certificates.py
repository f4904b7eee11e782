r"""
Reading the certificates
========================

A small residual says that a point is critical, and no more. Four other certificates say what kind
of point or motion it is: the spectrum of the field's derivative, the local Nash conditions, the
duality gap, and a limit cycle.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.games import Forsaken, MatrixGame
from robustgames.solvers.diagnostics import (
    duality_gap,
    limit_cycle,
    local_nash,
    residual,
    spectrum,
)

game = Forsaken(offset=0.45).to(dtype=torch.float64)
z = game.solution()

# %%
# **Residual and spectrum.** The point is critical, and the flow z' = V(z) converges to it, since
# all real parts of the spectrum are negative.
print(f"|V(z)| = {residual(game, z):.1e}")
print("eigenvalues of DV(z):", spectrum(game, z).numpy().round(3))

# %%
# **Local Nash.** Stable, and yet y can do better on its own: the second-order conditions fail.
verdict = local_nash(game, z)
print(verdict)

# %%
# **Limit cycle.** Extragradient with a small step from (1, 1) circles around it for good.
path = rg.trajectory(rg.make_solver("extragradient", lr=0.01), game, torch.ones(2).double(), 6000)
cycle = limit_cycle(path, dt=0.01, center=z)
print(f"period {cycle.period:.3f}, amplitude {cycle.amplitude:.3f}")

plt.plot(*path.T, color="C0", lw=0.8, label="extragradient, lr 0.01")
plt.plot(*z, "o", color="C5", label="stable critical point")
plt.title("Forsaken, c = 0.45: 6,000 steps from (1, 1)")
plt.xlabel("x")
plt.ylabel("y")
plt.legend()
plt.show()

# %%
# **Duality gap.** Where best responses are known, the gap max_y Φ(x, y) - min_x Φ(x, y) bounds what
# both players can still gain: 0 exactly at a saddle.
rps = MatrixGame("rock_paper_scissors")
uniform = torch.full((6,), 1 / 3)
rock = torch.tensor([1.0, 0, 0, 1, 0, 0])
print("gap of uniform play:", f"{duality_gap(rps, uniform):.3f}")
print("gap of rock and rock:", f"{duality_gap(rps, rock):.3f}")

assert verdict.is_critical and verdict.is_stable and verdict.is_nash is False
assert abs(cycle.period - 7.53) < 0.01
assert duality_gap(rps, uniform) < 1e-6 < duality_gap(rps, rock)
