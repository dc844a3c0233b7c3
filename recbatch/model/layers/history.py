"""Layers of a user's history: pooled, gated by recency, or read by a GRU.

All history layers of a tower are given the same :class:`Bags`, with the longest history that one of them wants; each
takes the newest ``length`` items of a row. Dense rows [n, length] exist inside of the GRU's layer only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from recbatch.config.models import HistoryFeature
from recbatch.model.columns import coded
from recbatch.model.layers.base import (
    FIRST_OOV,
    NULL,
    Bags,
    FeatureLayer,
    bag_lengths,
    bag_sums,
    embedding_table,
    stable_seed,
)
from recbatch.model.layers.values import LookupLayer

TIME_BUCKETS = 32
"""Bucket b holds the ages from ``2**b - 1`` to below ``2**(b + 1) - 1`` seconds, the last one all above (68 years)."""
_BOUNDARIES = [float(2**bucket - 1) for bucket in range(1, TIME_BUCKETS)]
_POSITION_DECAY, _TIME_DECAY = 1.0, 0.1  # where the gates start; from there they are learnt


@dataclass(frozen=True)
class ItemTable:
    """An item embedding that several layers read: the number of an item in the history's vocabulary (from
    ``FIRST_OOV + 1`` on) plus ``offset`` is its row."""

    embedding: keras.layers.Embedding
    offset: int = 0

    @classmethod
    def of_ids(cls, layer: LookupLayer) -> ItemTable:
        """The table of an id feature of the same vocabulary."""
        return cls(layer.embedding, layer.known_from - FIRST_OOV - 1)


class HistoryLayer(FeatureLayer):
    """Raw: [n, raw_length] item ids, padded with the empty string. The known items' embeddings are summed and scaled.

    Args:
        feature: as declared.
        values: the items' ids, most frequent first.
        seed: for the first weights.
        table: the item embedding of another layer; None: an own one.
        longest: longest history among the tower's history features; None: this one's.
    """

    needs_times = False
    """Whether it wants the ages of the items."""

    def __init__(
        self,
        feature: HistoryFeature,
        values: list[bytes],
        seed: int,
        table: ItemTable | None = None,
        longest: int | None = None,
    ) -> None:
        super().__init__()
        self.width, self.size = feature.width, len(values)
        self.raw_length = longest or feature.length
        self._length, self._is_cut = feature.length, self.raw_length > feature.length
        self._power = {"mean": 1.0, "sqrt": 0.5}.get(feature.pooling, 0.0)
        self.strings = keras.layers.StringLookup(vocabulary=values, num_oov_indices=1, mask_token="")
        own = ItemTable(embedding_table(2 + len(values), feature.dim, seed, zeros=2)) if table is None else table
        self.embedding, self._offset = own.embedding, own.offset
        # A table of one's own learns its own scale; of a shared one a pooled sum can only learn how much it counts.
        weighed = table is not None and feature.pooling in ("mean", "sqrt")
        self.scale = self.add_weight("scale", [feature.dim], initializer="ones") if weighed else None

    @property
    def table(self) -> ItemTable:
        """Its item embedding, for other layers to read."""
        return ItemTable(self.embedding, self._offset)

    def lookup(self, raw: tf.Tensor, times_us: tf.Tensor | None = None) -> Bags:
        """Ids [n, raw_length], and where an age is asked for the time of each in microseconds -> Bags."""
        # Only the values that are there are looked up and summed, so a short history costs little however long the
        # longest may be, and a row's sum does not depend on the padding.
        places = tf.where(raw != "")
        values = self.strings(tf.gather_nd(raw, places))
        known = values > FIRST_OOV
        values, places = tf.boolean_mask(values, known), tf.boolean_mask(places, known)
        rows, count = places[:, 0], tf.shape(raw)[0]
        if times_us is None:
            return Bags(values, rows, count)
        times_us = tf.gather_nd(times_us, places)
        newest = tf.gather(tf.math.unsorted_segment_max(times_us, rows, count), rows)
        return Bags(values, rows, count, tf.cast(tf.cast(newest - times_us, tf.float64) / 1e6, tf.float32))

    def encode(self, column: pa.Array | pa.ChunkedArray) -> NDArray:
        """Items' ids [n] -> their numbers in the history's embedding; up to ``FIRST_OOV`` where they have none."""
        codes, distinct = coded(column)
        return self.strings(distinct).numpy().astype(np.int32)[codes]

    def known(self, encoded: Bags) -> tf.Tensor:
        return bag_lengths(encoded) > 0

    def call(self, encoded: Bags, seed: tf.Tensor | None = None) -> tf.Tensor:
        bags, _ = self._newest(encoded) if self._is_cut else (encoded, None)
        total = bag_sums(self.embedding.embeddings, self._table_rows(bags.values), bags.rows, bags.count)
        pooled = total / tf.maximum(tf.cast(bag_lengths(bags), tf.float32), 1.0)[:, None] ** self._power
        return pooled if self.scale is None else pooled * self.scale

    def _table_rows(self, values: tf.Tensor) -> tf.Tensor:
        """Rows in the embedding of item numbers of any shape; padding has the row of the missing value."""
        return values if self._offset == 0 else tf.where(values == NULL, values, values + self._offset)

    def _vectors(self, values: tf.Tensor) -> tf.Tensor:
        """Embeddings of item numbers of any shape."""
        return self.embedding(self._table_rows(values))

    def _newest(self, bags: Bags) -> tuple[Bags, tf.Tensor]:
        """The newest ``length`` items of each row, and the rank of each from the newest (0) on."""
        ends = tf.cumsum(bag_lengths(bags))
        rank = tf.gather(ends, bags.rows) - 1 - tf.range(tf.size(bags.rows))
        kept = rank < self._length
        age = None if bags.age is None else tf.boolean_mask(bags.age, kept)
        values, rows = tf.boolean_mask(bags.values, kept), tf.boolean_mask(bags.rows, kept)
        return Bags(values, rows, bags.count, age), tf.boolean_mask(rank, kept)


class RecencyLayer(HistoryLayer):
    """Sum of ``E[item] * position[rank from the newest] * time[bucket of the age]``: linear in the items.

    The gates are learnt vectors, as wide as the embedding. Without ``timed`` the time gate is left out, and the
    position gate starts flat, for no order is known then.
    """

    def __init__(
        self,
        feature: HistoryFeature,
        values: list[bytes],
        seed: int,
        table: ItemTable | None = None,
        longest: int | None = None,
        *,
        timed: bool = True,
    ) -> None:
        super().__init__(feature, values, seed, table, longest)
        decay = (1.0 + np.arange(feature.length)) ** -(_POSITION_DECAY if timed else 0.0)
        self.position = self._gate("position", decay)
        self.needs_times = timed and feature.time_gate
        self.time = self._gate("time", np.exp(-_TIME_DECAY * np.arange(TIME_BUCKETS))) if self.needs_times else None

    def _gate(self, name: str, start: NDArray[np.floating]) -> tf.Variable:
        initial = np.repeat(start[:, None], self.width, axis=1)
        return self.add_weight(name, initial.shape, initializer=keras.initializers.Constant(initial))

    def call(self, encoded: Bags, seed: tf.Tensor | None = None) -> tf.Tensor:
        bags, rank = self._newest(encoded)
        vectors = self._vectors(bags.values) * tf.gather(self.position, rank)
        if self.time is not None:
            vectors *= tf.gather(self.time, time_bucket(bags))
        return tf.math.unsorted_segment_sum(vectors, bags.rows, bags.count)


class GruLayer(HistoryLayer):
    """The last state of a GRU (Keras' own) that reads the items from the oldest to the newest; zeros for no items."""

    def __init__(
        self,
        feature: HistoryFeature,
        values: list[bytes],
        seed: int,
        table: ItemTable | None = None,
        longest: int | None = None,
    ) -> None:
        super().__init__(feature, values, seed, table, longest)
        self.gru = keras.layers.GRU(
            feature.width,
            kernel_initializer=keras.initializers.GlorotUniform(seed=stable_seed(seed, "kernel")),
            recurrent_initializer=keras.initializers.Orthogonal(seed=stable_seed(seed, "recurrent")),
        )
        self.gru.build((None, feature.length, feature.dim))

    def call(self, encoded: Bags, seed: tf.Tensor | None = None) -> tf.Tensor:
        bags, rank = self._newest(encoded)
        place = tf.gather(bag_lengths(bags), bags.rows) - 1 - rank
        where = tf.stack([tf.cast(bags.rows, tf.int32), place], axis=1)
        items = tf.scatter_nd(where, bags.values, [bags.count, self._length])
        return self.gru(self._vectors(items), mask=items != NULL)


def history_layer(
    feature: HistoryFeature, values: list[bytes], seed: int, table: ItemTable | None, longest: int, *, timed: bool
) -> HistoryLayer:
    """The layer for a feature's ``pooling``; ``timed``: the events have times."""
    match feature.pooling:
        case "recency":
            return RecencyLayer(feature, values, seed, table, longest, timed=timed)
        case "gru":
            return GruLayer(feature, values, seed, table, longest)
        case _:
            return HistoryLayer(feature, values, seed, table, longest)


def time_bucket(bags: Bags) -> tf.Tensor:
    """[m] bucket of each item's age, counted from the newest item of its row in ``bags``."""
    assert bags.age is not None
    least = tf.math.unsorted_segment_min(bags.age, bags.rows, bags.count)
    return tf.raw_ops.Bucketize(input=bags.age - tf.gather(least, bags.rows), boundaries=_BOUNDARIES)
