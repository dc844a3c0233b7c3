"""Weights, event types and features: how they are read, and what they must not be."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from interactions_data import config_of, events, read_all, resolved, write

from recbatch.errors import InputError

BAD_UTF8 = b"caf\xe9"


def test_non_finite_numbers_are_put_aside(tmp_path: Path) -> None:
    path = events(tmp_path, w=[1.0, float("nan"), float("inf"), None, 1e300, -2.5])
    data = read_all(config_of(path, columns={"weight": "w"}))
    assert data.table["weight"].to_pylist() == [1.0, None, -2.5]
    assert data.quarantined["row"].to_pylist() == [1, 2, 4]
    assert set(data.quarantined["reason"].to_pylist()) == {"is not a finite number"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, None, 3], pa.int32()), [1.0, None, 3.0]),
        (pa.array([1, None, 2**60], pa.uint64()), [1.0, None, float(2**60)]),
        (pa.array([True, None, False]), [1.0, None, 0.0]),
        (pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-7")], pa.decimal128(10, 2)), [1.25, None, -7.0]),
        (pa.array([0.5, None, 2], pa.float16()), [0.5, None, 2.0]),
        (pa.array([5, None, 5]).dictionary_encode(), [5.0, None, 5.0]),
        (pa.nulls(3), [None, None, None]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_numbers(tmp_path: Path, values: pa.Array, expected: list[float | None]) -> None:
    config = config_of(
        events(tmp_path, n=values), interactions_options={"context": ["n"]}, query=[{"kind": "number", "column": "n"}]
    )
    table = read_all(config).table
    assert table["context:n"].type == pa.float32()
    assert table["context:n"].to_pylist() == expected


def test_positives_and_seen(tmp_path: Path) -> None:
    path = events(tmp_path, w=[0.1, 0.3, None, 4.0], kind=["buy", "view", "buy", None])
    columns = {"weight": "w", "event_type": "kind"}
    config = config_of(path, columns=columns, positives={"min_weight": 0.1, "event_types": ["buy"]})
    data = read_all(config)
    assert data.table["positive"].to_pylist() == [True, False, False, False]
    assert data.table["seen"].to_pylist() == [True] * 4
    assert (data.counts["positive"], data.counts["seen"]) == (1, 4)
    config = config_of(path, columns=columns, seen={"min_weight": 0.3}, positives={"event_types": ["view", "buy"]})
    data = read_all(config)
    assert data.table["seen"].to_pylist() == [False, True, False, True]
    assert data.table["positive"].to_pylist() == [True, True, True, False]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.float16()])
def test_a_minimum_weight_is_met_by_itself(tmp_path: Path, kind: pa.DataType) -> None:
    path = events(tmp_path, w=pa.array([0.75, 0.7, 0.5], pa.float64()).cast(kind, safe=False))
    minimum = 0.7 if kind != pa.float16() else 0.75
    data = read_all(config_of(path, columns={"weight": "w"}, positives={"min_weight": minimum}))
    assert data.table["positive"].to_pylist() == [True, minimum == 0.7, False]


def test_event_types_may_be_numbers(tmp_path: Path) -> None:
    config = config_of(
        events(tmp_path, kind=[1, 2, 1]), columns={"event_type": "kind"}, positives={"event_types": ["1"]}
    )
    assert read_all(config).table["positive"].to_pylist() == [True, False, True]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", None, "a", " b "], ["a", None, "a", " b "]),
        ([1, None, 1, -5], ["1", None, "1", "-5"]),
        ([1.0, None, 1e17, 0.25], ["1", None, "1e+17", "0.25"]),
        ([3.0, float("nan"), 4.0, 1e15], ["3", None, "4", "1000000000000000"]),
        ([True, None, False, True], ["true", None, "false", "true"]),
        ([datetime.date(2024, 1, 31), None, None, None], ["2024-01-31", None, None, None]),
        (pa.array(["x", None, "x", "y"]).dictionary_encode(), ["x", None, "x", "y"]),
        (pa.nulls(4), [None] * 4),
    ],
)
def test_categories(tmp_path: Path, values: Any, expected: list[str | None]) -> None:
    path = write(tmp_path / "users.parquet", {"id": ["a", "b", "c", "d"], "f": values})
    config = config_of(events(tmp_path, user_id=["a"]), users=path, query=[{"kind": "category", "column": "f"}])
    table = read_all(config, "users").table
    assert table.schema == pa.schema([("id", pa.string()), ("feature:f", pa.string())])
    assert table["feature:f"].to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a|b", " a | |c|", None, ""], [["a", "b"], ["a", "c"], None, []]),
        ([["a", None, " b "], [], None, [""]], [["a", "b"], [], None, []]),
        (pa.array([["a"], ["b", "c"], None, []], pa.large_list(pa.large_string())), [["a"], ["b", "c"], None, []]),
        (pa.array([["a", "b"]] * 4, pa.list_(pa.string(), 2)), [["a", "b"]] * 4),
        ([[1, 2], None, [3], []], [["1", "2"], None, ["3"], []]),
        (pa.array(["a|b", "c", "a|b", None]).dictionary_encode(), [["a", "b"], ["c"], ["a", "b"], None]),
        (pa.nulls(4), [None] * 4),
    ],
)
def test_multi_categories(tmp_path: Path, values: Any, expected: list[list[str] | None]) -> None:
    path = write(tmp_path / "items.parquet", {"id": [1, 2, 3, 4], "f": values})
    candidate = [{"kind": "multi_category", "column": "f"}]
    table = read_all(config_of(events(tmp_path, user_id=["a"]), items=path, candidate=candidate), "items").table
    assert table["feature:f"].type == pa.list_(pa.string())
    assert table["feature:f"].to_pylist() == expected


def test_another_separator(tmp_path: Path) -> None:
    path = write(tmp_path / "items.parquet", {"id": ["x"], "f": ["a|b; c"]})
    candidate = [{"kind": "multi_category", "column": "f", "separator": ";"}]
    table = read_all(config_of(events(tmp_path, user_id=["a"]), items=path, candidate=candidate), "items").table
    assert table["feature:f"].to_pylist() == [["a|b", "c"]]


def test_features_that_are_not_utf8(tmp_path: Path) -> None:
    path = write(
        tmp_path / "items.parquet",
        {"id": ["x", "y", "z"], "title": [b"fine", BAD_UTF8, b"fine"], "tags": [[b"a"], [b"a"], [b"b", BAD_UTF8]]},
    )
    candidate = [{"kind": "text", "column": "title"}, {"kind": "multi_category", "column": "tags"}]
    data = read_all(config_of(events(tmp_path, user_id=["a"]), items=path, candidate=candidate), "items")
    assert data.table["id"].to_pylist() == ["x"]
    assert [(row["column"], row["reason"]) for row in data.quarantined.to_pylist()] == [
        ("title", "is not UTF-8"),
        ("tags", "is not UTF-8"),
    ]


def test_types_of_features_that_cannot_be_used(tmp_path: Path) -> None:
    users = write(
        tmp_path / "users.parquet", {"id": ["a"], "s": [{"x": 1}], "t": ["5"], "d": [datetime.datetime.now()]}
    )
    path = events(tmp_path, user_id=["a"])
    for kind, column, said in (
        ("category", "s", r"is struct<x: int64>, which cannot be used as feature:s; it must hold text, numbers"),
        ("number", "t", r"is string, which cannot be used as feature:t; it must hold numbers or booleans"),
        ("text", "d", r"is timestamp\[us\], which cannot be used as feature:d"),
    ):
        with pytest.raises(InputError, match=said):
            resolved(config_of(path, users=users, query=[{"kind": kind, "column": column}]))


def test_one_column_may_serve_twice(tmp_path: Path) -> None:
    config = config_of(
        events(tmp_path, user_id=["a", "b"], w=[1, 2]),
        columns={"weight": "w"},
        interactions_options={"context": ["w"]},
        query=[{"kind": "number", "column": "w"}],
    )
    table = read_all(config).table
    assert table["weight"].to_pylist() == table["context:w"].to_pylist() == [1.0, 2.0]
