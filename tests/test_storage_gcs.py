"""The storage room on Google Cloud Storage: what only a service has, such as bad days."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import google.auth
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_server import CUT, RESET, GcsServer, emulated
from google.api_core.exceptions import Unauthorized
from google.auth.exceptions import DefaultCredentialsError, RefreshError
from google.cloud.storage import blob

from recbatch import storage
from recbatch.errors import InputError, RecbatchError
from recbatch.storage import gcs_folders, gcs_objects
from recbatch.storage.gcs_errors import explaining

BASE = "gs://bucket/folder"
BLOCK = 256 << 10
LARGE = bytes(range(256)) * 2_500  # two blocks and a half


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    monkeypatch.setattr(gcs_objects, "WRITE_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(gcs_folders, "WRITE_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(gcs_objects, "_READ_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(blob, "_MAX_MULTIPART_SIZE", BLOCK)
    monkeypatch.setattr(gcs_folders, "_MOST_WAIT_SECONDS", 0.02)
    with emulated(monkeypatch, page_size=2, rewrite_bytes=BLOCK) as server:
        yield server


bad_days = pytest.mark.parametrize(
    ("what", "done"),
    [(503, False), (503, True), (429, False), (500, True), (RESET, False), (RESET, True)],
    ids=["503", "503, but done", "429", "500, but done", "reset", "reset, but done"],
)
sizes = pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])


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


EVERY_USE = {
    "list_files": lambda uri: storage.list_files(uri),
    "list_names": lambda uri: storage.list_names(uri),
    "glob": lambda uri: storage.glob(f"{uri}/*"),
    "exists": lambda uri: storage.exists(uri),
    "size_of": lambda uri: storage.size_of(uri),
    "read_bytes": lambda uri: storage.read_bytes(uri),
    "open_input": lambda uri: storage.open_input(uri),
    "checksum": lambda uri: storage.checksum(uri),
    "put_if_absent": lambda uri: storage.put_if_absent(uri, b"x"),
    "put large": lambda uri: storage.put_if_absent(uri, LARGE),
    "compare_and_swap": lambda uri: storage.compare_and_swap(uri, b"x", b"y"),
    "replace_folder": lambda uri: storage.replace_folder(uri, {"a": b"x", "b": b"y"}, "b"),
    "put_folder": lambda uri: storage.put_folder_if_absent(Path(__file__).parent, uri, Path(__file__).name),
    "delete": lambda uri: storage.delete(uri),
    "delete_tree": lambda uri: storage.delete_tree(uri),
}
every_use = pytest.mark.parametrize("use", EVERY_USE.values(), ids=EVERY_USE)


@every_use
def test_a_bucket_that_does_not_exist_is_a_sentence(gcs: GcsServer, use) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"^gs://buket/a.*: the bucket gs://buket does not exist; correct its name"):
        use("gs://buket/a")


@every_use
def test_refused_access_is_a_sentence(gcs: GcsServer, use) -> None:  # type: ignore[no-untyped-def]
    message = "me@example.org does not have storage.objects.list access to the Google Cloud Storage bucket."
    gcs.fail(".", 403, times=1000, message=message)
    with pytest.raises(
        InputError, match=r"^gs://bucket/a.*: access was refused \(me@example.org .* bucket\); .*objectUser"
    ):
        use("gs://bucket/a")


def test_credentials_that_are_not_accepted_are_a_sentence() -> None:
    expected = pytest.raises(InputError, match="were not accepted .401 Invalid Credentials.; run `gcloud auth appl")
    with expected, explaining("gs://bucket/a"):
        raise Unauthorized("Invalid Credentials")


def test_no_credentials_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise DefaultCredentialsError("Your default credentials were not found. To set up, see https://there")

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(google.auth, "default", none)
    gcs_objects._client_of.cache_clear()
    with pytest.raises(InputError, match="no Google Cloud credentials .Your default credentials were not found.; run"):
        storage.read_bytes("gs://bucket/a")


def test_credentials_that_have_expired_are_a_sentence(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def expired(*_: object, **__: object) -> None:
        raise RefreshError("Reauthentication is needed. Please run `gcloud auth application-default login`")

    monkeypatch.setattr(gcs_objects._client()._http_internal or gcs_objects._client()._http, "request", expired)
    with pytest.raises(InputError, match="cannot be used .Reauthentication is needed.; run `gcloud"):
        storage.read_bytes("gs://bucket/a")


def test_a_service_that_stays_away_is_a_sentence_and_not_a_missing_file(
    gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = gcs_objects.DEFAULT_RETRY.with_timeout(0.05)
    monkeypatch.setattr(gcs_objects, "DEFAULT_RETRY", impatient)
    storage.put_if_absent(f"{BASE}/part", b"x")
    gcs.fail(".", 503, times=1_000_000, message="Backend Error")
    for use in (storage.read_bytes, storage.exists, storage.open_input):
        with pytest.raises(RecbatchError, match=r"kept failing \(.*Backend Error\); .* run the same command") as caught:
            use(f"{BASE}/part")
        assert not isinstance(caught.value, InputError | OSError)


def test_an_error_while_reading_parquet_stays_what_it_is(gcs: GcsServer) -> None:
    with storage.create(f"{BASE}/part") as (stream, _):
        pq.write_table(pa.table({"a": range(1000)}), stream)
    with storage.open_input(f"{BASE}/part") as source:
        gcs.fail("^GET /download", 403, times=10, message="no")
        with pytest.raises(InputError, match="access was refused"):
            pq.read_table(source)


@pytest.mark.parametrize("uri", ["gs://", "gs:///name", "gs://-bad-/name"])
def test_no_bucket_is_a_sentence(gcs: GcsServer, uri: str) -> None:
    with pytest.raises(InputError, match="names no bucket; write gs://bucket/folder"):
        storage.list_files(uri)


def test_a_name_that_the_service_refuses_is_a_sentence(gcs: GcsServer) -> None:
    with pytest.raises(InputError, match="refused the name or request .The specified object name is not valid"):
        storage.put_if_absent(f"{BASE}/{'x' * 1100}", b"x")


def test_the_cloud_library_is_imported_at_the_first_path_that_needs_it(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom recbatch import storage\nstorage.put_if_absent(sys.argv[1], b'x')\n"
        "storage.glob(sys.argv[1]); storage.replace_folder(sys.argv[1] + '.d', {'_SUCCESS': b''}, '_SUCCESS')\n"
        "assert 'google.cloud.storage' not in sys.modules\n"
        "try: storage.read_bytes('gs:///a')\nexcept Exception: assert 'google.cloud.storage' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=True)
