"""Profiles of users as of a training split: what a night would know of them, had the held-out events not happened."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.model.columns import one_array
from recbatch.model.data import Events, Prepared
from recbatch.model.ranges import ranges


def user_profiles(prepared: Prepared, train: Events, users: NDArray[np.integer]) -> pa.Table:
    """One row for each of ``users`` [n] (rows of ``prepared.users``), as the towers read them.

    ``id``, ``feature:*``; ``context:*``, the newest known value; ``history``, all items of ``train``, oldest first, and
    ``history_timestamps`` where there are times.
    """
    counts = np.bincount(train.users, minlength=prepared.users.num_rows)
    starts = np.cumsum(counts) - counts
    profiles = prepared.users.take(pa.array(users))
    for name in train.context.column_names:
        profiles = profiles.append_column(name, _newest(train, name, prepared.users.num_rows).take(pa.array(users)))
    _, places = ranges(starts[users], counts[users])
    offsets = pa.array(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[users])]), pa.int64())
    items = one_array(prepared.items["id"]).take(pa.array(train.items[places]))
    profiles = profiles.append_column("history", pa.LargeListArray.from_arrays(offsets, items))
    if train.times_us is not None:
        times = pa.LargeListArray.from_arrays(offsets, pa.array(train.times_us[places]))
        profiles = profiles.append_column("history_timestamps", times)
    return profiles


def _newest(train: Events, name: str, num_users: int) -> pa.Array:
    """[num_users] the last value of a context column that is not null; events are sorted by user and time."""
    column = one_array(train.context[name])
    known = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    place = np.full(num_users, -1)
    np.maximum.at(place, train.users[known], known)
    return column.take(pa.array(place, mask=place < 0))
