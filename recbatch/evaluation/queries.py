"""Profiles of those who ask, as a night would make them from the training events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.evaluation.events import AllEvents
from recbatch.model.ranges import ranges


@dataclass(frozen=True)
class Asked:
    """The queries of a task.

    Attributes:
        user: int32 [q] row of the asking user.
        history: int64 [h] places of the events behind each query, oldest first, one query after the other.
        offsets: int64 [q + 1]: the history of query i is ``history[offsets[i]:offsets[i + 1]]``.
        as_of_us: int64 [q] when is asked; None without timestamps.
        context: int64 [q] place of the event whose context is the query's; None: the newest known value of each column
            among the history.
    """

    user: NDArray[np.int32]
    history: NDArray[np.int64]
    offsets: NDArray[np.int64]
    as_of_us: NDArray[np.int64] | None
    context: NDArray[np.int64] | None = None

    @property
    def query_of_history(self) -> NDArray[np.int32]:
        """int32 [h] the query of each event in ``history``."""
        return np.repeat(np.arange(len(self.user), dtype=np.int32), np.diff(self.offsets))


def offsets_of(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """[q + 1] where each query's history begins, and the end of the last, from their ``lengths`` [q]."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def ask_users(events: AllEvents, users: NDArray[np.int32], known: NDArray[np.bool_]) -> Asked:
    """One query per user [q], with the user's ``known`` [n] events behind it, asked at the time of the last of all."""
    places = np.flatnonzero(known)
    count = np.bincount(events.user[places], minlength=events.users.num_rows)
    first = np.cumsum(count) - count
    _, history = ranges(first[users], count[users])
    as_of = None
    if events.times_us is not None:
        newest = int(events.times_us[places].max()) if len(places) else int(events.times_us.min())
        as_of = np.full(len(users), newest, np.int64)
    return Asked(users, places[history], offsets_of(count[users]), as_of)


def ask_events(events: AllEvents, asking: NDArray[np.int64], known: NDArray[np.bool_]) -> Asked:
    """One query per event [q] at its time and in its context; behind it are the user's ``known`` events before it.

    Without timestamps all of the user's known events are.
    """
    users = events.user[asking]
    if events.times_us is None:
        return Asked(users, *_of_users(events, users, known), None, asking)
    places = np.flatnonzero(known)
    count = np.bincount(events.user[places], minlength=events.users.num_rows)
    first = (np.cumsum(count) - count)[users]
    # Known events and questions on one line, at equal times the questions first: what was counted before a question is
    # behind it.
    times = np.concatenate([events.times_us[asking], events.times_us[places]])
    is_known = np.arange(len(times)) >= len(asking)
    order = np.lexsort((is_known, times, np.concatenate([users, events.user[places]])))
    before = np.empty(len(times), np.int64)
    before[order] = np.cumsum(is_known[order])
    lengths = before[: len(asking)] - first
    _, history = ranges(first, lengths)
    return Asked(users, places[history], offsets_of(lengths), events.times_us[asking], asking)


def _of_users(
    events: AllEvents, users: NDArray[np.int32], known: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    asked = ask_users(events, users, known)
    return asked.history, asked.offsets


def query_table(events: AllEvents, asked: Asked) -> pa.Table:
    """The queries' profiles, see :class:`recbatch.evaluation.task.Task`."""
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    users = events.users.take(pa.array(asked.user))
    columns["id"] = users["id"]
    offsets = pa.array(asked.offsets.astype(np.int32))
    item_ids = events.items["id"].combine_chunks()
    columns["history"] = pa.ListArray.from_arrays(offsets, item_ids.take(pa.array(events.item[asked.history])))
    if events.times_us is not None and asked.as_of_us is not None:
        times = pa.array(events.times_us[asked.history])
        columns["history_timestamps"] = pa.ListArray.from_arrays(offsets, times)
        columns["as_of_us"] = pa.array(asked.as_of_us)
    columns |= {name: users[name] for name in users.column_names if name.startswith("feature:")}
    for name in events.table.column_names:
        if name.startswith("context:"):
            columns[name] = _context(events.table[name].combine_chunks(), asked)
    return pa.table(columns)


def _context(column: pa.Array, asked: Asked) -> pa.Array:
    """The column's value of each query."""
    if asked.context is not None:
        return column.take(pa.array(asked.context))
    known = column.is_valid().to_numpy(zero_copy_only=False)[asked.history]
    newest = np.full(len(asked.user), -1, np.int64)
    newest[asked.query_of_history[known]] = asked.history[known]  # of equal indices the last assignment stands
    return column.take(pa.array(newest, mask=newest < 0))
