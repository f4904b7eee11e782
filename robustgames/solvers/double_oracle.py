"""Double oracle: the equilibrium of the pure strategies that were best responses so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robustgames.games.game import join
from robustgames.games.matrix import minimax
from robustgames.games.oracle import Oracle
from robustgames.solvers.players import NAMES
from robustgames.solvers.regret import treeplexes
from robustgames.solvers.rules import State
from robustgames.solvers.schemes import Scheme, Tally


@dataclass(frozen=True)
class DoubleOracle(Scheme):
    """Both players add a best response to their pure strategies, then play the equilibrium of the game among these.

    For bilinear payoffs on simplices and treeplexes. The small game is solved by linear programming, so a step costs
    what its size costs; it ends at an exact equilibrium once no best response is new, often with a small part of all
    strategies. Two calls a step: the best responses, then the payoffs of the new strategies. Source: McMahan, Gordon
    and Blum 2003, "Planning in the presence of cost functions controlled by an adversary".
    """

    def init(self, oracle: Oracle, z: Tensor) -> State:
        treeplexes(self, oracle)
        oracle.draw()
        x, y = oracle.game.split(z)
        v = oracle.game.split(oracle(z))[1]
        payoff = (v * y).sum(-1)[..., None, None]
        return {"x": x.unsqueeze(-2).clone(), "y": y.unsqueeze(-2).clone(), "payoffs": payoff, "k": 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        trees = treeplexes(self, oracle)
        oracle.draw()
        new = [tree.maximize(v) for tree, v in zip(trees, oracle.game.split(oracle(z)), strict=True)]
        known = [_is_known(state[name], plan).all() for name, plan in zip(NAMES, new, strict=True)]
        v_x, v_y = oracle.game.split(oracle(join(new, z)))
        if bool(known[0] & known[1]):  # z is the equilibrium already
            return z.clone(), {**state, "k": state["k"] + 1}
        columns = -(state["x"] @ v_x.unsqueeze(-1))  # Φ(x_i, new y) = -<V_x, x_i>, since V_x = -A y
        rows = v_y.unsqueeze(-2)
        y = torch.cat([state["y"], new[1].unsqueeze(-2)], -2)
        payoffs = torch.cat([torch.cat([state["payoffs"], columns], -1), rows @ y.mT], -2)
        x = torch.cat([state["x"], new[0].unsqueeze(-2)], -2)
        mixed = _equilibria(payoffs)
        blocks = [(weights.unsqueeze(-2) @ plans).squeeze(-2) for weights, plans in zip(mixed, (x, y), strict=True)]
        return join(blocks, z), {"x": x, "y": y, "payoffs": payoffs, "k": state["k"] + 1}

    def tally(self) -> Tally:
        return Tally(calls=2, x=1, y=1)


def _is_known(plans: Tensor, new: Tensor) -> Tensor:
    """Return whether a pure strategy is among those of its run, (*S,)."""
    return (plans == new.unsqueeze(-2)).all(-1).any(-1)


def _equilibria(payoffs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the optimal mixed strategies of both players of small matrix games, (*S, K) each."""
    flat = payoffs.detach().cpu().double().flatten(0, -3) if payoffs.dim() > 2 else payoffs.detach().cpu().unsqueeze(0)
    solved = [(minimax(matrix), minimax(-matrix.T)) for matrix in flat.double().numpy()]
    found = [torch.from_numpy(np.stack(part)).to(payoffs) for part in zip(*solved, strict=True)]
    x, y = (part.clamp_min(0) / part.clamp_min(0).sum(-1, keepdim=True) for part in found)
    return x.reshape(payoffs.shape[:-1]), y.reshape(payoffs.shape[:-1])
