"""A tower at work: profiles in, vectors out. Needs TensorFlow, but neither Keras nor TFRS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from numpy.typing import NDArray

from recbatch.errors import InputError
from recbatch.model.columns import HISTORY_TIMES, coded, cut_lists, list_lengths, number_lists, one_array

_BLOCK = 1024
"""Rows of one call. Always so many, padded, for the last bits of a matrix product depend on the number of rows."""


class Tower:
    """An exported tower.

    Attributes:
        entity: what it embeds, ``user`` or ``item``.
        dim: width of its vectors.
        needs_time: whether it has a time feature, so that :meth:`embed` wants the as-of time.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        """Load the SavedModel in ``folder``; ``description`` is the manifest's about this tower."""
        self.entity: str = description["entity"]
        self.dim: int = description["dim"]
        self._inputs = description["inputs"]
        self.needs_time = any(entry["column"] is None for entry in self._inputs)
        self._model = tf.saved_model.load(str(folder))  # kept: the signature does not keep its variables alive
        self._call = self._model.signatures["serving_default"]

    def embed(
        self, profiles: pa.Table, as_of_us: int | NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Vectors [n, dim] and known [n] of ``profiles`` (n rows).

        A row's vector does not depend on the other rows, not even in its last bits. ``known`` is False for cold rows,
        of which the tower has learnt nothing: they share one vector, which says nothing. A vector may be NaN or
        infinite.

        Args:
            profiles: id, ``feature:<column>``, ``context:<column>``, history and history_timestamps, as the tower's
                inputs want them.
            as_of_us: microseconds since the epoch, for time features, one for all or one per row [n]; clamped to the
                training range.

        Raises:
            InputError: a column or the as-of time is missing, or a history and its times differ in length.
        """
        if self.needs_time and as_of_us is None:
            raise InputError("the model has a time feature, but there is no as-of time; give --ds")
        columns = [self._columns(entry, profiles, as_of_us) for entry in self._inputs]
        vectors = np.empty((profiles.num_rows, self.dim), np.float32)
        known = np.empty(profiles.num_rows, bool)
        for start in range(0, profiles.num_rows, _BLOCK):
            rows = slice(start, min(start + _BLOCK, profiles.num_rows))
            raw = {entry["name"]: column.block(rows) for entry, column in zip(self._inputs, columns, strict=True)}
            answer = self._call(**raw)
            count = rows.stop - rows.start
            vectors[rows] = answer["embedding"].numpy()[:count]
            known[rows] = answer["known"].numpy()[:count]
        return vectors, known

    def _columns(
        self, entry: Mapping[str, Any], profiles: pa.Table, as_of_us: int | NDArray[np.int64] | None
    ) -> _Column | _Lists:
        name, length = entry["column"], entry["length"]
        if name is None:
            return _Column(np.full(profiles.num_rows, as_of_us, np.int64))
        if name not in profiles.column_names:
            raise InputError(f"the model reads {name!r} of each {self.entity}, which the data does not have")
        column = profiles[name]
        if entry["dtype"] == "float32":
            numbers = one_array(column).cast(pa.float32()).to_numpy(zero_copy_only=False)
            return _Column(numbers.astype(np.float32), padding=np.float32(np.nan))
        if length is None:
            return _Column(*coded(column))
        if name == HISTORY_TIMES:
            self._require_aligned(profiles)
            return _Column(number_lists(column, length, newest=True))
        return _Lists(column, length, newest=name == "history")

    def _require_aligned(self, profiles: pa.Table) -> None:
        """Each item of a history has its time.

        Raises:
            InputError: the lists of some row differ in length.
        """
        items, times = list_lengths(profiles["history"]), list_lengths(profiles[HISTORY_TIMES])
        if (items != times).any():
            row = int(np.flatnonzero(items != times)[0])
            raise InputError(
                f"row {row} of the {self.entity}s has {items[row]} items in 'history', but {times[row]} times in "
                f"{HISTORY_TIMES!r}; give one for each"
            )


class _Column:
    """A column of all profiles: numbers, or codes of distinct strings."""

    def __init__(self, values: NDArray, distinct: tf.Tensor | None = None, padding: Any = 0) -> None:
        self._values, self._padding = values, padding
        self._distinct = distinct

    def block(self, rows: slice) -> tf.Tensor:
        """The values of ``rows``, padded to the block's size. Whatever the padding holds, nobody reads its vectors."""
        values = self._values[rows]
        padded = np.full((_BLOCK, *values.shape[1:]), self._padding, values.dtype)
        padded[: len(values)] = values
        return tf.constant(padded) if self._distinct is None else tf.gather(self._distinct, padded)


class _Lists:
    """A column of lists of strings, padded when a block is asked for: by TensorFlow, which takes a third of the time
    that a padded matrix of codes does."""

    def __init__(self, lists: pa.Array | pa.ChunkedArray, length: int, *, newest: bool) -> None:
        values, self._splits = cut_lists(lists, length, newest=newest)
        self._codes, self._distinct = coded(values)
        self._length = length

    def block(self, rows: slice) -> tf.Tensor:
        """As :meth:`_Column.block`: [block, length], padded with empty strings."""
        splits = self._splits[rows.start : rows.stop + 1]
        return tf.raw_ops.RaggedTensorToTensor(
            shape=tf.constant([_BLOCK, self._length], tf.int64),
            values=tf.gather(self._distinct, self._codes[splits[0] : splits[-1]]),
            default_value="",
            row_partition_tensors=[tf.constant(splits - splits[0])],
            row_partition_types=["ROW_SPLITS"],
        )
