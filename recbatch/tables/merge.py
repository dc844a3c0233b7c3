"""From what the same queries found in several shards of the candidates to the best of all shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbatch import storage
from recbatch.errors import RecbatchError
from recbatch.neighbours import Neighbours, merge
from recbatch.run import Layout
from recbatch.tables.rows import queries_per_row_group, top_k_rows


def merge_rows(
    layout: Layout, queries: pa.Array, parts: Sequence[str], k: int
) -> Iterator[tuple[pa.Table, Neighbours]]:
    """The rows of a table's part, a row group at a time, and the neighbours that they are made from.

    Memory is taken for one row group of every shard.

    Args:
        layout: of the table, see :func:`recbatch.tables.rows.top_k_layout`.
        queries: ids of the range's queries in order, ``[m]``.
        parts: URIs of what they found in each shard, in the order of the shards; tables of the same layout.
        k: rows per query, at most.

    Raises:
        RecbatchError: a part is not of these queries.
    """
    step = queries_per_row_group(k)
    query, _, candidate, *_ = layout.schema.names
    shards = [_blocks(uri, (query, candidate), queries, step) for uri in parts]
    waiting = [next(shard, None) for shard in shards]
    for number, first in enumerate(range(0, len(queries), step)):
        block = queries[first : first + step]
        found, ids, offset = [], [], 0
        for place, shard in enumerate(shards):
            there = waiting[place]
            if there is None or there[0] != number:
                continue
            neighbours, candidates = _neighbours(there[1], block, k)
            found.append(neighbours.shifted(offset))
            ids.append(candidates)
            offset += len(candidates)
            waiting[place] = next(shard, None)
        best = merge(found) if found else Neighbours.empty(len(block), k)
        candidates = pa.concat_arrays(ids) if ids else pa.array([], pa.string())
        yield top_k_rows(layout, block, candidates, best), best


def _blocks(uri: str, coded: Sequence[str], queries: pa.Array, step: int) -> Iterator[tuple[int, pa.Table]]:
    """The row groups of a part with the number of the block of ``step`` queries that each belongs to."""
    with storage.open_input(uri) as source:
        file = pq.ParquetFile(source, page_checksum_verification=True, read_dictionary=list(coded))
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group).unify_dictionaries().combine_chunks()
            if rows.num_rows:
                place = pc.index_in(rows.column(0)[0].cast(pa.string()), value_set=queries).as_py()
                if place is None:
                    raise RecbatchError(f"{uri} holds other queries than those of its range; remove it and run again")
                yield place // step, rows


def _neighbours(rows: pa.Table, queries: pa.Array, k: int) -> tuple[Neighbours, pa.Array]:
    """The neighbours of a block of queries, and the ids of their candidates in order, which ordinals point into."""
    query, candidate = (rows.column(place).combine_chunks() for place in (0, 2))
    at = pc.index_in(query.dictionary, value_set=queries).to_numpy(zero_copy_only=False)[query.indices.to_numpy()]
    at = at.astype(np.int64)
    order = pc.array_sort_indices(candidate.dictionary).to_numpy()
    ordinal_of = np.empty(len(order), np.int32)
    ordinal_of[order] = np.arange(len(order), dtype=np.int32)
    found = Neighbours.empty(len(queries), k)
    places = at, rows.column(1).to_numpy() - 1
    found.ordinals[places] = ordinal_of[candidate.indices.to_numpy()]
    found.scores[places] = rows.column(3).to_numpy()
    found.counts[:] = np.bincount(at, minlength=len(queries))
    return found, candidate.dictionary.take(pa.array(order))
