"""Parts: made once, found afterwards, made again when what lies there is not them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbatch.errors import InputError, RecbatchError
from recbatch.run import (
    Layout,
    clear_failures,
    existing_part,
    fingerprint,
    first_failure,
    make_part,
    read_part,
    recorded,
)
from recbatch.schemas import arrow_schema

LAYOUT = Layout(arrow_schema("user2item"), ("user_id", "rank"), ("user_id", "item_id", "source"), ("user_id",))


def one_row(counts: dict[str, int]) -> Iterator[pa.Table]:
    counts["served"] = 1
    coded = [pa.array([value]).dictionary_encode() for value in ("u", "i", "model")]
    columns = [coded[0], pa.array([1], pa.int32()), coded[1], pa.array([0.5], pa.float32()), coded[2]]
    yield pa.table(columns, schema=LAYOUT.written_schema)


def test_a_part_is_made_once(tmp_path: Path) -> None:
    uri = str(tmp_path / "part.parquet")
    made = make_part(uri, "search 0", "inputs", LAYOUT, one_row)
    before = os.stat(uri)
    found = make_part(uri, "search 0", "inputs", LAYOUT, lambda _: pytest.fail("made again"))
    assert (made.made, found.made) == (True, False)
    assert (found.rows, found.counts) == (1, {"served": 1})
    assert os.stat(uri) == before


@pytest.mark.parametrize(("item", "inputs"), [("search 1", "inputs"), ("search 0", "others")])
def test_another_work_item_or_input_is_not_the_same_part(tmp_path: Path, item: str, inputs: str) -> None:
    uri = str(tmp_path / "part.parquet")
    make_part(uri, "search 0", "inputs", LAYOUT, one_row)
    assert existing_part(uri, item, inputs) is None
    assert make_part(uri, item, inputs, LAYOUT, one_row).made


@pytest.mark.parametrize("keep", [0, 4, 300, -1])
def test_a_part_that_was_cut_short_is_made_again(tmp_path: Path, keep: int) -> None:
    uri = tmp_path / "part.parquet"
    make_part(str(uri), "search 0", "inputs", LAYOUT, one_row)
    whole = uri.read_bytes()
    uri.write_bytes(whole[:keep])
    assert make_part(str(uri), "search 0", "inputs", LAYOUT, one_row).made
    assert uri.read_bytes() == whole


def test_an_exception_while_making_leaves_no_part(tmp_path: Path) -> None:
    def fails(_: dict[str, int]) -> Iterator[pa.Table]:
        yield from one_row({})
        raise RecbatchError("no more")

    with pytest.raises(RecbatchError, match="no more"):
        make_part(str(tmp_path / "part.parquet"), "search 0", "inputs", LAYOUT, fails)
    assert os.listdir(tmp_path) == []


def test_a_part_without_rows_has_its_columns(tmp_path: Path) -> None:
    uri = str(tmp_path / "part.parquet")
    assert make_part(uri, "search 0", "inputs", LAYOUT, lambda _: []).rows == 0
    assert read_part(uri).schema.equals(arrow_schema("user2item"))


def test_consumers_read_plain_columns(tmp_path: Path) -> None:
    uri = str(tmp_path / "part.parquet")
    make_part(uri, "search 0", "inputs", LAYOUT, one_row)
    assert pq.read_schema(uri).field("user_id").type == pa.string()
    assert pq.read_schema(uri).field("user_id").metadata[b"description"].startswith(b"User to whom")
    assert pl.read_parquet(uri).schema["item_id"] == pl.String
    assert pd.api.types.is_string_dtype(pd.read_parquet(uri)["item_id"].dtype)
    group = pq.read_metadata(uri).row_group(0)
    assert [column.column_index for column in group.sorting_columns] == [0, 1]
    assert group.column(0).has_column_index
    assert group.column(0).statistics.min == "u"
    assert group.column(2).statistics is None


def test_a_schema_may_be_left_to_the_first_table(tmp_path: Path) -> None:
    uri = str(tmp_path / "part.parquet")
    make_part(uri, "group 0", "inputs", lambda schema: Layout(schema, ("id",)), lambda _: [pa.table({"id": ["a"]})])
    assert read_part(uri).to_pydict() == {"id": ["a"]}


def test_a_fingerprint_depends_on_values_not_on_their_order() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1, "b": [1, 2]}) != fingerprint({"a": 1, "b": [2, 1]})


def test_a_failure_reaches_the_launcher_as_a_sentence(tmp_path: Path) -> None:
    run = str(tmp_path)
    assert first_failure(run) is None
    with pytest.raises(KeyError), recorded(run, "search"):
        raise KeyError("surprise")
    with pytest.raises(InputError), recorded(run, "clean"):
        raise InputError("column 'x' is missing")
    failure = first_failure(run)
    assert isinstance(failure, InputError)
    assert str(failure) == "clean: column 'x' is missing"
    clear_failures(run)
    assert first_failure(run) is None


def test_an_unexpected_failure_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(KeyError), recorded(str(tmp_path), "search"):
        raise KeyError("surprise")
    failure = first_failure(str(tmp_path))
    assert failure is not None
    assert failure.exit_code == 1
    assert str(failure) == "search: KeyError: 'surprise'"
    assert "Traceback" in failure.__notes__[0]


def test_the_footer_names_the_work_item(tmp_path: Path) -> None:
    uri = str(tmp_path / "part.parquet")
    make_part(uri, "search 0", "inputs", LAYOUT, one_row)
    footer = json.loads(pq.read_metadata(uri).metadata[b"recbatch"])
    assert footer == {"item": "search 0", "inputs": "inputs", "rows": 1, "counts": {"served": 1}}


def test_columns_may_be_stored_as_they_are(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("texts", pa.list_(pa.string())), ("embedding", pa.list_(pa.float32()))])
    rows = pa.table({"id": ["a"], "texts": [["b"]], "embedding": [[0.5, 1.0]]}, schema=schema)
    uri = str(tmp_path / "part.parquet")
    make_part(uri, "item", "inputs", Layout(schema, uncompressed=("embedding",)), lambda _: [rows])
    group = pq.read_metadata(uri).row_group(0)
    assert [group.column(place).compression for place in range(3)] == ["ZSTD", "ZSTD", "UNCOMPRESSED"]
    assert read_part(uri).equals(rows)
