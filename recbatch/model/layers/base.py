"""What every feature layer does, and what several of them use."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

NULL, FIRST_OOV = 0, 1  # lookup indices: the missing value, the unknown values, then the vocabulary


class Bags(NamedTuple):
    """Histories of different lengths, flat: ``values`` [m] belong to the rows ``rows`` [m] (rising) of ``count`` rows.

    The values of a row go from the oldest to the newest. ``age`` float32 [m]: seconds between an item's event and the
    newest one of its row; only differences within a row count. None where no layer asks for it.
    """

    values: tf.Tensor
    rows: tf.Tensor
    count: tf.Tensor
    age: tf.Tensor | None = None


SPARSE_ROWS = 100_000
"""Embeddings with more rows are only touched where a batch has them."""


def is_sparse(variable: tf.Variable) -> bool:
    """Whether a step's work on an embedding must not grow with its rows."""
    return variable.shape[0] > SPARSE_ROWS


def bag_lengths(bags: Bags) -> tf.Tensor:
    """[count] int32 number of values of each row."""
    return tf.math.unsorted_segment_sum(tf.ones_like(bags.rows, tf.int32), bags.rows, bags.count)


def bag_sums(table: tf.Variable, values: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """[count, width] sums of the rows ``values`` [m] of ``table``, which belong to ``rows`` [m] (rising) of the result.

    As a product with a sparse matrix, whose gradient is a whole table: twice as fast as the sum of gathered rows,
    whose gradient is one row per value, unless the table is far larger than what a batch has of it.
    """
    if is_sparse(table):
        return tf.math.unsorted_segment_sum(tf.gather(table, values), rows, count)
    places = tf.stack([tf.cast(rows, tf.int64), tf.cast(values, tf.int64)], axis=1)
    shape = tf.stack([tf.cast(count, tf.int64), table.shape[0]])
    counted = tf.SparseTensor(places, tf.ones_like(values, table.dtype), shape)
    return tf.sparse.sparse_dense_matmul(counted, table)


def stable_seed(*parts: object) -> int:
    """A seed that is the same in every process, from anything with a stable text."""
    return zlib.crc32("/".join(map(str, parts)).encode()) & 0x7FFFFFFF


def embedding_table(rows: int, dim: int, seed: int, zeros: int) -> keras.layers.Embedding:
    """An embedding whose first ``zeros`` rows start (and without training stay) neutral: zero vectors."""

    def initial(shape: Sequence[int], dtype: Any = None, **_: Any) -> tf.Tensor:
        random = keras.initializers.RandomUniform(-0.05, 0.05, seed=seed)
        return tf.concat([tf.zeros([zeros, dim]), random((shape[0] - zeros, dim))], axis=0)

    layer = keras.layers.Embedding(rows, dim, embeddings_initializer=initial)
    layer.build(None)
    return layer


class FeatureLayer(keras.layers.Layer):
    """One feature, fitted: what it learnt from the training columns is in its layers.

    Attributes:
        width: width of its vectors.
        raw_dtype: type of the raw tensor.
        raw_length: the raw tensor is [n, raw_length], or [n] if None.
        size: number of values known, or None where there is no vocabulary.
    """

    width: int
    raw_dtype: tf.DType = tf.string
    raw_length: int | None = None
    size: int | None = None

    def lookup(self, raw: tf.Tensor) -> Any:
        """Raw tensor [n] or [n, raw_length] -> encoded form."""
        return raw

    def encode(self, column: pa.Array | pa.ChunkedArray) -> NDArray:
        """The same for an Arrow column; rows first."""
        raise NotImplementedError

    def known(self, encoded: Any) -> tf.Tensor:
        """[n] bool: this feature says something about the row that training has seen."""
        raise NotImplementedError
