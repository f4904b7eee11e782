"""Settings of every test: one thread (small tensors), no window for figures, and Ctrl-C as on a terminal."""

import os
import signal

os.environ.setdefault("MPLBACKEND", "Agg")

import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background without it
