"""Which files a path means, what their footers must say, and what happens when they do not."""

from __future__ import annotations

import datetime
import os
import pickle
from pathlib import Path

import pyarrow as pa
import pytest
from interactions_data import columns_of, config_of, read_all, resolved, spec_of, write

from recbatch.errors import InputError, RecbatchError
from recbatch.interactions import plan_slices, read_slice, resolve_inputs
from recbatch.interactions.finding import find_files

EVENTS = {"user_id": ["a", "b"], "item_id": ["x", "y"]}


def names(path: str | list[str]) -> list[str]:
    return [os.path.basename(file.uri) for file in find_files(path, "inputs.interactions.path")]


def test_folder_is_read_recursively_and_sorted(tmp_path: Path) -> None:
    for name in ("b.parquet", "sub/a.parquet", "a.parquet", "sub/deeper/000000_0"):
        write(tmp_path / name, EVENTS)
    assert names(str(tmp_path)) == ["a.parquet", "b.parquet", "a.parquet", "000000_0"]
    assert names(f"{tmp_path}/") == names(str(tmp_path))


def test_markers_hidden_and_empty_files_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "part-0.parquet", EVENTS)
    for name in ("_SUCCESS", ".part-0.parquet.crc", "part-0.parquet.crc", "_metadata", "_temporary/part-9.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty.parquet").write_bytes(b"")
    write(tmp_path / ".hidden" / "part-1.parquet", EVENTS)
    assert names(str(tmp_path)) == ["part-0.parquet"]
    assert names(f"{tmp_path}/*") == ["part-0.parquet"]


def test_globs(tmp_path: Path) -> None:
    for name in ("2024-01-01.parquet", "2024-01-02.parquet", "2024-02-01.parquet"):
        write(tmp_path / name, EVENTS)
    assert names(f"{tmp_path}/2024-01-*.parquet") == ["2024-01-01.parquet", "2024-01-02.parquet"]
    assert names(f"{tmp_path}/2024-0[2-9]-??.parquet") == ["2024-02-01.parquet"]


def test_glob_of_folders(tmp_path: Path) -> None:
    for day in ("2024-01-01", "2024-01-02", "2024-02-01"):
        write(tmp_path / f"day={day}" / "part.parquet", EVENTS)
        (tmp_path / f"day={day}" / "_SUCCESS").touch()
    found = find_files(f"{tmp_path}/day=2024-01-*", "key")
    assert [file.uri.split("/")[-2] for file in found] == ["day=2024-01-01", "day=2024-01-02"]


def test_a_file_with_glob_characters_in_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "events [1].parquet", EVENTS)
    assert names(path) == ["events [1].parquet"]


def test_paths_keep_their_order_and_no_file_is_read_twice(tmp_path: Path) -> None:
    old, new = write(tmp_path / "z-old.parquet", EVENTS), write(tmp_path / "a-new.parquet", EVENTS)
    assert names([old, new, f"{tmp_path}/*.parquet"]) == ["z-old.parquet", "a-new.parquet"]


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "data" / "events.parquet", EVENTS)
    monkeypatch.chdir(tmp_path)
    assert find_files("data/events.parquet", "key")[0].uri == f"{tmp_path}/data/events.parquet"


def test_nothing_there_suggests_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "interactions.parquet", EVENTS)
    with pytest.raises(
        InputError, match=r"inputs.interactions.path: nothing is at .*did you mean .*interactions.parquet"
    ):
        resolved(config_of(f"{tmp_path}/interaction.parquet"))
    with pytest.raises(InputError, match=r"no file matches .*\*\.csv"):
        resolved(config_of(f"{tmp_path}/*.csv"))


def test_only_empty_and_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(InputError, match=r"leads to no Parquet file.*passed over \(_SUCCESS\)"):
        resolved(config_of(str(tmp_path)))


def test_other_files_and_truncated_files_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "events.parquet", EVENTS)
    (tmp_path / "notes.txt").write_text("not Parquet")
    with pytest.raises(InputError, match=r"notes.txt cannot be read as Parquet.*with a glob"):
        resolved(config_of(str(tmp_path)))
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"events.parquet cannot be read as Parquet.*cut short"):
        resolved(config_of(path))


def test_missing_column_names_the_file_its_columns_and_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "events.parquet", {"userId": ["a"], "item_id": ["x"], "when": [1]})
    with pytest.raises(
        InputError,
        match=r"inputs.interactions.columns.user_id: there is no column 'user_id' in .*events.parquet; "
        r"it has userId, item_id, when. Did you mean 'userId'\?",
    ):
        resolved(config_of(path))


