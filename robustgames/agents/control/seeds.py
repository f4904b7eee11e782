"""The seeds of a run: they depend on the seed of the agent and the number of the run, not on the other runs."""

from __future__ import annotations

import numpy as np

from robustgames.errors import GameError

POLICIES, CRITICS, EPISODES, REST = range(4)
"""The separate streams of a run, so runs of one seed begin alike whatever their adversaries are."""


class SeedFrom(int):
    """A seed whose runs are numbered from `first` on: of a process that has some of all runs.

    Example:
        >>> seed_of(SeedFrom(3, first=4), 1) == seed_of(3, 5)
        True
    """

    first: int

    def __new__(cls, seed: int, first: int) -> SeedFrom:
        made = super().__new__(cls, seed)
        made.first = first
        return made


def check_seed(seed: int) -> None:
    """Check that a seed is a whole number >= 0.

    Raises:
        GameError: It is not.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise GameError(f"seed is {seed}: it must be a whole number >= 0, e.g. seed=0")


def seed_of(seed: int, run: int, *purpose: int) -> int:
    """Return the seed of one stream of a run, in [0, 2^63).

    It comes from `SeedSequence(seed).spawn(S)[run]`, which is the same for every number S > run of runs.

    Args:
        seed: Seed of the agent.
        run: Number of the run.
        *purpose: Number of the stream, and of an episode for `EPISODES`.

    Example:
        >>> seed_of(3, 1, EPISODES, 7) == int(
        ...     np.random.SeedSequence(3).spawn(2)[1].spawn(4)[EPISODES].spawn(8)[7].generate_state(1, np.uint64)[0]
        ... ) // 2
        True
    """
    run += seed.first if isinstance(seed, SeedFrom) else 0
    return int(np.random.SeedSequence(int(seed), spawn_key=(run, *purpose)).generate_state(1, np.uint64)[0]) // 2


def seed_of_player(seed: int, player: int) -> int:
    """Return the seed of all runs of a further learner, number `player` >= 1, of an agent with several.

    Example:
        >>> seed_of_player(3, 1) != seed_of_player(3, 2)
        True
    """
    own = int(np.random.SeedSequence([int(seed), player]).generate_state(1, np.uint64)[0]) // 2
    return SeedFrom(own, seed.first) if isinstance(seed, SeedFrom) else own


def seeds_of(seed: int, runs: int, *purpose: int) -> list[int]:
    """Return the seeds of one stream of every run."""
    return [seed_of(seed, run, *purpose) for run in range(runs)]


def episode_seed(seed: int, run: int, episode: int) -> int:
    """Return the seed of an episode of a run, for `env.reset`, in [0, 2^31)."""
    return seed_of(seed, run, EPISODES, episode) >> 32
