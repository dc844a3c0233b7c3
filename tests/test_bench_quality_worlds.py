"""The synthetic dataset of the quality measurement, and the configuration that reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.quality.cells import ROOT
from benchmarks.quality.datasets import IDS_ONLY
from benchmarks.quality.plan import plan
from benchmarks.quality.sources import sparse_world
from benchmarks.quality.worlds import write_sparse_world
from recbatch.config.load import load_config
from recbatch.starter import starter_config


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "interactions.parquet"
    write_sparse_world(path)
    return path


def test_it_has_ids_only_many_items_few_events_and_nothing_popular(world: Path) -> None:
    table = pq.read_table(world)
    assert table.column_names == ["user_id", "item_id"]
    assert len(table.group_by(["user_id", "item_id"]).aggregate([])) == len(table)
    assert 290_000 < len(table) < 330_000
    events = np.sort(table["item_id"].value_counts().field("counts").to_numpy())[::-1]
    assert len(events) > 13_000
    assert np.median(events) < 20
    assert events[:100].sum() < 0.15 * len(table)
    assert table["user_id"].value_counts().field("counts").to_numpy().min() >= 8


def test_it_is_the_same_every_time_and_another_with_another_seed(world: Path, tmp_path: Path) -> None:
    source = sparse_world(tmp_path)
    assert pq.read_table(source.folder / "interactions.parquet").equals(pq.read_table(world))
    before = source.checksum
    write_sparse_world(source.folder / "interactions.parquet", seed=2)
    assert source.checksum != before


def test_its_configuration_is_what_init_prints(world: Path, tmp_path: Path) -> None:
    printed = tmp_path / "printed.yaml"
    printed.write_text(starter_config(str(world)))
    ours, theirs = load_config(str(ROOT / IDS_ONLY)), load_config(str(printed))
    assert ours.model == theirs.model
    assert ours.inputs.interactions.columns == theirs.inputs.interactions.columns


def test_everybody_reads_it_as_it_is(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": ["a"], "item_id": ["b"]}), tmp_path / "interactions.parquet")
    cells = [part.cell for part in plan(quick=False, seed=0) if part.cell.dataset == "sparse"]
    assert {cell.config for cell in cells} == {IDS_ONLY}
    assert {cell.system for cell in cells} == {"default-sparse", "popularity", "knn", "ials"}
    assert {cell.seed for cell in cells if cell.kind != "search"} == {0, 1, 2}, "everybody on the same splits"
    source = sparse_world(tmp_path / "cache")
    for cell in cells:
        config = load_config(str(ROOT / cell.config), [*cell.overrides, *source.pointing(str(ROOT / cell.config))])
        assert config.inputs.interactions.path == str(source.folder / "interactions.parquet")
        assert config.inputs.interactions.columns.timestamp is None
