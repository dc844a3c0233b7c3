"""What the speed benchmarks stand on: a world that is always the same, and a bare loop that finds the right rows."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.speed import loop, planning, profiles
from benchmarks.speed.children import run
from benchmarks.speed.facts import line
from benchmarks.speed.inputs import write_vectors
from benchmarks.speed.overhead import measure
from benchmarks.speed.worlds import BLOCK, World
from recbatch.config.models import TABLES
from recbatch.errors import RecbatchError


def test_a_world_is_always_the_same_and_its_beginning_too() -> None:
    world = World(dim=24, clusters=20, rank=6)
    users = world.matrix("users", 3_000)
    assert np.array_equal(users, World(dim=24, clusters=20, rank=6).matrix("users", 3_000))
    assert np.array_equal(world.matrix("users", BLOCK + 7)[:3_000], users)
    assert not np.array_equal(World(dim=24, clusters=20, rank=6, seed=1).matrix("users", 3_000), users)
    assert [len(block) for block in world.blocks("items", BLOCK + 7)] == [BLOCK, 7]


def test_it_looks_like_trained_towers() -> None:
    """Few dimensions hold nearly all, users have unit length, and lengths of items are skewed."""
    world = World()
    users, items = world.matrix("users", 2_000), world.matrix("items", 5_000)
    energy = np.linalg.svd(items, compute_uv=False) ** 2
    assert energy[: world.rank].sum() / energy.sum() > 0.97
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, rtol=1e-5)
    lengths = np.linalg.norm(items, axis=1)
    assert lengths.min() >= 0.999
    assert lengths.mean() - 1 > 1.2 * (np.median(lengths) - 1)


def test_the_bare_loop_finds_and_writes_the_best(tmp_path: Path) -> None:
    world = World(dim=16, clusters=30, rank=8)
    users, items = write_vectors(world, "users", 500, tmp_path), write_vectors(world, "items", 3_000, tmp_path)
    table = {"queries": "users", "candidates": "items", "output": str(tmp_path / "out.parquet"), "leaves": 20}
    table |= {"search_leaves": 20, "reorder": 500, "dims_per_block": 2, "training_sample": 3_000}
    table |= {"training_iterations": 6, "codes_sample": 3_000}
    task = {"users": str(users), "items": str(items), "threads": 1, "k": 10, "tables": [table]}
    said = json.loads(run([sys.executable, loop.__file__, json.dumps(task)]).output)
    assert said["queries_per_second"].keys() == {"search", "scann"}
    assert {"imports", "build", "search", "write"} <= said["seconds"].keys()
    rows = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert rows["rank"] == list(range(1, 11)) * 500
    assert rows["query_id"] == [f"u{number:09d}" for number in range(500) for _ in range(10)]
    scores = world.matrix("users", 500) @ world.matrix("items", 3_000).T
    best = np.argsort(-scores, axis=1)[:, :10]
    found = np.array([int(name[1:]) for name in rows["candidate_id"]]).reshape(500, 10)
    overlap = np.mean([len(set(a) & set(b)) for a, b in zip(found.tolist(), best.tolist(), strict=True)]) / 10
    assert overlap > 0.99


def test_the_file_holds_the_world(tmp_path: Path) -> None:
    world = World(dim=4, clusters=5, rank=2)
    rows = pq.read_table(write_vectors(world, "items", 100, tmp_path))
    assert rows["id"].to_pylist()[:2] == ["i000000000", "i000000001"]
    assert np.array_equal(np.array(rows["embedding"].to_pylist(), np.float32), world.matrix("items", 100))


def test_night_and_loop_are_compared(tmp_path: Path) -> None:
    """All four tables, at a size where indexes pay; the figures that follow are of these runs."""
    sizes = {"users": [2_000, 4_000], "four_users": [2_000, 4_000], "items": 1_500}
    result = measure(argparse.Namespace(work=str(tmp_path), runs=1, four_runs=1, **sizes))
    assert [each["users"] for each in result["one_table"]] == [2_000, 4_000]
    assert result["whole"]["items"] == 3_000
    night, bare = (result["whole"][side][0]["seconds"] for side in ("night", "loop"))
    assert result["whole_ratio"] == night / bare
    fits = result["fits"]
    assert result["slope_ratio"] == fits["night"]["seconds_per_user"] / fits["loop"]["seconds_per_user"]
    assert result["four_tables"][0]["night"][0]["index_recall_at_k"].keys() == set(TABLES)
    assert {"apache_beam", "pyarrow"} <= result["import_seconds"].keys()


def test_a_line_through_runs() -> None:
    assert line([1, 2, 4], [5.0, 7.0, 11.0]) == pytest.approx((3, 2))


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(RecbatchError, match="ended with 3: .*no luck"):
        run([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])


def test_profiles_and_lists_are_compared(tmp_path: Path) -> None:
    """Of the same events: both sides count all of them, and the heaviest user's."""
    result = profiles.measure(argparse.Namespace(work=str(tmp_path), rows=4_000, heaviest=1_000, runs=1))
    assert result["time_ratio"] == pytest.approx(
        result["runs"]["night"][0]["seconds"] / result["runs"]["duckdb"][0]["seconds"]
    )
    theirs = pq.read_table(tmp_path / "lists" / "users.parquet")
    ours = pq.read_table(next((tmp_path / "grouping").glob("_runs/*/*/1_profiles/users")))
    assert sum(theirs["events"].to_pylist()) == 4_000
    assert max(theirs["events"].to_pylist()) > 900
    seen = {
        name: set(items)
        for name, items in zip(*(theirs[name].to_pylist() for name in ("user_id", "seen")), strict=True)
    }
    assert {
        name: set(items) for name, items in zip(*(ours[name].to_pylist() for name in ("id", "seen")), strict=True)
    } == seen


def test_a_plan_is_held_against_its_night(tmp_path: Path) -> None:
    result = planning.measure(argparse.Namespace(work=str(tmp_path), users=[300], items=200, tables=["user2item"]))
    (compared,) = result["sizes"]
    assert compared["same_ranges"]
    assert compared["same_shards"]
    figures = compared["figures"]
    assert set(planning.JUDGED) < figures.keys()
    assert result["off_at_most"]["seconds"] == abs(figures["seconds"]["predicted"] / figures["seconds"]["actual"] - 1)
    assert figures["bytes of user2item"]["off"] == pytest.approx(0, abs=0.3)
