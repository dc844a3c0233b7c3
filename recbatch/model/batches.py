"""Training batches: which events, whose query, what history, against which candidates. Drawn by (seed, epoch, batch)
alone, so a resumed fit sees the very same ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbatch.config.models import HistoryFeature, Training
from recbatch.model.data import Events
from recbatch.model.histories import Histories, Shown, kept_shares
from recbatch.model.negatives import Catalog, Drawn, Pairs
from recbatch.model.ranges import ranges

_DAY_US = 86_400_000_000
_TARGETS_PER_QUERY = 8
"""Events of a user that share one query vector where it is pooled from all the user's other positives, and other
users' targets are the negatives: up to so many are hidden at once, and a long history is summed once instead of eight
times.
"""


@dataclass(frozen=True)
class Batch:
    """One step's input: q queries, e targets, c candidates.

    Attributes:
        users: [q] user rows.
        events: [q] number of the (first) event of each query.
        items: [e] target item rows.
        query_of: [e] the query of each target.
        weights: [e] how much each target counts.
        history: numbers of history items, in the history feature's vocabulary.
        drawn: the candidates, and which of them are shown to which query.
    """

    users: NDArray[np.int32]
    events: NDArray[np.int64]
    items: NDArray[np.int32]
    query_of: NDArray[np.int64]
    weights: NDArray[np.float32]
    history: Shown
    drawn: Drawn

    def arrays(self) -> dict[str, NDArray]:
        """All of it by name, flat."""
        own = {name: getattr(self, name) for name in ("users", "events", "items", "query_of", "weights")}
        history = {f"history_{name}": array for name, array in vars(self.history).items()}
        return own | history | vars(self.drawn)


class Batches:
    """The batches of one fit. Every target is in one batch of each epoch, unless the query is the whole user.

    Args:
        events: the training events.
        histories: what a query is shown.
        feature: the history feature, or None.
        catalog: draws the candidates of a batch.
        weights: [n] how much each event counts as a target.
        per_event: a query is of one event; otherwise it may stand for several of the same user.
        whole_users: a query stands for all of a user's events: a random share is shown, the rest are its targets.
        item_queries: queries are items: a query is no negative to itself.
        mask_shown: what a query is shown counts less as a negative, or not at all. False: it competes like any other
            item, so the pairs are not gathered, which late in long histories costs more than the rest of a batch.
    """

    def __init__(
        self,
        events: Events,
        histories: Histories,
        feature: HistoryFeature | None,
        catalog: Catalog,
        weights: NDArray[np.float32],
        *,
        per_event: bool,
        whole_users: bool = False,
        item_queries: bool = False,
        mask_shown: bool = True,
    ) -> None:
        self._events, self._histories, self._feature = events, histories, feature
        self._catalog, self._weights, self._item_queries = catalog, weights, item_queries
        self._mask_shown = mask_shown
        self._whole_users = whole_users and not per_event
        self._is_target = np.ones(len(events), bool) if events.targets is None else events.targets
        self._num_targets = np.bincount(events.users, self._is_target, minlength=len(histories.starts)).astype(np.int64)
        self._one_each = per_event or (feature is None and not self._whole_users)
        self._starts, self._lengths = self._queries()

    def _queries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(first place, number of places) in an epoch's order of the events that each query stands for."""
        starts, ends = self._histories.starts, self._histories.ends
        if self._one_each:
            targets = np.flatnonzero(self._is_target)
            return targets, np.ones(len(targets), np.int64)
        if self._whole_users:
            asked = np.flatnonzero(self._num_targets)
            return starts[asked], ends[asked] - starts[asked]
        width = np.clip((ends - starts) // 2, 1, _TARGETS_PER_QUERY)  # a half at most, or nothing would be left to show
        user, number = ranges(np.zeros(len(starts), np.int64), -(-self._num_targets // width))
        first = starts[user] + number * width[user]
        return first, np.minimum(width[user], starts[user] + self._num_targets[user] - first)

    @property
    def num_examples(self) -> int:
        """What ``batch_size`` counts: targets, or queries where one stands for a whole user."""
        return len(self._starts) if self._whole_users else int(self._is_target.sum())

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches in an epoch; they are cut to nearly equal sizes, so that no epoch ends with a tiny one."""
        return min(-(-self.num_examples // batch_size), len(self._starts))

    def epoch(self, seed: int, epoch: int, batch_size: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the ``start``-th on."""
        random = np.random.default_rng([seed, epoch])
        # A user's events in random order, those to be predicted first, so that every query hides some of them; where
        # queries have one event each, shuffling the queries is enough.
        order = np.arange(len(self._events))
        if not self._one_each:
            order = np.lexsort((random.random(len(self._events)), ~self._is_target, self._events.users))
        queries = random.permutation(len(self._starts))
        parts = np.array_split(queries, self.steps_per_epoch(batch_size))
        for number in range(start, len(parts)):
            yield self._batch(order, parts[number], np.random.default_rng([seed, epoch, number]))

    def _batch(self, order: NDArray, queries: NDArray, random: np.random.Generator) -> Batch:
        starts, lengths = self._starts[queries], self._lengths[queries]
        first = order[starts]
        users = self._events.users[first]
        if self._whole_users and self._feature is not None:
            # At least one is hidden; what is not shown is to be found, so that nothing a user took is a negative.
            shown = np.floor(lengths * kept_shares(self._feature, len(lengths), random)).astype(np.int64)
            hidden = lengths - np.minimum(shown, self._feature.length)
            lengths = np.clip(hidden, 1, self._num_targets[users])
        query_of, places = ranges(starts, lengths)
        is_target = self._is_target[order[places]]
        chosen, query_of = order[places][is_target], query_of[is_target]
        items = self._events.items[chosen]
        history = self._shown(order, starts, lengths, (chosen, query_of, items), random)
        excused = self._not_negative(users, chosen, items, history)
        drawn = self._catalog.draw(Pairs(query_of, items), excused, len(starts), random)
        return Batch(users, first, items, query_of, self._weights[chosen], self._histories.encoded(history), drawn)

    def _shown(
        self,
        order: NDArray,
        starts: NDArray,
        lengths: NDArray,
        targets: tuple[NDArray, NDArray, NDArray],
        random: np.random.Generator,
    ) -> Shown:
        chosen, query_of, items = targets
        if self._feature is None:
            return Shown.nothing()
        if self._feature.train_on == "before":
            return self._histories.before(chosen, items, random)
        return self._histories.others(order, starts, lengths, query_of, items, random, thinned=not self._whole_users)

    def _not_negative(self, users: NDArray, chosen: NDArray, items: NDArray, history: Shown) -> Pairs:
        """What is no negative to a query although it is no target: what the user took before, or the query itself.

        That is not recommended either; as a negative it would teach that users dislike what they took.
        """
        if not self._mask_shown:
            return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int32))
        if self._item_queries:
            return Pairs(np.arange(len(users)), users)
        if self._feature is not None and self._feature.train_on == "before":
            history = self._histories.earlier(chosen, items)
        return Pairs(history.rows, history.items)


def target_weights(training: Training, train: Events) -> NDArray[np.float32]:
    """[n] how much each training event counts: by how many its user has, and by how old it is."""
    counts = np.bincount(train.users, train.targets if train.targets is not None else None)[train.users]
    weights = np.maximum(counts, 1) ** -{"events": 0.0, "sqrt": 0.5, "equal": 1.0}[training.user_weight]
    if training.half_life_days is not None and train.times_us is not None:
        age = (train.times_us.max() - train.times_us) / _DAY_US
        weights = weights * 0.5 ** (age / training.half_life_days)
    return (weights / weights.mean()).astype(np.float32)


def popularity_start(
    train: Events, weights: NDArray[np.float32], rows: NDArray[np.integer], num_rows: int
) -> NDArray[np.float64]:
    """[num_rows] where an item bias starts: log(1 + weight of an item's targets), by the rows of an embedding.

    Args:
        train: the events; what is no target (a held-out label, for one) is not counted.
        weights: [n] of the events.
        rows: [num_items] the row of each item; items that share one (the rare ones do) start at their mean.
        num_rows: how many there are; those without items start at zero.
    """
    counted = weights if train.targets is None else weights * train.targets
    totals = np.bincount(rows, np.bincount(train.items, counted, len(rows)), num_rows)
    return np.log1p(totals / np.maximum(np.bincount(rows, minlength=num_rows), 1))
