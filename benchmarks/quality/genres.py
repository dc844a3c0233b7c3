"""A rival for new items in NumPy: what nobody has taken yet is as popular as its genres are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recbatch.errors import RecbatchError
from recbatch.evaluation import Lists, Task, rank_order

_COLUMN = "feature:genres"


def genre_popularity(task: Task) -> Lists:
    """Candidates by the mean popularity of their genres; equal ones in a random order, as a number says nothing.

    A genre's popularity is the mean number of training events of the training items that have it. Genres of no
    training item count as the mean training item, as does a candidate without a genre.

    Raises:
        RecbatchError: the items have no genres.
    """
    items = task.train.items
    if items is None or _COLUMN not in items.column_names or _COLUMN not in task.candidates.column_names:
        raise RecbatchError(f"genre popularity needs the item column {_COLUMN.partition(':')[2]}")
    found = pc.index_in(task.train.interactions["item_id"].cast(pa.string()), value_set=_ids(items)).drop_null()
    events = np.bincount(found.to_numpy(), minlength=items.num_rows).astype(float)
    names = pc.unique(items[_COLUMN].combine_chunks().flatten()).drop_null()

    row, genre = _entries(items, names)
    of_genre = np.bincount(genre, events[row], len(names)) / np.bincount(genre, minlength=len(names))
    row, genre = _entries(task.candidates, names)
    sums = np.bincount(row, of_genre[genre], task.num_candidates)
    counts = np.bincount(row, minlength=task.num_candidates)
    scores = np.where(counts > 0, sums / np.maximum(counts, 1), events.mean())
    drawn = np.random.default_rng(task.seed).random(task.num_candidates)
    return rank_order(task, np.lexsort((drawn, -scores)))


def _ids(items: pa.Table) -> pa.Array:
    return items["id"].cast(pa.string()).combine_chunks()


def _entries(items: pa.Table, names: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(row [m], number of the genre [m]) of all genres that are among ``names``."""
    lists = items[_COLUMN].combine_chunks()
    number = pc.index_in(lists.flatten(), value_set=names).fill_null(-1).to_numpy().astype(np.int64)
    row = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    return row[number >= 0], number[number >= 0]
