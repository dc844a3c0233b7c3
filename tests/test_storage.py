"""What the storage room promises, on the local file system and on Google Cloud Storage alike."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_server import emulated

from recbatch import storage
from recbatch.errors import InputError


@pytest.fixture(params=["local", "gs"])
def base(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty folder. The bucket lists three names per request."""
    if request.param == "local":
        yield str(tmp_path)
    else:
        with emulated(monkeypatch, page_size=3):
            yield "gs://bucket/some folder"


def names(folder: str) -> list[str]:
    """Names of all files below a folder, relative to it; without locks."""
    found = [file.uri.removeprefix(f"{folder}/") for file in storage.list_files(folder)]
    return [name for name in found if storage.name_of(name) != ".lock"]


def test_the_first_writer_wins_and_nothing_is_left_of_the_second(base: str) -> None:
    uri = storage.join(base, "a", "part")
    assert storage.put_if_absent(uri, b"first")
    checksum = storage.checksum(uri)
    assert not storage.put_if_absent(uri, b"second")
    assert storage.read_bytes(uri) == b"first"
    assert storage.checksum(uri) == checksum
    assert storage.list_files(base) == [storage.StoredFile(uri, 5)]


def test_a_local_file_is_stored_by_its_content(base: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(9 << 20))  # too large for a single request
    assert storage.put_if_absent(f"{base}/copy", source)
    assert storage.read_bytes(f"{base}/copy") == source.read_bytes()
    assert storage.size_of(f"{base}/copy") == 9 << 20


def test_an_empty_file_is_a_file(base: str) -> None:
    assert storage.put_if_absent(f"{base}/empty", b"")
    assert storage.read_bytes(f"{base}/empty") == b""
    assert storage.exists(f"{base}/empty")


