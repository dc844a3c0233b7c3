"""The training data as whole numbers: every string is looked up once, outside of the training graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from numpy.typing import NDArray

from recbatch.model.data import Events, Prepared
from recbatch.model.features import Bags, HistoryLayer
from recbatch.model.towers import TowerModel

Arrays = dict[str, tf.Tensor]
"""Encoded feature values by feature name, rows first."""


class EncodedData:
    """Features of all users and items, encoded by two towers' layers.

    Attributes:
        users: user features [num_users, ...].
        items: item features [num_items, ...].
        history_numbers: [num_items] number of each item in the history feature's vocabulary (zeros without one).
    """

    def __init__(self, prepared: Prepared, query: TowerModel, candidate: TowerModel) -> None:
        self._query = query
        self.users = _entity_arrays(query, prepared.users)
        self.items = _entity_arrays(candidate, prepared.items)
        self.history_numbers: NDArray[np.int32] = np.zeros(prepared.items.num_rows, np.int32)
        for layer in query.learnt.layers.values():
            if isinstance(layer, HistoryLayer):
                self.history_numbers = layer.encode(prepared.items["id"])

    def event_arrays(self, events: Events) -> Arrays:
        """Features that belong to events (time, context) [n, ...]."""
        arrays: dict[str, NDArray] = {}
        for name, source in self._query.learnt.sources.items():
            if source.kind == "time":
                assert events.times_us is not None
                arrays[name] = events.times_us
            elif source.kind == "context":
                arrays[name] = self._query.learnt.layers[name].encode(events.context[source.column])
        return {name: tf.constant(array) for name, array in arrays.items()}

    def query_inputs(
        self,
        users: tf.Tensor,
        events: tf.Tensor,
        of_events: Mapping[str, tf.Tensor],
        history: Bags,
    ) -> dict[str, Any]:
        """The query tower's input for q queries.

        Args:
            users: [q] user rows.
            events: [q] event numbers, in ``of_events`` (what :meth:`event_arrays` gave).
            of_events: of all events, by name.
            history: the histories' items as numbers of the history vocabulary.
        """
        inputs: dict[str, Any] = {name: tf.gather(array, users) for name, array in self.users.items()}
        inputs |= {name: tf.gather(array, events) for name, array in of_events.items()}
        if self._query.history_feature is not None:
            inputs["history"] = history
        return inputs

    def candidate_inputs(self, items: tf.Tensor) -> dict[str, tf.Tensor]:
        """The candidate tower's input for item rows [n]."""
        return {name: tf.gather(array, items) for name, array in self.items.items()}


def _entity_arrays(tower: TowerModel, table: pa.Table) -> Arrays:
    return {
        name: tf.constant(tower.learnt.layers[name].encode(table[source.column]))
        for name, source in tower.learnt.sources.items()
        if source.kind == "entity"
    }
