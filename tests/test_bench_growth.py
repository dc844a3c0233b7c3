"""What the growth bench makes of its nights; and one night that is really cut into shards."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.growth import Growth, exponent, measure, series
from benchmarks.speed.worlds import World
from recbatch.index import candidate_bytes


def test_exponents() -> None:
    assert exponent([10, 20, 40], [3.0, 6.0, 12.0]) == pytest.approx(1)
    assert exponent([10, 20, 40], [5.0, 5.0, 5.0]) == pytest.approx(0)
    assert exponent([10, 20], [0.0, 1.0]) is None


def test_a_series_is_above_its_base() -> None:
    nights = [{"users": users, "seconds": 8 + users, "peak_bytes": 100 + users} for users in (1, 2, 4)]
    found = series(nights, {"seconds": 8, "peak_bytes": 90}, "users")
    assert found["exponent"] == pytest.approx(1)
    assert found["exponent_of_whole"] < 0.3
    assert found["peak_spread"] == pytest.approx(104 / 101 - 1)


def test_the_figures_follow_from_the_nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nights that take a second for each 1,000 users and the root of the items, and 100 bytes for each candidate."""

    def night(_: Growth, tables: Sequence[str], users: int, items: int, **sections: dict[str, Any]) -> dict[str, Any]:
        held = sections.get("index", {}).get("memory_gib", 4) * 2**30 / 2
        candidates = users if tables[0].endswith("user") else items
        count = -(-candidates * candidate_bytes(64) // int(held))
        shards = {tables[0]: [candidates // count] * count}
        seconds = 8 + users / 1_000 * (items / 1_000) ** 0.5
        peak = 10**9 + 100 * candidates // count
        return {"users": users, "items": items, "seconds": seconds, "peak_bytes": peak, "shards": shards}

    monkeypatch.setattr(Growth, "night", night)
    sizes = {"users": 100_000, "items": 50_000, "sharded_users": 4_000_000, "sharded_items": 1_000, "shards": 4}
    result = measure(argparse.Namespace(work=str(tmp_path), runs=1, sharded_tables=["item2user"], **sizes))
    assert result["figures"]["users_exponent"] == pytest.approx(1, abs=0.05)
    assert result["figures"]["items_exponent"] == pytest.approx(0.5, abs=0.05)
    assert result["figures"]["peak_spread"] == 0
    assert result["figures"]["shards"] == 4
    assert [night["count"] for night in result["sharded"]["nights"]] == [1, 2, 4]
    most = result["sharded"]["nights"][-1]
    assert most["shard_bytes"] == {"item2user": [1_000_000 * candidate_bytes(64)] * 4}
    assert result["figures"]["share_of_budget"] == (10**8 - 10**5) / most["budget_bytes"]
    assert all(result["reached"].values())


@pytest.mark.heavy
def test_a_small_budget_cuts_a_real_night(tmp_path: Path) -> None:
    growth = Growth(tmp_path, 1, World(dim=16, clusters=10, rank=4))
    budget = 2 * 2_000 / 4 * candidate_bytes(16) * 1.05
    sections: dict[str, dict[str, Any]] = {"index": {"memory_gib": budget / 2**30}, "run": {"range_ids": 50}}
    night = growth.night(["item2user"], 2_000, 300, **sections)
    (shards,) = night["shards"].values()
    assert len(shards) == 4
    assert sum(shards) == 2_000
    assert max(shards) * candidate_bytes(16) <= budget / 2
    (run,) = night["runs"]
    assert run["index_recall_at_k"]["item2user"] == 1
