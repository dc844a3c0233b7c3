"""A synthetic dataset with ids only: many items, few events of each, and taste that is local.

In the MovieLens datasets everybody may take everything. Shops, places and clips are otherwise: an item is for the
people of some neighbourhood, its events are few, and little is popular everywhere. What wins on MovieLens need not win
there, so there is a table for it. ``python -m benchmarks.quality.worlds [FILE]`` writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

USERS, ITEMS, PLACES, EVENTS_PER_USER = 10_000, 14_000, 25, 31
_FACTORS, _TASTE, _POPULARITY = 8, 0.55, 1.5
_AT_HOME = 1.2
_LEAST_EVENTS = 8


def write_sparse_world(path: Path, seed: int = 1) -> None:
    """Write interactions (user_id, item_id; a pair at most once) of about 300,000 events to ``path``.

    Every item is in one of some places of very different sizes. A user takes items of a home, of up to two places near
    it and now and then of one anywhere: those that are best by taste (a dot product), popularity, and chance (Gumbel
    noise, so that they are drawn without replacement from a softmax).
    """
    random = np.random.default_rng(seed)
    share = 1 / (np.arange(PLACES) + 2) ** 1.1
    share /= share.sum()
    place_of = random.choice(PLACES, ITEMS, p=share)
    factors, popularity = random.normal(size=(ITEMS, _FACTORS)), random.normal(0, _POPULARITY, ITEMS)
    where = random.normal(size=(PLACES, 2))
    activity = random.lognormal(0, 0.9, USERS)
    counts = np.maximum(_LEAST_EVENTS, activity / activity.sum() * USERS * EVENTS_PER_USER).astype(int)
    taken = []
    for user in range(USERS):
        home = random.choice(PLACES, p=share)
        bonus = _visited(random, home, where, share)
        near = np.flatnonzero(np.isfinite(bonus[place_of]))
        taste = factors[near] @ random.normal(size=_FACTORS) * _TASTE
        scores = taste + popularity[near] + bonus[place_of[near]] + random.gumbel(size=len(near))
        taken.append(near[np.argsort(-scores)[: counts[user]]])
    users = np.repeat(np.arange(USERS), [len(items) for items in taken])
    items = np.concatenate(taken)
    order = random.permutation(len(users))
    names = {"user_id": [f"u{user}" for user in users[order]], "item_id": [f"i{item}" for item in items[order]]}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(names), path)


def _visited(random: np.random.Generator, home: int, where: NDArray, share: NDArray) -> NDArray[np.float64]:
    """[places] what a place adds to the scores of its items; -inf where the user does not go."""
    bonus = np.full(len(where), -np.inf)
    near = np.argsort(((where - where[home]) ** 2).sum(axis=1))[1:6]
    also = list(random.choice(near, random.integers(0, 3), replace=False))
    if random.random() < 0.4:
        also.append(random.choice(len(where), p=share))
    bonus[also] = random.normal(0, 0.7, len(also))
    bonus[home] = _AT_HOME
    return bonus


if __name__ == "__main__":
    write_sparse_world(Path(sys.argv[1] if len(sys.argv) > 1 else "data/sparse/interactions.parquet"))
