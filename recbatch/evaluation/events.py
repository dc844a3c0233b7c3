"""The positives of the whole data as numbers, in one order, whatever the order of the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recbatch.errors import InputError
from recbatch.model import TrainingData
from recbatch.model.data import entity_table, row_numbers


@dataclass(frozen=True)
class AllEvents:
    """Every positive, sorted by user, time and item (or, asked so, by user, time and input order).

    Attributes:
        data: where they come from.
        table: their rows.
        users: id and features of all users, sorted by id.
        items: the same for items.
        user: int32 [n] row in ``users``.
        item: int32 [n] row in ``items``.
        times_us: int64 [n], or None without timestamps.
        target: bool [n] may be held out; the others are history only.
    """

    data: TrainingData
    table: pa.Table
    users: pa.Table
    items: pa.Table
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    times_us: NDArray[np.int64] | None
    target: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.user)

    def training(
        self,
        kept: NDArray[np.bool_],
        *,
        users: NDArray[np.bool_] | None = None,
        items: NDArray[np.bool_] | None = None,
        target: NDArray[np.bool_] | None = None,
    ) -> TrainingData:
        """The training data of a split.

        Args:
            kept: [n] events that may be learnt from.
            users: [num_users] those whose features may be known; None: all.
            items: the same for items.
            target: [n] events that may be training targets; None: as before.
        """
        table = self.table
        if target is not None:
            table = table.drop_columns(["target"] if "target" in table.column_names else [])
            table = table.append_column("target", pa.array(target))
        return TrainingData(
            table.filter(pa.array(kept)),
            _only(self.data.users, self.users, users),
            _only(self.data.items, self.items, items),
        )


def number_events(data: TrainingData, *, input_order: bool = False) -> AllEvents:
    """Number the positives of ``data``.

    Args:
        data: clean tables.
        input_order: events of one user at one instant stay in the order of the rows.

    Raises:
        InputError: no event is positive.
    """
    table = data.interactions.filter(data.interactions["positive"]).combine_chunks()
    if not table.num_rows:
        raise InputError(
            f"there is nothing to evaluate: none of the {data.interactions.num_rows} interactions is positive; check "
            f"the config's inputs.interactions and positives"
        )
    users = entity_table(data.users, table["user_id"])
    items = entity_table(data.items, table["item_id"])
    user, item = row_numbers(table["user_id"], users), row_numbers(table["item_id"], items)
    times = table["timestamp"].cast(pa.int64()).to_numpy() if "timestamp" in table.column_names else None
    keys = [user] if times is None else [times, user]
    order = np.lexsort(keys if input_order else [item, *keys])
    target = np.ones(len(user), bool)
    if "target" in table.column_names:
        target = table["target"].combine_chunks().to_numpy(zero_copy_only=False)[order]
    times = None if times is None else times[order]
    return AllEvents(data, table.take(pa.array(order)), users, items, user[order], item[order], times, target)


def _only(table: pa.Table | None, entities: pa.Table, kept: NDArray[np.bool_] | None) -> pa.Table | None:
    """The rows of ``table`` whose entity is kept."""
    if table is None or kept is None:
        return table
    dropped = entities["id"].combine_chunks().filter(pa.array(~kept))
    return table.filter(pc.invert(pc.is_in(table["id"].cast(pa.string()), value_set=dropped)))
