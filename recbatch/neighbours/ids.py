"""From lists of candidate ids, as profiles hold them, to the ordinals that a search excludes."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch.neighbours.exclusions import Exclusions, Ordinals


def exclusions_of(lists: pa.Array | pa.ChunkedArray, candidate_ids: pa.Array | pa.ChunkedArray) -> Exclusions:
    """Look up the ids in ``lists`` among the candidates.

    Args:
        lists: m lists (or large lists) of string ids, dictionary encoded or not; null means none. Ids that are no
            candidates are passed over, repeated ones count once, and the order within a list does not matter.
        candidate_ids: n distinct ids in UTF-8 byte order; the position is the ordinal.

    Returns:
        Exclusions of m rows.
    """
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    counts = _numpy(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
    ordinals = ordinals_of(pc.list_flatten(lists), candidate_ids)
    rows = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    known = ordinals >= 0
    keys = (rows[known] << 32) | ordinals[known]
    if (keys[1:] <= keys[:-1]).any():
        keys.sort()
        keys = keys[np.append(True, keys[1:] != keys[:-1])]
    offsets = np.searchsorted(keys, np.arange(len(counts) + 1, dtype=np.int64) << 32)
    return Exclusions(offsets.astype(np.int64), (keys & 0xFFFFFFFF).astype(np.int32))


def ordinals_of(ids: pa.Array | pa.ChunkedArray, candidate_ids: pa.Array | pa.ChunkedArray) -> Ordinals:
    """Ordinal of every id [any] among the ``candidate_ids``, -1 where it is null or no candidate; int32.

    Distinct ids are looked up once.
    """
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    if not pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_encode()
    if isinstance(candidate_ids, pa.ChunkedArray):
        candidate_ids = candidate_ids.combine_chunks()
    by_code = np.append(places_of(ids.dictionary.cast(candidate_ids.type), candidate_ids), np.int32(-1))
    return by_code[_numpy(pc.fill_null(ids.indices.cast(pa.int64()), len(by_code) - 1))]


def places_of(ids: pa.Array, among: pa.Array) -> Ordinals:
    """Place of every id [n] in ``among`` (distinct ids), -1 where it is null or not there; int32.

    Nothing is hashed where the ids are some that follow each other in ``among`` and that is sorted, as the queries of a
    row group among those of its range.
    """
    if len(ids) and ids[0].is_valid and among.null_count == 0:
        first = bisect_left(range(len(among)), ids[0].as_py(), key=lambda place: among[place].as_py())
        if among.slice(first, len(ids)).equals(ids):
            return np.arange(first, first + len(ids), dtype=np.int32)
    return _numpy(pc.fill_null(pc.index_in(ids, value_set=among), -1))


def _numpy(array: pa.Array) -> np.ndarray:
    return array.to_numpy(zero_copy_only=False)
