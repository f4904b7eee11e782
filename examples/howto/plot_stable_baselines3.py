r"""
Stable-Baselines3 on either side of a game
==========================================

:class:`robustgames.PlayerView` fixes the strategy or the policy of one player. What remains is an
ordinary Gymnasium env for the other, whose reward is its own. Here PPO plays the minimizer and then
the maximizer of :math:`\Phi(x, y) = x^2 + x y - y^2`, whose best responses are known.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from stable_baselines3 import PPO

import robustgames as rg
from robustgames.games import Quadratic

torch.set_num_threads(1)
game = Quadratic(convex=2.0, concave=2.0, coupling=1.0)
env = rg.GameEnv(game)


def train(player, opponent, steps=3000):
    """Return PPO's answer to a fixed strategy of the other player."""
    view = rg.PlayerView(env, player, opponent=[opponent], bound=2.0)
    settings = {"gamma": 0.0, "n_steps": 128, "batch_size": 64, "learning_rate": 3e-3}
    model = PPO("MlpPolicy", view, seed=0, device="cpu", **settings).learn(steps)
    observation, _ = view.reset(seed=1)
    return model, 2.0 * model.predict(observation, deterministic=True)[0].item()  # bound=2


# %%
# The same call trains either side.
answers = {}
for player, opponent in (("x", 0.8), ("y", 0.8)):
    model, found = train(player, opponent)
    z = torch.tensor([opponent, opponent])
    exact = float(game.best_response(z, game.players.index(player)))
    answers[player] = (found, exact)
    print(f"player {player} against {opponent}: PPO {found:+.3f}, best response {exact:+.3f}")

# %%
# The pay of every answer, and PPO's choice on it.
grid = torch.linspace(-2, 2, 101)
for color, (player, (found, _)) in zip(("C0", "C1"), answers.items(), strict=True):
    fixed = torch.full_like(grid, 0.8)
    x, y = (grid, fixed) if player == "x" else (fixed, grid)
    pay = game.payoff(x[:, None], y[:, None]) * (-1 if player == "x" else 1)
    plt.plot(grid, pay, color=color, label=f"reward of {player}")
    plt.plot(found, np.interp(found, grid, pay), "o", color=color)
plt.title("Quadratic game, the other player at 0.8: rewards, and the strategies that PPO found")
plt.xlabel("own strategy")
plt.legend()
plt.show()
assert all(abs(found - exact) < 0.1 for found, exact in answers.values())


# %%
# A trained model is an opponent too. Where strategies are bounded, the model itself can be passed;
# this set is the whole line, so a function stretches its actions.
def trained(observation):
    """Return the strategy of PPO, whose action box is [-1, 1]."""
    return 2.0 * model.predict(observation, deterministic=True)[0]


view = rg.PlayerView(env, "x", opponent=trained, bound=2.0)
view.reset(seed=0)
print("reward of x = 0 against PPO:", view.step(np.zeros(1))[1])
