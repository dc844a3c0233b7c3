"""A bare TensorFlow loop over an exported user tower: ``python towers.py '{"tower": ...}'``; prints its times as JSON.

Reads the profiles that the night reads (Parquet with ``id`` and ``history``), calls the SavedModel's signature, and
writes ``id, embedding`` to a Parquet file for each of them. It neither looks whether a user is known or a vector finite
nor sorts, checks or audits anything. It imports nothing of this project, so that it can be read alone.

What was tried, and is used where it was faster: the histories' strings as codes of one dictionary a file, gathered and
padded by TensorFlow's own kernel (a padded matrix of codes takes three times as long); 4,096 rows a call; a file for
each core at a time; no compression, no dictionary and no statistics.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_STARTED = time.perf_counter()
_BATCH = 4_096
"""Rows of one call."""


def main(task: Mapping[str, Any]) -> dict[str, Any]:
    """Do ``task`` and say how long it took.

    Args:
        task: ``tower`` (a SavedModel), ``profiles`` (files), ``output`` (a folder), and of the tower the name of its
            ``input``, the ``length`` of a history, and the ``dim`` of a vector.

    Returns:
        ``rows``; ``seconds`` from the loading of the tower to the last file; ``whole``, ``imports`` and ``peak_bytes``.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import pyarrow.parquet  # noqa: F401
    import tensorflow as tf

    began = time.perf_counter()
    model = tf.saved_model.load(task["tower"])
    call = model.signatures["serving_default"]
    Path(task["output"]).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows = sum(pool.map(lambda path: embed(call, path, task), task["profiles"]))
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = {"seconds": ended - began, "whole": ended - _STARTED, "imports": began - _STARTED}
    return {"rows": rows, **times, "peak_bytes": peak}


def embed(call: Any, path: str, task: Mapping[str, Any]) -> int:
    """The vectors of one file of profiles; returns how many."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import tensorflow as tf

    table = pq.read_table(path, columns=["id", "history"]).combine_chunks()
    lists, rows = table.column("history").chunk(0), len(table)
    encoded = lists.flatten().dictionary_encode()
    distinct = tf.constant(encoded.dictionary.cast(pa.binary()).to_numpy(zero_copy_only=False), tf.string)
    codes, ends = encoded.indices.to_numpy(), np.cumsum(lists.value_lengths().fill_null(0).to_numpy(), dtype=np.int64)
    splits = np.concatenate([[0], ends])
    vectors = np.empty((rows, task["dim"]), np.float32)
    for first in range(0, rows, _BATCH):
        own = splits[first : min(first + _BATCH, rows) + 1]
        padded = tf.raw_ops.RaggedTensorToTensor(
            shape=tf.constant([len(own) - 1, task["length"]], tf.int64),
            values=tf.gather(distinct, codes[own[0] : own[-1]]),
            default_value="",
            row_partition_tensors=[tf.constant(own - own[0])],
            row_partition_types=["ROW_SPLITS"],
        )
        vectors[first : first + _BATCH] = call(**{task["input"]: padded})["embedding"].numpy()
    offsets = pa.array(np.arange(0, vectors.size + 1, task["dim"], dtype=np.int32))
    columns = [table.column("id"), pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)))]
    output = Path(task["output"]) / Path(path).name
    made = pa.Table.from_arrays(columns, names=["id", "embedding"])
    pq.write_table(made, output, compression="none", use_dictionary=False, write_statistics=False)
    return rows


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
