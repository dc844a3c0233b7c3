"""Tasks and lists as files, for systems in other environments: NumPy arrays of whole numbers, nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recbatch.errors import InputError
from recbatch.evaluation.task import WIDTH, Lists, Task

LISTS = "lists.npy"


def write_task(task: Task, folder: str | Path) -> None:
    """Write ``train.npz`` and ``queries.npz`` into ``folder``, which is made if need be.

    ``train.npz``: users, items int32 [n], times int64 [n] (microseconds, -1 without), target bool [n], sorted by user
    and time; num_users, num_items, num_candidates. Candidates are the items below num_candidates; others (what is
    trained on when new items are ranked) come behind them.

    ``queries.npz``: user int32 [q] (-1: not in training), history_items int32 [h] (oldest first) with history_offsets
    int64 [q + 1] and history_times int64 [h], seen_items int32 [s] (to be left out of the lists) with seen_offsets
    int64 [q + 1], as_of int64 [q] (-1 without).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table, queries = task.train.interactions, task.queries
    histories = queries["history"].combine_chunks()
    named = pa.chunked_array([pc.unique(table["item_id"]).cast(pa.string()), histories.flatten()])
    others = pc.unique(named.filter(pc.invert(pc.is_in(named, value_set=task.items))))
    items = pa.concat_arrays([task.items, others])
    users = pc.unique(table["user_id"]).cast(pa.string()).sort()

    user, item = _numbers(table["user_id"], users), _numbers(table["item_id"], items)
    times = _times(table, "timestamp")
    order = np.lexsort((times, user))
    target = np.ones(len(user), bool)
    if "target" in table.column_names:
        target = table["target"].combine_chunks().to_numpy(zero_copy_only=False)
    np.savez(
        folder / "train.npz",
        users=user[order],
        items=item[order],
        times=times[order],
        target=target[order],
        num_users=len(users),
        num_items=len(items),
        num_candidates=task.num_candidates,
    )
    seen = np.bincount(task.seen_query, minlength=task.num_queries)
    stamps = queries["history_timestamps"].combine_chunks() if "history_timestamps" in queries.column_names else None
    np.savez(
        folder / "queries.npz",
        user=_numbers(queries["id"], users) if task.entity == "user" else np.full(task.num_queries, -1, np.int32),
        history_items=_numbers(histories.flatten(), items),
        history_offsets=_offsets(pc.list_value_length(histories).to_numpy()),
        history_times=np.full(len(histories.flatten()), -1) if stamps is None else stamps.flatten().to_numpy(),
        seen_items=task.seen_item,
        seen_offsets=_offsets(seen),
        as_of=_times(queries, "as_of_us"),
    )


def read_lists(folder: str | Path, task: Task, name: str = LISTS) -> Lists:
    """The lists that a system left in ``folder``.

    Raises:
        InputError: there are none, or they do not fit the task.
    """
    path = Path(folder) / name
    try:
        lists = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no lists: {error}") from None
    wanted = (task.num_queries, WIDTH)
    if lists.shape != wanted or lists.dtype != np.int32:
        raise InputError(f"{path}: lists are int32 {list(wanted)}, these are {lists.dtype} {list(lists.shape)}")
    if lists.size and not -1 <= lists.min() <= lists.max() < task.num_candidates:
        raise InputError(
            f"{path}: candidates are -1 to {task.num_candidates - 1}, these {lists.min()} to {lists.max()}"
        )
    return lists


def _numbers(ids: pa.Array | pa.ChunkedArray, known: pa.Array) -> NDArray[np.int32]:
    return pc.index_in(ids.cast(pa.string()), value_set=known).fill_null(-1).to_numpy().astype(np.int32, copy=False)


def _times(table: pa.Table, column: str) -> NDArray[np.int64]:
    if column not in table.column_names:
        return np.full(table.num_rows, -1, np.int64)
    return table[column].cast(pa.int64()).to_numpy()


def _offsets(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
