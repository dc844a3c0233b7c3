"""`recommend` of the package implicit, for given vectors: ``python peer.py '{"users": ...}'``.

The vectors become the factors of a model that is not fitted. It imports nothing of this project, so that it can be read
alone, and runs in the environment of the lock beside it.

`recommend` cuts the users of a call into blocks of a hundred for threads of its own. So BLAS has one thread in each of
these, as the package itself advises: with two the same took half as much processor time again. Calls of a hundred and
of thousands of users were equally fast.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
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
        task: ``users`` and ``items`` (paths), ``output``, ``k``, ``threads``, ``batch`` (users in one call).
    """
    clock = Clock()
    import numpy as np
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")
    clock.lap("imports")
    (query_ids, users), (candidate_ids, items) = read(task["users"]), read(task["items"])
    clock.lap("load")
    model = AlternatingLeastSquares(factors=users.shape[1], num_threads=task["threads"])
    model.user_factors, model.item_factors = users, items
    clock.lap("index")
    rows = Rows(task["output"], query_ids, candidate_ids)
    k = min(task["k"], len(items))
    for first in range(0, len(users), task["batch"]):
        numbers = np.arange(first, min(first + task["batch"], len(users)))
        found, scores = model.recommend(numbers, None, N=k, filter_already_liked_items=False)
        clock.lap("search")
        rows.add(found, scores)
        clock.lap("write")
    rows.close()
    clock.lap("write")
    return {"seconds": clock.seconds, **libraries(("implicit", "numpy", "pyarrow"))}


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
