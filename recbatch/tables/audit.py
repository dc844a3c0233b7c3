"""Auditing a part by reading it back: what the table promises, checked on the stored bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbatch.schemas import arrow_schema


def read_stored(data: bytes) -> pa.Table:
    """The rows of a Parquet file that was read as bytes.

    Raises:
        OSError: it is damaged (likewise pyarrow's ArrowInvalid).
    """
    return pq.read_table(pa.BufferReader(data), page_checksum_verification=True)


def audit_top_k(
    rows: pa.Table,
    *,
    table: str,
    queries: pa.Array,
    candidates: pa.Array,
    offsets: npt.NDArray[np.int64],
    ordinals: npt.NDArray[np.int32],
    wanted: npt.NDArray[np.int64],
) -> Iterator[str]:
    """What is wrong with a part of a top-k table, as sentences.

    Args:
        rows: the part.
        table: name of its schema.
        queries: ids of the part's queries in order, ``[m]``.
        candidates: ids of all candidates in order, ``[n]``.
        offsets: ``[m + 1]``, where each query's excluded candidates begin in ``ordinals``.
        ordinals: excluded candidates, sorted and unique within a query; the query itself among them where excluded.
        wanted: ``[m]``, the rows that each query must have: min(k, eligible).
    """
    if not rows.schema.equals(arrow_schema(table), check_metadata=False):
        yield f"columns {rows.schema.names} are not those of schema {table}"
        return
    query = pc.index_in(rows.column(0), value_set=queries).to_numpy().astype(np.float64)
    candidate = pc.index_in(rows.column(2), value_set=candidates).to_numpy().astype(np.float64)
    if np.isnan(query).any() or np.isnan(candidate).any():
        unknown = [int(np.isnan(side).sum()) for side in (query, candidate)]
        yield f"{unknown[0]} rows name an unknown query, {unknown[1]} an unknown candidate"
        return
    query, candidate = query.astype(np.int64), candidate.astype(np.int64)
    excluded = np.repeat(np.arange(len(queries)), np.diff(offsets)) * len(candidates) + ordinals
    yield from _audit_order(query, rows.column(1).to_numpy(), rows.column(3).to_numpy())
    yield from _audit_pairs(query * len(candidates) + candidate, excluded)
    given = np.bincount(query, minlength=len(queries))
    if (given != wanted).any():
        first = int(np.flatnonzero(given != wanted)[0])
        yield (
            f"{int((given != wanted).sum())} queries do not have min(k, eligible) rows; "
            f"{queries[first]} has {given[first]} of {wanted[first]}"
        )


def _audit_order(
    query: npt.NDArray[np.int64], rank: npt.NDArray[np.int32], score: npt.NDArray[np.float32]
) -> Iterator[str]:
    same = query[1:] == query[:-1]
    if (query[1:] < query[:-1]).any():
        yield "the queries are not in order"
    starts = np.flatnonzero(np.concatenate([[True], ~same])) if len(query) else np.zeros(0, np.int64)
    lengths = np.diff(np.concatenate([starts, [len(query)]]))
    if (rank != np.arange(len(query)) - np.repeat(starts, lengths) + 1).any():
        yield "the ranks are not dense from 1"
    if not np.isfinite(score).all():
        yield f"{int((~np.isfinite(score)).sum())} scores are not finite"
    if (same & (score[1:] > score[:-1])).any():
        yield "scores increase with the rank"


def _audit_pairs(pairs: npt.NDArray[np.int64], excluded: npt.NDArray[np.int64]) -> Iterator[str]:
    """``excluded`` is ascending."""
    ordered = np.sort(pairs)  # np.unique hashes, which takes a hundred times as long
    twice = int((ordered[1:] == ordered[:-1]).sum())
    if twice:
        yield f"{twice} pairs occur twice"
    at = np.minimum(np.searchsorted(excluded, ordered), max(len(excluded) - 1, 0))
    wrong = int((excluded[at] == ordered).sum()) if len(excluded) else 0
    if wrong:
        yield f"{wrong} excluded pairs (seen, or the query itself) are in the table"


def audit_vectors(rows: pa.Table, schema: str) -> Iterator[str]:
    """What is wrong with a part of a table of vectors, as sentences."""
    if not rows.schema.equals(arrow_schema(schema), check_metadata=False):
        yield f"columns {rows.schema.names} are not those of schema {schema}"
        return
    ids = rows.column(0).combine_chunks()
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        yield "the ids are not sorted, or not unique"
    values = rows.column(1).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if not np.isfinite(values).all():
        yield f"{int((~np.isfinite(values)).sum())} values are not finite"
