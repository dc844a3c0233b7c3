"""A night whose users are what they did last: the times of their histories reach the tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from world import Published, World, run

from recbatch.model import load_tower

LAST = {"kind": "history", "name": "last", "pooling": "recency", "length": 4, "dim": 8}
READ = {"kind": "history", "name": "read", "pooling": "gru", "length": 3, "dim": 8, "embedding": "candidate"}
ALL = {"kind": "history", "name": "all", "length": 20, "dim": 8, "embedding": "history"}


def walks() -> World:
    """Users who walk along a ring of 24 items, one step after the other, at different speeds."""
    random = np.random.default_rng(8)
    events = []
    for user in range(120):
        start, pause = random.integers(24), random.integers(1, 5_000)
        for step in range(random.integers(6, 14)):
            at = 1_709_900_000_000 + 1_000 * user + 1_000 * int(pause) * step
            what = f"item {(start + step) % 24:02d}"
            events.append({"who": f"user {user}", "what": what, "at": at, "stars": 4.0, "kind": "view"})
    return World(events)


@pytest.mark.heavy
def test_a_night_recommends_what_comes_next(tmp_path: Path) -> None:
    training = {"epochs": 40, "batch_size": 256, "learning_rate": 0.02, "early_stopping": None, "refit": False}
    towers: dict[str, Any] = {
        "query": {"features": [LAST, READ, ALL], "combine": "sum"},
        "candidate": {"features": [{"kind": "id", "dim": 8}], "projection": False},
    }
    model = {"dim": 8, "normalize": True, "temperature": 0.1, **towers, "training": training}
    tables = {name: {"enabled": False} for name in ("item2item", "user2user", "item2user")}
    world = walks()
    config = world.config(world.write(tmp_path / "inputs"), {"model": model, "tables": tables})
    night = run(config, tmp_path / "out").night
    published = Published(tmp_path / "out")

    last = {event["who"]: int(event["what"][-2:]) for event in sorted(world.interactions, key=lambda row: row["at"])}
    best = {row["user_id"]: row["item_id"] for row in published.table("user2item").to_pylist() if row["rank"] == 1}
    right = [best[user] == f"item {(item + 1) % 24:02d}" for user, item in last.items()]
    assert np.mean(right) > 0.8

    files = [file["path"] for file in published.manifest["parts"]["user_profiles"]]
    profiles = pq.read_table(tmp_path / "out" / files[0])
    tower = load_tower(night.bundle.uri, "query")
    vectors, known = tower.embed(profiles)
    assert known.all()
    users = published.vectors("user_embeddings")
    np.testing.assert_array_equal(vectors, [users[name] for name in profiles["id"].to_pylist()])
    place = profiles.column_names.index("history_timestamps")
    at_once = profiles.set_column(place, "history_timestamps", at_one_instant(profiles["history_timestamps"]))
    assert not np.allclose(tower.embed(at_once)[0], vectors), "the times count"


def at_one_instant(times: Any) -> Any:
    """Lists of the same lengths, of zeros."""
    array = times.combine_chunks()
    lengths = array.value_lengths().to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(np.zeros(lengths.sum(), np.int64)))
