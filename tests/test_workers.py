"""The tables are the same whatever the number of workers, and nearly so whatever the size of a range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from night_bundles import trained_bundle
from robust_nights import TABLES, Inputs, contents, make_inputs, robust_world
from world import DS, Published, run

from recbatch.tables.verify import check_output

INDEXED: dict[str, object] = {
    "index": {"kind": "scann"},
    "run": {"range_ids": 200, "slice_rows": 1000},
    "tables": {
        "user2item": {"k": 5, "min_recall": 0.5},
        "item2item": {"k": 5, "min_recall": 0.5},
        "user2user": {"enabled": False},
        "item2user": {"enabled": False},
    },
}


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A catalog that is large enough for an index."""
    world = robust_world(users=500, items=1200, events=6000)
    return make_inputs(tmp_path_factory.mktemp("indexed"), world, INDEXED)


@pytest.fixture(scope="module")
def alone(indexed: Inputs) -> Path:
    """The night as this process makes it."""
    output = indexed.folder / "alone"
    counters = indexed.recommend(output).counters
    tables = Published(output).manifest["tables"]
    assert {tables[name]["index"]["kind"] for name in ("user2item", "item2item")} == {"scann"}
    assert {name: count for name, count in counters.items() if name.startswith("index_loads_")} == {
        "index_loads_user2item": 1,
        "index_loads_item2item": 1,
    }
    return output


@pytest.mark.heavy
@pytest.mark.parametrize("workers", [2])
def test_worker_processes_make_the_same_bytes(indexed: Inputs, alone: Path, tmp_path: Path, workers: int) -> None:
    """And each loads an index once at most."""
    beam = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    outcome = indexed.recommend(tmp_path / "out", beam=beam)
    assert contents(tmp_path / "out") == contents(alone)
    assert check_output(str(tmp_path / "out")) == ([DS], [])
    for table in ("user2item", "item2item"):
        assert 1 <= outcome.counters[f"index_loads_{table}"] <= workers


def test_ranges_of_other_sizes_change_next_to_nothing(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """By a trained model, whose matrix products might depend on the rows that are embedded together."""
    world, folder, bundle = trained_bundle(tmp_path_factory.getbasetemp())
    nights = []
    for ids in (7, 1000):
        config = world.config(folder, {"run": {"range_ids": ids}}, name=f"ranges-of-{ids}.yaml")
        run(config, tmp_path / str(ids), model=bundle)
        nights.append(Published(tmp_path / str(ids)))
    small, large = nights
    assert len(small.projected("user2item")) > 5
    assert len(large.projected("user2item")) == 2
    for table in TABLES[:4]:
        assert_nearly_equal(small, large, table)
    for table in TABLES[4:]:
        ours, theirs = small.vectors(table), large.vectors(table)
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-5, atol=1e-6)


def assert_nearly_equal(ours: Published, theirs: Published, table: str) -> None:
    """The scores of a query's ranks are the same but for 1e-5 of max(1, |score|), and its candidates but for ties."""
    mine, other = ours.scores(table), theirs.scores(table)
    allowed = 1e-5 * np.maximum(1, np.abs(mine))
    assert (np.abs(mine - other) < allowed).all()
    rows = zip(ours.rows(table), theirs.rows(table), mine.tolist(), strict=True)
    by_pair = {(query, item): score for (query, _, item, _), _, score in rows}
    for (query, rank, item, _), (other_query, other_rank, other_item, _), score in zip(
        ours.rows(table), theirs.rows(table), mine.tolist(), strict=True
    ):
        assert (query, rank) == (other_query, other_rank)
        if item != other_item and (query, other_item) in by_pair:
            assert abs(by_pair[query, other_item] - score) < 1e-5 * max(1, abs(score))
