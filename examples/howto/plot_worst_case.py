r"""
The worst parameters for a controller of your own
=================================================

The worst point of a box of parameters can lie between the points of a grid.
:func:`~robustgames.evaluation.worst_case.worst_case` searches for it with a budget of evaluations:
the nominal point, the corners, then CMA-ES from the worst of these. It needs ``pip install
"robustgames[search]"``. All points have the same starts, so equal arguments give equal numbers. A
policy is any function of the observation; here it is a controller of Pendulum-v1, written for the
nominal mass and length. For a trained run the command is ``robustgames evaluate RUN --worst-case
mass,length --budget 64``, which first plays a grid and adds its worst point to the first ones.
"""

import matplotlib.pyplot as plt
import numpy as np

from robustgames.evaluation.robustness import sweep
from robustgames.evaluation.rollouts import play
from robustgames.evaluation.worst_case import worst_case

ENV, BUDGET, STARTS = "robustgames/ActionRobustPendulum-v0", 64, 5


def controller(observation):
    """Swing up by the energy of the nominal pendulum, then hold it by spring and damper."""
    cos, sin, speed = observation
    energy = speed**2 / 6 + 5 * (cos - 1)  # 0 at rest at the top
    swing, hold = -energy * np.sign(speed), -3 * np.arctan2(sin, cos) - 0.5 * speed
    return np.clip([hold if cos > 0.8 else swing], -1, 1)


# %%
# Eight masses times eight lengths cost as much as the budget of the search.
values = tuple(np.geomspace(0.5, 2, 8))
grid = sweep([controller], ENV, {"mass": values, "length": values}, episodes=STARTS)
found = worst_case(controller, ENV, dict.fromkeys(grid.axes, (0.5, 2)), BUDGET, episodes=STARTS)
[worst] = found.worst_points
at = [values[k] for k in np.unravel_index(grid.cells[0].argmin(), (8, 8))]
print(f"nominal {found.cells[0, 0]:.0f}, worst of the grid {grid.cells.min():.0f}")
print(f"worst of the search {found.cells.min():.0f} at", {k: round(v, 2) for k, v in worst.items()})
assert found.cells.size == grid.cells.size == BUDGET and found.cells.min() < grid.cells.min() - 20

# %%
# ``play`` has the same return at that point. The least of 64 means is biased by its choice, so
# ``fresh`` holds returns there on other starts.
returns = play(ENV, controller, STARTS, perturbation=worst).returns
print(f"play {returns.mean():.0f}, on other starts {found.fresh.mean():.0f}")
assert returns.mean() == found.cells.min()

plt.pcolormesh(values, values, grid.cells[0].T, vmin=found.cells.min(), vmax=0)
plt.colorbar(label="return: background, the grid; points, the search")
plt.scatter(*found.points[0].T, s=20, c=found.cells[0], vmin=found.cells.min(), vmax=0, ec="w")
plt.plot(*at, "D", ms=13, mfc="none", mec="C1", mew=2, label="worst of the grid")
plt.plot(*worst.values(), "s", ms=13, mfc="none", mec="C3", mew=2, label="worst of the search")
plt.gca().set(xscale="log", yscale="log", xlabel="mass", ylabel="length", title="Pendulum-v1")
plt.xticks((0.5, 1, 2), ("0.5", "1", "2"))
plt.yticks((0.5, 1, 2), ("0.5", "1", "2"))
plt.minorticks_off()
plt.legend(loc="lower left", bbox_to_anchor=(0, 0.12))
plt.show()
