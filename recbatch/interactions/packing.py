"""Arrays as bytes: one compressed Arrow IPC message, narrow numbers, dictionaries without leftovers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.config.models import Entity


@dataclass(frozen=True)
class Chunk:
    """The rows of one slice that belong to one range of users or items, packed."""

    entity: Entity
    range: int
    data: bytes


def pack(arrays: Mapping[str, pa.Array], numbers: Mapping[str, int]) -> bytes:
    """Arrays of different lengths, and a few numbers, as bytes."""
    # One row whose values are lists: so lengths may differ, and an array costs no message of its own.
    columns = [pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), array) for array in arrays.values()]
    schema = pa.schema(
        [(name, column.type) for name, column in zip(arrays, columns, strict=True)],
        metadata={"numbers": json.dumps(dict(numbers))},
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def unpack(data: bytes) -> tuple[dict[str, pa.Array], dict[str, int]]:
    """The inverse of :func:`pack`."""
    with pa.ipc.open_stream(data) as reader:
        batch = reader.read_next_batch()
        numbers: dict[str, int] = json.loads(reader.schema.metadata[b"numbers"])
    return {name: column.flatten() for name, column in zip(batch.schema.names, batch.columns, strict=True)}, numbers


def narrow(numbers: NDArray[np.integer]) -> pa.Array:
    """Numbers that are not negative, in the narrowest type that holds them."""
    return pa.array(numbers.astype(np.min_scalar_type(int(numbers.max(initial=0)))))


def widen(values: pa.Array) -> NDArray[np.int64]:
    """The inverse of :func:`narrow`."""
    return np.asarray(values.to_numpy(), np.int64)


def pack_times(times: NDArray[np.int64], users: NDArray[np.integer]) -> tuple[pa.Array, dict[str, int]]:
    """Times that rise within each user, as differences in the coarsest unit that loses nothing."""
    base = int(times.min()) if len(times) else 0
    times = times - base
    unit = next(unit for unit in (1_000_000, 1_000, 1) if unit == 1 or not (times % unit).any())
    times = times // unit
    return narrow(np.where(_first(users), times, np.diff(times, prepend=0))), {"time_base": base, "time_unit": unit}


def unpack_times(
    differences: NDArray[np.int64], users: NDArray[np.integer], numbers: Mapping[str, int]
) -> NDArray[np.int64]:
    """The inverse of :func:`pack_times`."""
    sums = np.cumsum(differences)
    first = np.flatnonzero(_first(users))
    before = np.repeat(sums[first] - differences[first], np.diff(np.append(first, len(sums))))
    return (sums - before) * numbers["time_unit"] + numbers["time_base"]


class Compact:
    """Dictionary-codes rows of ids with only the ids that they hold."""

    def __init__(self, ids: pa.StringArray) -> None:
        self._ids = ids
        self._position = np.empty(len(ids), np.int64)  # written before it is read, for each call anew

    def __call__(self, codes: NDArray[np.integer]) -> pa.DictionaryArray:
        held = np.sort(codes)
        held = held[_first(held)]
        self._position[held] = np.arange(len(held))
        return pa.DictionaryArray.from_arrays(narrow(self._position[codes]), self._ids.take(pa.array(held)))


def _first(groups: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which rows begin a group of equal neighbours."""
    first = np.ones(len(groups), bool)
    np.not_equal(groups[1:], groups[:-1], out=first[1:])
    return first
