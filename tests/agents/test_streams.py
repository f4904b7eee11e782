"""One stream per run: the numbers of a run depend on its seed alone, and are those of the published function."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator

import robustgames as rg
from robustgames.streams import Streams, branch, integers, normal, uniform

KIND, BITS = torch.float64, 2**64 - 1


def mixed(x):
    """Return the output of SplitMix64 for count x, in Python's integers."""
    x = ((x + 1) * 0x9E3779B97F4A7C15) & BITS
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & BITS
    return x ^ (x >> 31)


def test_the_mix_is_splitmix64():
    assert mixed(0) == 0xE220A8397B1DCDAF  # its published first output from seed 0


def test_a_number_is_the_function_of_seed_and_count_that_is_stated():
    seeds, streams = [0, 5, 2**63 - 1], Streams([0, 5, 2**63 - 1])
    found = uniform((3, 4), streams, KIND).tolist()
    for seed, row in zip(seeds, found, strict=True):
        assert row == [((mixed((mixed(c) + mixed(seed)) & BITS) >> 12) + 0.5) * 2.0**-52 for c in range(4)]


@pytest.mark.parametrize("draw", [lambda s, g: uniform(s, g, KIND), lambda s, g: normal(s, g, KIND)])
@pytest.mark.parametrize("n", [1, 100, 5000, 20_000])
def test_a_stream_does_not_depend_on_the_others(draw, n):
    alone, among = Streams([9]), Streams([3, 9, 4, 1])
    for size in (n, 7, n):
        assert torch.equal(draw((1, size), alone)[0], draw((4, size), among)[1])


def test_numbers_are_uniform_normal_and_uncorrelated():
    u = uniform((200, 5000), Streams(range(200)), KIND).numpy()
    assert stats.kstest(u.ravel(), "uniform").pvalue > 0.01
    for a, b in ((u[:-1], u[1:]), (u[:, :-1], u[:, 1:])):  # between streams of neighboring seeds, and along each
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / a.size**0.5
    for n in (1000, 4000):  # from the streams, and for many from PyTorch's generator of each run
        assert stats.kstest(normal((50, n), Streams(range(50)), KIND).numpy().ravel(), "norm").pvalue > 0.01
    counts = torch.bincount(integers(7, (10, 7000), Streams(range(10))).flatten(), minlength=7)
    assert len(counts) == 7 and stats.chisquare(counts.numpy()).pvalue > 0.01


def test_a_state_continues_bit_for_bit_and_a_mark_goes_back():
    streams = Streams([1, 2])
    uniform((2, 9000), streams, KIND)
    state, mark = streams.get_state(), streams.mark()
    expected = normal((2, 3), streams, KIND), integers(10, (2, 5), streams), torch.rand(2, generator=streams)
    streams.go_back(mark)
    for each in (streams, Streams([7, 7])):
        if each is not streams:
            each.set_state(state)
        found = normal((2, 3), each, KIND), integers(10, (2, 5), each), torch.rand(2, generator=each)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not streams.fits(Streams([1]).get_state()) and not streams.fits(Generator().get_state())
    with pytest.raises(rg.GameError, match="is not one of 1 streams"):
        Streams([1]).set_state(state)


def test_a_branch_depends_on_seed_and_number_alone():
    first, second = Streams([1, 2, 3]), Streams([2])
    uniform((1, 50), second, KIND)
    a = uniform((3, 4), branch(first, torch.tensor([0, 8, 0])), KIND)
    b = uniform((1, 4), branch(second, torch.tensor([8])), KIND)
    assert torch.equal(a[1], b[0]) and not torch.equal(
        a[1], uniform((1, 4), branch(second, torch.tensor([9])), KIND)[0]
    )
    plain = Generator()
    assert branch(plain, torch.tensor([1])) is plain


def test_a_draw_of_other_runs_is_refused():
    with pytest.raises(rg.GameError, match=r"a draw of shape \(3, 2\) from 2 streams"):
        uniform((3, 2), Streams([1, 2]), KIND)
