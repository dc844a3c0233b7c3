"""The layer of the time of an event."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from recbatch.config.models import TimestampFeature
from recbatch.model.layers.base import FeatureLayer, embedding_table, stable_seed

_HOUR_US = 3_600_000_000
_EPOCH_WEEKDAY = 4  # 1970-01-01 was a Thursday; Sunday is 0


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
            self.embeddings["bin"] = embedding_table(feature.bins, feature.dim, stable_seed(seed, "bin"), zeros=0)
        if feature.hour_of_day:
            self.embeddings["hour"] = embedding_table(24, feature.dim, stable_seed(seed, "hour"), zeros=0)
        if feature.weekday:
            self.embeddings["weekday"] = embedding_table(7, feature.dim, stable_seed(seed, "weekday"), zeros=0)
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
