"""Histories of queries, out of the training events: what a tower is shown of a user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbatch.config.models import HistoryFeature
from recbatch.model.data import Events
from recbatch.model.features import FIRST_OOV
from recbatch.model.ranges import ranges

_SECOND_US = 1e6


@dataclass(frozen=True)
class Shown:
    """Items shown to queries, flat.

    Attributes:
        items: [m] item rows; those of a query from the oldest to the newest.
        rows: [m] the query of each, rising.
        age: [m] seconds before the newest item of the same query; zeros without timestamps.
    """

    items: NDArray[np.int32]
    rows: NDArray[np.int32]
    age: NDArray[np.float32]

    @classmethod
    def nothing(cls) -> Shown:
        """What a tower without a history is shown."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))


class Histories:
    """Histories of queries, out of the training events.

    Args:
        events: the training events (sorted by user and time).
        numbers: [num_items] number of each item in the history vocabulary; up to ``FIRST_OOV`` are left out.
        feature: the history feature, or None for a tower without one.
    """

    def __init__(
        self, events: Events, numbers: NDArray[np.int32], feature: HistoryFeature | None, num_users: int
    ) -> None:
        self._events, self._numbers, self._feature = events, numbers, feature
        self.ends = np.cumsum(np.bincount(events.users, minlength=num_users))
        self.starts = self.ends - np.bincount(events.users, minlength=num_users)
        # First event of the same user and the same time: what happens at one instant is not history to each other.
        times = np.zeros(len(events), np.int64) if events.times_us is None else events.times_us
        fresh = np.ones(len(events), bool)
        fresh[1:] = (np.diff(events.users) != 0) | (np.diff(times) != 0)
        pairs = np.sort(events.users.astype(np.int64) * len(numbers) + events.items)
        self._repeats = bool((np.diff(pairs) == 0).any())
        self._instant = np.maximum.accumulate(np.where(fresh, np.arange(len(events)), 0))

    def before(self, chosen: NDArray[np.integer], targets: NDArray[np.integer], random: np.random.Generator) -> Shown:
        """The events strictly before each of the ``chosen`` events, thinned by the dropout."""
        assert self._feature is not None
        ends = self._instant[chosen]
        starts = np.maximum(self.starts[self._events.users[chosen]], ends - self._feature.length)
        rows, places = ranges(starts, ends - starts)
        kept = random.random(len(rows)) >= (2 * self._feature.dropout * random.random(len(chosen)))[rows]
        return self._shown(places[kept], rows[kept], np.arange(len(chosen)), targets)

    def earlier(self, chosen: NDArray[np.integer], targets: NDArray[np.integer]) -> Shown:
        """All events strictly before each of the ``chosen`` events, whether a tower is shown them or not."""
        starts, ends = self.starts[self._events.users[chosen]], self._instant[chosen]
        rows, places = ranges(starts, ends - starts)
        return self._shown(places, rows, np.arange(len(chosen)), targets)

    def others(
        self,
        order: NDArray[np.integer],
        first: NDArray[np.integer],
        lengths: NDArray[np.integer],
        query_of: NDArray[np.integer],
        targets: NDArray[np.integer],
        random: np.random.Generator,
        *,
        thinned: bool = True,
    ) -> Shown:
        """A random choice of the user's events that are not among a query's targets.

        ``order`` holds every user's events in random order, so the choice is simply what follows the targets there
        (``order[first:first + lengths]``), round the circle; its size is drawn by the dropout, unless ``thinned`` is
        False: then it is all of them.
        """
        assert self._feature is not None
        users = self._events.users[order[first]]
        start, total = self.starts[users], self.ends[users] - self.starts[users]
        size = total - lengths
        if thinned:
            size = np.round(size * kept_shares(self._feature, len(first), random)).astype(np.int64)
        rows, steps = ranges(np.zeros(len(first), np.int64), np.minimum(size, self._feature.length))
        places = order[start[rows] + ((first + lengths - start)[rows] + steps) % total[rows]]
        if self._feature.pooling in ("recency", "gru"):
            places = places[np.lexsort((places, rows))]
        return self._shown(places, rows, query_of, targets)

    def at(self, users: NDArray[np.integer], times_us: NDArray[np.int64] | None) -> Shown:
        """What a night would know of ``users`` [n]: their newest training events, those before ``times_us`` [n] if
        given."""
        assert self._feature is not None
        ends = self.ends[users]
        if times_us is not None and self._events.times_us is not None:
            ends = _lower_bound(self._events.times_us, self.starts[users], ends, times_us)
        starts = np.maximum(self.starts[users], ends - self._feature.length)
        rows, places = ranges(starts, ends - starts)
        return self._aged(places, rows)

    def encoded(self, shown: Shown) -> Shown:
        """The same with numbers of the history vocabulary for items; those outside of it are left out."""
        numbers = self._numbers[shown.items]
        kept = numbers > FIRST_OOV
        return Shown(numbers[kept], shown.rows[kept], shown.age[kept])

    def _shown(
        self,
        places: NDArray[np.integer],
        rows: NDArray[np.integer],
        query_of: NDArray[np.integer],
        targets: NDArray[np.integer],
    ) -> Shown:
        """Events ``places``, without any occurrence of a query's own targets."""
        if not self._repeats:  # then the places are enough to keep targets and history apart
            return self._aged(places, rows)
        width = len(self._numbers)
        items = self._events.items[places]
        own = np.isin(rows.astype(np.int64) * width + items, query_of.astype(np.int64) * width + targets)
        return self._aged(places[~own], rows[~own])

    def _aged(self, places: NDArray[np.integer], rows: NDArray[np.integer]) -> Shown:
        age = np.zeros(len(places), np.float32)
        if self._events.times_us is not None and len(places):
            times = self._events.times_us[places]
            first = np.flatnonzero(np.diff(rows, prepend=-1))
            newest = np.maximum.reduceat(times, first)
            age = ((np.repeat(newest, np.diff(first, append=len(rows))) - times) / _SECOND_US).astype(np.float32)
        return Shown(self._events.items[places], rows.astype(np.int32), age)


def kept_shares(feature: HistoryFeature, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """[count] shares of a history that are shown: uniform from 1 - 2 * dropout (0 at least) to 1."""
    return np.clip(1.0 - 2 * feature.dropout * random.random(count), 0.0, 1.0)


def _lower_bound(
    times: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each i the first place in ``times[starts[i]:ends[i]]`` (rising) that is not less than ``wanted[i]``."""
    low, high = starts.copy(), ends.copy()
    while (low < high).any():
        middle = (low + high) // 2
        below = (low < high) & (times[np.minimum(middle, len(times) - 1)] < wanted)
        low, high = np.where(below, middle + 1, low), np.where(below | (low >= high), high, middle)
    return low
