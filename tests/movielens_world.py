"""A small made-up world in the columns of MovieLens, for the configurations that read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.quality.sources import Source

DS = "1998-04-23"
_START, _DAY = 880_000_000, 86_400
_GENRES = ("Action", "Comedy", "Drama", "Western")
_WORDS = ("Long", "Short", "Old", "New")


def write_movielens(folder: Path, *, users: int = 40, items: int = 60, per_user: int = 15, seed: int = 7) -> Source:
    """Write it: every user rates movies of two of four genres, mostly, from one star to five, each movie once."""
    random = np.random.default_rng(seed)
    liked = (np.arange(items) % len(_GENRES) // 2 == np.arange(users)[:, None] % 2) + 0.1
    rated = [random.choice(items, per_user, replace=False, p=row / row.sum()) for row in liked]
    who, what = np.repeat(np.arange(users), per_user), np.concatenate(rated)
    titles = np.array([f"The {_WORDS[n % 4]} Film {n} ({1950 + n % 50})" for n in range(items)])
    events = {
        "user_id": [str(user) for user in who],
        "item_id": [str(item) for item in what],
        "title": titles[what],
        "rating": random.integers(1, 6, len(who)).astype(np.float32),
        "timestamp": _START + random.permutation(len(who)) * _DAY // 10,
    }
    people = {
        "user_id": [str(user) for user in range(users)],
        "age": pa.array([20 + user for user in range(users)], pa.int32()),
        "gender": [("F", "M")[user % 2] for user in range(users)],
        "occupation": [("writer", "doctor", "other")[user % 3] for user in range(users)],
    }
    movies = {
        "item_id": [str(item) for item in range(items)],
        "title": titles,
        "year": pa.array([1950 + item % 50 for item in range(items)], pa.int32()),
        "genres": [f"{_GENRES[item % 4]}|{_GENRES[item // 4 % 4]}" for item in range(items)],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in (("interactions", events), ("users", people), ("items", movies)):
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return Source("small", folder)
