"""Interactions of a measurement: many users with few events, few with many, and one with as many as a robot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_FILE = 1_000_000
"""Rows of a file."""
_YEAR_US = 365 * 24 * 3600 * 1_000_000
_FIRST_US = 1_735_689_600_000_000
"""The beginning of 2025."""


def write_events(rows: int, heaviest: int, folder: Path, *, seed: int = 0) -> Path:
    """Write a folder of ``user_id, item_id, timestamp``, unless it is there; a twentieth as many users as rows.

    Users and items are drawn with Zipf-like weights, times evenly over a year; rows come in no order.

    Args:
        rows: of all files together.
        heaviest: how many of them are of one user.
        folder: the folder of folders.
        seed: of the draws.
    """
    made, unfinished = folder / f"events-{rows}-{heaviest}", folder / "unfinished"
    if made.exists():
        return made
    unfinished.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    users, items = max(1, rows // 20), max(1, rows // 200)
    for number, first in enumerate(range(0, rows, _FILE)):
        size = min(_FILE, rows - first)
        user = (users * rng.random(size) ** 2).astype(np.int64)
        user[rng.random(size) < heaviest / rows] = users
        item = (items * rng.random(size) ** 3).astype(np.int64)
        time = _FIRST_US + rng.integers(0, _YEAR_US, size)
        table = pa.table(
            {
                "user_id": pa.array(user).cast(pa.string()),
                "item_id": pa.array(item).cast(pa.string()),
                "timestamp": pa.array(time, pa.timestamp("us", "UTC")),
            }
        )
        pq.write_table(table, unfinished / f"{number:05d}.parquet", compression="zstd")
    return unfinished.rename(made)
