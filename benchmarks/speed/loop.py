"""The bare loop: one process, ScaNN and pyarrow and nothing else, as fast as its author could make it.

Reads both sides' vectors (``.npy``), builds the index, asks it for all queries with ScaNN's own parallel search, and
writes ``query_id, rank, candidate_id, score`` to one Parquet file. Run as ``python loop.py '{"users": ...}'``; prints
its times as JSON. It imports nothing of this project, so that it can be read alone.

What was tried for the writing, and is used where it was faster: ids as dictionary arrays (no string is hashed), only
those ids in a dictionary that occur in the block, no dictionary for numbers, statistics for the query alone, no page
index, blocks of about a million rows.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

_STARTED = time.perf_counter()


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Do ``task`` and say how long its steps took.

    Args:
        task: ``users`` and ``items`` (paths of float32 matrices), ``output``, ``k``, ``leaves``, ``dims_per_block``,
            ``training_sample``, ``search_leaves``, ``reorder``, ``threads``.
    """
    times = {"start": time.perf_counter() - _STARTED}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        times[name] = times.get(name, 0.0) + now - clock
        clock = now

    sys.modules["tensorflow"] = None  # type: ignore[assignment]  # or ScaNN spends seconds on importing it
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from scann.scann_ops.py import scann_ops_pybind

    lap("imports")
    users, items, k = np.load(task["users"], mmap_mode="r"), np.load(task["items"]), task["k"]
    user_ids, item_ids = (
        pa.array([f"{name}{row:09d}" for row in range(n)]) for name, n in (("u", len(users)), ("i", len(items)))
    )
    lap("load")
    searcher = (
        scann_ops_pybind.builder(items, k, "dot_product")
        .tree(
            num_leaves=task["leaves"],
            num_leaves_to_search=task["search_leaves"],
            training_sample_size=task["training_sample"],
        )
        .score_ah(task["dims_per_block"], training_sample_size=task["training_sample"])
        .reorder(task["reorder"], quantize=scann_ops_pybind.scann_builder.ReorderType.BFLOAT16)
        .build()
    )
    searcher.set_num_threads(task["threads"])
    lap("build")

    text = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("query_id", text), ("rank", pa.int32()), ("candidate_id", text), ("score", pa.float32())])
    ids = ["query_id", "candidate_id"]
    step = 1_000_000 // k
    ranks = pa.array(np.tile(np.arange(1, k + 1, dtype=np.int32), step))
    codes = np.repeat(np.arange(step, dtype=np.int32), k)
    with pq.ParquetWriter(
        task["output"],
        schema,
        compression="zstd",
        use_dictionary=ids,
        write_statistics=["query_id"],
        store_schema=False,
    ) as writer:
        lap("open")
        block = 20 * step
        for start in range(0, len(users), block):
            found, scores = searcher.search_batched_parallel(np.ascontiguousarray(users[start : start + block]))
            lap("search")
            for first in range(0, len(found), step):
                ordinals, values = found[first : first + step], scores[first : first + step]
                rows = ordinals.size
                occurs = np.zeros(len(items), bool)
                occurs[ordinals.reshape(-1)] = True
                place = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
                query = user_ids.slice(start + first, len(ordinals))
                columns = [
                    pa.DictionaryArray.from_arrays(pa.array(codes[:rows]), query),
                    ranks.slice(0, rows),
                    pa.DictionaryArray.from_arrays(
                        pa.array(place[ordinals.reshape(-1)]), item_ids.take(pa.array(np.flatnonzero(occurs)))
                    ),
                    pa.array(values.reshape(-1)),
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=rows)
            lap("write")
    lap("write")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": times, "whole": time.perf_counter() - _STARTED, "peak_bytes": peak, "queries": len(users)}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