def test_missing_column_in_one_of_several_files(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", EVENTS)
    write(tmp_path / "2.parquet", {"user_id": ["a"], "thing": ["x"]})
    with pytest.raises(InputError, match=r"no column 'item_id' in .*2\.parquet"):
        resolved(config_of(str(tmp_path)))


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("user_id", pa.array([True]), "is bool, which cannot be used as user_id; it must hold text, whole numbers"),
        ("user_id", pa.array([["a"]]), "is list<element: string>, which cannot be used as user_id"),
        ("user_id", pa.array([{"a": 1}]), "is struct<a: int64>, which cannot be used as user_id"),
        ("weight", pa.array(["3"]), "is string, which cannot be used as weight; it must hold numbers"),
        ("timestamp", pa.array([True]), "is bool, which cannot be used as timestamp"),
    ],
)
def test_types_that_cannot_be_used(tmp_path: Path, column: str, values: pa.Array, said: str) -> None:
    path = write(
        tmp_path / "e.parquet", {"user_id": ["a"], "item_id": ["x"], "weight": [1], "timestamp": [1], column: values}
    )
    config = config_of(
        path, columns={"weight": "weight", "timestamp": "timestamp"}, interactions_options={"timestamp_unit": "s"}
    )
    with pytest.raises(
        InputError, match=rf"inputs.interactions.columns.{column}: column '{column}' of .*e.parquet"
    ) as e:
        resolved(config)
    assert said in str(e.value)


