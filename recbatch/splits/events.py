"""Splits of events: a mask [n] of those that are held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EVENTS, _ENTITIES = 0xE5E27, 0xE2717  # so that a seed used for two purposes gives unrelated choices


def random_events(count: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Mask [count] of a random ``share`` of all events, as the retrieval tutorials split: shuffled, then cut once.

    At least one event stays on each side where there are two.
    """
    heldout = np.zeros(count, bool)
    wanted = min(max(round(count * share), 1), count - 1)
    if wanted > 0:
        heldout[np.random.default_rng([seed, _EVENTS]).permutation(count)[count - wanted :]] = True
    return heldout


def last_of_user(
    users: NDArray[np.integer], items: NDArray[np.integer], times_us: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Mask [n] of every user's last event in time (leave-last-out); users with fewer than two events keep theirs.

    Which of several events at one instant is the last is decided by a hash of user and item: without a seed, so that
    every seed and every machine asks for the same events, and not by the items' numbers, which often say how old an
    item is.
    """
    if not len(users):
        return np.zeros(0, bool)
    order = np.lexsort((items, _hash(users, items), times_us, users))
    last = np.ones(len(users), bool)
    last[:-1] = np.diff(users[order]) != 0
    heldout = np.zeros(len(users), bool)
    heldout[order[last]] = True
    return heldout & (np.bincount(users)[users] > 1)


def newest_events(times_us: NDArray[np.int64], since_us: int) -> NDArray[np.bool_]:
    """Mask [n] of the events at or after an instant (global time split)."""
    return times_us >= since_us


def random_entities(count: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Mask [count] of a random ``share`` of users (items), rounded, who are to be new: one at least, never all."""
    chosen = np.zeros(count, bool)
    wanted = min(max(round(count * share), 1), count - 1)
    if wanted > 0:
        chosen[np.random.default_rng([seed, _ENTITIES]).permutation(count)[:wanted]] = True
    return chosen


def _hash(users: NDArray[np.integer], items: NDArray[np.integer]) -> NDArray[np.uint64]:
    """A well mixed number for each pair: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    mixed = (users.astype(np.uint64) << np.uint64(32)) ^ items.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
