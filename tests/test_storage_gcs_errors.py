"""What goes wrong with Google Cloud Storage is a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import google.auth
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_blocks import BASE, LARGE, small_blocks
from gcs_server import GcsServer
from google.api_core.exceptions import Unauthorized
from google.auth.exceptions import DefaultCredentialsError, RefreshError

from recbatch import storage
from recbatch.errors import InputError, RecbatchError
from recbatch.storage import gcs_objects
from recbatch.storage.gcs_errors import explaining


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    with small_blocks(monkeypatch) as server:
        yield server


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
