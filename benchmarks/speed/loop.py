"""The bare loop: one process, ScaNN and pyarrow and nothing else, as fast as its author could make it.

Reads both sides' vectors (Parquet with ``id`` and ``embedding``, the files that the night reads); for each table builds
the index, asks it for all queries with ScaNN's own parallel search, and writes ``query_id, rank, candidate_id, score``
to one Parquet file. It neither leaves out the query itself nor checks anything. It is run as
``python loop.py '{"users": ...}'`` and prints its times as JSON. It imports nothing of this project, so that it can be
read alone.

What was tried, and is used where it was faster: ids as dictionary arrays (no string is hashed), only those ids in a
dictionary that occur in the block, no dictionary for numbers, statistics for the query alone, no page index, row groups
of a million rows, 65,536 values encoded at a time, light compression.

When all is written it asks the index for some queries once more and does nothing else: ScaNN's own rate.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_STARTED = time.perf_counter()
_BLOCK = 20
"""Row groups searched in one call."""


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
        task: ``users`` and ``items`` (paths), ``k``, ``threads``, and ``tables``: of each ``queries`` and
            ``candidates`` (``users`` or ``items``), ``output``, ``leaves``, ``dims_per_block``, ``training_sample``,
            ``training_iterations``, ``codes_sample``, ``search_leaves``, ``reorder``; and optionally ``progress`` (a
            line to standard error, now and then).
    """
    clock = Clock()
    sys.modules["tensorflow"] = None  # type: ignore[assignment]  # or ScaNN spends seconds on importing it
    import pyarrow.parquet  # noqa: F401
    import scann.scann_ops.py.scann_ops_pybind  # noqa: F401

    clock.lap("imports")

    sides = {side: vectors(task[side], task["threads"]) for side in ("users", "items")}
    clock.lap("load")
    for table in task["tables"]:
        searcher = build(sides[table["candidates"]][1], table, task)
        clock.lap("build")
        queries, ids = sides[table["queries"]], sides[table["candidates"]][0]
        write_table(searcher, queries, ids, table["output"], task["k"], clock, progress=task.get("progress", False))
    whole, peak = time.perf_counter() - _STARTED, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    again = sides[task["tables"][-1]["queries"]][1][: _BLOCK * 1_000_000 // task["k"]]
    searcher.search_batched_parallel(again)
    clock.lap("once more")
    asked = sum(len(sides[table["queries"]][1]) for table in task["tables"])
    rates = {"search": asked / clock.seconds["search"], "scann": len(again) / clock.seconds["once more"]}
    return {"seconds": clock.seconds, "whole": whole, "peak_bytes": peak, "queries_per_second": rates}


def vectors(path: str, threads: int) -> tuple[Any, Any]:
    """(ids [n], vectors [n, dim]) of a file; a row group per thread at a time, so that nothing is held twice."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    dim = metadata.row_group(0).column(1).num_values // sizes[0]
    matrix = np.empty((sum(sizes), dim), np.float32)

    def read(number: int) -> Any:
        with pq.ParquetFile(path) as file:
            rows = file.read_row_group(number, ["id", "embedding"], use_threads=False).combine_chunks()
        first = sum(sizes[:number])
        matrix[first : first + len(rows)] = rows.column("embedding").chunk(0).values.to_numpy().reshape(-1, dim)
        return rows.column("id").chunk(0)

    with ThreadPoolExecutor(threads) as pool:
        return pa.concat_arrays(list(pool.map(read, range(len(sizes))))), matrix


def build(candidates: Any, table: Mapping[str, Any], task: Mapping[str, Any]) -> Any:
    """The index of the candidates."""
    from scann.scann_ops.py import scann_ops_pybind

    searcher = (
        scann_ops_pybind.builder(candidates, task["k"], "dot_product")
        .tree(
            num_leaves=table["leaves"],
            num_leaves_to_search=table["search_leaves"],
            training_sample_size=table["training_sample"],
            training_iterations=table["training_iterations"],
        )
        .score_ah(table["dims_per_block"], training_sample_size=table["codes_sample"])
        .reorder(table["reorder"], quantize=scann_ops_pybind.scann_builder.ReorderType.BFLOAT16)
        .build()
    )
    searcher.set_num_threads(task["threads"])
    return searcher


def write_table(
    searcher: Any, queries: Any, candidate_ids: Any, output: str, k: int, clock: Clock, *, progress: bool
) -> None:
    """Search all queries (ids, vectors) and write what was found."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("query_id", text), ("rank", pa.int32()), ("candidate_id", text), ("score", pa.float32())])
    query_ids, vectors = queries
    step = 1_000_000 // k
    ranks = pa.array(np.tile(np.arange(1, k + 1, dtype=np.int32), step))
    codes = np.repeat(np.arange(step, dtype=np.int32), k)
    with pq.ParquetWriter(
        output,
        schema,
        compression="lz4",
        use_dictionary=["query_id", "candidate_id"],
        write_statistics=["query_id"],
        write_batch_size=65_536,
        store_schema=False,
    ) as writer:
        for start in range(0, len(vectors), _BLOCK * step):
            found, scores = searcher.search_batched_parallel(vectors[start : start + _BLOCK * step])
            clock.lap("search")
            for first in range(0, len(found), step):
                ordinals, values = found[first : first + step].reshape(-1), scores[first : first + step].reshape(-1)
                occurs = np.zeros(len(candidate_ids), bool)
                occurs[ordinals] = True
                place = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
                columns = [
                    pa.DictionaryArray.from_arrays(
                        pa.array(codes[: len(values)]), query_ids.slice(start + first, step)
                    ),
                    ranks.slice(0, len(values)),
                    pa.DictionaryArray.from_arrays(
                        pa.array(place[ordinals]), candidate_ids.take(pa.array(np.flatnonzero(occurs)))
                    ),
                    pa.array(values),
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(values))
            clock.lap("write")
            if progress:
                tell(min(start + _BLOCK * step, len(vectors)), len(vectors), clock)
    clock.lap("write")


def tell(done: int, total: int, clock: Clock) -> None:
    """How far it is, and how long the rest will take."""
    left = (clock.seconds["search"] + clock.seconds["write"]) * (total - done) / done
    print(f"{done:,} of {total:,} queries; {left:,.0f} s left", file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
