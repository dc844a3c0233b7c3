"""What travels from the slices to the ranges: the rows of one slice in one range, reduced and packed tightly.

Ids are dictionary codes (a dictionary holds the ids of its chunk only), times are differences within a user, numbers
have the narrowest type that holds them, and all is compressed. A chunk carries the number of its slice, so that what is
grouped does not depend on the order in which chunks arrive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.config.models import Entity
from recbatch.interactions.coding import distinct_pairs, last_of_group, sorted_codes
from recbatch.interactions.kinds import true_rows
from recbatch.interactions.packing import Chunk, Compact, narrow, pack, unpack, widen
from recbatch.interactions.ranges import ranges_of, split_by_range
from recbatch.interactions.spec import ReadSpec
from recbatch.interactions.user_chunks import Ids, user_chunks


@dataclass(frozen=True)
class ItemRows:
    """A chunk by item, unpacked.

    Attributes:
        slice: number of the slice.
        ids: the items, sorted.
        events: accepted events of each item.
        items: position in ``ids``, of each distinct pair of an item and a user who has seen it; not decreasing.
        users: position in ``user_ids``, of each pair.
        user_ids: the users, sorted.
    """

    slice: int
    ids: pa.StringArray
    events: NDArray[np.int64]
    items: NDArray[np.int32]
    users: NDArray[np.int32]
    user_ids: pa.StringArray


@dataclass(frozen=True)
class EntityRows:
    """A chunk of a users or items table, unpacked: rows with unique sorted ids, and how many rows these came from."""

    slice: int
    rows: int
    table: pa.Table


def interaction_chunks(
    table: pa.Table, number: int, user_cuts: Sequence[str], item_cuts: Sequence[str], spec: ReadSpec
) -> Iterator[Chunk]:
    """Pack the clean interactions of slice ``number`` twice: by range of users, and by range of items.

    Every id that occurs is in a chunk of its range, also if none of its events is positive or seen.
    """
    users, items = Ids(*sorted_codes(table["user_id"])), Ids(*sorted_codes(table["item_id"]))
    yield from user_chunks(table, users, items, number, user_cuts, spec)
    yield from _item_chunks(true_rows(table["seen"]), users, items, number, item_cuts)


def entity_chunks(table: pa.Table, entity: Entity, number: int, cuts: Sequence[str]) -> Iterator[Chunk]:
    """Pack the clean users or items of slice ``number`` by range; of several rows with one id the last is kept."""
    for range_number, rows in split_by_range(table, "id", cuts):
        last = rows.take(pa.array(last_of_group(sorted_codes(rows["id"])[1])))
        arrays = {name: last[name].combine_chunks() for name in last.column_names}
        yield Chunk(entity, range_number, pack(arrays, {"slice": number, "rows": rows.num_rows}))


def unpack_item_rows(data: bytes) -> ItemRows:
    """The inverse of what :func:`interaction_chunks` packs by item."""
    arrays, numbers = unpack(data)
    kept = widen(arrays["kept"])
    users = arrays["user"]
    return ItemRows(
        slice=numbers["slice"],
        ids=arrays["id"],
        events=widen(arrays["events"]),
        items=np.repeat(np.arange(len(kept), dtype=np.int32), kept),
        users=users.indices.to_numpy().astype(np.int32),
        user_ids=users.dictionary,
    )


def unpack_entity_rows(data: bytes) -> EntityRows:
    """The inverse of what :func:`entity_chunks` packs."""
    arrays, numbers = unpack(data)
    return EntityRows(numbers["slice"], numbers["rows"], pa.table(arrays))


def _item_chunks(seen: NDArray[np.bool_], users: Ids, items: Ids, number: int, cuts: Sequence[str]) -> Iterator[Chunk]:
    size = len(items.distinct)
    item_of_pair, user_of_pair = distinct_pairs(items.codes[seen], users.codes[seen])
    events, kept = (np.bincount(codes, minlength=size) for codes in (items.codes, item_of_pair))
    compact = Compact(users.distinct)
    for range_number, ids in ranges_of(items.distinct, cuts):
        part = slice(*np.searchsorted(item_of_pair, [ids.start, ids.stop]))
        arrays = {
            "id": items.distinct[ids],
            "events": narrow(events[ids]),
            "kept": narrow(kept[ids]),
            "user": compact(user_of_pair[part]),
        }
        yield Chunk("item", range_number, pack(arrays, {"slice": number}))
