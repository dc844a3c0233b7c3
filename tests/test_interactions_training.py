"""All clean rows in memory, matched with the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from interactions_data import config_of, resolved, spec_of, write

from recbatch.errors import InputError, RecbatchError
from recbatch.interactions import CleanTables, load_tables, plan_slices


def load(tmp_path: Path, *, tables: bool = True, slice_rows: int = 1000, **inputs: Any) -> CleanTables:
    events = write(
        tmp_path / "events.parquet",
        {
            "user_id": [2, 1, 9, 1, None],
            "item_id": ["x", "y", "x", "?", "x"],
            "at": [5, 4, 3, 2, 1],
            "w": [1, 5, 5, 5, 5],
        },
        row_group_size=2,
    )
    users = write(tmp_path / "users.parquet", {"id": [1, 2, 1, 3], "age": [10, 20, 30, None]}, row_group_size=2)
    items = write(tmp_path / "items.parquet", {"id": ["y", "x"], "tags": ["a|b", None]})
    config = config_of(
        events,
        columns={"timestamp": "at", "weight": "w"},
        interactions_options={"timestamp_unit": "us"},
        users=users if tables else None,
        items=items if tables else None,
        query=[{"kind": "number", "column": "age"}] if tables else [],
        candidate=[{"kind": "multi_category", "column": "tags"}] if tables else [],
        positives={"min_weight": 5},
        inputs={"max_quarantined_share": 0.2, **inputs},
    )
    return load_tables(plan_slices(resolved(config), slice_rows), spec_of(config, 5))


@pytest.mark.parametrize("slice_rows", [1, 1000])
def test_unknown_ids_are_dropped_and_duplicates_resolved(tmp_path: Path, slice_rows: int) -> None:
    clean = load(tmp_path, slice_rows=slice_rows)
    assert clean.interactions.to_pylist() == [
        {"user_id": "1", "item_id": "y", "timestamp": 4, "weight": 5.0, "positive": True, "seen": True}
    ]
    assert clean.interactions.schema.field("user_id").type == pa.string()
    assert clean.users is not None
    assert clean.users.to_pylist() == [
        {"id": "1", "feature:age": 30.0},
        {"id": "2", "feature:age": 20.0},
        {"id": "3", "feature:age": None},
    ]
    assert clean.items is not None
    assert clean.items.to_pylist() == [
        {"id": "x", "feature:tags": None},
        {"id": "y", "feature:tags": ["a", "b"]},
    ]
    counts = clean.counts["interactions"]
    assert (counts["rows"], counts["quarantined"], counts["after_as_of"], counts["accepted"]) == (5, 1, 1, 3)
    assert clean.counts["users"] | {"rows": 4, "duplicate_users": 1, "unknown_users": 1} == clean.counts["users"]
    assert clean.counts["items"]["unknown_item_events"] == 1
    assert clean.quarantined["row"].to_pylist() == [4]


def test_unknown_ids_are_kept(tmp_path: Path) -> None:
    clean = load(tmp_path, unknown_users="keep", unknown_items="keep")
    assert clean.interactions["user_id"].to_pylist() == ["1", "9", "1"]
    assert clean.users is not None
    assert clean.users["id"].to_pylist() == ["1", "2", "3", "9"]
    assert clean.users["feature:age"].to_pylist() == [30.0, 20.0, None, None]
    assert clean.items is not None
    assert clean.items["id"].to_pylist() == ["?", "x", "y"]


def test_unknown_ids_fail(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="inputs.users: 1 interactions name 1 users .* such as '9'"):
        load(tmp_path, unknown_users="fail")


def test_without_tables(tmp_path: Path) -> None:
    clean = load(tmp_path, tables=False)
    assert (clean.users, clean.items) == (None, None)
    assert clean.interactions["user_id"].to_pylist() == ["1", "9", "1"]


def test_too_many_rows_put_aside(tmp_path: Path) -> None:
    with pytest.raises(RecbatchError, match=r"1 of 5 rows .*user_id is null. .* such as row 4 of .*events.parquet"):
        load(tmp_path, max_quarantined_share=0.1)


def test_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", {"user_id": pa.array([], pa.string()), "item_id": pa.array([], pa.int64())})
    config = config_of(path)
    clean = load_tables(plan_slices(resolved(config), 10), spec_of(config))
    assert clean.interactions.num_rows == 0
    assert clean.interactions.column_names == ["user_id", "item_id", "positive", "seen"]
