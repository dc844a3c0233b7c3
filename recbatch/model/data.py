"""What a fit is made from: entity tables and positive events as row numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recbatch.errors import InputError


@dataclass(frozen=True)
class TrainingData:
    """Clean tables up to as-of, in memory.

    Attributes:
        interactions: user_id, item_id (string), positive (bool) and, where known, timestamp (int64, microseconds since
            the epoch) and ``context:<column>``. Only the positives are used. A bool column ``target`` says which of
            them are to be predicted; the others are history only. Without it all are.
        users: id (string, unique) and ``feature:<column>``; None: the users of the interactions, without features.
        items: the same for items. Events may name ids that are not in the tables: they join them without features.
    """

    interactions: pa.Table
    users: pa.Table | None = None
    items: pa.Table | None = None


@dataclass(frozen=True)
class Events:
    """Positive events sorted by (user, time, item): arrays of length n.

    Attributes:
        users: int32, row in :attr:`Prepared.users` (of pairs of items: the query item).
        items: int32, row in :attr:`Prepared.items`.
        times_us: int64, or None without timestamps.
        context: ``context:<column>`` columns.
        owners: uint64, of pairs of items: a number that names the user whose they are; else None.
        targets: bool, whether it is to be predicted, or only a part of histories; None: all are.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times_us: NDArray[np.int64] | None
    context: pa.Table
    owners: NDArray[np.uint64] | None = None
    targets: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.users)

    def select(self, mask: NDArray[np.bool_]) -> Events:
        """The events where ``mask`` [n] is true, in the same order."""
        times = None if self.times_us is None else self.times_us[mask]
        owners = None if self.owners is None else self.owners[mask]
        targets = None if self.targets is None else self.targets[mask]
        context = self.context.filter(pa.array(mask))
        return Events(self.users[mask], self.items[mask], times, context, owners, targets)


@dataclass(frozen=True)
class Prepared:
    """Entity tables sorted by id (UTF-8 bytes), holding every id of the interactions, and the positive events."""

    users: pa.Table
    items: pa.Table
    events: Events


def prepare(data: TrainingData) -> Prepared:
    """Number users, items and positive events.

    The result does not depend on the order of the rows, so neither do the weights of a model fitted to it.

    Raises:
        InputError: no event is positive.
    """
    interactions = data.interactions
    positives = interactions.filter(interactions["positive"])
    if not positives.num_rows:
        raise InputError(
            f"there is nothing to train on: none of the {interactions.num_rows} interactions up to as-of is positive; "
            f"check the date and the config's positives.min_weight and positives.event_types"
        )
    users = entity_table(data.users, interactions["user_id"])
    items = entity_table(data.items, interactions["item_id"])
    return Prepared(users, items, _events(positives, users, items))


def entity_table(table: pa.Table | None, ids: pa.ChunkedArray) -> pa.Table:
    """The table, or one of ids alone, with a row for every one of ``ids``; sorted by id."""
    named = pa.table({"id": pc.unique(ids).cast(pa.string())})
    if table is not None:
        table = table.set_column(table.schema.get_field_index("id"), "id", table["id"].cast(pa.string()))
        added = named.filter(pc.invert(pc.is_in(named["id"], value_set=table["id"].combine_chunks())))
        named = pa.concat_tables([table, added], promote_options="default")
    return named.sort_by("id").combine_chunks()


def _events(positives: pa.Table, users: pa.Table, items: pa.Table) -> Events:
    user_rows = row_numbers(positives["user_id"], users)
    item_rows = row_numbers(positives["item_id"], items)
    times = None
    keys: list[NDArray] = [item_rows]
    if "timestamp" in positives.column_names:
        times = positives["timestamp"].cast(pa.int64()).to_numpy()
        keys.append(times)
    order = np.lexsort([*keys, user_rows])
    context = [name for name in positives.column_names if name.startswith("context:")]
    targets = positives["target"].to_numpy() if "target" in positives.column_names else None
    return Events(
        user_rows[order],
        item_rows[order],
        None if times is None else times[order],
        positives.select(context).take(pa.array(order)) if context else pa.table({"row": order}).select([]),
        targets=None if targets is None else targets[order],
    )


def row_numbers(ids: pa.ChunkedArray, entities: pa.Table) -> NDArray[np.int32]:
    """[n] the row of each id in an entity table; every id must be there."""
    found = pc.index_in(ids.cast(pa.string()), value_set=entities["id"].combine_chunks())
    return found.to_numpy().astype(np.int32, copy=False)
