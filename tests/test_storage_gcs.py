"""The storage room on Google Cloud Storage: retries, races, and what else only a service has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_blocks import BASE, BLOCK, LARGE, bad_days, small_blocks
from gcs_server import CUT, RESET, GcsServer

from recbatch import storage
from recbatch.errors import InputError
from recbatch.storage import gcs_objects

sizes = pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    with small_blocks(monkeypatch) as server:
        yield server


@sizes
@bad_days
def test_a_writer_knows_its_own_file_after_a_retry(gcs: GcsServer, data: bytes, what: int | str, done: bool) -> None:
    """The first attempt may have been stored: then the second is refused, by what is our own file."""
    fault = gcs.fail("^POST /upload", what, done=done)
    assert storage.put_if_absent(f"{BASE}/part", data)
    assert fault.hits == 2
    assert storage.read_bytes(f"{BASE}/part") == data


@bad_days
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_every_request_of_a_large_upload_may_fail(gcs: GcsServer, what: int | str, done: bool, skip: int) -> None:
    fault = gcs.fail("^PUT /upload", what, done=done, skip=skip)
    assert storage.put_if_absent(f"{BASE}/part", LARGE)
    assert fault.hits == 4, "three chunks, one of them twice"
    assert storage.read_bytes(f"{BASE}/part") == LARGE


@sizes
@bad_days
def test_a_loser_stays_one_after_a_retry(gcs: GcsServer, data: bytes, what: int | str, done: bool) -> None:
    storage.put_if_absent(f"{BASE}/part", b"first")
    gcs.fail("^POST /upload", what, done=done)
    assert not storage.put_if_absent(f"{BASE}/part", data)
    assert storage.read_bytes(f"{BASE}/part") == b"first"


@pytest.mark.parametrize("skip", [0, 2])
def test_who_ends_a_large_upload_first_wins(gcs: GcsServer, skip: int) -> None:
    gcs.meanwhile("^PUT /upload", lambda: storage.put_if_absent(f"{BASE}/part", b"theirs"), skip=skip)
    assert not storage.put_if_absent(f"{BASE}/part", LARGE)
    assert storage.read_bytes(f"{BASE}/part") == b"theirs"


def test_a_file_whose_upload_never_ends_is_not_there(gcs: GcsServer) -> None:
    gcs.fail("^PUT /upload", 400, skip=1)
    with pytest.raises(InputError, match="folder/part: Google Cloud Storage refused the name or request"):
        storage.put_if_absent(f"{BASE}/part", LARGE)
    assert not storage.exists(f"{BASE}/part")


@bad_days
def test_a_swap_knows_itself_after_a_retry(gcs: GcsServer, what: int | str, done: bool) -> None:
    for before, after in ((None, b"one"), (b"one", b"two")):
        fault = gcs.fail("^POST /upload", what, done=done)
        assert storage.compare_and_swap(f"{BASE}/pointer", before, after)
        assert fault.hits == 2
        assert storage.read_bytes(f"{BASE}/pointer") == after


@bad_days
def test_a_swap_that_came_too_late_stays_one_after_a_retry(gcs: GcsServer, what: int | str, done: bool) -> None:
    storage.compare_and_swap(f"{BASE}/pointer", None, b"one")
    gcs.meanwhile("^POST /upload", lambda: storage.compare_and_swap(f"{BASE}/pointer", b"one", b"theirs"))
    fault = gcs.fail("^POST /upload", what, done=done)
    assert not storage.compare_and_swap(f"{BASE}/pointer", b"one", b"ours")
    assert fault.hits == 3, "ours, meanwhile theirs, ours again"
    assert storage.read_bytes(f"{BASE}/pointer") == b"theirs"


def test_a_swap_that_was_replaced_before_its_answer_came_was_one_all_the_same(gcs: GcsServer) -> None:
    storage.compare_and_swap(f"{BASE}/pointer", None, b"one")

    def theirs() -> None:
        for number in range(5):
            assert storage.compare_and_swap(
                f"{BASE}/pointer", b"ours" if number == 0 else b"%d" % (number - 1), b"%d" % number
            )

    gcs.fail("^POST /upload", RESET, done=True)
    gcs.meanwhile("^POST /upload", theirs, skip=1)
    assert storage.compare_and_swap(f"{BASE}/pointer", b"one", b"ours")
    assert storage.read_bytes(f"{BASE}/pointer") == b"4"


@pytest.mark.parametrize("request_before", ["^GET /storage/.*pointer", "^GET /download", "^POST /upload"])
def test_a_swap_against_what_has_changed_since_it_was_read_fails(gcs: GcsServer, request_before: str) -> None:
    storage.compare_and_swap(f"{BASE}/pointer", None, b"one")
    gcs.meanwhile(request_before, lambda: storage.compare_and_swap(f"{BASE}/pointer", b"one", b"theirs"))
    assert not storage.compare_and_swap(f"{BASE}/pointer", b"one", b"ours")
    assert storage.read_bytes(f"{BASE}/pointer") == b"theirs"


@pytest.mark.parametrize("what", [503, 429, RESET])
def test_reading_is_tried_again(gcs: GcsServer, what: int | str) -> None:
    for number in range(5):
        storage.put_if_absent(f"{BASE}/{number}", b"%d" % number)
    for request in ("^GET /storage/v1/b/bucket/o.?prefix", "^GET /storage/v1/b/bucket/o/", "^GET /download"):
        gcs.fail(request, what)
        gcs.fail(request, what, skip=1)
    assert storage.list_names(BASE) == ["0", "1", "2", "3", "4"]
    assert [file.size for file in storage.list_files(BASE)] == [1] * 5
    assert storage.read_bytes(f"{BASE}/3") == b"3"
    assert storage.size_of(f"{BASE}/3") == 1
    storage.delete_tree(BASE)
    assert storage.list_files(BASE) == []


@pytest.mark.parametrize("what", [503, RESET])
@pytest.mark.parametrize("done", [False, True])
def test_deleting_is_tried_again(gcs: GcsServer, what: int | str, done: bool) -> None:
    storage.put_if_absent(f"{BASE}/part", b"x")
    fault = gcs.fail("^DELETE", what, done=done)
    storage.delete(f"{BASE}/part")
    assert fault.hits == 2
    assert not storage.exists(f"{BASE}/part")


def test_a_download_that_breaks_off_goes_on_where_it_was(gcs: GcsServer) -> None:
    storage.put_if_absent(f"{BASE}/part", LARGE)
    gcs.fail("^GET /download", CUT)
    assert storage.read_bytes(f"{BASE}/part") == LARGE
    gcs.fail("^GET /download", CUT)
    with storage.open_input(f"{BASE}/part") as source:
        assert source.read() == LARGE


def test_an_open_file_never_mixes_two_contents(gcs: GcsServer) -> None:
    storage.put_if_absent(f"{BASE}/part", LARGE)
    with storage.open_input(f"{BASE}/part") as source:
        assert source.read(10) == LARGE[:10]
        storage.delete(f"{BASE}/part")
        storage.put_if_absent(f"{BASE}/part", LARGE[::-1])
        source.seek(2 * BLOCK)
        with pytest.raises(FileNotFoundError):
            source.read(10)


def test_little_is_read_of_a_large_parquet_file(gcs: GcsServer) -> None:
    values = pa.array(range(100_000), pa.int64())
    with storage.create(f"{BASE}/part") as (stream, _):
        table = pa.table({"a": values, "b": values, "c": values})
        pq.write_table(table, stream, row_group_size=10_000, compression="none", use_dictionary=False)
    assert storage.size_of(f"{BASE}/part") > 8 * BLOCK
    gcs.requests.clear()
    with storage.open_input(f"{BASE}/part") as source:
        file = pq.ParquetFile(source)
        assert len(gcs.asked("^GET")) == 2, "the size, then the footer"
        assert file.read_row_group(9, ["b"]).column("b").equals(pa.chunked_array([values[90_000:]]))
    assert len(gcs.asked("^GET")) == 3


def test_a_value_changed_or_written_again_changes_the_checksum(gcs: GcsServer) -> None:
    seen = set()
    for content in (b"rating 3", b"rating 4", b"rating 4"):
        storage.delete(f"{BASE}/rows")
        storage.put_if_absent(f"{BASE}/rows", content)
        seen.add(storage.checksum(f"{BASE}/rows"))
    assert len(seen) == 3
    assert len({checksum.split(";")[0] for checksum in seen}) == 2


def test_placeholders_of_folders_are_no_files(gcs: GcsServer) -> None:
    """Consoles make an empty object with a slash at its end for a new folder."""
    for name in ("folder/", "folder/sub/"):
        gcs_objects._client().bucket("bucket").blob(name).upload_from_string(b"")
    storage.put_if_absent(f"{BASE}/sub/part", b"x")
    assert [file.uri for file in storage.list_files(BASE)] == [f"{BASE}/sub/part"]
    assert [file.uri for file in storage.glob(f"{BASE}/**")] == [f"{BASE}/sub/part"]
    assert storage.list_names(BASE) == ["sub"]
    assert storage.list_names("gs://bucket") == ["folder"]


def test_a_bucket_itself_is_a_folder(gcs: GcsServer) -> None:
    storage.put_if_absent("gs://bucket/part", b"x")
    assert storage.list_files("gs://bucket") == [storage.StoredFile("gs://bucket/part", 1)]
    assert not storage.exists("gs://bucket")
    assert not storage.exists("gs://bucket/")
    assert [file.uri for file in storage.glob("gs://bucket/*")] == ["gs://bucket/part"]


def test_the_cloud_library_is_imported_at_the_first_path_that_needs_it(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom recbatch import storage\nstorage.put_if_absent(sys.argv[1], b'x')\n"
        "storage.glob(sys.argv[1]); storage.replace_folder(sys.argv[1] + '.d', {'_SUCCESS': b''}, '_SUCCESS')\n"
        "assert 'google.cloud.storage' not in sys.modules\n"
        "try: storage.read_bytes('gs:///a')\nexcept Exception: assert 'google.cloud.storage' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=True)
