r"""
A metric of your own
====================

The metrics of a game are a dictionary of tensors, one number per run. They are logged to
TensorBoard and ``progress.csv``, so a game adds its own by overriding
:meth:`robustgames.Game.metrics`.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.evaluation import METRICS, Metric, metric_of, summarize
from robustgames.games import MatrixGame


class Watched(MatrixGame):
    """Rock paper scissors that also reports the entropy of both players."""

    def metrics(self, z, sample=None):
        entropies = [torch.special.entr(part).sum(-1) for part in self.split(z)]
        return {
            **super().metrics(z, sample),
            "entropy_x": entropies[0],
            "entropy_y": entropies[1],
        }


# %%
# Without an entry in the table a metric has no unit and its own name as its label. An entry adds
# both, and which direction is better.
METRICS["entropy_x"] = Metric("entropy_x", "entropy of x", "nats", better="higher")
print(metric_of("entropy_x"))
print(metric_of("entropy_y"))

# %%
# Mirror descent with entropy (multiplicative weights) leaves the saddle; the optimistic version
# converges to the uniform strategy, whose entropy is log 3.
game = Watched("rock_paper_scissors")
start = game.initial((16,), torch.Generator().manual_seed(0))
last = {}
for name in ("mirror_descent", "optimistic_mwu"):
    path = rg.trajectory(rg.make_solver(name, lr=0.2), game, start, 1500)
    entropy = game.metrics(path)["entropy_x"]
    last[name] = entropy[-1]
    low, middle, high = entropy.quantile(torch.tensor([0.1, 0.5, 0.9]), dim=1)
    plt.plot(middle, label=name)
    plt.fill_between(range(len(low)), low, high, alpha=0.2)
plt.axhline(torch.log(torch.tensor(3.0)), color="0.5", ls=":", label="log 3")
plt.title("Rock paper scissors, lr 0.2: median and 10 to 90 % of 16 runs")
plt.xlabel("steps")
plt.ylabel("entropy of x in nats")
plt.legend()
plt.show()

# %%
# :func:`robustgames.evaluation.summarize` averages over runs.
for name, values in last.items():
    summary = summarize({"entropy_x": values})["entropy_x"]
    print(f"{name:14} {summary['mean']:.3f} ± {summary['std']:.3f} nats")
assert (last["optimistic_mwu"] - torch.log(torch.tensor(3.0))).abs().max() < 0.05
assert last["mirror_descent"].mean() < 1.0