def test_integer_timestamps_without_a_unit_suggest_one(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", {**EVENTS, "at": [1_700_000_000_000, 1_700_000_001_000]})
    with pytest.raises(InputError, match=r"timestamp_unit: column 'at' .*is int64.*look like ms: set that"):
        resolved(config_of(path, columns={"timestamp": "at"}))
    with pytest.raises(InputError, match=r"iso is for text; its values look like ms"):
        resolved(config_of(path, columns={"timestamp": "at"}, interactions_options={"timestamp_unit": "iso"}))


def test_text_timestamps_without_a_unit(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", {**EVENTS, "at": ["2024-01-01", "2024-01-02"]})
    with pytest.raises(InputError, match=r"column 'at' of .* is string; say what the text is: iso"):
        resolved(config_of(path, columns={"timestamp": "at"}))


def test_aware_and_naive_timestamps_in_two_files(tmp_path: Path) -> None:
    when = [datetime.datetime(2024, 1, 1)] * 2
    write(tmp_path / "1.parquet", {**EVENTS, "at": pa.array(when, pa.timestamp("us"))})
    write(tmp_path / "2.parquet", {**EVENTS, "at": pa.array(when, pa.timestamp("us", "UTC"))})
    with pytest.raises(
        InputError,
        match=r"timestamp\[us\] \(without a time zone\) in .*1\.parquet but .*with a time zone\) in .*2\.parquet",
    ):
        resolved(config_of(str(tmp_path), columns={"timestamp": "at"}))


def test_ids_may_differ_in_type_between_files(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", {"user_id": pa.array([1], pa.int32()), "item_id": ["x"]})
    write(tmp_path / "2.parquet", {"user_id": ["1"], "item_id": pa.array(["x"]).dictionary_encode()})
    data = read_all(config_of(str(tmp_path)))
    assert data.table["user_id"].to_pylist() == ["1", "1"]
    assert data.table["item_id"].to_pylist() == ["x", "x"]


def test_a_column_named_twice(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"]), pa.array(["x"])], names=["user_id", "user_id", "item_id"])
    with pytest.raises(InputError, match="more than one column 'user_id'"):
        resolved(config_of(write(tmp_path / "e.parquet", table)))


def test_hive_folders_become_columns(tmp_path: Path) -> None:
    write(tmp_path / "day=2024-01-01" / "kind=view" / "p.parquet", EVENTS)
    write(tmp_path / "day=2024-01-02" / "kind=a%2Fb%20c" / "p.parquet", EVENTS)
    write(tmp_path / "day=2024-01-03" / "kind=__HIVE_DEFAULT_PARTITION__" / "p.parquet", EVENTS)
    config = config_of(
        str(tmp_path),
        columns={"timestamp": "day", "event_type": "kind"},
        interactions_options={"timestamp_unit": "iso", "context": ["kind"]},
        query=[{"kind": "category", "column": "kind"}],
        positives={"event_types": ["a/b c"]},
    )
    table = read_all(config).table
    days = [datetime.datetime(2024, 1, day, tzinfo=datetime.UTC).timestamp() for day in (1, 1, 2, 2, 3, 3)]
    assert table["timestamp"].to_pylist() == [int(day) * 1_000_000 for day in days]
    assert table["context:kind"].to_pylist() == ["view", "view", "a/b c", "a/b c", None, None]
    assert table["positive"].to_pylist() == [False, False, True, True, False, False]


def test_a_hive_folder_may_hold_ids_and_numbers(tmp_path: Path) -> None:
    write(tmp_path / "user_id=7" / "stars=4.5" / "p.parquet", {"item_id": ["x", "y"]})
    config = config_of(str(tmp_path), columns={"weight": "stars"})
    table = read_all(config).table
    assert table["user_id"].to_pylist() == ["7", "7"]
    assert table["weight"].to_pylist() == [4.5, 4.5]
    write(tmp_path / "user_id=8" / "stars=many" / "p.parquet", {"item_id": ["x"]})
    with pytest.raises(
        InputError, match=r"column 'stars' of .*stars=many/p.parquet: a folder name that must be a number"
    ):
        read_all(config)


def test_a_files_own_column_beats_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "user_id=folder" / "p.parquet", EVENTS)
    assert read_all(config_of(str(tmp_path))).table["user_id"].to_pylist() == ["a", "b"]


def test_slices_cover_all_rows_in_order(tmp_path: Path) -> None:
    rows = [f"{number:03d}" for number in range(100)]
    write(tmp_path / "1.parquet", {"user_id": rows[:70], "item_id": rows[:70]}, row_group_size=10)
    write(tmp_path / "2.parquet", {"user_id": rows[70:75], "item_id": rows[70:75]})
    write(tmp_path / "3.parquet", {"user_id": rows[75:], "item_id": rows[75:]}, row_group_size=20)
    config = config_of(str(tmp_path))
    for slice_rows in (1, 10, 25, 33, 1000):
        planned = plan_slices(resolved(config), slice_rows)
        assert [work.number for work in planned] == list(range(len(planned)))
        assert all(work.rows <= max(slice_rows, 20) for work in planned)
        assert {work.source_rows for work in planned} == {100}
        assert read_all(config, slice_rows=slice_rows).table["user_id"].to_pylist() == rows
    assert len(plan_slices(resolved(config), 1000)) == 1


def test_an_input_without_rows_has_no_slices(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", {"user_id": pa.array([], pa.string()), "item_id": pa.array([], pa.string())})
    config = config_of(path)
    assert plan_slices(resolved(config), 1000) == ()
    assert read_all(config).table.num_rows == 0


def test_what_travels_can_be_pickled(tmp_path: Path) -> None:
    config = config_of(write(tmp_path / "e.parquet", EVENTS))
    planned = plan_slices(resolved(config), 1000)
    spec = spec_of(config)
    assert pickle.loads(pickle.dumps((planned, spec, resolved(config)))) == (planned, spec, resolved(config))


def test_checksums_tell_content_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", EVENTS)
    before = resolved(config_of(path)).checksums
    os.rename(path, tmp_path / "moved.parquet")
    assert resolved(config_of(f"{tmp_path}/moved.parquet")).checksums == before
    write(tmp_path / "moved.parquet", {"user_id": ["a", "c"], "item_id": ["x", "y"]})
    assert resolved(config_of(f"{tmp_path}/moved.parquet")).checksums != before


def test_checksums_tell_folders_apart_that_say_other_values(tmp_path: Path) -> None:
    write(tmp_path / "kind=view" / "e.parquet", EVENTS)
    before = resolved(config_of(str(tmp_path))).checksums
    os.rename(tmp_path / "kind=view", tmp_path / "kind=buy")
    assert resolved(config_of(str(tmp_path))).checksums != before


def test_a_file_replaced_or_removed_during_the_run(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", EVENTS)
    config = config_of(path)
    (work,) = plan_slices(resolved(config), 1000)
    data = Path(path).read_bytes()
    write(Path(path), {"user_id": ["a", "c"], "item_id": ["x", "y"]})
    with pytest.raises(RecbatchError, match=r"e.parquet was replaced during the run"):
        read_slice(work, spec_of(config))
    os.unlink(path)
    with pytest.raises(RecbatchError, match=r"e.parquet was removed during the run"):
        read_slice(work, spec_of(config))
    Path(path).write_bytes(data)
    assert read_slice(work, spec_of(config)).table.num_rows == 2


def test_damaged_pages(tmp_path: Path) -> None:
    table = pa.table({"user_id": [f"u{i}" for i in range(2000)], "item_id": [f"i{i}" for i in range(2000)]})
    path = Path(write(tmp_path / "e.parquet", table, compression="zstd", use_dictionary=False))
    data = bytearray(path.read_bytes())
    data[500:900] = b"\xff" * 400
    path.write_bytes(bytes(data))
    config = config_of(str(path))
    (work,) = plan_slices(resolved(config), 10_000)
    with pytest.raises(InputError, match=r"e.parquet is damaged: its rows 0 to 1999 cannot be read"):
        read_slice(work, spec_of(config))


def test_resolving_reads_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(write(tmp_path / "e.parquet", EVENTS))
    monkeypatch.setattr("pyarrow.parquet.ParquetFile.read_row_groups", None)
    assert resolve_inputs(config, columns_of(config)).interactions.rows == 2
