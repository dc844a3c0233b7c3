"""Chunks by user: what a range needs of a slice to make histories, seen-lists and newest context values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.interactions.coding import last_of_group, newest_of_group, stable_order
from recbatch.interactions.kinds import true_rows
from recbatch.interactions.packing import Chunk, Compact, narrow, pack, pack_times, unpack, unpack_times, widen
from recbatch.interactions.ranges import ranges_of
from recbatch.interactions.spec import ReadSpec

POSITIVE, SEEN = 1, 2  # bits of an event's flags


@dataclass(frozen=True)
class Ids:
    """A column of ids: the distinct ones in UTF-8 byte order, and every row's position among them."""

    distinct: pa.StringArray
    codes: NDArray[np.int32]


@dataclass(frozen=True)
class UserRows:
    """A chunk by user, unpacked.

    Attributes:
        slice: number of the slice.
        ids: the users, sorted.
        events: accepted events of each user.
        users: position in ``ids`` of each kept event's user; not decreasing.
        items: position in ``item_ids`` of each kept event's item.
        item_ids: the items, sorted.
        flags: POSITIVE and SEEN of each kept event.
        times: microseconds of each kept positive event; None without timestamps.
        context: by column, the newest known values: position in ``ids``, time (0 without timestamps), value.
    """

    slice: int
    ids: pa.StringArray
    events: NDArray[np.int64]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    item_ids: pa.StringArray
    flags: NDArray[np.uint8]
    times: NDArray[np.int64] | None
    context: dict[str, tuple[NDArray[np.int64], NDArray[np.int64], pa.Array]]


def user_chunks(
    table: pa.Table, users: Ids, items: Ids, number: int, cuts: Sequence[str], spec: ReadSpec
) -> Iterator[Chunk]:
    """Pack the events of slice ``number`` by range of users.

    Positives that cannot be among a user's newest ``history_length``, and all but a user's newest value of each context
    column, stay behind.
    """
    size = len(users.distinct)
    times = table["timestamp"].to_numpy() if spec.has_timestamps else np.zeros(table.num_rows, np.int64)
    order = stable_order(users.codes, times)
    user, times = users.codes[order], times[order]
    positive, seen = (true_rows(table[name])[order] for name in ("positive", "seen"))
    positive = _newest(positive, user, size, spec.history_length)
    context = {column.name: _newest_known(table[column.name], order, user) for column in spec.context}
    events = np.bincount(user, minlength=size)

    rows = np.flatnonzero(positive | seen)
    user_of_row, item_of_row, time_of_row = user[rows], items.codes[order[rows]], times[rows]
    positive = positive[rows]
    flags = (positive * POSITIVE + seen[rows] * SEEN).astype(np.uint8)
    kept = np.bincount(user_of_row, minlength=size)
    compact = Compact(items.distinct)
    for range_number, ids in ranges_of(users.distinct, cuts):
        part = slice(*np.searchsorted(user_of_row, [ids.start, ids.stop]))
        arrays = {
            "id": users.distinct[ids],
            "events": narrow(events[ids]),
            "kept": narrow(kept[ids]),
            "item": compact(item_of_row[part]),
            "flags": pa.array(flags[part]),
        }
        numbers = {"slice": number}
        if spec.has_timestamps:
            in_history = np.flatnonzero(positive[part]) + part.start
            arrays["time"], scale = pack_times(time_of_row[in_history], user_of_row[in_history])
            numbers |= scale
        for name, (at, values) in context.items():
            which = slice(*np.searchsorted(user[at], [ids.start, ids.stop]))
            arrays[name] = values[which]
            arrays[f"user/{name}"] = narrow(user[at[which]] - ids.start)
            arrays[f"time/{name}"] = pa.array(times[at[which]])
        yield Chunk("user", range_number, pack(arrays, numbers))


def unpack_user_rows(data: bytes) -> UserRows:
    """The inverse of what :func:`user_chunks` packs."""
    arrays, numbers = unpack(data)
    kept = widen(arrays["kept"])
    users = np.repeat(np.arange(len(kept), dtype=np.int32), kept)
    flags = arrays["flags"].to_numpy()
    times = None
    if "time" in arrays:
        times = unpack_times(widen(arrays["time"]), users[(flags & POSITIVE) != 0], numbers)
    names = [name for name in arrays if name.startswith("context:")]
    context = {name: (widen(arrays[f"user/{name}"]), widen(arrays[f"time/{name}"]), arrays[name]) for name in names}
    items = arrays["item"]
    return UserRows(
        slice=numbers["slice"],
        ids=arrays["id"],
        events=widen(arrays["events"]),
        users=users,
        items=items.indices.to_numpy().astype(np.int32),
        item_ids=items.dictionary,
        flags=flags,
        times=times,
        context=context,
    )


def _newest(positive: NDArray[np.bool_], users: NDArray[np.int32], size: int, count: int) -> NDArray[np.bool_]:
    """The positives among the newest ``count`` of their user; rows are sorted by user and time."""
    rows = np.flatnonzero(positive)
    newest = np.zeros(len(positive), bool)
    newest[rows[newest_of_group(users[rows], size, count)]] = True
    return newest


def _newest_known(
    column: pa.ChunkedArray, order: NDArray[np.int64], users: NDArray[np.int32]
) -> tuple[NDArray[np.int64], pa.Array]:
    """Each user's newest value that is not null: its position among the sorted rows, and the value."""
    known = np.flatnonzero(true_rows(column.is_valid())[order])
    at = known[last_of_group(users[known])]
    return at, column.take(pa.array(order[at])).combine_chunks()
