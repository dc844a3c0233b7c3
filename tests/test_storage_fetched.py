"""Local copies of folders in an object store."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gcs_server import GcsServer, emulated

from recbatch import storage
from recbatch.storage import fetched

URI = "gs://bucket/index"
FILES = {"a": b"first", "deep/b": b"second" * 1_000_000, "empty": b""}


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GcsServer]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with emulated(monkeypatch) as server:
        for name, data in FILES.items():
            storage.put_if_absent(f"{URI}/{name}", data)
        yield server


def checksums(files: dict[str, bytes]) -> dict[str, str]:
    return {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in files.items()}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_local_folder_is_its_own_copy(tmp_path: Path) -> None:
    assert storage.fetch_folder(str(tmp_path), {}) == tmp_path


def test_a_copy_holds_the_files_asked_for_and_is_made_once(gcs: GcsServer) -> None:
    storage.put_if_absent(f"{URI}/scann_docids.pkl", b"not listed")
    folder = storage.fetch_folder(URI, checksums(FILES))
    assert content(folder) == FILES
    gcs.requests.clear()
    assert storage.fetch_folder(URI, checksums(FILES)) == folder
    assert gcs.asked(".") == []


def test_many_at_once_fetch_once(gcs: GcsServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: storage.fetch_folder(URI, checksums(FILES)), range(8)))
    assert content(folders.pop()) == FILES
    assert not folders
    assert len(gcs.asked("GET /storage.*index/a")) == 1


def test_other_content_has_a_copy_of_its_own(gcs: GcsServer) -> None:
    before = storage.fetch_folder(URI, checksums(FILES))
    storage.delete(f"{URI}/a")
    storage.put_if_absent(f"{URI}/a", b"new")
    after = storage.fetch_folder(URI, checksums({**FILES, "a": b"new"}))
    assert content(before) == FILES
    assert content(after) == {**FILES, "a": b"new"}


def test_a_damaged_copy_is_fetched_again(gcs: GcsServer) -> None:
    folder = storage.fetch_folder(URI, checksums(FILES))
    for damage in (
        lambda: (folder / "a").write_bytes(b""),
        lambda: (folder / "deep" / "b").unlink(),
        lambda: (folder / "stray").write_bytes(b"x"),
    ):
        damage()
        assert content(storage.fetch_folder(URI, checksums(FILES))) == FILES


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("a", b"other", storage.ContentError),
        ("missing", b"", FileNotFoundError),
        ("../outside", b"", storage.ContentError),
    ],
)
def test_what_is_not_as_recorded_is_not_kept(gcs: GcsServer, name: str, data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        storage.fetch_folder(URI, checksums({**FILES, name: data}))
    assert content(storage.fetch_folder(URI, checksums(FILES))) == FILES
    folders = [
        path for path in (Path(os.environ["XDG_CACHE_HOME"]) / "recbatch" / "fetched").iterdir() if path.is_dir()
    ]
    assert len(folders) == 1


def test_copies_not_used_for_long_make_room(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "_BUDGET_BYTES", 10)
    sets = [{"a": b"first"}, {"a": b"first", "empty": b""}, {"empty": b""}, {"deep/b": FILES["deep/b"]}]
    folders = [storage.fetch_folder(URI, checksums(files)) for files in sets]
    assert all(folder.exists() for folder in folders), "they may be in use"
    for age, folder in enumerate(folders):
        os.utime(folder, (time.time() - 7200 + age,) * 2)
    assert storage.fetch_folder(URI, checksums(sets[0])) == folders[0]
    assert [folder.exists() for folder in folders] == [True, False, False, False]
    assert storage.fetch_folder(URI, checksums(sets[1])) == folders[1]
