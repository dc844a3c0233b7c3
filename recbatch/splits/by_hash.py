"""A random split that stays as it is while the data grow: what was held out last night still is tonight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_HELDOUT = 0x48E1D007


def heldout_by_hash(
    users: NDArray[np.integer], names: NDArray[np.uint64], share: float, seed: int
) -> NDArray[np.bool_]:
    """Mask [n] of a random ``share`` of every user's events; a user keeps at least one event for training.

    Each event is drawn by its own name alone, so neither the order of the events nor any other event changes the draw:
    of the same events in a larger set the same ones are held out. (Only a user of whom everything would be held out
    keeps the event drawn last, and loses it when a later one is added that is not drawn.) The number of a user's
    held-out events is binomial. Events of one name go together.

    Args:
        users: [n] whole numbers from 0.
        names: [n] a number for each event that stands for it from day to day, see :func:`mixed`.
        share: of the events, above 0 and below 1.
        seed: another one gives an unrelated split.
    """
    if not len(users):
        return np.zeros(0, bool)
    drawn = mixed(names + mixed(np.array([seed, _HELDOUT], np.uint64)).sum())
    last = np.zeros(int(users.max()) + 1, np.uint64)
    np.maximum.at(last, users, drawn)
    # The upper 53 bits are a float64 in [0, 1), exactly.
    return ((drawn >> np.uint64(11)) * 2.0**-53 < share) & (drawn < last[users])


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers [n] whose bits all depend on all bits given: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    state = numbers + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
