"""Feature layers: a raw column becomes whole numbers (before training, or inside of the served graph), then a vector.

Every layer does three things. ``lookup`` turns the raw tensor of a serving signature into its encoded form, inside the
graph. ``encode`` does the same to an Arrow column, with the same ``lookup``, once per distinct value, so that training
never sees a string. Calling the layer turns the encoded form into vectors [n, width].
"""

from __future__ import annotations

from recbatch.model.layers.base import FIRST_OOV, NULL, Bags, FeatureLayer, is_sparse, stable_seed
from recbatch.model.layers.history import GruLayer, HistoryLayer, ItemTable, RecencyLayer, history_layer
from recbatch.model.layers.linear import LinearLayer
from recbatch.model.layers.times import TimestampLayer
from recbatch.model.layers.values import (
    LookupLayer,
    MultiCategoryLayer,
    NumberLayer,
    PooledLayer,
    TextLayer,
    standardized,
)

__all__ = [
    "FIRST_OOV",
    "NULL",
    "Bags",
    "FeatureLayer",
    "GruLayer",
    "HistoryLayer",
    "ItemTable",
    "LinearLayer",
    "LookupLayer",
    "MultiCategoryLayer",
    "NumberLayer",
    "PooledLayer",
    "RecencyLayer",
    "TextLayer",
    "TimestampLayer",
    "history_layer",
    "is_sparse",
    "stable_seed",
    "standardized",
]
