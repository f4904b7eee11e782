r"""
A game of your own
==================

A game is a payoff on batches, :math:`(*S, n), (*S, m) \to (*S,)`. Ridge regression is one:
:math:`\min_x \max_y \langle y, A x - b\rangle - |y|^2/2 + |x|^2/20`, whose saddle is the ridge
estimate. Every solver, figure and certificate of the package then applies to it.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.testing import check_game


@rg.register("mine/Ridge-v0")
class Ridge(rg.ZeroSumGame):
    """Φ(x, y) = <y, A x - b> - |y|²/2 + 0.05 |x|²."""

    sizes = (3, 6)

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.A = torch.randn(6, 3, generator=generator)
        self.b = torch.randn(6, generator=generator)

    def payoff(self, x, y, sample):
        return (
            (y * (x @ self.A.mT - self.b)).sum(-1)
            - y.square().sum(-1) / 2
            + 0.05 * x.square().sum(-1)
        )


# %%
# :func:`robustgames.testing.check_game` checks shapes, derivatives and the independence of runs. An
# error names what to change.
check_game(Ridge)

# %%
# Eight runs side by side, each from its own start. A run is a row of one tensor.
game = Ridge()
solver = rg.make_solver("extragradient", lr=0.1)
start = game.initial((8,), torch.Generator().manual_seed(1))
path = rg.trajectory(solver, game, start, 300)
gap = rg.diagnostics.residual(game, path)

plt.semilogy(gap, color="C0", alpha=0.6)
plt.title("Ridge regression as a game: extragradient, lr 0.1, 8 runs")
plt.xlabel("steps")
plt.ylabel("|V(z)|")
plt.show()

# %%
# The saddle is known in closed form: :math:`(A^\top A + 0.1 I)\, x = A^\top b`.
exact = torch.linalg.solve(game.A.mT @ game.A + 0.1 * torch.eye(3), game.A.mT @ game.b)
error = (path[-1, :, :3] - exact).norm(dim=-1).max()
print(f"largest error of 8 runs: {error:.1e}")
assert error < 1e-4

# %%
# The id works on the command line too, with the class in ``my_games.py``:
#
# .. code-block:: text
#
#    robustgames train extra_adam my_games:mine/Ridge-v0 --lr 0.01
#
# Players with constraints set ``sets = (rg.Simplex(), rg.L2Ball(1.0))``; stochastic games define
# :meth:`~robustgames.Game.draw`; a loss for each player derives from
# :class:`robustgames.GeneralSumGame`.
