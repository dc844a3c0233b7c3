"""Training batches: which events, whose query, what history. Drawn by (seed, epoch, batch) alone, so a resumed fit sees
the very same ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbatch.config.models import HistoryFeature
from recbatch.model.data import Events
from recbatch.model.features import FIRST_OOV

_TARGETS_PER_QUERY = 8
"""Events of a user that share one query vector where it is pooled from all the user's other positives: so many are
hidden at once, and a long history is summed once instead of eight times."""


@dataclass(frozen=True)
class Batch:
    """One step's input: q queries, e >= q events.

    Attributes:
        users: [q] user rows.
        events: [q] number of the (first) event of each query.
        items: [e] target item rows.
        query_of: [e] the query of each event.
        history_values: [m] numbers of history items, in the history feature's vocabulary.
        history_rows: [m] the query of each, rising.
        negative: [q, e] whether an event's item is a negative to the query: not a target of it, nor in its history.
            What the tower is shown is not recommended either; as a negative it would teach that users dislike what they
            took. [0, 0] without a history: then all are negatives.
    """

    users: NDArray[np.int32]
    events: NDArray[np.int64]
    items: NDArray[np.int32]
    query_of: NDArray[np.int64]
    history_values: NDArray[np.int32]
    history_rows: NDArray[np.int32]
    negative: NDArray[np.bool_]


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
        self._instant = np.maximum.accumulate(np.where(fresh, np.arange(len(events)), 0))

    def before(
        self, chosen: NDArray[np.integer], targets: NDArray[np.integer], random: np.random.Generator
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(items, rows): the events strictly before each of the ``chosen`` events, thinned by the dropout."""
        assert self._feature is not None
        ends = self._instant[chosen]
        starts = np.maximum(self.starts[self._events.users[chosen]], ends - self._feature.length)
        rows, places = ranges(starts, ends - starts)
        kept = random.random(len(rows)) >= (2 * self._feature.dropout * random.random(len(chosen)))[rows]
        rows, items = rows[kept], self._events.items[places[kept]]
        return self._without(rows, items, np.arange(len(chosen)), targets)

    def others(
        self,
        order: NDArray[np.integer],
        starts: NDArray[np.integer],
        lengths: NDArray[np.integer],
        query_of: NDArray[np.integer],
        targets: NDArray[np.integer],
        random: np.random.Generator,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(items, rows): a random choice of the user's events that are not among a query's targets.

        ``order`` holds every user's events in random order, so the choice is simply what follows the targets there,
        round the circle; its size is drawn by the dropout.
        """
        assert self._feature is not None
        users = self._events.users[order[starts]]
        first, total = self.starts[users], self.ends[users] - self.starts[users]
        shares = 1.0 - 2 * self._feature.dropout * random.random(len(starts))
        others = total - lengths
        size = np.minimum(np.round(others * np.clip(shares, 0.0, 1.0)).astype(np.int64), self._feature.length)
        rows, steps = ranges(np.zeros(len(starts), np.int64), size)
        places = first[rows] + ((starts + lengths - first)[rows] + steps) % total[rows]
        return self._without(rows, self._events.items[order[places]], query_of, targets)

    def at(
        self, users: NDArray[np.integer], times_us: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(items, rows): what a night would know of ``users`` [n]: their newest training events, those before
        ``times_us`` [n] if given."""
        assert self._feature is not None
        ends = self.ends[users]
        if times_us is not None and self._events.times_us is not None:
            ends = _lower_bound(self._events.times_us, self.starts[users], ends, times_us)
        starts = np.maximum(self.starts[users], ends - self._feature.length)
        rows, places = ranges(starts, ends - starts)
        return self._events.items[places], rows.astype(np.int32)

    def encoded(self, items: NDArray[np.int32], rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(values, rows) in the history vocabulary; items outside of it are left out."""
        numbers = self._numbers[items]
        kept = numbers > FIRST_OOV
        return numbers[kept], rows[kept]

    def _without(
        self,
        rows: NDArray[np.integer],
        items: NDArray[np.int32],
        query_of: NDArray[np.integer],
        targets: NDArray[np.integer],
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Drop every occurrence of a query's own targets."""
        width = len(self._numbers)
        kept = ~np.isin(rows.astype(np.int64) * width + items, query_of.astype(np.int64) * width + targets)
        return items[kept], rows[kept].astype(np.int32)


class Batches:
    """The batches of one fit. Every event is in one batch of each epoch."""

    def __init__(
        self, events: Events, histories: Histories, feature: HistoryFeature | None, *, per_event: bool
    ) -> None:
        self._events, self._histories, self._feature = events, histories, feature
        counts = histories.ends - histories.starts
        per_query = 1 if per_event or feature is None else _TARGETS_PER_QUERY
        queries = -(-counts // per_query)
        user, number = ranges(np.zeros(len(counts), np.int64), queries)
        self._starts = histories.starts[user] + number * per_query
        self._lengths = np.minimum(per_query, histories.ends[user] - self._starts)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches in an epoch; they are cut to nearly equal sizes, so that no epoch ends with a tiny one."""
        return min(-(-len(self._events) // batch_size), len(self._starts))

    def epoch(self, seed: int, epoch: int, batch_size: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the ``start``-th on."""
        random = np.random.default_rng([seed, epoch])
        order = np.lexsort((random.random(len(self._events)), self._events.users))
        queries = random.permutation(len(self._starts))
        parts = np.array_split(queries, self.steps_per_epoch(batch_size))
        for number in range(start, len(parts)):
            yield self._batch(order, parts[number], np.random.default_rng([seed, epoch, number]))

    def _batch(self, order: NDArray, queries: NDArray, random: np.random.Generator) -> Batch:
        starts, lengths = self._starts[queries], self._lengths[queries]
        query_of, places = ranges(starts, lengths)
        chosen = order[places]
        items, first = self._events.items[chosen], order[starts]
        users = self._events.users[first]
        if self._feature is None:
            none = np.zeros(0, np.int32)
            return Batch(users, first, items, query_of, none, none, np.zeros((0, 0), bool))
        if self._feature.train_on == "before":
            shown, rows = self._histories.before(chosen, items, random)
        else:
            shown, rows = self._histories.others(order, starts, lengths, query_of, items, random)
        positive_rows, positives = np.concatenate([rows, query_of]), np.concatenate([shown, items])
        negative = ~_membership(positive_rows, positives, items, len(starts))
        values, rows = self._histories.encoded(shown, rows)
        return Batch(users, first, items, query_of, values, rows, negative)


def _membership(
    rows: NDArray[np.integer], items: NDArray[np.integer], columns: NDArray[np.integer], num_rows: int
) -> NDArray[np.bool_]:
    """[num_rows, len(columns)] whether row r has the item columns[c], given its items (``rows``, ``items`` [m])."""
    distinct, place = np.unique(columns, return_inverse=True)
    found = np.minimum(np.searchsorted(distinct, items), len(distinct) - 1)
    there = distinct[found] == items
    table = np.zeros((num_rows, len(distinct)), bool)
    table[rows[there], found[there]] = True
    return table[:, place]


def ranges(starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(row, place) of every element of the ranges ``starts[i] .. starts[i] + lengths[i]``, one after the other."""
    rows = np.repeat(np.arange(len(starts)), lengths)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return rows, starts[rows] + within


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
