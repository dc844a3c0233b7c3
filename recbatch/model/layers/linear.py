"""Weights of a linear item-to-item model, looked up by the numbers that a tower has for items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from recbatch.model.layers.base import Bags, bag_lengths, bag_sums


class LinearLayer(keras.layers.Layer):
    """One half of the weights: [rank] of each item that has any, zeros for the others. Not trained.

    Args:
        count: how many numbers the tower has for items.
        numbers: [m] those of the items that have weights.
        weights: [m, rank] their weights.
        of_ids: whether it reads the ids' numbers, or those of histories.
    """

    def __init__(self, count: int, numbers: NDArray[np.integer], weights: NDArray[np.float32], *, of_ids: bool) -> None:
        super().__init__()
        self.width, self._of_ids = weights.shape[1], of_ids
        # Of millions of items a few thousand have weights in histories: the large array there is one of whole numbers.
        self.places = self.add_weight("places", [count], tf.int32, initializer="zeros", trainable=False)
        self.table = self.add_weight("table", [1 + len(weights), self.width], initializer="zeros", trainable=False)
        places = np.zeros(count, np.int32)
        places[numbers] = np.arange(1, 1 + len(weights))
        self.places.assign(places)
        self.table.assign(np.pad(weights, ((1, 0), (0, 0))))

    def call(self, encoded: Mapping[str, Any]) -> tf.Tensor:
        """[n, rank] of a tower's encoded features: of the ids, or of the histories (the sum over the items, divided by
        the root of how many they are)."""
        if self._of_ids:
            return tf.gather(self.table, tf.gather(self.places, encoded["id"]))
        bags: Bags = encoded["history"]
        total = bag_sums(self.table, tf.gather(self.places, bags.values), bags.rows, bags.count)
        return total / tf.sqrt(tf.maximum(tf.cast(bag_lengths(bags), tf.float32), 1.0))[:, None]
