"""Feature layers: a raw column becomes whole numbers (before training, or inside of the served graph), then a vector.

Every layer does three things. ``lookup`` turns the raw tensor of a serving signature into its encoded form, inside the
graph. ``encode`` does the same to an Arrow column, with the same ``lookup``, once per distinct value, so that training
never sees a string. Calling the layer turns the encoded form into vectors [n, width].
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from recbatch.config.models import HistoryFeature, TimestampFeature
from recbatch.model.columns import coded, coded_lists, one_array

NULL, FIRST_OOV = 0, 1  # lookup indices: the missing value, the unknown values, then the vocabulary

_HOUR_US = 3_600_000_000
_EPOCH_WEEKDAY = 4  # 1970-01-01 was a Thursday; Sunday is 0


class Bags(NamedTuple):
    """Lists of different lengths, flat: ``values`` [m] belong to the rows ``rows`` [m] (rising) of ``count`` rows."""

    values: tf.Tensor
    rows: tf.Tensor
    count: tf.Tensor


def stable_seed(*parts: object) -> int:
    """A seed that is the same in every process, from anything with a stable text."""
    return zlib.crc32("/".join(map(str, parts)).encode()) & 0x7FFFFFFF


def standardized(texts: tf.Tensor) -> tf.Tensor:
    """Texts in lower case (of any script) without ASCII punctuation."""
    return tf.strings.regex_replace(tf.strings.lower(texts, encoding="utf-8"), r"[[:punct:]]", "")


def _embedding(rows: int, dim: int, seed: int, zeros: int) -> keras.layers.Embedding:
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


class LookupLayer(FeatureLayer):
    """id and category: StringLookup and Embedding. Null is 0, then the unknown values' buckets, then the vocabulary."""

    def __init__(self, values: list[bytes], dim: int, oov_buckets: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.width, self.size = dim, len(values)
        self._known_from = FIRST_OOV + oov_buckets
        self._dropout, self._seed = dropout, seed
        self.strings = keras.layers.StringLookup(vocabulary=values, num_oov_indices=oov_buckets, mask_token="")
        self.embedding = _embedding(self._known_from + len(values), dim, seed, zeros=self._known_from)

    def lookup(self, raw: tf.Tensor) -> tf.Tensor:
        return self.strings(raw)

    def encode(self, column: pa.Array | pa.ChunkedArray) -> NDArray:
        codes, distinct = coded(column)
        return self.strings(distinct).numpy().astype(np.int32)[codes]

    def known(self, encoded: tf.Tensor) -> tf.Tensor:
        return encoded >= self._known_from

    def call(self, encoded: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        vectors = self.embedding(encoded)
        if seed is not None and self._dropout:
            own = tf.random.experimental.stateless_fold_in(seed, self._seed)
            kept = tf.random.stateless_uniform([tf.shape(encoded)[0], 1], own) >= self._dropout
            vectors = tf.where(kept, vectors, 0.0)
        return vectors


class PooledLayer(FeatureLayer):
    """text and multi-category: the mean of the values' embeddings, padding left out."""

    def __init__(self, strings: keras.layers.Layer, length: int, size: int, dim: int, seed: int) -> None:
        super().__init__()
        self.width, self.size, self._length = dim, size, length
        self.strings = strings
        self.embedding = _embedding(2 + size, dim, seed, zeros=2)

    def known(self, encoded: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(encoded > FIRST_OOV, axis=1)

    def lookup(self, raw: tf.Tensor) -> tf.Tensor:
        return self.strings(raw)

    def call(self, encoded: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        present = tf.cast(encoded != NULL, tf.float32)[:, :, None]
        total = tf.reduce_sum(self.embedding(encoded) * present, axis=1)
        return total / tf.maximum(tf.reduce_sum(present, axis=1), 1.0)


class MultiCategoryLayer(PooledLayer):
    """Raw: [n, length] strings, padded with the empty string; further values of a row are left out."""

    def __init__(self, values: list[bytes], length: int, dim: int, seed: int) -> None:
        strings = keras.layers.StringLookup(vocabulary=values, num_oov_indices=1, mask_token="")
        super().__init__(strings, length, len(values), dim, seed)
        self.raw_length = length

    def encode(self, column: pa.Array | pa.ChunkedArray) -> NDArray:
        codes, distinct = coded_lists(column, self._length)
        return self.strings(distinct).numpy().astype(np.int32)[codes]


class TextLayer(PooledLayer):
    """Raw: [n] texts, cut into lower-case words without punctuation; words after the ``length``-th are left out."""

    def __init__(self, words: list[bytes], length: int, dim: int, seed: int) -> None:
        vectorization = keras.layers.TextVectorization(
            standardize=standardized, vocabulary=[word.decode() for word in words], output_sequence_length=length
        )
        super().__init__(vectorization, length, len(words), dim, seed)

    def encode(self, column: pa.Array | pa.ChunkedArray) -> NDArray:
        codes, distinct = coded(column)
        return self.strings(distinct).numpy().astype(np.int32)[codes]


class NumberLayer(FeatureLayer):
    """Normalization by the training data's mean and variance; a null (NaN) becomes the mean."""

    width, raw_dtype = 1, tf.float32

    def __init__(self, mean: float, variance: float) -> None:
        super().__init__()
        self.normalization = keras.layers.Normalization(axis=None, mean=mean, variance=variance)

    def encode(self, column: pa.Array | pa.ChunkedArray) -> NDArray:
        return one_array(column).cast(pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32)

    def known(self, encoded: tf.Tensor) -> tf.Tensor:
        return tf.math.is_finite(encoded)

    def call(self, encoded: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        # The missing value is replaced before it is computed with: NaN times zero would be NaN in a gradient.
        present = self.known(encoded)
        normalized = self.normalization(tf.where(present, encoded, 0.0))
        return tf.where(present, normalized, 0.0)[:, None]


class TimestampLayer(FeatureLayer):
    """Microseconds since the epoch, clamped to the training range; bins, normalised value, hour (UTC) and weekday."""

    raw_dtype = tf.int64

    def __init__(self, feature: TimestampFeature, times_us: NDArray[np.int64], seed: int) -> None:
        super().__init__()
        self.range_us = (int(times_us.min()), int(times_us.max()))
        self._normalized = feature.normalized
        position = self._position(times_us)
        self.normalization = keras.layers.Normalization(
            axis=None, mean=float(position.mean()), variance=float(position.var())
        )
        self.discretization, self.embeddings = None, {}
        if feature.bins > 1:
            boundaries = np.linspace(0.0, 1.0, feature.bins + 1)[1:-1].tolist()
            self.discretization = keras.layers.Discretization(bin_boundaries=boundaries)
            self.embeddings["bin"] = _embedding(feature.bins, feature.dim, stable_seed(seed, "bin"), zeros=0)
        if feature.hour_of_day:
            self.embeddings["hour"] = _embedding(24, feature.dim, stable_seed(seed, "hour"), zeros=0)
        if feature.weekday:
            self.embeddings["weekday"] = _embedding(7, feature.dim, stable_seed(seed, "weekday"), zeros=0)
        self.width = int(feature.normalized) + feature.dim * len(self.embeddings)

    def _position(self, times_us: NDArray[np.int64]) -> NDArray[np.float64]:
        first, last = self.range_us
        return (times_us - first) / max(1, last - first)

    def known(self, encoded: tf.Tensor) -> tf.Tensor:
        # The as-of time is the same for every user of a night: it tells nothing about one.
        return tf.zeros_like(encoded, tf.bool)

    def call(self, encoded: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        first, last = self.range_us
        clamped = tf.clip_by_value(encoded, first, last)
        # In float64 until it is small: as float32 a present-day time in seconds is exact to two minutes only.
        position = tf.cast(tf.cast(clamped - first, tf.float64) / max(1, last - first), tf.float32)
        hours = clamped // _HOUR_US
        parts = {"hour": hours % 24, "weekday": (hours // 24 + _EPOCH_WEEKDAY) % 7}
        if self.discretization is not None:
            parts["bin"] = self.discretization(position)
        vectors = [self.normalization(position)[:, None]] if self._normalized else []
        return tf.concat(vectors + [layer(parts[name]) for name, layer in self.embeddings.items()], axis=1)


class HistoryLayer(FeatureLayer):
    """Raw: [n, length] item ids, padded with the empty string. The known items' embeddings are summed and scaled."""

    def __init__(self, feature: HistoryFeature, values: list[bytes], seed: int) -> None:
        super().__init__()
        self.width, self.size, self.raw_length = feature.dim, len(values), feature.length
        self._power = 0.5 if feature.pooling == "sqrt" else 1.0
        self.strings = keras.layers.StringLookup(vocabulary=values, num_oov_indices=1, mask_token="")
        self.embedding = _embedding(2 + len(values), feature.dim, seed, zeros=2)

    def lookup(self, raw: tf.Tensor) -> Bags:
        # Only the values that are there are looked up and summed, so a short history costs little however long the
        # longest may be, and a row's sum does not depend on the padding.
        places = tf.where(raw != "")
        values = self.strings(tf.gather_nd(raw, places))
        known = values > FIRST_OOV
        return Bags(tf.boolean_mask(values, known), tf.boolean_mask(places[:, 0], known), tf.shape(raw)[0])

    def encode(self, column: pa.Array | pa.ChunkedArray) -> NDArray:
        """Items' ids [n] -> their numbers in the history's embedding; up to ``FIRST_OOV`` where they have none."""
        codes, distinct = coded(column)
        return self.strings(distinct).numpy().astype(np.int32)[codes]

    def _lengths(self, bags: Bags) -> tf.Tensor:
        return tf.math.unsorted_segment_sum(tf.ones_like(bags.rows, tf.float32), bags.rows, bags.count)

    def known(self, encoded: Bags) -> tf.Tensor:
        return self._lengths(encoded) > 0

    def call(self, encoded: Bags, seed: tf.Tensor | None = None) -> tf.Tensor:
        total = tf.math.unsorted_segment_sum(self.embedding(encoded.values), encoded.rows, encoded.count)
        return total / tf.maximum(self._lengths(encoded), 1.0)[:, None] ** self._power
