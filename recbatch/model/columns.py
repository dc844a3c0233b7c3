"""From Arrow columns to TensorFlow's strings and padded matrices: a Python object per distinct value, none per row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from numpy.typing import NDArray

HISTORY_TIMES = "history_timestamps"
"""Column of the profiles: the time of each item of the history, microseconds since the epoch."""


def one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one contiguous array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def string_tensor(values: pa.Array) -> tf.Tensor:
    """[n] strings as a tensor of their UTF-8 bytes; a null becomes the empty string."""
    plain = values.fill_null("").cast(pa.large_binary())
    return tf.constant(plain.to_numpy(zero_copy_only=False), tf.string)


def coded(values: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.int32], tf.Tensor]:
    """(codes [n], distinct values as a string tensor): ``tf.gather(distinct, codes)`` gives the column back."""
    encoded = one_array(values).cast(pa.string()).fill_null("").dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int32, copy=False), string_tensor(encoded.dictionary)


def coded_lists(
    lists: pa.Array | pa.ChunkedArray, length: int, *, newest: bool = False
) -> tuple[NDArray[np.int32], tf.Tensor]:
    """(codes [n, length], distinct values) of a list column; short lists are padded with the code of ``""``.

    Longer lists keep their first ``length`` values, or their last ones if ``newest``.
    """
    array = one_array(lists)
    codes, distinct = coded(pc.list_flatten(array))
    padded = _padded(array, codes, length, np.int32(len(distinct)), newest=newest)
    return padded, tf.concat([distinct, tf.constant([""])], axis=0)


def cut_lists(
    lists: pa.Array | pa.ChunkedArray, length: int, *, newest: bool = False
) -> tuple[pa.Array, NDArray[np.int64]]:
    """(values, splits [n + 1]) of a list column: row ``i`` has ``values[splits[i]:splits[i + 1]]``.

    Lists that are longer than ``length`` keep their first values, or their last ones if ``newest``.
    """
    array = one_array(lists)
    values, lengths = pc.list_flatten(array), list_lengths(array)
    kept = np.minimum(lengths, length)
    splits = np.concatenate([[0], np.cumsum(kept)])
    if (kept < lengths).any():
        ends = np.cumsum(lengths)
        starts = ends - kept if newest else ends - lengths
        values = values.take(pa.array(np.repeat(starts - splits[:-1], kept) + np.arange(splits[-1])))
    return values, splits


def number_lists(lists: pa.Array | pa.ChunkedArray, length: int, *, newest: bool = False) -> NDArray[np.int64]:
    """[n, length] of a list column of whole numbers, cut as by :func:`coded_lists` and padded with zeros."""
    array = one_array(lists)
    numbers = pc.list_flatten(array).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return _padded(array, numbers, length, np.int64(0), newest=newest)


def list_lengths(lists: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """[n] number of values of each row of a list column; a null has none."""
    return pc.list_value_length(one_array(lists)).fill_null(0).to_numpy().astype(np.int64)


def _padded(array: pa.Array, values: NDArray, length: int, padding: np.integer, *, newest: bool) -> NDArray:
    """[n, length] of the flat ``values`` of a list array."""
    lengths = list_lengths(array)
    ends = np.cumsum(lengths)
    kept = np.minimum(lengths, length)
    starts = ends - kept if newest else ends - lengths
    places = np.arange(length)
    inside = places < kept[:, None]
    padded = np.full((len(lengths), length), padding)
    padded[inside] = values[(starts[:, None] + places)[inside]]
    return padded


def vocabulary(
    values: pa.Array | pa.ChunkedArray,
    counts: NDArray[np.integer] | None = None,
    *,
    min_count: int = 1,
    most: int | None = None,
) -> list[bytes]:
    """Distinct values by falling count, equal counts by UTF-8 bytes; nulls and empty strings are not values.

    Args:
        values: strings, one per occurrence; or, with ``counts``, distinct strings.
        counts: how often each of ``values`` occurs.
        min_count: values that occur less often are left out.
        most: at most so many values.
    """
    array = one_array(values).cast(pa.string())
    if counts is None:
        counted = pc.value_counts(array.drop_null())
        array, counts = counted.field("values"), counted.field("counts").to_numpy()
    table = pa.table({"value": array, "count": counts})
    table = table.filter((pc.field("count") >= min_count) & (pc.field("value") != ""))
    table = table.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, most)
    return table["value"].cast(pa.binary()).to_pylist()
