r"""
Certificates of a classifier
============================

An attack bounds the robust accuracy from above, a certificate from below. A small network is
trained twice on the digits, against PGD and against interval bounds, and bracketed from both sides.
"""

import matplotlib.pyplot as plt

import robustgames as rg
from robustgames.certificates import certify
from robustgames.data import digits
from robustgames.games import DigitsAdversarial

eps, images, labels = 0.1, digits().test_images[:40], digits().test_labels[:40]


def train(solver, steps, attacker):
    """Return the classifier of one run as a module."""
    game = DigitsAdversarial(eps=eps, hidden=(24, 24), attacker=attacker)
    solver = rg.make_solver(solver, lr=0.01, horizon=steps)
    agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=1), solver, seed=0).learn(steps)
    return game.network.as_module(game.split(agent.best())[0][0])


models = {
    "PGD": train("adversarial_training", 1600, "minibatch"),
    "intervals": train("ibp_training", 400, "interval"),
}

# %%
# Intervals are the cheapest bounds, linear relaxations (CROWN) are tighter, and a mixed-integer
# program (MILP) is exact on so small a network.
shares = {}
for name, model in models.items():
    found = {m: certify(model, images, labels, eps, method=m) for m in ("ibp", "crown", "milp")}
    report = rg.attacks.evaluate(model, images, labels, eps, attacks=("apgd-ce", "apgd-t"))
    ibp, crown, exact = (verdicts.certified for verdicts in found.values())
    assert (ibp <= crown).all() and (crown <= exact).all() and (exact <= report.robust).all()
    assert found["milp"].unknown.sum() <= 1 and (report.robust ^ exact).sum() <= 2
    shares[name] = [*(v.certified_accuracy for v in found.values()), report.robust_accuracy]
    shares[name].append(report.clean_accuracy)
    print(name, {m: v.table()["certified"] for m, v in found.items()}, int(report.robust.sum()))

assert shares["PGD"][0] == 0 and shares["intervals"][0] > 0.4

# %%
# Only the network that was trained for them has interval bounds that prove something.
for (name, share), shift in zip(shares.items(), (-0.2, 0.2), strict=True):
    plt.bar([k + shift for k in range(5)], [100 * s for s in share], 0.4, label=f"trained: {name}")
plt.xticks(range(5), ["IBP", "CROWN", "MILP", "APGD", "clean"])
plt.ylabel("images certified, or left by the attack [%]")
plt.title(f"Digits, ℓ∞ eps {eps}: certified ≤ truth ≤ attacked")
plt.legend()
plt.show()
