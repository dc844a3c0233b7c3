"""Ids as whole numbers: dictionary codes in UTF-8 byte order, orders and groups of them. All vectorised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recbatch.interactions.kinds import Column, one_array

_INT32_MAX = 2**31 - 1


def encode(values: Column) -> pa.DictionaryArray:
    """One dictionary-coded array (int32 codes) for a column; values need not be unique in the dictionary."""
    if isinstance(values, pa.Array):
        values = pa.chunked_array([values])
    if pa.types.is_float16(values.type):  # Arrow has no dictionaries of these
        values = values.cast(pa.float32())
    values = values.unify_dictionaries() if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    if values.num_chunks == 1:
        encoded = values.chunk(0)
    elif values.num_chunks == 0:
        encoded = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], values.type.value_type))
    else:
        codes = pa.chunked_array([chunk.indices for chunk in values.chunks]).combine_chunks()
        encoded = pa.DictionaryArray.from_arrays(codes, values.chunk(0).dictionary)
    if encoded.indices.type != pa.int32():
        encoded = pa.DictionaryArray.from_arrays(encoded.indices.cast(pa.int32()), encoded.dictionary)
    return encoded


def sorted_codes(values: Column) -> tuple[pa.StringArray, NDArray[np.int32]]:
    """The ids that occur, each once in UTF-8 byte order, and for every value its position among them.

    Args:
        values: strings, plain or dictionary-coded, without nulls; a dictionary's values must be unique.
    """
    if _rises(values):
        return one_array(values), np.arange(len(values), dtype=np.int32)
    encoded = encode(values)
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    used = np.zeros(len(encoded.dictionary), bool)
    used[codes] = True
    kept = np.flatnonzero(used)
    ids = encoded.dictionary if len(kept) == len(used) else encoded.dictionary.take(pa.array(kept))
    # Arrow compares strings byte by byte, which for UTF-8 is the order of their code points.
    order = pc.sort_indices(ids).to_numpy()
    position = np.zeros(len(used), np.int32)
    position[kept[order]] = np.arange(len(kept), dtype=np.int32)
    return ids.take(pa.array(order)), position[codes]


def _rises(values: Column) -> bool:
    """Whether plain values are sorted and distinct, so that nothing is to be coded; seen far sooner than hashed."""
    if pa.types.is_dictionary(values.type) or not len(values):
        return False
    ids = one_array(values)
    return len(ids) == 1 or bool(pc.all(pc.less(ids[:-1], ids[1:])).as_py())


def merge_ids(arrays: Sequence[pa.StringArray]) -> tuple[pa.StringArray, list[NDArray[np.int32]]]:
    """The union of several id arrays in UTF-8 byte order, and for each array the positions of its ids in the union."""
    ids, codes = sorted_codes(pa.chunked_array(arrays, pa.string()))
    return ids, np.split(codes, np.cumsum([len(array) for array in arrays])[:-1]) if arrays else []


def stable_order(*keys: NDArray[np.integer]) -> NDArray[np.int64]:
    """The order that sorts by the keys, the first one foremost; equal rows keep their order.

    A radix sort by 16-bit digits, several times faster than comparing: whatever the number of keys and their width,
    each digit that varies costs one pass over the rows.
    """
    order: NDArray[np.int64] | None = None
    for key in reversed(keys):
        if len(key) == 0:
            return np.zeros(0, np.int64)
        low = int(key.min())
        spread = int(key.max()) - low
        digits = np.subtract(key, low, dtype=np.int64).view(np.uint64)
        for shift in range(0, spread.bit_length(), 16):
            digit = (digits >> np.uint64(shift)).astype(np.uint16)
            if order is None:
                order = np.argsort(digit, kind="stable")
            else:
                order = order[np.argsort(digit[order], kind="stable")]
    return np.arange(len(keys[0])) if order is None else order


def distinct_pairs(
    first: NDArray[np.integer], second: NDArray[np.integer]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The pairs that occur, each once, sorted. Values must not be negative."""
    keys = (first.astype(np.uint64) << np.uint64(32)) | second.astype(np.uint64)
    keys.sort()
    new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    keys = keys[new]
    return (keys >> np.uint64(32)).astype(np.int32), (keys & np.uint64(0xFFFFFFFF)).astype(np.int32)


def last_of_group(groups: NDArray[np.integer]) -> NDArray[np.int64]:
    """Positions of the last row of each group; rows of a group are adjacent."""
    if len(groups) == 0:
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.append(groups[1:] != groups[:-1], True))


def offsets_of(groups: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Where each of ``size`` groups begins among rows sorted by group, and at last where they end; [size + 1]."""
    return np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=size))])


def newest_of_group(groups: NDArray[np.integer], size: int, count: int) -> NDArray[np.bool_]:
    """Which rows are among the last ``count`` of their group; rows are sorted by group."""
    ends = offsets_of(groups, size)[1:]
    return np.arange(len(groups)) >= ends[groups] - count


def lists_of(offsets: NDArray[np.int64], ids: pa.StringArray, codes: NDArray[np.integer]) -> pa.Array:
    """Lists of ids: row ``i`` holds ``ids[codes[offsets[i]:offsets[i + 1]]]``; large types where int32 overflows."""
    lengths = pc.binary_length(ids).to_numpy(zero_copy_only=False)
    if len(codes) and int(lengths[codes].sum(dtype=np.int64)) > _INT32_MAX:
        ids = ids.cast(pa.large_string())
    return numeric_lists(offsets, ids.take(pa.array(codes)))


def numeric_lists(offsets: NDArray[np.int64], values: pa.Array) -> pa.Array:
    """Lists of ``values`` cut at ``offsets``; a large list where int32 overflows."""
    if offsets[-1] > _INT32_MAX:
        return pa.LargeListArray.from_arrays(pa.array(offsets), values)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)
