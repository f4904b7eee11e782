"""The replay: what is stored and sampled, run by run, and that a saved one goes on bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, lists, sampled_from, tuples
from torch import Generator

import robustgames as rg
from robustgames.agents.control.replay import Replay
from robustgames.checkpoints import load_checkpoint, save_checkpoint


def generator(seed=0):
    return Generator().manual_seed(seed)


def numbered(t, shape=(), p=2, k=1):
    """Transition t: every part can be told from its number and that of its run."""
    run = torch.arange(max(1, *shape, 1.0)).reshape(shape or ()) * 1000.0
    state = (run + t).unsqueeze(-1).expand(*shape, p).clone()
    return state, state[..., :k] + 0.25, state + 1, run + t + 0.5, torch.full(shape, t % 5 == 0)


def filled(n, capacity=10, shape=(), dtype=torch.float32):
    replay = Replay(capacity, 2, 1, shape, dtype=dtype)
    for t in range(n):
        replay.add(*numbered(t, shape))
    return replay


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_a_sample_holds_whole_transitions_of_its_own_run(shape):
    batch = filled(7, shape=shape).sample(200, generator())
    t = batch.states[..., :1]
    assert batch.states.shape == (*shape, 200, 2) and batch.rewards.shape == (*shape, 200, 1)
    assert torch.equal(batch.states, t.expand_as(batch.states)) and torch.equal(batch.next_states, batch.states + 1)
    assert torch.equal(batch.actions, t + 0.25) and torch.equal(batch.rewards, t + 0.5)
    assert torch.equal(batch.played, torch.cat([batch.states, batch.actions], -1))
    assert torch.equal(batch.continues, (t % 1000 % 5 != 0).float())
    for run in range(shape[0] if shape else 1):
        own = batch.states[run] if shape else batch.states
        assert set((own[:, 0] - 1000 * run).tolist()) == {0, 1, 2, 3, 4, 5, 6}


def test_the_ring_forgets_the_oldest():
    replay = filled(23)
    assert replay.size == 10 and replay.position == 3
    assert set(replay.sample(500, generator()).states[:, 0].tolist()) == set(map(float, range(13, 23)))


def test_many_at_once_are_one_after_the_other_around_the_end_too():
    one, many = filled(19, shape=(3,)), filled(12, shape=(3,))
    rest = [torch.stack(parts) for parts in zip(*(numbered(t, (3,)) for t in range(12, 19)), strict=True)]
    many.extend(*rest)
    assert many.position == one.position == 9
    assert torch.equal(many.state_dict()["rows"], one.state_dict()["rows"])


@pytest.mark.parametrize("shape", [(), (3,)])
def test_numpy_and_torch_store_the_same(shape):
    replay, other = filled(8, shape=shape), Replay(10, 2, 1, shape)
    for t in range(8):
        other.add(*(part.numpy() for part in numbered(t, shape)))
    assert torch.equal(replay.state_dict()["rows"], other.state_dict()["rows"])
    if not shape:
        other.add(np.zeros(2), np.zeros(1), np.ones(2), -1.5, True)  # one env, as Gymnasium returns it
        assert other.state_dict()["rows"][-1, 0].tolist() == [0, 0, 0, 1, 1, -1.5, 0]


def test_only_a_terminated_transition_ends_the_future():
    replay = Replay(10, 2, 1)
    for terminated, truncated in ((False, False), (False, True), (True, False)):
        replay.add(np.zeros(2), np.zeros(1), np.full(2, float(truncated)), 0.0, terminated)
    batch = replay.sample(100, generator())
    cut_off = batch.next_states[:, 0] == 1
    assert bool((batch.continues[cut_off] == 1).all()) and int(cut_off.sum()) > 0
    assert 0 < int((batch.continues == 0).sum()) < 100


def test_every_transition_is_drawn_equally_often():
    counts = torch.bincount(filled(10).sample(20_000, generator()).states[:, 0].long(), minlength=10)
    assert float((counts - 2000).abs().max()) < 5 * (20_000 * 0.1 * 0.9) ** 0.5


def test_a_sample_is_memory_of_its_own():
    replay = filled(10)
    batch = replay.sample(5, generator())
    batch.states.zero_()
    assert float(replay.sample(100, generator()).states.min()) == 0 and bool((batch.played[:, :2] == 0).all())
    assert torch.equal(replay.sample(100, generator()).states, filled(10).sample(100, generator()).states)


@pytest.mark.parametrize("n", [6, 14])
def test_a_saved_replay_goes_on_bit_for_bit(n, tmp_path):
    replay = filled(n, shape=(2,), dtype=torch.float64)
    save_checkpoint(tmp_path, {"replay": replay.state_dict()})
    other = Replay(10, 2, 1, (2,), dtype=torch.float64)
    other.load_state_dict(load_checkpoint(tmp_path)["replay"])
    for one in (replay, other):
        for t in range(n, n + 3):
            one.add(*numbered(t, (2,)))
    a, b = (one.sample(50, generator(3)).rows for one in (replay, other))
    assert torch.equal(a, b) and other.size == replay.size and other.position == replay.position


def test_memory_is_taken_as_transitions_come():
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    replay = Replay(10_000_000, 10, 3)  # 1 GB when it is full
    replay.add(np.zeros(10), np.zeros(3), np.zeros(10), 0.0, False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda: Replay(0, 2, 1), "capacity is 0: it must be a whole number of at least 1"),
        (lambda: Replay(5, 2, 1, (2, 3)), r"shape is \(2, 3\): \(\) for one run"),
        (lambda: Replay(5, 2, 1).sample(3, generator()), "the replay is empty: add transitions"),
        (
            lambda: filled(3).add(np.zeros(3), np.zeros(1), np.zeros(3), 0.0, False),
            r"\(3,\) .* expected \(2,\) and \(1,\)",
        ),
        (lambda: filled(3, shape=(2,)).add(np.zeros(2), np.zeros(1), np.zeros(2), 0.0, False), r"expected \(2, 2\)"),
        (lambda: filled(3, shape=(2,)).add(*numbered(0, (3,))), r"states of shape \(3, 2\)"),
        (
            lambda: filled(1).extend(*(torch.stack([part] * 11) for part in numbered(0))),
            "11 transitions at once do not",
        ),
        (lambda: filled(3, capacity=9).load_state_dict(filled(3).state_dict()), "holds 10 transitions .* this one 9"),
        (lambda: Replay(10, 3, 1).load_state_dict(filled(3).state_dict()), "make it of the same sizes"),
    ],
)
def test_what_does_not_fit_is_refused(act, error):
    with pytest.raises(rg.GameError, match=error):
        act()


@given(
    capacity=integers(1, 7),
    runs=sampled_from([(), (1,), (3,)]),
    steps=lists(tuples(sampled_from(["add", "numpy", "extend", "reload"]), integers(1, 7)), max_size=12),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_replay_is_a_list_of_the_last_transitions(capacity, runs, steps):
    replay, expected, t = Replay(capacity, 2, 1, runs), [], 0
    for how, n in steps:
        n = min(n, capacity) if how == "extend" else 1
        new = [numbered(t + i, runs) for i in range(n)]
        if how == "extend":
            replay.extend(*(torch.stack(parts) for parts in zip(*new, strict=True)))
        elif how == "reload":
            old, replay = replay, Replay(capacity, 2, 1, runs)
            replay.load_state_dict(old.state_dict())
            n, new = 0, []
        else:
            replay.add(*(part.numpy() if how == "numpy" else part for part in new[0]))
        t, expected = t + n, (expected + new)[-capacity:]
    assert replay.size == len(expected)
    rows = [
        torch.cat([s, a, after, r[..., None], 1.0 - end[..., None].float()], -1) for s, a, after, r, end in expected
    ]
    kept = replay.state_dict()["rows"].roll(-replay.position if replay.size == capacity else 0, 0)
    assert all(torch.equal(kept[i], row.reshape(-1, replay.width)) for i, row in enumerate(rows))
