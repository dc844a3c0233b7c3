"""The basic retrieval tutorial's own ``fit``: ``python tutorial.py '{"events": ...}'``; prints each epoch's seconds.

Model, data pipeline and ``fit`` as in https://www.tensorflow.org/recommenders/examples/basic_retrieval: ids looked up
and embedded on both sides, Adagrad, four fifths of the shuffled events in cached batches. It imports nothing of this
project.

With ``metrics`` it is the tutorial as printed, which ranks every batch against all candidates while it trains; without,
the task's ``compute_metrics`` is False.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras

_SHUFFLED, _CANDIDATES, _SEED = 100_000, 128, 42


class Model(tfrs.Model):
    """Two towers of ids.

    Args:
        users: different ids of users, and ``items`` of items.
        dim: width of both.
        metrics: whether training computes them.
    """

    def __init__(self, users: list[str], items: list[str], dim: int, *, metrics: bool) -> None:
        super().__init__()
        self.user_tower, self.item_tower = _tower(users, dim), _tower(items, dim)
        candidates = tf.data.Dataset.from_tensor_slices(items).batch(_CANDIDATES).map(self.item_tower)
        self.task = tfrs.tasks.Retrieval(metrics=tfrs.metrics.FactorizedTopK(candidates=candidates))
        self._ranks = metrics

    def compute_loss(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The in-batch softmax of a batch."""
        users, items = self.user_tower(inputs["user"]), self.item_tower(inputs["item"])
        return self.task(users, items, compute_metrics=self._ranks)


class EpochSeconds(keras.callbacks.Callback):
    """Notes how long every epoch took."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop it."""
        self.seconds.append(time.perf_counter() - self._started)


def main(task: Mapping[str, Any]) -> dict[str, Any]:
    """Fit.

    Args:
        task: ``events`` (Parquet file or folder), ``user`` and ``item`` (its columns), ``rows`` (so many of them at
            most), ``share`` (of these to train on), ``dim``, ``batch_size``, ``learning_rate``, ``epochs``,
            ``metrics``.

    Returns:
        ``examples`` of an epoch, and the ``epoch_seconds``.
    """
    tf.random.set_seed(_SEED)
    table = pq.read_table(task["events"], columns=[task["user"], task["item"]]).slice(0, task["rows"])
    columns = {name: _texts(table[task[name]]) for name in ("user", "item")}
    events = tf.data.Dataset.from_tensor_slices(columns)
    shuffled = events.shuffle(_SHUFFLED, seed=_SEED, reshuffle_each_iteration=False)
    examples = round(len(table) * task["share"])
    train = shuffled.take(examples).shuffle(_SHUFFLED).batch(task["batch_size"]).cache()
    distinct = {name: np.unique(values).tolist() for name, values in columns.items()}
    model = Model(distinct["user"], distinct["item"], task["dim"], metrics=task["metrics"])
    model.compile(optimizer=keras.optimizers.Adagrad(learning_rate=task["learning_rate"]))
    epochs = EpochSeconds()
    model.fit(train, epochs=task["epochs"], verbose=0, callbacks=[epochs])
    return {"examples": examples, "epoch_seconds": epochs.seconds}


def _tower(ids: list[str], dim: int) -> keras.Sequential:
    lookup = keras.layers.StringLookup(vocabulary=ids, mask_token=None)
    return keras.Sequential([lookup, keras.layers.Embedding(len(ids) + 1, dim)])


def _texts(column: pa.ChunkedArray) -> Any:
    return column.cast(pa.string()).to_numpy().astype(object)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