def test_a_failed_block_leaves_nothing(base: str) -> None:
    def fail() -> None:
        with storage.create(f"{base}/part") as (stream, _):
            stream.write(b"half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert names(base) == []


def test_one_of_many_threads_wins(base: str) -> None:
    won = []

    def write(number: int) -> None:
        if storage.put_if_absent(f"{base}/part", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read_bytes(f"{base}/part") == b"%d" % won[0]


def test_compare_and_swap(base: str) -> None:
    uri = f"{base}/pointer"
    assert not storage.compare_and_swap(uri, b"old", b"new")
    assert storage.compare_and_swap(uri, None, b"one")
    assert not storage.compare_and_swap(uri, None, b"two")
    assert not storage.compare_and_swap(uri, b"other", b"two")
    assert storage.compare_and_swap(uri, b"one", b"two")
    assert storage.read_bytes(uri) == b"two"


def test_no_swap_is_lost(base: str) -> None:
    """Counters that threads count up by compare-and-swap miss no step."""
    uri = f"{base}/counter"
    storage.compare_and_swap(uri, None, b"0")

    def count() -> None:
        for _ in range(5):
            while True:
                before = storage.read_bytes(uri)
                if storage.compare_and_swap(uri, before, b"%d" % (int(before) + 1)):
                    break

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.read_bytes(uri) == b"20"


def test_a_folder_is_replaced_whole(base: str) -> None:
    target = f"{base}/table/ds=1998-04-23"
    for number in range(5):
        storage.put_if_absent(f"{base}/run/{number}", b"rows %d" % number)
    run = {f"part-{number}": f"{base}/run/{number}" for number in range(5)}
    storage.replace_folder(target, {**run, "_SUCCESS": b"1"}, "_SUCCESS")
    assert storage.list_names(target) == ["_SUCCESS", *run]
    storage.replace_folder(target, {"part-0": run["part-4"], "new": b"bytes", "_SUCCESS": b"2"}, "_SUCCESS")
    assert {name: storage.read_bytes(f"{target}/{name}") for name in names(target)} == {
        "_SUCCESS": b"2",
        "new": b"bytes",
        "part-0": b"rows 4",
    }
    assert storage.list_names(f"{base}/table") == ["ds=1998-04-23"]
    assert [name for name in storage.list_names(base) if name != ".lock"] == ["run", "table"]


def test_a_folder_is_put_once(base: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for source in (first, second):
        (source / "query").mkdir(parents=True)
        (source / "query" / "model").write_text(f"model of {source.name}")
        (source / "manifest.json").write_text(source.name)
    target = f"{base}/models/bundle"
    assert storage.put_folder_if_absent(first, target, "manifest.json")
    assert not storage.put_folder_if_absent(second, target, "manifest.json")
    assert names(f"{base}/models") == ["bundle/manifest.json", "bundle/query/model"]
    assert storage.read_bytes(f"{target}/query/model") == b"model of first"


def test_a_folder_is_not_put_among_other_files(base: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "manifest.json").write_text("{}")
    storage.put_if_absent(f"{base}/documents/letter", b"dear")
    with pytest.raises(InputError, match="documents holds other files.* choose another folder"):
        storage.put_folder_if_absent(tmp_path / "source", f"{base}/documents", "manifest.json")
    assert names(f"{base}/documents") == ["letter"]


def test_folders_and_what_is_not_there(base: str) -> None:
    for name in ("b", "a/2", "a/1", "a/deep/3", ".hidden", "aa"):
        storage.put_if_absent(f"{base}/{name}", b"x")
    assert names(base) == [".hidden", "a/1", "a/2", "a/deep/3", "aa", "b"]
    assert names(f"{base}/a") == ["1", "2", "deep/3"]
    assert storage.list_names(base) == [".hidden", "a", "aa", "b"]
    assert storage.list_names(f"{base}/a/") == ["1", "2", "deep"]
    assert [storage.exists(f"{base}/{name}") for name in ("b", "a", "c")] == [True, False, False]
    assert storage.list_files(f"{base}/nowhere") == []
    assert storage.list_files(f"{base}/b") == []
    assert storage.list_names(f"{base}/nowhere") == []
    for look in (storage.read_bytes, storage.size_of, storage.checksum, storage.open_input):
        with pytest.raises(FileNotFoundError):
            look(f"{base}/nowhere")


def test_delete(base: str) -> None:
    for name in ("a/1", "a/deep/2", "ab", "b"):
        storage.put_if_absent(f"{base}/{name}", b"x")
    storage.delete(f"{base}/b")
    storage.delete(f"{base}/b")
    storage.delete_tree(f"{base}/a")
    storage.delete_tree(f"{base}/a")
    assert names(base) == ["ab"]


NAMES = [
    "events.parquet",
    "[x].parquet",
    "x.parquet",
    "day=1/a.parquet",
    "day=1/_SUCCESS",
    "day=1/.a.parquet.crc",
    "day=2/b.parquet",
    "day=2/deep/c.parquet",
    "day=10/a.txt",
    ".hidden/a.parquet",
    "ünï/ö.parquet",
]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.parquet", ["[x].parquet", "events.parquet", "x.parquet"]),
        ("[x].parquet", ["[x].parquet"]),
        ("[xy].parquet", ["x.parquet"]),
        ("[!x].parquet", []),
        ("day=?/*", ["day=1/_SUCCESS", "day=1/a.parquet", "day=2/b.parquet"]),
        ("day=1*/a.*", ["day=1/a.parquet", "day=10/a.txt"]),
        ("day=1/.*", ["day=1/.a.parquet.crc"]),
        ("day=[0-9]/**", ["day=1/_SUCCESS", "day=1/a.parquet", "day=2/b.parquet", "day=2/deep/c.parquet"]),
        ("**/c.parquet", ["day=2/deep/c.parquet"]),
        ("**/day=2/**/*.parquet", ["day=2/b.parquet", "day=2/deep/c.parquet"]),
        ("day=2/**/b.parquet", ["day=2/b.parquet"]),
        ("d**2/b.parquet", ["day=2/b.parquet"]),
        (".hidden/*", [".hidden/a.parquet"]),
        ("*/ö.parquet", ["ünï/ö.parquet"]),
        ("events.parquet", ["events.parquet"]),
        ("events.parque", []),
        ("events.parquet/**", []),
        ("day=1", []),
        ("day=[", []),
    ],
)
def test_globbing_means_the_same_everywhere(base: str, pattern: str, expected: list[str]) -> None:
    for name in NAMES:
        storage.put_if_absent(f"{base}/{name}", b"x")
    assert [file.uri.removeprefix(f"{base}/") for file in storage.glob(f"{base}/{pattern}")] == expected


def test_parquet_is_read_at_random_places(base: str) -> None:
    numbers = pa.table({"number": range(100_000), "text": [f"row {number}" for number in range(100_000)]})
    with storage.create(f"{base}/part") as (stream, _):
        pq.write_table(numbers, stream, row_group_size=10_000, compression="none")
    with storage.open_input(f"{base}/part") as source:
        assert source.size() == storage.size_of(f"{base}/part")
        file = pq.ParquetFile(source)
        assert file.read_row_groups([7, 2], ["text"]).column("text")[0].as_py() == "row 70000"
        assert file.read_row_group(0).equals(numbers.slice(0, 10_000))
    with storage.open_input(f"{base}/part") as source:
        assert pq.read_table(source).equals(numbers)


def test_what_is_not_parquet_is_told_apart_from_what_cannot_be_read(base: str) -> None:
    storage.put_if_absent(f"{base}/text", b"no parquet")
    with storage.open_input(f"{base}/text") as source, pytest.raises(pa.ArrowInvalid):
        pq.read_metadata(source)


def test_odd_names(base: str) -> None:
    odd = ["a b", "100%", "c#d", "e?f=g&h", "plus+", "k=v", "ö ü 日本", "quo'te\"", "%2F", "~", "🦊"]
    for name in odd:
        assert storage.put_if_absent(f"{base}/odd/{name}", name.encode())
    assert sorted(names(f"{base}/odd")) == sorted(odd)
    assert all(storage.read_bytes(f"{base}/odd/{name}") == name.encode() for name in odd)
    storage.replace_folder(f"{base}/new", {**{name: f"{base}/odd/{name}" for name in odd}, "last": b""}, "last")
    assert sorted(names(f"{base}/new")) == sorted([*odd, "last"])


def test_an_unknown_scheme_is_a_sentence() -> None:
    with pytest.raises(InputError, match="neither a local path nor gs://"):
        storage.read_bytes("s3://bucket/name")


def test_join_and_absolute() -> None:
    assert storage.join("gs://bucket/", "a/", "/b") == "gs://bucket/a/b"
    assert storage.join("/", "a") == "/a"
    assert storage.absolute("gs://bucket/a/") == "gs://bucket/a"
    assert storage.absolute("a") == os.path.join(os.getcwd(), "a")
    assert storage.name_of("gs://bucket/a/b") == "b"
