r"""
A solver of your own
====================

A solver is a scheme of rules. A :class:`~robustgames.Rule` turns a value of the field into an
update, and a :class:`~robustgames.Scheme` chooses the points at which the field is evaluated. Both
are frozen dataclasses with ``init`` and ``step``; what changes is an explicit state. Below are the
reflected gradient method, :math:`z^+ = z + \mathrm{lr}\, V(2 z - z^-)`, as a scheme, and normalized
ascent, :math:`z^+ = z + \mathrm{lr}\, v / (|v| + \varepsilon)`, as a rule.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.games import Bilinear
from robustgames.solvers import RECIPES, SGD, Tally
from robustgames.testing import check_solver


@dataclass(frozen=True)
class Reflected(rg.Scheme):
    """z⁺ = P(rule(z, V(2 z - z⁻; ζ))): one oracle call a step."""

    rule: rg.Rule

    def init(self, oracle, z):
        return {"rule": self.rule.init(z), "before": z}

    def step(self, oracle, z, state):
        oracle.draw()
        v = oracle(oracle.project(2 * z - state["before"]))
        new, rule = self.rule.step(z, v, state["rule"], oracle.generator)
        return oracle.project(new), {"rule": rule, "before": z}

    def tally(self):
        return Tally(calls=1, x=1, y=1)


@dataclass(frozen=True)
class Normalized(rg.Rule):
    """z⁺ = z + lr v / (|v| + eps)."""

    lr: float
    eps: float = 0.1

    def init(self, z):
        return {"k": 0}

    def step(self, z, v, state, generator):
        length = v.norm(dim=-1, keepdim=True)
        return z + self.lr * v / (length + self.eps), {"k": state["k"] + 1}


# %%
# The check runs a solver on several games: a step may change neither its arguments nor anything
# else, runs are independent, and a checkpoint is the state and no more.
check_solver(Reflected(SGD(0.1)))
check_solver(rg.solvers.Extragradient(Normalized(0.1)))


# %%
# One line of the table gives it a name. The arguments become flags of the command line.
def reflected(lr: float = 0.1) -> rg.Scheme:
    """Reflected gradient (Malitsky 2015)."""
    return Reflected(SGD(lr))


RECIPES["reflected"] = reflected

# %%
# It converges on the bilinear game, at one oracle call a step, where gradient descent ascent
# diverges.
start = torch.tensor([1.0, 0.0])
for name, calls in (("gda", 1), ("extragradient", 2), ("reflected", 1)):
    path = rg.trajectory(rg.make_solver(name, lr=0.3), Bilinear(), start, 200 // calls)
    plt.semilogy(torch.arange(len(path)) * calls, path.norm(dim=-1), label=name)
    print(f"{name:14} {path[-1].norm():.1e}")
plt.title("Φ(x, y) = x y, lr 0.3, from (1, 0)")
plt.xlabel("oracle calls")
plt.ylabel("distance to the saddle")
plt.ylim(1e-8, 10)
plt.legend()
plt.show()
assert path[-1].norm() < 1e-3
