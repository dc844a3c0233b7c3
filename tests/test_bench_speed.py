"""What the speed benchmarks stand on: a world that is always the same, and a bare loop that finds the right rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.speed import loop
from benchmarks.speed.children import run
from benchmarks.speed.facts import line
from benchmarks.speed.inputs import write_vectors
from benchmarks.speed.worlds import BLOCK, World
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
    task = {"users": str(users.npy), "items": str(items.npy), "output": str(tmp_path / "out.parquet"), "threads": 1}
    task |= {"k": 10, "leaves": 20, "search_leaves": 20, "reorder": 500, "dims_per_block": 2, "training_sample": 3_000}
    said = json.loads(run([sys.executable, loop.__file__, json.dumps(task)]).output)
    assert said["queries"] == 500
    assert {"imports", "build", "search", "write"} <= said["seconds"].keys()
    rows = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert rows["rank"] == list(range(1, 11)) * 500
    assert rows["query_id"] == [f"u{number:09d}" for number in range(500) for _ in range(10)]
    scores = np.load(users.npy) @ np.load(items.npy).T
    best = np.argsort(-scores, axis=1)[:, :10]
    found = np.array([int(name[1:]) for name in rows["candidate_id"]]).reshape(500, 10)
    overlap = np.mean([len(set(a) & set(b)) for a, b in zip(found.tolist(), best.tolist(), strict=True)]) / 10
    assert overlap > 0.99


def test_vectors_are_the_same_in_both_files(tmp_path: Path) -> None:
    made = write_vectors(World(dim=4, clusters=5, rank=2), "items", 100, tmp_path)
    rows = pq.read_table(made.parquet)
    assert rows["id"].to_pylist()[:2] == ["i000000000", "i000000001"]
    assert np.array_equal(np.array(rows["embedding"].to_pylist(), np.float32), np.load(made.npy))


def test_a_line_through_runs() -> None:
    assert line([1, 2, 4], [5.0, 7.0, 11.0]) == pytest.approx((3, 2))


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(RecbatchError, match="ended with 3: .*no luck"):
        run([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])
