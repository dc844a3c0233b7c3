"""From neighbours and vectors to the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recbatch.neighbours import Neighbours
from recbatch.run import Layout
from recbatch.schemas import arrow_schema

MODEL = "model"
"""Value of the ``source`` column for what the model recommends."""

ROW_GROUP_ROWS = 1_000_000
"""Rows of one row group, at most about: a reader that looks up one query reads one row group."""


def top_k_layout(table: str) -> Layout:
    """How a top-k table is written: sorted by (query, rank), statistics on the query alone."""
    schema = arrow_schema(table)
    query, rank, candidate, score, source = schema.names
    texts = (query, candidate, source)
    return Layout(
        schema,
        sorted_by=(query, rank),
        encoded=texts,
        dictionaries=texts,
        statistics=(query,),
        uncompressed=(score,),
    )


def embeddings_layout(schema_name: str) -> Layout:
    """How a table of vectors is written: sorted by id."""
    schema = arrow_schema(schema_name)
    name, embedding = schema.names
    return Layout(schema, sorted_by=(name,), dictionaries=(), statistics=(name,), uncompressed=(embedding,))


def queries_per_row_group(k: int) -> int:
    """Queries whose rows make up one row group; a query's rows are never split."""
    return max(1, ROW_GROUP_ROWS // k)


def top_k_rows(layout: Layout, queries: pa.Array, candidates: pa.Array, found: Neighbours) -> pa.Table:
    """The rows of a block of queries, sorted as they are.

    Args:
        layout: from :func:`top_k_layout`.
        queries: ids of the queries, ``[num_queries]``.
        candidates: ids of all candidates; ordinals point into it.
        found: their neighbours, ``[num_queries, k]``.
    """
    _, k = found.ordinals.shape
    given = np.arange(k, dtype=np.int32) < found.counts[:, None]
    ranks = np.broadcast_to(np.arange(1, k + 1, dtype=np.int32), given.shape)[given]
    rows = np.repeat(np.arange(len(queries), dtype=np.int32), found.counts)
    codes, used = _compact(found.ordinals[given], len(candidates))
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(rows), queries),
        pa.array(ranks),
        pa.DictionaryArray.from_arrays(pa.array(codes), candidates.take(pa.array(used))),
        pa.array(found.scores[given]),
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([MODEL])),
    ]
    return pa.Table.from_arrays(columns, schema=layout.written_schema)


def _compact(ordinals: npt.NDArray[np.int32], size: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Codes into the values that occur, and these: a dictionary of the whole catalog would cost more than its rows."""
    occurs = np.zeros(size, bool)
    occurs[ordinals] = True
    used = np.flatnonzero(occurs)
    code_of = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return code_of[ordinals].astype(np.int32, copy=False), used


def embedding_rows(layout: Layout, ids: pa.Array, vectors: npt.NDArray[np.float32]) -> Iterator[pa.Table]:
    """The rows of a table of vectors, in row groups.

    Args:
        layout: from :func:`embeddings_layout`.
        ids: ``[n]``, sorted.
        vectors: ``[n, dim]``.
    """
    size, dim = vectors.shape
    kind = layout.schema.field(1).type
    per_group = max(1, ROW_GROUP_ROWS // max(dim, 1))
    for start in range(0, size, per_group):
        block = np.ascontiguousarray(vectors[start : start + per_group])
        offsets = pa.array(np.arange(0, (len(block) + 1) * dim, dim, dtype=np.int32))
        lists = pa.ListArray.from_arrays(offsets, pa.array(block.reshape(-1)), type=kind)
        yield pa.Table.from_arrays([ids.slice(start, per_group), lists], schema=layout.schema)
