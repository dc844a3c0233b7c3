"""Whole folders on Google Cloud Storage: in which order, against failures, and against others at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from gcs_blocks import BASE, LARGE, bad_days, small_blocks
from gcs_server import GcsServer

from recbatch import storage
from recbatch.errors import InputError, RecbatchError
from recbatch.storage import gcs_folders


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    with small_blocks(monkeypatch) as server:
        yield server


def test_the_marker_goes_first_and_comes_last(gcs: GcsServer) -> None:
    for number in range(3):
        storage.put_if_absent(f"{BASE}/run/{number}", LARGE if number == 1 else b"rows")
    target = f"{BASE}/table/ds=1"
    storage.replace_folder(target, {"0-old": b"rows", "part-0": b"rows", "_SUCCESS": b"1"}, "_SUCCESS")
    gcs.requests.clear()
    storage.replace_folder(target, {**{f"part-{n}": f"{BASE}/run/{n}" for n in range(3)}, "_SUCCESS": b"2"}, "_SUCCESS")
    changes = [request.partition("?")[0] for request in gcs.asked("^(DELETE|POST)")]
    place = "/storage/v1/b/bucket/o/folder"
    copies = [f"POST {place}/run/{n}/rewriteTo/b/bucket/o/folder/table/ds=1/part-{n}" for n in (0, 1, 1, 1, 2)]
    assert changes[0] == f"DELETE {place}/table/ds=1/_SUCCESS"
    assert sorted(changes[1:3]) == [f"DELETE {place}/table/ds=1/0-old", f"DELETE {place}/table/ds=1/part-0"]
    assert sorted(changes[3:8]) == copies
    assert changes[8:] == ["POST /upload/storage/v1/b/bucket/o"]
    assert gcs.asked("^GET /download") == [], "nothing is fetched to be copied"
    assert storage.read_bytes(f"{target}/part-1") == LARGE


@bad_days
def test_a_replaced_folder_bears_failures(gcs: GcsServer, what: int | str, done: bool) -> None:
    storage.put_if_absent(f"{BASE}/run/0", LARGE)
    storage.put_if_absent(f"{BASE}/run/1", b"rows")
    for request in ("^DELETE", "rewriteTo.*part-0", "rewriteTo.*part-1", "rewriteToken", "^POST /upload"):
        gcs.fail(request, what, done=done)
    parts: dict[str, str | bytes] = {"part-0": f"{BASE}/run/0", "part-1": f"{BASE}/run/1"}
    contents = parts | {"note": b"bytes", "_SUCCESS": b"1"}
    storage.replace_folder(f"{BASE}/table", contents, "_SUCCESS")
    assert {name: storage.read_bytes(f"{BASE}/table/{name}") for name in storage.list_names(f"{BASE}/table")} == {
        "part-0": LARGE,
        "part-1": b"rows",
        "note": b"bytes",
        "_SUCCESS": b"1",
    }


def test_a_part_that_is_gone_is_named(gcs: GcsServer) -> None:
    with pytest.raises(FileNotFoundError, match="folder/run/0"):
        storage.replace_folder(f"{BASE}/table", {"part-0": f"{BASE}/run/0", "_SUCCESS": b"1"}, "_SUCCESS")
    assert not storage.exists(f"{BASE}/table/_SUCCESS")


def test_two_that_replace_a_folder_do_not_mix(gcs: GcsServer) -> None:
    """Each has files that the other lacks, and one name that both have."""
    for run in ("one", "two"):
        for name in ("part-0", f"part-{run}"):
            storage.put_if_absent(f"{BASE}/{run}/{name}", run.encode())

    def replace(run: str) -> None:
        contents = {name: f"{BASE}/{run}/{name}" for name in ("part-0", f"part-{run}")}
        storage.replace_folder(f"{BASE}/table", {**contents, "_SUCCESS": run.encode()}, "_SUCCESS")

    for request in (
        "DELETE .*_SUCCESS",
        "rewriteTo.*part-0",
        "rewriteTo.*part-one",
        "prefix=folder/table",
        "^POST /upload",
    ):
        gcs.meanwhile(request, lambda: replace("two"))
        replace("one")
        found = {name: storage.read_bytes(f"{BASE}/table/{name}") for name in storage.list_names(f"{BASE}/table")}
        assert found == {"part-0": b"one", "part-one": b"one", "_SUCCESS": b"one"}


def test_a_folder_that_never_rests_is_an_error_without_marker(gcs: GcsServer) -> None:
    for skip in range(gcs_folders._ATTEMPTS):
        stray = partial(storage.put_if_absent, f"{BASE}/table/stray-{skip}", b"x")
        gcs.meanwhile("^POST /upload.*multipart$", stray, skip=skip)
    with pytest.raises(RecbatchError, match="keeps being changed by another run; let it end, then run again"):
        storage.replace_folder(f"{BASE}/table", {"part-0": b"rows", "_SUCCESS": b"1"}, "_SUCCESS")
    assert not storage.exists(f"{BASE}/table/_SUCCESS")


def make_folder(place: Path, name: str) -> Path:
    (place / name / "query").mkdir(parents=True)
    for file in ("query/a", "query/b", "c"):
        (place / name / file).write_text(f"{file} of {name}")
    (place / name / "manifest.json").write_text(name)
    return place / name


REQUESTS_OF_PUT = [
    "^GET /storage.*manifest",
    "^POST /upload.*multipart",
    "^POST /upload.*ifGenerationMatch=0",
    "^GET /download.*decided",
    "rewriteTo",
    "rewriteTo.*manifest",
    "^DELETE",
    "^DELETE.*decided",
]


@pytest.mark.parametrize("request_before", REQUESTS_OF_PUT)
def test_two_that_put_a_folder_do_not_mix(gcs: GcsServer, tmp_path: Path, request_before: str) -> None:
    """At whatever point the other comes in: one of the folders is there, whole, and only its writer won."""
    first, second = make_folder(tmp_path, "first"), make_folder(tmp_path, "second")
    won = {}

    def put(folder: Path) -> None:
        won[folder.name] = storage.put_folder_if_absent(folder, f"{BASE}/bundle", "manifest.json")

    gcs.meanwhile(request_before, lambda: put(second))
    put(first)
    winner = storage.read_bytes(f"{BASE}/bundle/manifest.json").decode()
    assert won == {"first": winner == "first", "second": winner == "second"}
    found = {file.uri.removeprefix(f"{BASE}/"): storage.read_bytes(file.uri) for file in storage.list_files(BASE)}
    assert found == {
        "bundle/manifest.json": winner.encode(),
        **{f"bundle/{file}": f"{file} of {winner}".encode() for file in ("query/a", "query/b", "c")},
    }


@pytest.mark.parametrize("request_of_death", REQUESTS_OF_PUT)
def test_a_folder_half_put_is_completed_by_the_next(gcs: GcsServer, tmp_path: Path, request_of_death: str) -> None:
    """The first is stopped for good at some request."""
    gcs.fail(request_of_death, 400)
    with pytest.raises(InputError):
        storage.put_folder_if_absent(make_folder(tmp_path, "first"), f"{BASE}/bundle", "manifest.json")
    storage.put_folder_if_absent(make_folder(tmp_path, "second"), f"{BASE}/bundle", "manifest.json")
    winner = storage.read_bytes(f"{BASE}/bundle/manifest.json").decode()
    assert {storage.read_bytes(f.uri).decode().split()[-1] for f in storage.list_files(f"{BASE}/bundle")} == {winner}
    assert len(storage.list_files(f"{BASE}/bundle")) == 4
