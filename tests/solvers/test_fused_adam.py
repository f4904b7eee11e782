"""The fused kernel of Adam next to numbers that are too small for the processor's fast path."""

import sys

import pytest
import torch
from torch import Generator

from robustgames.solvers import Adam, FusedAdam


def is_flushing():
    return sys.float_info.min * float("0.5") == 0.0


@pytest.mark.parametrize("before", [False, True])
def test_moments_that_vanish_become_zero_and_the_mode_of_the_thread_stays(before):
    w, v = torch.zeros(4), torch.tensor([0.0, 0.0, 1.0, float("nan")])
    state = {"k": 4, "m": torch.tensor([1.2e-38, -1.2e-38, 0.1, 0.0]), "s": torch.tensor([1.1755e-38, 1.0, 1.0, 0.0])}
    plain, wanted = Adam(1e-3).step(w, v, state, Generator())
    if not torch.set_flush_denormal(before):
        pytest.skip("this processor cannot flush")
    try:
        z, found = FusedAdam(1e-3).step(w, v, state, Generator())
        assert is_flushing() == before
    finally:
        torch.set_flush_denormal(False)
    assert found["m"][:2].tolist() == [0.0, 0.0] and found["s"][0] == 0.0
    assert torch.allclose(z, plain, rtol=1e-5, atol=1e-30, equal_nan=True)
    assert torch.allclose(found["m"], wanted["m"], rtol=1e-6, atol=1.2e-38, equal_nan=True)


def test_small_numbers_are_kept_if_eps_does_not_outweigh_their_roots():
    state = {"k": 4, "m": torch.tensor([1.2e-38]), "s": torch.zeros(1)}
    found = FusedAdam(1e-3, eps=1e-20).step(torch.zeros(1), torch.zeros(1), state, Generator())[1]
    assert 0 < found["m"].item() < 1.1754e-38
