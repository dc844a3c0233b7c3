"""The layers of TensorFlow Recommenders, `BruteForce` and `ScaNN`: ``python peer.py '{"users": ...}'``.

In batches, or one query per call as its tutorial calls them. It imports nothing of this project, so that it can be read
alone, and runs in the package's own environment. The ScaNN layer gets the parameters that the night has chosen.

In batches the layer is compiled as one `tf.function` and its identifiers are ordinals; brute force, which holds all
scores of a batch at once, was as fast with 64 queries in it as with 1,024. One query per call is the tutorial's way:
the layer itself, called with one row, its identifiers strings.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_STARTED = time.perf_counter()


class Clock:
    """Seconds of named steps, one after the other."""

    def __init__(self) -> None:
        self.seconds = {"start": time.perf_counter() - _STARTED}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """What happened since the last call was ``name``."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def main(task: Mapping[str, Any]) -> dict[str, Any]:
    """Do ``task`` and say how long its steps took.

    Args:
        task: ``users`` and ``items`` (paths), ``output``, ``k``, ``layer`` ("brute-force" or "scann"), ``batch``
            (queries in one call; 0: one, as the tutorial calls it) and for ScaNN ``leaves``, ``search_leaves``,
            ``reorder``, ``dims_per_block``.
    """
    clock = Clock()
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # or TFRS refuses to be imported
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    clock.lap("imports")
    (query_ids, users), (candidate_ids, items) = read(task["users"]), read(task["items"])
    clock.lap("load")
    k = min(task["k"], len(items))
    layers = tfrs.layers.factorized_top_k
    if task["layer"] == "scann":
        layer = layers.ScaNN(
            k=k,
            num_leaves=task["leaves"],
            num_leaves_to_search=task["search_leaves"],
            dimensions_per_block=task["dims_per_block"],
            num_reordering_candidates=task["reorder"],
        )
    else:
        layer = layers.BruteForce(k=k)
    one = task["batch"] == 0
    names = candidate_ids.to_numpy(zero_copy_only=False).astype(bytes) if one else None
    layer.index(tf.constant(items), tf.range(len(items)) if names is None else tf.constant(names))
    clock.lap("index")
    search = one_by_one(layer, candidate_ids) if one else in_batches(layer, users.shape[1])
    rows = Rows(task["output"], query_ids, candidate_ids)
    step = task["batch"] or 1_000_000 // k
    for first in range(0, len(users), step):
        found, scores = search(users[first : first + step])
        clock.lap("search")
        rows.add(found, scores)
        clock.lap("write")
    rows.close()
    clock.lap("write")
    names_of = ("tensorflow", "tensorflow-recommenders", "scann", "numpy", "pyarrow")
    return {"seconds": clock.seconds, **libraries(names_of)}


def in_batches(layer: Any, dim: int) -> Callable[[Any], tuple[Any, Any]]:
    """A search of a whole batch in one call."""
    import tensorflow as tf

    call = tf.function(layer.call, input_signature=[tf.TensorSpec([None, dim], tf.float32)])

    def search(queries: Any) -> tuple[Any, Any]:
        scores, found = call(tf.constant(queries))
        return found.numpy(), scores.numpy()

    return search


def one_by_one(layer: Any, candidate_ids: Any) -> Callable[[Any], tuple[Any, Any]]:
    """A search that calls the layer for each query; what it says are the candidates' names."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import tensorflow as tf

    def search(queries: Any) -> tuple[Any, Any]:
        answers = [layer(tf.constant(queries[row : row + 1])) for row in range(len(queries))]
        scores = np.concatenate([scores.numpy() for scores, _ in answers])
        names = np.concatenate([names.numpy().reshape(-1) for _, names in answers])
        found = pc.index_in(pa.array(names, pa.string()), candidate_ids).to_numpy().reshape(scores.shape)
        return found, scores

    return search


def read(path: str) -> tuple[Any, Any]:
    """(ids, vectors [rows, dim]) of a file with ``id`` and ``embedding``."""
    import pyarrow.parquet as pq

    table = pq.read_table(path).combine_chunks()
    ids, lists = (table.column(name).chunk(0) for name in ("id", "embedding"))
    return ids, lists.values.to_numpy().reshape(len(ids), -1)


class Rows:
    """The Parquet file of ``query_id, rank, candidate_id, score``, written as fast as we found.

    Ids are dictionary arrays of those that occur, so that no string is hashed; statistics for the query alone.
    """

    def __init__(self, path: str, query_ids: Any, candidate_ids: Any) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text = pa.dictionary(pa.int32(), pa.string())
        self._schema = pa.schema(
            [("query_id", text), ("rank", pa.int32()), ("candidate_id", text), ("score", pa.float32())]
        )
        self._ids, self._candidate_ids, self._first = query_ids, candidate_ids, 0
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression="lz4",
            use_dictionary=["query_id", "candidate_id"],
            write_statistics=["query_id"],
            write_batch_size=65_536,
            store_schema=False,
        )

    def add(self, found: Any, scores: Any) -> None:
        """The next queries' candidates (ordinals) and scores, both ``[queries, k]``, in row groups of a million."""
        step = max(1, 1_000_000 // found.shape[1])
        for first in range(0, len(found), step):
            self._group(found[first : first + step], scores[first : first + step])

    def _group(self, found: Any, scores: Any) -> None:
        import numpy as np
        import pyarrow as pa

        queries, k = found.shape
        occurs = np.zeros(len(self._candidate_ids), bool)
        occurs[found] = True
        place = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
        columns = [
            pa.DictionaryArray.from_arrays(
                pa.array(np.repeat(np.arange(queries, dtype=np.int32), k)), self._ids.slice(self._first, queries)
            ),
            pa.array(np.tile(np.arange(1, k + 1, dtype=np.int32), queries)),
            pa.DictionaryArray.from_arrays(
                pa.array(place[found.reshape(-1)]), self._candidate_ids.take(pa.array(np.flatnonzero(occurs)))
            ),
            pa.array(np.ascontiguousarray(scores, np.float32).reshape(-1)),
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=queries * k)
        self._first += queries

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def libraries(names: Sequence[str]) -> dict[str, Any]:
    """Versions, and the BLAS kernels that are in use."""
    from importlib import metadata

    from threadpoolctl import threadpool_info

    loaded = [each for each in threadpool_info() if each["user_api"] == "blas"]
    blas = [f"{each['internal_api']} {each['version']} {each.get('architecture', '')}".strip() for each in loaded]
    return {"versions": {name: metadata.version(name) for name in names}, "blas": blas}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
