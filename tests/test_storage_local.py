"""The storage room on the local file system: what only a file system has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from recbatch import storage


def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom recbatch import storage\n"
        "with storage.create(sys.argv[1]) as (stream, _):\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "part")], check=False)
    assert done.returncode == -9
    assert os.listdir(tmp_path) == []


def test_the_first_writers_file_is_not_touched(tmp_path: Path) -> None:
    uri = str(tmp_path / "part")
    storage.put_if_absent(uri, b"first")
    before = os.stat(uri)
    storage.put_if_absent(uri, b"second")
    assert os.stat(uri) == before


def test_a_replaced_folder_holds_links_to_the_parts(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"rows")
    target = tmp_path / "table" / "ds=1998-04-23"
    for name in ("old", "new"):
        storage.replace_folder(str(target), {name: str(part), "_SUCCESS": b""}, "_SUCCESS")
    assert os.stat(target / "new").st_ino == part.stat().st_ino
    assert set(os.listdir(tmp_path)) - {".lock"} == {"part", "table"}
    assert os.listdir(tmp_path / "table") == ["ds=1998-04-23"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    (folder / "deep").mkdir(parents=True)
    elsewhere.mkdir()
    (folder / "deep" / "a").write_bytes(b"x")
    (elsewhere / "b").write_bytes(b"x")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "deep" / "circle").symlink_to(folder)
    (elsewhere / "back").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "gone")
    found = [file.uri.removeprefix(f"{folder}/") for file in storage.list_files(str(folder))]
    assert found == ["deep/a", "linked/b"]


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
