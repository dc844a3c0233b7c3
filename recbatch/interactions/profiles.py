"""Profiles: everything that is known of a user or an item up to as-of, one row each, sorted by id.

Who is in the table follows from the inputs. Without a users (items) table the ids of the interactions are it. With
one, ``unknown_users`` (``unknown_items``) says what happens to interactions that name others. What is unknown can only
be told where it is grouped: an item that is not in the items table is dropped from the item profiles, but stays in the
users' histories and seen-lists, where it is nobody's candidate and the model does not know it; likewise the users in
the ``seen`` and ``events`` of items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.config.models import Entity
from recbatch.errors import InputError
from recbatch.interactions.chunks import EntityRows, unpack_entity_rows, unpack_item_rows
from recbatch.interactions.coding import (
    distinct_pairs,
    last_of_group,
    lists_of,
    merge_ids,
    newest_of_group,
    numeric_lists,
    offsets_of,
    stable_order,
)
from recbatch.interactions.spec import ReadSpec, SourceName
from recbatch.interactions.user_chunks import POSITIVE, SEEN, UserRows, unpack_user_rows

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Profiles:
    """The profiles of one range.

    Attributes:
        table: one row per id, sorted by UTF-8 bytes; see :func:`profile_schema`.
        counts: ``users``, ``events`` (of these users), ``users_without_events``, ``duplicate_users`` (rows of the users
            table replaced by a later one), ``unknown_users`` and ``unknown_user_events`` (ids and their interactions
            that the users table does not have, whatever was done with them); likewise ``items`` and so on.
    """

    table: pa.Table
    counts: dict[str, int]


def profile_schema(entity: Entity, spec: ReadSpec) -> pa.Schema:
    """Columns of a profile table; a list or string type is a large one where a range needs it.

    ``id``, ``feature:<column>``, for users ``context:<column>`` (newest known value), ``history`` (item ids of the
    newest ``history_length`` positives, oldest first) and ``history_timestamps`` (int64 microseconds, if there are
    timestamps); ``seen`` (distinct ids of the other side, sorted), ``events`` (number of accepted interactions).
    """
    source: SourceName = "users" if entity == "user" else "items"
    fields = [("id", pa.string()), *((column.name, column.clean_type) for column in spec.features(source))]
    if entity == "user":
        fields += [(column.name, column.clean_type) for column in spec.context]
        fields.append(("history", pa.list_(pa.string())))
        if spec.has_timestamps:
            fields.append(("history_timestamps", pa.list_(pa.int64())))
    return pa.schema([*fields, ("seen", pa.list_(pa.string())), ("events", pa.int64())])


def group_users(interactions: Iterable[bytes], users: Iterable[bytes], spec: ReadSpec) -> Profiles:
    """Make the user profiles of a range from all its chunks, in whatever order they come.

    Args:
        interactions: chunks by user of :func:`recbatch.interactions.interaction_chunks`.
        users: chunks of :func:`recbatch.interactions.entity_chunks`; none without a users table.
        spec: how the inputs are read.

    Raises:
        InputError: an interaction's user is not in the users table, and the configuration says ``fail``.
    """
    chunks = sorted((unpack_user_rows(data) for data in interactions), key=lambda chunk: chunk.slice)
    roster = _Roster("user", [chunk.ids for chunk in chunks], [chunk.events for chunk in chunks], users, spec)
    columns = roster.columns()
    columns |= {column.name: _newest_context(column.name, column.clean_type, chunks, roster) for column in spec.context}
    item_ids, item_codes = merge_ids([chunk.item_ids for chunk in chunks])
    user = _joined([codes[chunk.users] for codes, chunk in zip(roster.codes, chunks, strict=True)], np.int32)
    item = _joined([codes[chunk.items] for codes, chunk in zip(item_codes, chunks, strict=True)], np.int32)
    flags = _joined([chunk.flags for chunk in chunks], np.uint8)
    times = _joined([chunk.times for chunk in chunks if chunk.times is not None], np.int64)
    del chunks  # what follows is the peak of memory

    listed, positive, seen = user >= 0, (flags & POSITIVE) != 0, (flags & SEEN) != 0
    columns["seen"] = _pair_lists(_at(seen & listed, user), _at(seen & listed, item), item_ids, roster.size)
    if spec.has_timestamps:
        times = _at(listed[positive], times)
    positive &= listed
    columns |= _histories(_at(positive, user), _at(positive, item), times, item_ids, roster.size, spec)
    columns["events"] = pa.array(roster.events)
    return Profiles(pa.table({name: columns[name] for name in profile_schema("user", spec).names}), roster.counts)


def group_items(interactions: Iterable[bytes], items: Iterable[bytes], spec: ReadSpec) -> Profiles:
    """Make the item profiles of a range; see :func:`group_users`."""
    chunks = sorted((unpack_item_rows(data) for data in interactions), key=lambda chunk: chunk.slice)
    roster = _Roster("item", [chunk.ids for chunk in chunks], [chunk.events for chunk in chunks], items, spec)
    user_ids, user_codes = merge_ids([chunk.user_ids for chunk in chunks])
    item = _joined([codes[chunk.items] for codes, chunk in zip(roster.codes, chunks, strict=True)], np.int32)
    user = _joined([codes[chunk.users] for codes, chunk in zip(user_codes, chunks, strict=True)], np.int32)
    del chunks
    columns = roster.columns()
    columns["seen"] = _pair_lists(_at(item >= 0, item), _at(item >= 0, user), user_ids, roster.size)
    columns["events"] = pa.array(roster.events)
    return Profiles(pa.table({name: columns[name] for name in profile_schema("item", spec).names}), roster.counts)


class _Roster:
    """Who is in the profile table of a range, in order, and with which features.

    Attributes:
        size: number of ids in the table.
        codes: for each chunk of interactions, the row of each of its ids; -1: not in the table.
        events: accepted interactions of each row.
        counts: see :class:`Profiles`.
    """

    def __init__(
        self,
        entity: Entity,
        ids: Sequence[pa.StringArray],
        events: Sequence[NDArray[np.int64]],
        packed: Iterable[bytes],
        spec: ReadSpec,
    ) -> None:
        source: SourceName = "users" if entity == "user" else "items"
        entities: list[EntityRows] = sorted(map(unpack_entity_rows, packed), key=lambda rows: rows.slice)
        merged, codes = merge_ids([*ids, *(rows.table["id"].combine_chunks() for rows in entities)])
        has_table = bool(spec.columns(source))
        last_row = np.full(len(merged), -1, np.int64)
        # Of equal indices the last assignment stands: the last row of an id wins.
        in_table = _joined(codes[len(ids) :], np.int32)
        last_row[in_table] = np.arange(len(in_table))
        known = last_row >= 0 if has_table else np.ones(len(merged), bool)
        all_events = np.zeros(len(merged), np.int64)
        np.add.at(all_events, _joined(codes[: len(ids)], np.int32), _joined(events, np.int64))
        policy = spec.unknown_users if entity == "user" else spec.unknown_items
        if policy == "fail" and not known.all():
            raise unknown_ids(entity, merged.filter(pa.array(~known)), int(all_events[~known].sum()))
        kept = np.ones(len(merged), bool) if policy == "keep" else known
        row = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        self.size = int(kept.sum())
        self.codes = [row[code] for code in codes[: len(ids)]]
        self.events = all_events[kept]
        self.counts = {
            f"{entity}s": self.size,
            "events": int(self.events.sum()),
            f"{entity}s_without_events": int((self.events == 0).sum()),
            f"duplicate_{entity}s": sum(rows.rows for rows in entities) - int((last_row >= 0).sum()),
            f"unknown_{entity}s": int((~known).sum()),
            f"unknown_{entity}_events": int(all_events[~known].sum()),
        }
        self._ids = merged.filter(pa.array(kept))
        self._entities = entities
        self._last_row = last_row[kept]
        self._features = spec.features(source)

    def columns(self) -> dict[str, pa.Array]:
        """Ids and features, one value per row."""
        tables = [rows.table for rows in self._entities]
        rows = pa.array(self._last_row, mask=self._last_row < 0)
        features = {
            column.name: pa.chunked_array([table[column.name].combine_chunks() for table in tables], column.clean_type)
            for column in self._features
        }
        return {"id": self._ids} | {name: values.take(rows).combine_chunks() for name, values in features.items()}


def unknown_ids(entity: Entity, ids: pa.StringArray, events: int) -> InputError:
    """The error for interactions that name ids which are not in the users (items) table."""
    return InputError(
        f"inputs.{entity}s: {events} interactions name {len(ids)} {entity}s that are not in the table, such as "
        f"{ids[0].as_py()!r}; add them, or set inputs.unknown_{entity}s to keep or drop"
    )


def _joined(arrays: Sequence[NDArray[Number]], dtype: type[Number]) -> NDArray[Number]:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype)


def _at(rows: NDArray[np.bool_], array: NDArray[Number]) -> NDArray[Number]:
    """An array at some rows; no copy in the common case of all rows."""
    return array if rows.all() else array[rows]


def _histories(
    user: NDArray[np.int32],
    item: NDArray[np.int32],
    times: NDArray[np.int64],
    item_ids: pa.StringArray,
    size: int,
    spec: ReadSpec,
) -> dict[str, pa.Array]:
    """The newest positives of each user, by time and then by input order, which is the order of the rows."""
    order = stable_order(user, times) if spec.has_timestamps else stable_order(user)
    order = order[newest_of_group(user[order], size, spec.history_length)]
    offsets = offsets_of(user[order], size)
    columns = {"history": lists_of(offsets, item_ids, item[order])}
    if spec.has_timestamps:
        columns["history_timestamps"] = numeric_lists(offsets, pa.array(times[order]))
    return columns


def _pair_lists(group: NDArray[np.int32], member: NDArray[np.int32], member_ids: pa.StringArray, size: int) -> pa.Array:
    """The distinct members of each group, sorted."""
    groups, members = distinct_pairs(group, member)
    return lists_of(offsets_of(groups, size), member_ids, members)


def _newest_context(name: str, clean_type: pa.DataType, chunks: Sequence[UserRows], roster: _Roster) -> pa.Array:
    """Each user's newest known value of a context column; of equal times the later in input order."""
    parts = [chunk.context[name] for chunk in chunks]
    user = _joined([codes[at] for codes, (at, _, _) in zip(roster.codes, parts, strict=True)], np.int32)
    time = _joined([times for _, times, _ in parts], np.int64)
    values = pa.chunked_array([values for _, _, values in parts], clean_type)
    order = stable_order(user, time)
    order = order[user[order] >= 0]
    order = order[last_of_group(user[order])]
    row = np.full(roster.size, -1, np.int64)
    row[user[order]] = order
    return values.take(pa.array(row, mask=row < 0)).combine_chunks()
