"""Extragradient on Forsaken as a loop in C, compiled here: what a processor does without any library."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

STEPS = 64
"""Steps of a call: blocks of 1,024 runs stay in the first cache for all of them."""
SOURCE = """
static inline void step(float *restrict x, float *restrict y, long runs) {
    const float c = 0.45f, lr = 0.01f;
    for (long i = 0; i < runs; i++) {
        float a = x[i], b = y[i], s = a * a, t = b * b;
        float u = -(b - c + a * (0.5f + s * (s - 2))), v = a - b * (0.5f + t * (t - 2));
        float p = a + lr * u, q = b + lr * v;
        s = p * p, t = q * q;
        u = -(q - c + p * (0.5f + s * (s - 2))), v = p - q * (0.5f + t * (t - 2));
        x[i] = a + lr * u, y[i] = b + lr * v;
    }
}
void steps(float *restrict x, float *restrict y, long runs, long count) {
    for (long i = 0; i < runs; i += 1024)
        for (long k = 0; k < count; k++)
            step(x + i, y + i, runs - i < 1024 ? runs - i : 1024);
}
"""


def c_steps(z0: Tensor) -> Callable[[], None] | None:
    """Return STEPS steps of all runs by `cc -O3 -march=native`, in one thread and float32; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "steps.c", Path(folder) / "steps.so"
        source.write_text(SOURCE)
        command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(source)]
        if subprocess.run(command, capture_output=True).returncode:
            return None
        steps = ctypes.CDLL(str(library)).steps  # the file may go once it is loaded
    x, y = z0.float().cpu().numpy().T.copy()
    at = [ctypes.c_void_p(part.ctypes.data) for part in (x, y)]

    def run(_keep: object = (x, y)) -> None:
        steps(*at, ctypes.c_long(len(x)), ctypes.c_long(STEPS))

    return run
