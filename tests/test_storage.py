"""The storage room on the local file system."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from recbatch import storage
from recbatch.errors import InputError


def test_the_first_writer_wins_and_nothing_is_left_of_the_second(tmp_path: Path) -> None:
    uri = storage.join(str(tmp_path), "a", "part")
    assert storage.put_if_absent(uri, b"first")
    inode = os.stat(uri).st_ino
    assert not storage.put_if_absent(uri, b"second")
    assert storage.read_bytes(uri) == b"first"
    assert os.stat(uri).st_ino == inode
    assert [file.uri for file in storage.list_files(str(tmp_path))] == [uri]


def test_a_local_file_is_stored_by_its_content(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * (5 << 20))
    assert storage.put_if_absent(str(tmp_path / "copy"), source)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), storage.create(str(tmp_path / "part")) as (stream, _):
        stream.write(b"half")
        raise ValueError("stop")
    assert storage.list_files(str(tmp_path)) == []


def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom recbatch import storage\n"
        "with storage.create(sys.argv[1]) as (stream, _):\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "part")], check=False)
    assert done.returncode == -9
    assert os.listdir(tmp_path) == []


def test_one_of_many_threads_wins(tmp_path: Path) -> None:
    won = []

    def write(number: int) -> None:
        if storage.put_if_absent(str(tmp_path / "part"), b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read_bytes(str(tmp_path / "part")) == b"%d" % won[0]


def test_compare_and_swap(tmp_path: Path) -> None:
    uri = str(tmp_path / "pointer")
    assert not storage.compare_and_swap(uri, b"old", b"new")
    assert storage.compare_and_swap(uri, None, b"one")
    assert not storage.compare_and_swap(uri, None, b"two")
    assert storage.compare_and_swap(uri, b"one", b"two")
    assert storage.read_bytes(uri) == b"two"


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"rows")
    target = str(tmp_path / "table" / "ds=1998-04-23")
    storage.replace_folder(target, {"old": str(part), "_SUCCESS": b"1"}, "_SUCCESS")
    storage.replace_folder(target, {"new": str(part), "_SUCCESS": b"2"}, "_SUCCESS")
    assert storage.list_names(target) == ["_SUCCESS", "new"]
    assert os.stat(f"{target}/new").st_ino == part.stat().st_ino
    assert os.listdir(tmp_path / "table") == ["ds=1998-04-23"]
    assert sorted(os.listdir(tmp_path)) == ["part", "table"]


def test_a_folder_is_put_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "query").mkdir(parents=True)
    (source / "query" / "model").write_text("m")
    (source / "manifest.json").write_text("{}")
    target = str(tmp_path / "models" / "bundle")
    assert storage.put_folder_if_absent(source, target, "manifest.json")
    assert not storage.put_folder_if_absent(source, target, "manifest.json")
    assert [f.uri.removeprefix(target) for f in storage.list_files(target)] == ["/manifest.json", "/query/model"]
    assert os.listdir(tmp_path / "models") == ["bundle"]


def test_listing_and_globbing(tmp_path: Path) -> None:
    for name in ("a.parquet", "deep/b.parquet", "deep/[c].parquet", "deep/note.txt"):
        storage.put_if_absent(str(tmp_path / name), b"x")
    assert [f.uri for f in storage.glob(f"{tmp_path}/**/*.parquet")] == [
        str(tmp_path / name) for name in ("a.parquet", "deep/[c].parquet", "deep/b.parquet")
    ]
    assert [f.uri for f in storage.glob(f"{tmp_path}/deep/[c].parquet")] == [f"{tmp_path}/deep/[c].parquet"]
    assert storage.list_files(str(tmp_path / "nowhere")) == []
    assert storage.list_names(str(tmp_path / "nowhere")) == []


def test_a_value_changed_in_place_changes_the_checksum(tmp_path: Path) -> None:
    """Size and mtime are the same afterwards; the cached checksum must not be believed."""
    path = tmp_path / "rows"
    path.write_bytes(b"rating 3")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    before = storage.checksum(str(path))
    assert storage.checksum(str(path)) == before
    with path.open("r+b") as stream:
        stream.write(b"rating 4")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert storage.checksum(str(path)) != before


def test_an_unknown_scheme_is_a_sentence() -> None:
    with pytest.raises(InputError, match="neither a local path nor gs://"):
        storage.read_bytes("s3://bucket/name")


def test_join_and_absolute() -> None:
    assert storage.join("gs://bucket/", "a/", "/b") == "gs://bucket/a/b"
    assert storage.join("/", "a") == "/a"
    assert storage.absolute("gs://bucket/a/") == "gs://bucket/a"
    assert storage.absolute("a") == os.path.join(os.getcwd(), "a")
    assert storage.name_of("gs://bucket/a/b") == "b"
