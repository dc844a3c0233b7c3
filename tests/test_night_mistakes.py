"""Mistakes that would give a night without use: said, and not published."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from night_bundles import given_bundle
from world import DS, World, pairs_world, random_vectors, run

from recbatch.errors import InputError
from recbatch.launch.backfill import backfill
from recbatch.starter import starter_config
from recbatch.tables.pointer import published_dates, require_pointer

PAIRS = [(f"u{user}", f"i{(3 * user + step) % 8}") for user in range(6) for step in range(4)]


def bundle(folder: Path) -> Path:
    """A bundle for the ids of :data:`PAIRS`."""
    users, items = (sorted({pair[side] for pair in PAIRS}) for side in (0, 1))
    return given_bundle(folder / "bundle", random_vectors(users), random_vectors(items, seed=1))


def with_items(ids: list[str]) -> World:
    world = pairs_world(PAIRS)
    world.items = [{"code": name, "title": f"title of {name}"} for name in ids]
    return world


def test_a_table_that_no_interaction_knows_is_the_wrong_one(tmp_path: Path) -> None:
    config = with_items(["other 1", "other 2"]).config(with_items(["other 1", "other 2"]).write(tmp_path))
    with pytest.raises(InputError, match="none of the 24 interactions names one of the table's 2 items") as failure:
        run(config, tmp_path / "out", model=bundle(tmp_path))
    assert "check inputs.items.path and inputs.items.id" in str(failure.value)
    with pytest.raises(InputError, match="all 24 interactions name ids that are not in items; check inputs.items.id"):
        run(config, tmp_path / "trained")
    assert published_dates(str(tmp_path / "out")) == published_dates(str(tmp_path / "trained")) == []


def test_unknown_ids_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = with_items([f"i{item}" for item in range(7)])
    with caplog.at_level("WARNING"):
        run(world.config(world.write(tmp_path)), tmp_path / "out", model=bundle(tmp_path))
    unknown = sum(item == "i7" for _, item in PAIRS)
    assert f"inputs.items: {unknown} interactions name 1 items that are not in the table" in caplog.text


def test_a_forced_run_is_named_when_there_is_nothing_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world, model = pairs_world(PAIRS), bundle(tmp_path)
    config = world.config(world.write(tmp_path))
    run(config, tmp_path / "out", model=model)
    run(config, tmp_path / "out", model=model, force=True)
    with caplog.at_level("INFO"):
        assert not run(config, tmp_path / "out", model=model).published
    forced = require_pointer(str(tmp_path / "out"), DS).run
    assert forced.endswith("-2")
    assert f"is published as run {forced}" in caplog.text


def test_backfill_refuses_a_tables_own_model_of_the_future(tmp_path: Path) -> None:
    world = pairs_world(PAIRS)
    late = bundle(tmp_path)  # it does not say what it was trained on, so it may know anything
    config = world.config(world.write(tmp_path), {"tables": {"item2item": {"model": str(late)}}})
    with pytest.raises(
        InputError, match=r"tables.item2item.model: .* was trained on events whose time it does not say"
    ):
        backfill(
            config, [], str(tmp_path / "out"), "2024-03-06", "2024-03-06", model=None, force=False, beam_arguments=[]
        )
    assert not (tmp_path / "out").exists()


def test_features_that_are_off_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = pairs_world(PAIRS)
    world.timestamps = False
    features = [{"kind": "id", "dim": 4}, {"kind": "timestamp", "bins": 4, "dim": 4}]
    training = {"epochs": 1, "batch_size": 8}
    settings = {"model": {"dim": 4, "query": {"features": features}, "training": training}}
    with caplog.at_level(logging.INFO):
        run(world.config(world.write(tmp_path), settings), tmp_path / "out")
    assert "the query tower's feature timestamp is switched off: " in caplog.text
    assert "random per user, for the interactions have no timestamps" in caplog.text


def test_init_takes_the_time_in_the_files_over_the_day_of_their_folder(tmp_path: Path) -> None:
    for day in ("2024-03-01", "2024-03-02"):
        rows = {"user_id": ["a", "b"], "item_id": ["x", "y"], "at": [f"{day}T10:00:00+01:00", f"{day}T11:30:00+01:00"]}
        (tmp_path / f"dt={day}").mkdir()
        pq.write_table(pa.table(rows), tmp_path / f"dt={day}" / "part.parquet")
    assert "timestamp: at" in starter_config(str(tmp_path))
