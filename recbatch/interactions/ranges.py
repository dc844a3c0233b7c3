"""Ranges of ids in UTF-8 byte order: where to cut, and which rows belong to which range.

Range ``i`` of ``n`` cuts holds the ids from cut ``i - 1`` (inclusive) to cut ``i`` (exclusive); the first begins at the
empty text and the last has no end. No id is ever split.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recbatch.interactions.coding import sorted_codes
from recbatch.interactions.kinds import Column

SAMPLE_SCHEMA = pa.schema([("id", pa.string()), ("interactions", pa.int64()), ("ids", pa.int64())])

# Ids that the samples of one run hold together, about; below it they are all the ids, and the cuts exact.
_SAMPLED_IDS = 500_000
_POINTS = 512  # interactions-weighted points per slice
_BLOCK = 100_000  # ids hashed at once
_PRIME = np.uint64(0x100000001B3)  # odd, so that no power of it is 0


def sample_one_in(rows: int) -> int:
    """How many ids one sampled id stands for, given the rows of all inputs that name the ids."""
    return max(1, -(-rows // _SAMPLED_IDS))


def sample_ids(ids: Column, one_in: int, *, interactions: bool) -> pa.Table:
    """What cut points need to know of the ids of one slice.

    A sample of distinct ids that is the same choice in every slice (by a hash of the id), so that the union over slices
    estimates how many different ids lie where; and, for interactions, evenly spaced ids weighted by interactions.

    Args:
        ids: ids of a slice, plain or dictionary-coded.
        one_in: of :func:`sample_one_in`; the same for all slices.
        interactions: whether the rows are interactions (or rows of a users or items table, which only name ids).

    Returns:
        ``id``, ``interactions`` (rows it stands for in this slice), ``ids`` (distinct ids it stands for).
    """
    distinct, codes = sorted_codes(ids)
    rows = np.bincount(codes, minlength=len(distinct)) if interactions else np.zeros(len(distinct), np.int64)
    if one_in == 1:
        return _sample(distinct, rows, np.ones(len(distinct), np.int64))
    chosen = np.flatnonzero(_hashes(distinct) % np.uint64(one_in) == 0)
    sample = _sample(distinct.take(pa.array(chosen)), np.zeros(len(chosen), np.int64), np.full(len(chosen), one_in))
    if not interactions or len(distinct) == 0:
        return sample
    upto = np.cumsum(rows)
    points = np.unique(np.searchsorted(upto, upto[-1] * np.arange(1, _POINTS + 1) // _POINTS))
    weights = np.diff(np.concatenate([[0], upto[points]]))
    # A point stands for the ids since the one before it, and lies at its end.
    by_weight = _sample(distinct.take(pa.array(points)), weights, np.zeros(len(points), np.int64))
    return pa.concat_tables([sample, by_weight])


def cut_points(samples: Iterable[pa.Table], range_ids: int, range_interactions: int) -> tuple[str, ...]:
    """Cut into as few ranges as hold at most ``range_ids`` ids and ``range_interactions`` interactions each, evenly.

    One id may have more interactions than that; it is a range of its own then. The result does not depend on the order
    of the samples.

    Returns:
        Inner cut points, ascending; none for a single range.
    """
    table = pa.concat_tables([SAMPLE_SCHEMA.empty_table(), *samples])
    # An id sampled in several slices is one id; its interactions add up.
    table = table.group_by("id").aggregate([("interactions", "sum"), ("ids", "max")]).sort_by("id")
    weights = [np.concatenate([[0], np.cumsum(table[name].to_numpy())]) for name in ("interactions_sum", "ids_max")]
    limits = np.array([range_interactions, range_ids], float)
    starts = _starts(weights, limits)
    # The same number of ranges with the lowest limits: sizes become even instead of one small last range.
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if len(attempt := _starts(weights, limits * middle)) <= len(starts):
            starts, high = attempt, middle
        else:
            low = middle
    return tuple(table["id"].take(pa.array(starts[1:], pa.int64())).to_pylist())


def range_offsets(ids: pa.StringArray, cuts: Sequence[str]) -> NDArray[np.int64]:
    """Where each range begins among sorted ids, and where the last ends; [len(cuts) + 2]."""
    # Python orders text by code points, which is the order of its UTF-8 bytes.
    inner = [bisect_left(range(len(ids)), cut, key=lambda row: ids[row].as_py()) for cut in cuts]
    return np.array([0, *inner, len(ids)], np.int64)


def ranges_of(ids: pa.StringArray, cuts: Sequence[str]) -> Iterator[tuple[int, slice]]:
    """The ranges that hold any of the sorted ``ids``, and which."""
    offsets = range_offsets(ids, cuts).tolist()
    for number, (start, stop) in enumerate(pairwise(offsets)):
        if stop > start:
            yield number, slice(start, stop)


def split_by_range(table: pa.Table, column: str, cuts: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each range that has any, sorted by id; rows of one id keep their order."""
    ids, codes = sorted_codes(table[column])
    order = pc.sort_indices(pa.array(codes)).to_numpy()
    rows_before = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(ids)))])
    ordered = table.take(pa.array(order))
    for number, part in ranges_of(ids, cuts):
        yield number, ordered.slice(rows_before[part.start], rows_before[part.stop] - rows_before[part.start])


def _sample(ids: pa.StringArray, interactions: NDArray[np.int64], distinct: NDArray[np.int64]) -> pa.Table:
    return pa.table([ids, pa.array(interactions, pa.int64()), pa.array(distinct, pa.int64())], schema=SAMPLE_SCHEMA)


def _starts(weights: list[NDArray[np.int64]], limits: NDArray[np.float64]) -> list[int]:
    """First id of each range if every range takes as many ids as its limits allow, and at least one."""
    starts, start, size = [0], 0, len(weights[0]) - 1
    while True:
        ends = (
            int(np.searchsorted(upto, upto[start] + limit, side="right")) - 1
            for upto, limit in zip(weights, limits, strict=True)
        )
        start = max(start + 1, min(ends))
        if start >= size:
            return starts
        starts.append(start)


def _hashes(ids: pa.StringArray) -> NDArray[np.uint64]:
    """A 64-bit hash of each id, the same everywhere."""
    blocks = (ids[start : start + _BLOCK] for start in range(0, len(ids), _BLOCK))
    return np.concatenate([np.zeros(0, np.uint64), *map(_hash_block, blocks)])


def _hash_block(ids: pa.StringArray) -> NDArray[np.uint64]:
    _, offsets, data = ids.buffers()
    starts = np.frombuffer(offsets, np.int32, len(ids) + 1, ids.offset * 4).astype(np.int64)
    values = np.frombuffer(data, np.uint8)[starts[0] : starts[-1]].astype(np.uint64) + np.uint64(1)
    starts, lengths = starts - starts[0], np.diff(starts)
    place = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    powers = np.cumprod(np.full(int(lengths.max()), _PRIME))
    hashes = np.add.reduceat(values * powers[place], starts[:-1])
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53), (33, 1)):  # spread to all bits (murmur3)
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
    return hashes
