"""Raw rows in, clean rows out: ids, and what is put aside and why."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from interactions_data import config_of, events, read_all, resolved, spec_of, write

from recbatch.errors import InputError
from recbatch.interactions import check_counts, clean_schema, plan_slices, read_slice

BAD_UTF8 = b"caf\xe9"


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 25, -3], pa.int8()),
        pa.array([1, 25, -3], pa.int64()),
        pa.array([1, 25, -3]).dictionary_encode(),
        pa.array(["1", "25", "-3"]),
        pa.array(["1", "25", "-3"], pa.large_string()),
        pa.array(["1", "25", "-3"], pa.string_view()),
        pa.array(["1", "25", "-3"]).dictionary_encode(),
        pa.array([b"1", b"25", b"-3"], pa.binary()),
        pa.array([b"1", b"25", b"-3"], pa.large_binary()),
        pa.array([b"1", b"25", b"-3"], pa.binary_view()),
        pa.array([1.0, 25.0, -3.0], pa.float64()),
        pa.array([1.0, 25.0, -3.0], pa.float32()),
        pa.array([1.0, 25.0, -3.0], pa.float16()),
        pa.array([decimal.Decimal(1), decimal.Decimal(25), decimal.Decimal(-3)], pa.decimal128(10, 2)),
    ],
    ids=lambda values: str(values.type),
)
def test_ids_become_text(tmp_path: Path, values: pa.Array) -> None:
    data = read_all(config_of(events(tmp_path, user_id=values)))
    assert data.table["user_id"].to_pylist() == ["1", "25", "-3"]
    assert data.table.schema == clean_schema("interactions", spec_of(config_of("x")))
    assert data.counts.get("float_ids", 0) == (3 if pa.types.is_floating(values.type) else 0)


def test_unsigned_and_large_integers(tmp_path: Path) -> None:
    values = pa.array([2**64 - 1, 0], pa.uint64())
    assert read_all(config_of(events(tmp_path, user_id=values))).table["user_id"].to_pylist() == [str(2**64 - 1), "0"]


def test_binary_of_fixed_size(tmp_path: Path) -> None:
    data = read_all(config_of(events(tmp_path, user_id=pa.array([b"ab", b"cd", b"\xff\xff"], pa.binary(2)))))
    assert data.table["user_id"].to_pylist() == ["ab", "cd"]
    assert data.quarantined["reason"].to_pylist() == ["is not UTF-8"]


def test_whole_floats_with_nulls_as_pandas_writes_them(tmp_path: Path) -> None:
    data = read_all(config_of(events(tmp_path, user_id=[1.0, float("nan"), None, -0.0, 0.0, 2.0**53])))
    assert data.table["user_id"].to_pylist() == ["1", "0", "0", str(2**53)]
    assert data.quarantined["row"].to_pylist() == [1, 2]
    assert set(data.quarantined["reason"].to_pylist()) == {"is null"}


@pytest.mark.parametrize("value", [1.5, float("inf"), 2.0**54])
def test_other_floats_are_an_error(tmp_path: Path, value: float) -> None:
    config = config_of(events(tmp_path, user_id=[1.0, value]))
    with pytest.raises(
        InputError, match=r"columns.user_id: column 'user_id' of .*e.parquet: ids are floating-point"
    ) as e:
        read_all(config)
    assert repr(value) in str(e.value)


def test_fractional_decimals_are_an_error(tmp_path: Path) -> None:
    config = config_of(events(tmp_path, user_id=pa.array([decimal.Decimal("1.5")], pa.decimal128(10, 2))))
    with pytest.raises(InputError, match="decimals that are not whole"):
        read_all(config)


ODD = [
    " a b ",
    'it\'s "quoted"',
    "back\\slash/slash",
    "😀👍🏽",
    "日本語",
    "x" * 1000,
    "a\tb\nc",
    "%2F",
    "=",
    "ﬀ",
    "\ufeffbom",
    "-",
]


def test_odd_ids_come_through_unchanged(tmp_path: Path) -> None:
    data = read_all(config_of(events(tmp_path, user_id=ODD, item_id=ODD)))
    assert data.table["user_id"].to_pylist() == ODD
    assert data.table["item_id"].to_pylist() == ODD
    assert data.quarantined.num_rows == 0


@pytest.mark.parametrize(
    "layout", [pa.binary(), pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.large_string()]
)
def test_bad_ids_are_put_aside_with_their_reason(tmp_path: Path, layout: pa.DataType) -> None:
    values = [b"ok", None, b"", b"a\0b", b"y" * 4096, b"z" * 4097, b"ok"]
    if layout == pa.binary():
        values.append(BAD_UTF8)
    users = pa.array(values, pa.binary())
    if pa.types.is_dictionary(layout):
        users = users.cast(pa.string()).dictionary_encode()
    elif layout != pa.binary():
        users = users.cast(layout)
    path = events(tmp_path, user_id=users)
    data = read_all(config_of(path))
    assert data.table["user_id"].to_pylist() == ["ok", "y" * 4096, "ok"]
    assert data.table["item_id"].to_pylist() == ["i0", "i4", "i6"]
    aside = data.quarantined.to_pylist()
    expected = {1: "is null", 2: "is empty", 3: "holds a NUL character", 5: "is longer than 4096 bytes"}
    if layout == pa.binary():
        expected[7] = "is not UTF-8"
    assert {row["row"]: row["reason"] for row in aside} == expected
    assert {(row["source"], row["file"], row["column"]) for row in aside} == {("interactions", path, "user_id")}
    assert data.counts["quarantined"] == len(expected)
    assert data.counts["quarantined/user_id is empty"] == 1
    assert data.counts["rows"] == len(values)
    assert data.counts["accepted"] == 3


def test_text_that_is_not_utf8_in_a_string_column(tmp_path: Path) -> None:
    raw = pa.array([b"ok", BAD_UTF8, "é😀".encode(), b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc3"])
    text = pa.Array.from_buffers(pa.string(), len(raw), [None, *raw.buffers()[1:]])  # as careless writers do
    data = read_all(config_of(events(tmp_path, user_id=text)))
    assert data.table["user_id"].to_pylist() == ["ok", "é😀"]
    assert data.quarantined["row"].to_pylist() == [1, 3, 4, 5]
    assert json.loads(data.quarantined["values"][0].as_py()) == {"user_id": "caf\\xe9", "item_id": "i1"}


def test_a_column_of_nulls_only(tmp_path: Path) -> None:
    data = read_all(config_of(events(tmp_path, user_id=pa.nulls(2))))
    assert data.table.num_rows == 0
    assert data.counts["quarantined/user_id is null"] == 2


def test_values_of_quarantined_rows_are_json(tmp_path: Path) -> None:
    path = events(
        tmp_path,
        user_id=[None, None],
        w=[1.5, float("nan")],
        at=pa.array([datetime.datetime(2024, 1, 1), None], pa.timestamp("ms", "Europe/Berlin")),
        tags=[["a", None], None],
        long=["x" * 5000, "y"],
    )
    config = config_of(
        path,
        columns={"weight": "w", "timestamp": "at"},
        interactions_options={"context": ["tags", "long"]},
        query=[{"kind": "multi_category", "column": "tags"}, {"kind": "category", "column": "long"}],
    )
    first, second = (json.loads(text) for text in read_all(config).quarantined["values"].to_pylist())
    assert first["at"].startswith("2024-01-01 00:00:00")
    assert first["tags"] == ["a", None]
    assert first["long"] == "x" * 1000 + "... (5000 characters)"
    assert (second["w"], second["at"], second["tags"]) == ("nan", None, None)


def test_rows_are_numbered_within_their_file(tmp_path: Path) -> None:
    users = [f"u{n}" for n in range(100)]
    bad = [*users[:57], None, *users[58:]]
    write(tmp_path / "1.parquet", {"user_id": users, "item_id": users}, row_group_size=10)
    second = write(tmp_path / "2.parquet", {"user_id": bad, "item_id": users}, row_group_size=10)
    for slice_rows in (1, 35, 1000):
        aside = read_all(config_of(str(tmp_path)), slice_rows=slice_rows).quarantined
        assert (aside["file"].to_pylist(), aside["row"].to_pylist()) == ([second], [57])


def test_column_names_with_dots_and_spaces(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", {"user.id": ["a"], "item id": ["x"], "user": [{"id": "no"}]})
    table = read_all(config_of(path, columns={"user_id": "user.id", "item_id": "item id"})).table
    assert (table["user_id"].to_pylist(), table["item_id"].to_pylist()) == (["a"], ["x"])


def test_a_row_is_put_aside_once(tmp_path: Path) -> None:
    data = read_all(config_of(events(tmp_path, user_id=[None, "a"], item_id=["", "x"])))
    assert data.quarantined["column"].to_pylist() == ["user_id"]
    assert data.counts["quarantined"] == 1
    assert sum(count for name, count in data.counts.items() if name.startswith("quarantined/")) == 1


def test_the_share_that_may_be_put_aside(tmp_path: Path) -> None:
    path = events(tmp_path, user_id=[None, None, *["a"] * 98], item_id=["", "", "", *["x"] * 97])
    config = config_of(path, inputs={"max_quarantined_share": 0.03})
    counts = read_all(config).counts
    check_counts("interactions", counts, spec_of(config), where="/run/quarantine")
    strict = config_of(path, inputs={"max_quarantined_share": 0.029})
    with pytest.raises(
        InputError,
        match=r"inputs.interactions: 3 of 100 rows \(3.00%\) had to be put aside, and inputs.max_quarantined_share "
        r"allows 2.90%. Most often \(2 rows\): user_id is null. The rows are in /run/quarantine",
    ) as failure:
        check_counts("interactions", counts, spec_of(strict), where="/run/quarantine")
    assert failure.value.exit_code == 2
    check_counts("users", {}, spec_of(strict), where="nowhere")


def test_ids_of_many_row_groups_share_a_dictionary(tmp_path: Path) -> None:
    users = [f"user{number % 997}" for number in range(5000)]
    path = write(tmp_path / "e.parquet", {"user_id": users, "item_id": np.arange(5000)}, row_group_size=100)
    table = read_all(config_of(path)).table
    assert table["user_id"].to_pylist() == users
    assert table["item_id"].to_pylist() == [str(number) for number in range(5000)]


def test_small_files_share_a_slice(tmp_path: Path) -> None:
    for number in range(300):
        write(tmp_path / f"day={number:03d}" / "e.parquet", {"user_id": [f"u{number}"], "item_id": [number % 7]})
    config = config_of(
        str(tmp_path), interactions_options={"context": ["day"]}, query=[{"kind": "category", "column": "day"}]
    )
    planned = plan_slices(resolved(config), 1000)
    assert [len(work.pieces) for work in planned] == [200, 100]
    table = read_slice(planned[1], spec_of(config)).table
    assert table["user_id"].to_pylist() == [f"u{number}" for number in range(200, 300)]
    assert table["context:day"].to_pylist() == [f"{number:03d}" for number in range(200, 300)]
