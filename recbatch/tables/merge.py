"""From what the same queries found in several shards of the candidates to the best of all shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbatch import storage
from recbatch.errors import RecbatchError
from recbatch.neighbours import Neighbours, merge
from recbatch.run import Layout
from recbatch.tables.rows import queries_per_row_group, top_k_rows
from recbatch.tables.stored import StoredRows

_SOURCE = 4  # place of the column that is the same in every row


def merge_rows(
    layout: Layout, queries: pa.Array, parts: Sequence[str], k: int
) -> Iterator[tuple[pa.Table, Neighbours]]:
    """The rows of a table's part, a row group at a time, and the neighbours that they are made from.

    Memory is taken for one row group of one shard at a time, and for the best so far.

    Args:
        layout: of the table, see :func:`recbatch.tables.rows.top_k_layout`.
        queries: ids of the range's queries in order, ``[m]``.
        parts: URIs of what they found in each shard, in the order of the shards; tables of the same layout.
        k: rows per query, at most.

    Raises:
        RecbatchError: a part is not of these queries.
    """
    step = queries_per_row_group(k)
    with ExitStack() as opened:
        shards = [_open(opened, uri, layout, -(-len(queries) // step)) for uri in parts]
        for number, first in enumerate(range(0, len(queries), step)):
            block = queries[first : first + step]
            best, ids = Neighbours.empty(len(block), k), pa.array([], pa.string())
            for uri, shard in zip(parts, shards, strict=True):
                rows = shard.read_row_group(number, layout.schema.names[:_SOURCE])
                best, ids = _joined(best, ids, *_neighbours(rows, block, k, uri))
            yield top_k_rows(layout, block, ids, best), best


def _open(opened: ExitStack, uri: str, layout: Layout, blocks: int) -> pq.ParquetFile:
    """A part, of which every block of queries is one row group."""
    query, _, candidate, *_ = layout.schema.names
    source = opened.enter_context(storage.open_input(uri))
    file = pq.ParquetFile(source, page_checksum_verification=True, read_dictionary=[query, candidate])
    if blocks and file.num_row_groups != blocks:
        raise _other_queries(uri)
    return opened.enter_context(file)


def _joined(best: Neighbours, ids: pa.Array, found: Neighbours, candidates: pa.Array) -> tuple[Neighbours, pa.Array]:
    """The best of both, and the ids of the candidates that are among them; those of ``found`` come after the others."""
    merged = merge([best, found.shifted(len(ids))])
    occurs = np.zeros(len(ids) + len(candidates), bool)
    occurs[merged.ordinals[merged.ordinals >= 0]] = True
    place = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    ordinals = np.where(merged.ordinals < 0, -1, place[merged.ordinals]) if len(place) else merged.ordinals
    kept = pa.concat_arrays([ids, candidates]).filter(pa.array(occurs))
    return Neighbours(ordinals.astype(np.int32), merged.scores, merged.counts), kept


def _neighbours(rows: pa.Table, queries: pa.Array, k: int, uri: str) -> tuple[Neighbours, pa.Array]:
    """The neighbours of a block of queries, and the ids of their candidates in order, which ordinals point into."""
    stored = StoredRows.of(rows, queries)
    if (stored.queries < 0).any():
        raise _other_queries(uri)
    order = pc.array_sort_indices(stored.names)
    ordinals = np.empty(len(order), np.int32)
    ordinals[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return stored.neighbours(slice(0, len(queries)), k, ordinals), stored.names.take(order)


def _other_queries(uri: str) -> RecbatchError:
    return RecbatchError(f"{uri} holds other queries than those of its range; remove it and run again")
