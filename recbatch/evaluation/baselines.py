"""What needs no package and no fit: how good a list is that knows nothing of who asks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recbatch.evaluation.ranking import rank_order
from recbatch.evaluation.task import Lists, Task

_RECENT_US = 30 * 86_400_000_000
_RANDOM = 0xBA5E


def popularity(task: Task) -> Lists:
    """The candidates with most training events; equal ones in a random order, for a number says nothing."""
    return rank_order(task, _by_count(task, task.popularity))


def recent_popularity(task: Task) -> Lists | None:
    """The same by the events of the last 30 days of training, then by all; None without timestamps."""
    table = task.train.interactions
    if "timestamp" not in table.column_names:
        return None
    times = table["timestamp"].cast(pa.int64()).to_numpy()
    recent = table.filter(pa.array(times > times.max(initial=0) - _RECENT_US))
    if "target" in recent.column_names:
        recent = recent.filter(recent["target"])
    found = pc.index_in(recent["item_id"].cast(pa.string()), value_set=task.items).drop_null().to_numpy()
    counts = np.bincount(found, minlength=task.num_candidates)
    return rank_order(task, _by_count(task, counts, task.popularity))


def random_order(task: Task) -> Lists:
    """One random order of the candidates for all: what a catalog gives away by chance."""
    return rank_order(task, _by_count(task))


BASELINES: dict[str, Callable[[Task], Lists | None]] = {
    "popularity": popularity,
    "recent popularity": recent_popularity,
    "random order": random_order,
}


def _by_count(task: Task, *counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Candidate numbers by falling counts, the first deciding first."""
    drawn = np.random.default_rng([task.seed, _RANDOM]).random(task.num_candidates)
    return np.lexsort((drawn, *(-count for count in reversed(counts))))
