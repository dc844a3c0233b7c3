"""The process of a cell that is trained by the context features tutorial's own recipe, and not by this package.

``python -m benchmarks.quality.tutorial TASK.json RESULT.json``

Where our figure is not the one that the tutorial prints, the reason is our training or the split. This tells which:
Keras layers, ``tfrs.Model`` and ``fit`` as in https://www.tensorflow.org/recommenders/examples/context_features, on the
very splits that our cells are measured on. Vocabularies and the range of the times are those of all events, as there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras
from numpy.typing import NDArray

from benchmarks.quality.cells import ROOT
from benchmarks.quality.exchange import peak_bytes
from benchmarks.quality.measuring import cell_of, figures_of, packed_sums
from benchmarks.quality.tasks import two_tower_task
from recbatch.config.load import load_config
from recbatch.evaluation import Lists, Task, evaluate_lists, rank_vectors
from recbatch.launch.evaluating import read_training_data

Columns = dict[str, NDArray]

_DIM, _TOKENS, _BINS = 32, 10_000, 1_000
_BATCH, _EPOCHS, _LEARNING_RATE = 2_048, 3, 0.1
_ROWS = 4_096  # queries embedded at a time


class Users(keras.Model):
    """Ids, and with a column of times also the time in bins and as a number -> [n, 32] or [n, 65]."""

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.ids = _embedded_ids(columns["user"])
        self.times = None
        if "time" in columns:
            bounds = np.linspace(columns["time"].min(), columns["time"].max(), num=_BINS).tolist()
            self.times = keras.Sequential(
                [keras.layers.Discretization(bounds), keras.layers.Embedding(len(bounds) + 1, _DIM)]
            )
            self.scaled = keras.layers.Normalization(axis=None)
            self.scaled.adapt(columns["time"])

    def call(self, inputs: Any) -> Any:
        """Vectors of queries."""
        if self.times is None:
            return self.ids(inputs["user"])
        scaled = tf.reshape(self.scaled(inputs["time"]), (-1, 1))
        return tf.concat([self.ids(inputs["user"]), self.times(inputs["time"]), scaled], axis=1)


class Movies(keras.Model):
    """Titles as ids and as the mean of their words -> [n, 64]."""

    def __init__(self, titles: NDArray) -> None:
        super().__init__()
        self.ids = _embedded_ids(titles)
        words = keras.layers.TextVectorization(max_tokens=_TOKENS)
        words.adapt(titles)
        vectors = keras.layers.Embedding(_TOKENS, _DIM, mask_zero=True)
        self.words = keras.Sequential([words, vectors, keras.layers.GlobalAveragePooling1D()])

    def call(self, inputs: Any) -> Any:
        """Vectors of titles."""
        return tf.concat([self.ids(inputs), self.words(inputs)], axis=1)


class Retrieval(tfrs.models.Model):
    """Both towers with a linear layer each, and the in-batch softmax."""

    def __init__(self, columns: Columns, titles: NDArray) -> None:
        super().__init__()
        self.query = keras.Sequential([Users(columns), keras.layers.Dense(_DIM)])
        self.candidate = keras.Sequential([Movies(titles), keras.layers.Dense(_DIM)])
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, inputs: Any, training: bool = False) -> Any:
        """The loss of a batch of events."""
        asking = {name: values for name, values in inputs.items() if name != "title"}
        return self.task(self.query(asking), self.candidate(inputs["title"]), compute_metrics=False)


def train_and_rank(task: Task, seed: int, *, use_times: bool) -> Lists:
    """The lists of the tutorial's model, trained as the tutorial trains it.

    Args:
        task: the split; one query per event where ``use_times``.
        seed: of the weights and of the batches.
        use_times: whether the query tower reads the time, the tutorial's ``use_timestamps``.
    """
    keras.utils.set_random_seed(seed)
    events, titles = task.train.interactions, _words(task.items)
    train = {"user": _words(events["user_id"]), "title": _words(events["item_id"])}
    asked = {"user": _words(task.queries["id"])}
    if use_times:
        train["time"] = events["timestamp"].cast("int64").to_numpy() / 1e6
        asked["time"] = task.queries["as_of_us"].to_numpy() / 1e6
    model = Retrieval({name: np.concatenate([train[name], asked[name]]) for name in asked}, titles)
    model.compile(optimizer=keras.optimizers.Adagrad(_LEARNING_RATE))
    batches = tf.data.Dataset.from_tensor_slices(train).shuffle(len(events), seed=seed).batch(_BATCH)
    model.fit(batches, epochs=_EPOCHS, verbose=0)
    parts = [
        model.query({name: tf.constant(values[start : start + _ROWS]) for name, values in asked.items()}).numpy()
        for start in range(0, task.num_queries, _ROWS)
    ]
    candidates = model.candidate(tf.constant(titles)).numpy()
    return rank_vectors(task, np.concatenate(parts), candidates, np.ones(task.num_candidates, bool))


def _embedded_ids(values: NDArray) -> keras.Sequential:
    vocabulary = np.unique(values)
    lookup = keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None)
    return keras.Sequential([lookup, keras.layers.Embedding(len(vocabulary) + 1, _DIM)])


def _words(column: pa.Array | pa.ChunkedArray) -> NDArray:
    return np.asarray(column.to_pylist(), dtype=str)


def main(given: Path, made: Path) -> None:
    """Make the cell that ``given`` describes; write its result to ``made``."""
    spec = json.loads(given.read_text())
    cell = cell_of(spec["cell"])
    config = load_config(str(ROOT / cell.config), [*cell.overrides, *spec["pointing"]])
    data, _ = read_training_data(config, [config.model])
    task = two_tower_task(cell.protocol, config, data, cell.seed)
    use_times = any(feature.kind == "timestamp" for feature in config.model.query.features)
    lists = train_and_rank(task, config.model.training.seed, use_times=use_times)
    measured = evaluate_lists(task, lists, repetitions=0)
    result = {"figures": figures_of(cell.protocol, measured), "sums": packed_sums(measured.splits[0])}
    made.write_text(json.dumps({**result, "counts": task.counts, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
