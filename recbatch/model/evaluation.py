"""How well a fit ranks the events that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
from numpy.typing import NDArray

from recbatch.config.models import EarlyStopping
from recbatch.model.data import Events
from recbatch.model.encoded import Arrays, EncodedData
from recbatch.model.features import Bags
from recbatch.model.histories import Histories, Shown
from recbatch.model.ranges import ranges
from recbatch.model.ranking import heldout_metrics, heldout_ranks, query_slices, sample_queries
from recbatch.model.towers import TowerModel

_MANY_ITEMS = 1_000  # with fewer, most of them are among the best 100 whatever the model is
_BLOCK = 1024


def stopping_metric(stopping: EarlyStopping, num_items: int) -> str:
    """Name of the metric that early stopping goes by, and the model gate judges by, among so many known items.

    In a catalog of a hundred items recall@100 is 1 from the first step on, and would end every fit there; recall@10
    takes its place.
    """
    few = stopping.metric == "recall_at_100" and num_items < _MANY_ITEMS
    return f"heldout_{'recall_at_10' if few else stopping.metric}"


class HeldoutEvaluation:
    """Recall and NDCG of held-out events, among all items that the candidate tower knows.

    A user's training items do not compete, as they are not recommended either; a held-out repeat of one is no target.
    Where queries are items, only the query itself does not compete, and a held-out repeat of a pair is a target, too:
    what one user took together others did before.
    Cold users, of whom training has seen nothing, are not asked for; an item that the tower does not know is missed.

    Attributes:
        counts: ``heldout_events_evaluated``, ``heldout_events_repeated`` and ``heldout_events_of_cold_users``.
    """

    def __init__(
        self,
        query: TowerModel,
        candidate: TowerModel,
        data: EncodedData,
        train: Events,
        heldout: Events,
        num_users: int,
    ) -> None:
        self._query, self._candidate, self._data = query, candidate, data
        self._histories = Histories(train, data.history_numbers, query.history_feature, num_users)
        self._items = np.flatnonzero(candidate.known(data.items).numpy()).astype(np.int32)
        place_of = np.full(len(data.history_numbers), -1, np.int64)
        place_of[self._items] = np.arange(len(self._items))
        self._seen_places = place_of[train.items]
        self._place_of_query = place_of if query.entity == "item" else None

        fresh = _first_of_pair(heldout, None if query.entity == "item" else train, num_items=len(place_of))
        events, askers, query_of = self._queries(heldout, np.flatnonzero(fresh))
        self._users = heldout.users[askers]
        of_events = data.event_arrays(heldout)
        # In blocks: the embedded histories of all queries together would be gigabytes.
        self._inputs = [self._encode(heldout, block, of_events) for block in _blocks(askers)]
        warm = np.concatenate([query.known(inputs).numpy() for inputs in self._inputs])[query_of]
        self._query_of, self._targets = query_of[warm], place_of[heldout.items[events[warm]]]
        self.counts = {
            "heldout_events_evaluated": int(warm.sum()),
            "heldout_events_repeated": len(heldout) - int(fresh.sum()),
            "heldout_events_of_cold_users": int((~warm).sum()),
        }

    def _queries(
        self, heldout: Events, events: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(events that are asked for, event of each query, query of each event that is asked for).

        A query is per event, or per user where that makes no difference; a sample has all events of a query.
        """
        key = events if self._query.per_event else heldout.users[events]
        _, first, query_of = np.unique(key, return_index=True, return_inverse=True)
        kept = sample_queries(len(first))
        asked = np.isin(query_of, kept)
        return events[asked], events[first[kept]], np.searchsorted(kept, query_of[asked])

    def _encode(self, heldout: Events, askers: NDArray[np.int64], of_events: Arrays) -> dict[str, Any]:
        users, shown = heldout.users[askers], Shown.nothing()
        if self._query.history_feature is not None:
            as_of = heldout.times_us if self._query.history_feature.train_on == "before" else None
            shown = self._histories.encoded(self._histories.at(users, None if as_of is None else as_of[askers]))
        return self._data.query_inputs(
            tf.constant(users),
            tf.constant(askers),
            of_events,
            Bags(*map(tf.constant, (shown.items, shown.rows, len(users), shown.age))),
        )

    def measure(self, stopping: EarlyStopping) -> str:
        """Name of the metric that early stopping goes by."""
        return stopping_metric(stopping, len(self._items))

    def quality(self, metrics: Mapping[str, float], stopping: EarlyStopping) -> float:
        """What early stopping goes by, greater is better: the configured measure."""
        return metrics[self.measure(stopping)]

    @property
    def can_ask(self) -> bool:
        """Whether anything that is held out can be asked for."""
        return len(self._targets) > 0

    def vectors(self) -> tuple[tf.Tensor, tf.Tensor]:
        """(query vectors [num_queries, dim], candidate vectors [num_known_items, dim]) as the towers are now."""
        items = [self._data.candidate_inputs(tf.constant(block)) for block in _blocks(self._items)]
        candidates = tf.concat([self._candidate(inputs) for inputs in items], axis=0)
        return tf.concat([self._query(inputs) for inputs in self._inputs], axis=0), candidates

    def metrics(self) -> dict[str, float]:
        """``heldout_recall_at_10``, ``_100``, ``heldout_ndcg_at_10`` (per query); empty where nothing can be asked."""
        if not self.can_ask:
            return {}
        queries, candidates = self.vectors()

        def scores(part: slice) -> NDArray[np.float32]:
            return tf.matmul(queries[part], candidates, transpose_b=True).numpy()

        shape = len(self._users), len(self._items)
        ranks = heldout_ranks(scores, shape, self._query_of, self._targets, self._not_competing)
        return heldout_metrics(ranks, self._query_of)

    def _not_competing(self, part: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row, place of the item) of the items that the tower knows and the queries of ``part`` are not asked for."""
        users = self._users[part]
        if self._place_of_query is not None:
            rows, places = np.arange(len(users)), self._place_of_query[users]
        else:
            starts = self._histories.starts[users]
            rows, events = ranges(starts, self._histories.ends[users] - starts)
            places = self._seen_places[events]
        return rows[places >= 0], places[places >= 0]

    def factorized_top_k(self) -> dict[str, float]:
        """``heldout_recall_at_<k>_with_seen`` by TFRS' FactorizedTopK, where the user's training items compete too."""
        if not self.can_ask:
            return {}
        queries, candidates = self.vectors()
        ks = [k for k in (1, 5, 10, 50, 100) if k <= len(self._items)]
        index = tfrs.layers.factorized_top_k.BruteForce(k=max(ks)).index(candidates, tf.range(len(self._items)))
        metric = tfrs.metrics.FactorizedTopK(candidates=index, ks=ks)
        for part in query_slices(len(self._targets), len(self._items)):
            targets = tf.constant(self._targets[part], tf.int32)
            asked = tf.gather(queries, self._query_of[part])
            metric.update_state(asked, tf.gather(candidates, tf.maximum(targets, 0)), true_candidate_ids=targets)
        return {f"heldout_recall_at_{k}_with_seen": float(value) for k, value in zip(ks, metric.result(), strict=True)}


def _first_of_pair(heldout: Events, train: Events | None, num_items: int) -> NDArray[np.bool_]:
    """Mask [n] of the held-out events whose (user, item) is neither in ``train`` nor in an earlier held-out event."""
    pairs = heldout.users.astype(np.int64) * num_items + heldout.items
    first = np.zeros(len(pairs), bool)
    first[np.unique(pairs, return_index=True)[1]] = True
    if train is None:
        return first
    return first & ~np.isin(pairs, train.users.astype(np.int64) * num_items + train.items)


def _blocks(array: NDArray) -> list[NDArray]:
    """What is embedded at a time; one empty block of nothing."""
    return [array[start : start + _BLOCK] for start in range(0, max(len(array), 1), _BLOCK)]
