"""What one fit holds out to be measured by. Plain arrays in, a mask out; the same input gives the same split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def heldout_by_time(times_us: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Mask [n] of the newest events: about ``share`` of all, cut between two instants and never through one.

    The cut moves to the later instant when ``share`` falls into one. If that holds out nothing it moves to the earlier,
    provided that at least half of the events stay; otherwise (everything at one instant) nothing is held out.
    """
    count = len(times_us)
    wanted = round(count * share)
    if not 0 < wanted < count:
        return np.zeros(count, bool)
    boundary = np.partition(times_us, count - wanted - 1)[count - wanted - 1]
    heldout = times_us > boundary
    if not heldout.any():
        heldout = times_us >= boundary
        if heldout.sum() * 2 > count:
            return np.zeros(count, bool)
    return heldout


def heldout_per_user(users: NDArray[np.integer], share: float, seed: int) -> NDArray[np.bool_]:
    """Mask [n] of a random ``share`` of every user's events; a user keeps at least one event for training.

    ``share`` times a user's number of events is rounded up or down at random, so that the expected total is right for
    users with few events too. ``users`` [n] are whole numbers from 0.
    """
    if not len(users):
        return np.zeros(0, bool)
    random = np.random.default_rng([seed, 0x5B117])
    counts = np.bincount(users)
    wanted = np.floor(counts * share + random.random(len(counts))).astype(np.int64)
    wanted = np.minimum(wanted, np.maximum(counts - 1, 0))
    order = np.lexsort((random.random(len(users)), users))
    first = np.cumsum(counts) - counts
    rank_in_user = np.arange(len(users)) - first[users[order]]
    heldout = np.zeros(len(users), bool)
    heldout[order] = rank_in_user < wanted[users[order]]
    return heldout
