"""Groups by how much training has seen: number 0 is cold (nothing), 1 to 3 are the thirds from few to many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def thirds_by_count(events: NDArray[np.integer]) -> NDArray[np.int8]:
    """Group [n] of users by their ``events`` [n]: the thirds hold as nearly as many users as equal numbers allow.

    Users with the same number of events are in the same group.
    """
    warm = np.sort(events[events > 0])
    if not len(warm):
        return np.zeros(len(events), np.int8)
    bounds = warm[[(len(warm) - 1) // 3, 2 * (len(warm) - 1) // 3]]
    return ((events > 0) + (events > bounds[0]).astype(np.int8) + (events > bounds[1])).astype(np.int8)


def thirds_by_share(events: NDArray[np.integer]) -> NDArray[np.int8]:
    """Group [n] of items by their ``events`` [n]: each third of the groups has about a third of all events.

    Group 3 is the head, the few items that make up the first third; items with the same number of events are in the
    same group.
    """
    values, counts = np.unique(events, return_counts=True)
    below = np.concatenate([[0], np.cumsum(values * counts)[:-1]])  # events of the items with fewer events
    middle = (below + values * counts / 2) / max(1, int((values * counts).sum()))
    group = np.where(values > 0, 1 + np.minimum((middle * 3).astype(np.int8), 2), 0)
    return group[np.searchsorted(values, events)].astype(np.int8)
