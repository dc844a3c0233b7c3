"""Layers of single values: ids, categories, texts and numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from recbatch.model.columns import coded, coded_lists, one_array
from recbatch.model.layers.base import FIRST_OOV, NULL, FeatureLayer, bag_sums, embedding_table


def standardized(texts: tf.Tensor) -> tf.Tensor:
    """Texts in lower case (of any script) without ASCII punctuation."""
    return tf.strings.regex_replace(tf.strings.lower(texts, encoding="utf-8"), r"[[:punct:]]", "")


class LookupLayer(FeatureLayer):
    """id and category: StringLookup and Embedding. Null is 0, then the unknown values' buckets, then the vocabulary,
    from ``known_from`` on."""

    def __init__(self, values: list[bytes], dim: int, oov_buckets: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.width, self.size = dim, len(values)
        self.known_from = FIRST_OOV + oov_buckets
        self._dropout, self._seed = dropout, seed
        self.strings = keras.layers.StringLookup(vocabulary=values, num_oov_indices=oov_buckets, mask_token="")
        self.embedding = embedding_table(self.known_from + len(values), dim, seed, zeros=self.known_from)

    def lookup(self, raw: tf.Tensor) -> tf.Tensor:
        return self.strings(raw)

    def encode(self, column: pa.Array | pa.ChunkedArray) -> NDArray:
        codes, distinct = coded(column)
        return self.strings(distinct).numpy().astype(np.int32)[codes]

    def known(self, encoded: tf.Tensor) -> tf.Tensor:
        return encoded >= self.known_from

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
        self.embedding = embedding_table(2 + size, dim, seed, zeros=2)

    def known(self, encoded: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(encoded > FIRST_OOV, axis=1)

    def lookup(self, raw: tf.Tensor) -> tf.Tensor:
        return self.strings(raw)

    def call(self, encoded: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        # Only what is there is embedded, as in a history: most rows are far shorter than the longest.
        present = encoded != NULL
        rows = tf.where(present)[:, 0]
        total = bag_sums(self.embedding.embeddings, tf.boolean_mask(encoded, present), rows, tf.shape(encoded)[0])
        return total / tf.maximum(tf.reduce_sum(tf.cast(present, tf.float32), axis=1, keepdims=True), 1.0)


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
