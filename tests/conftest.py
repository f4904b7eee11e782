"""Settings of every test: one thread (small tensors), and no window for figures."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import torch

torch.set_num_threads(1)
