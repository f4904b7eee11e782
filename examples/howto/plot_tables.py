r"""
Repeating the tables of the docs
================================

Each table of :doc:`/explain/index` names the command that computes it. A command takes smaller
numbers for a first look, continues where it was interrupted, and keeps its numbers as JSON.

.. code-block:: text

   python scripts/gaussians.py             25 Gaussians
   python scripts/mixed_ne.py              25 Gaussians by Mirror-GAN, in its own setting
   python scripts/adversarial_training.py  training against attacks, at equal CPU budgets
   python scripts/wasserstein.py           rates and duality
   python scripts/robustness.py            robust control
   python scripts/benchmark.py games       speed

This page runs a tiny version of the first one: two methods, one run each, 200 oracle calls. The
table of :doc:`/explain/gans` takes 10 runs of 12,000 calls.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import robustgames

script = Path(robustgames.__file__).parents[1] / "scripts" / "gaussians.py"  # in a clone
out = Path(tempfile.mkdtemp())
words = ["--methods", "adam", "extra_adam", "--runs", "1", "--calls", "200", "--out", str(out)]
subprocess.run([sys.executable, str(script), *words], check=True, capture_output=True)
print((out / "table.md").read_text())

# %%
# The numbers behind the table are lines of JSON.
lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
print(sorted(lines[0]))
plt.imshow(plt.imread(out / "samples.png"))
plt.axis("off")
plt.show()
assert len(lines) == 2 and all(line["calls"] == 200 for line in lines)
