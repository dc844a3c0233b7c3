"""Objects of Google Cloud Storage: generation preconditions instead of renames, ``crc32c`` checksums.

The client library retries transient errors. A retry of a conditional write whose first attempt was stored, though its
answer got lost, is refused by its own object; so every conditional write leaves a token in the object's metadata, by
which it knows its own.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import threading
import uuid
from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO

import pyarrow as pa
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import storage as cloud
from google.cloud.storage.fileio import BlobReader
from google.cloud.storage.retry import DEFAULT_RETRY

from recbatch.errors import InputError
from recbatch.storage.files import Created, StoredFile
from recbatch.storage.gcs_errors import absent, explained, explaining, is_about_the_bucket
from recbatch.storage.patterns import fixed_prefix, is_pattern, matches

_READ_BLOCK_BYTES = 4 << 20
WRITE_BLOCK_BYTES = 32 << 20  # of uploads too large for one request; the library holds a block in memory
_WRITERS = "recbatch-writers"
_KEPT_WRITERS = 20

_creating = threading.Lock()


def _client() -> cloud.Client:
    with _creating:  # the first requests may come from many threads at once
        return _client_of(os.getpid())  # a connection must not be shared by two processes


@functools.cache
def _client_of(process: int) -> cloud.Client:
    # The library asks for the bucket at every object that is not there, only to label traces that nobody takes.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    # Without a project: objects need none, and the credentials of a person often name none.
    return cloud.Client(project=None)


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


def _bucket(uri: str) -> Any:
    name = _split(uri)[0]
    try:
        return _client().bucket(name)
    except (ValueError, IndexError):  # how the library checks it
        raise InputError(f"{uri!r} names no bucket; write gs://bucket/folder") from None


def blob_of(uri: str) -> Any:
    """The client library's object for ``uri``; nothing is asked yet."""
    name = _split(uri)[1]
    if not name:
        raise absent(uri)
    return _bucket(uri).blob(name)


def found_blob(uri: str) -> Any:
    """The object with its size, checksum and generation; what is read through it is of that generation.

    Raises:
        FileNotFoundError: it is not there.
    """
    blob = blob_of(uri)
    try:
        blob.reload(retry=DEFAULT_RETRY)
    except NotFound as error:
        if is_about_the_bucket(error):
            raise
        raise absent(uri) from None
    return blob


@explained
def list_files(folder: str) -> list[StoredFile]:
    """See :func:`recbatch.storage.list_files`."""
    return [StoredFile(uri, blob.size) for uri, blob in list_blobs(folder)]


def list_blobs(folder: str) -> list[tuple[str, Any]]:
    """Every object below ``folder`` with its URI, without the placeholders that consoles make for folders."""
    name = _split(folder)[1].rstrip("/")
    return _listed(folder, f"{name}/" if name else "")


def _listed(uri: str, prefix: str) -> list[tuple[str, Any]]:
    bucket = _bucket(uri)
    blobs = _client().list_blobs(bucket, prefix=prefix)
    return [(f"gs://{bucket.name}/{blob.name}", blob) for blob in blobs if not blob.name.endswith("/")]


@explained
def list_names(folder: str) -> list[str]:
    """See :func:`recbatch.storage.list_names`."""
    name = _split(folder)[1].rstrip("/")
    prefix = f"{name}/" if name else ""
    listing = _client().list_blobs(_bucket(folder), prefix=prefix, delimiter="/")
    files = {blob.name.removeprefix(prefix) for blob in listing}
    folders = {found.removeprefix(prefix).rstrip("/") for found in listing.prefixes}
    return [found for found in files | folders if found]


@explained
def glob(pattern: str) -> list[StoredFile]:
    """See :func:`recbatch.storage.glob`."""
    with contextlib.suppress(FileNotFoundError):  # a name may hold [ or * itself
        return [StoredFile(pattern, found_blob(pattern).size)]
    name = _split(pattern)[1]
    if not is_pattern(name):
        return []
    return [
        StoredFile(uri, blob.size) for uri, blob in _listed(pattern, fixed_prefix(name)) if matches(blob.name, name)
    ]


@explained
def exists(uri: str) -> bool:
    """See :func:`recbatch.storage.exists`."""
    try:
        found_blob(uri)
    except FileNotFoundError:
        return False
    return True


@explained
def size_of(uri: str) -> int:
    """See :func:`recbatch.storage.size_of`."""
    return int(found_blob(uri).size)


@explained
def read_bytes(uri: str) -> bytes:
    """See :func:`recbatch.storage.read_bytes`."""
    data: bytes = blob_of(uri).download_as_bytes(retry=DEFAULT_RETRY)
    return data


@explained
def open_input(uri: str) -> pa.NativeFile:
    """See :func:`recbatch.storage.open_input`."""
    return pa.PythonFile(_Reader(uri, found_blob(uri)), mode="r")


class _Reader(BlobReader):
    """The library's reader, one generation from the first byte to the last."""

    def __init__(self, uri: str, blob: Any) -> None:
        super().__init__(blob, chunk_size=_READ_BLOCK_BYTES)
        self._uri = uri

    def read(self, size: int = -1) -> bytes:
        with explaining(self._uri):
            data: bytes = super().read(size)
        return data


@contextlib.contextmanager
def create(uri: str) -> Iterator[tuple[BinaryIO, Created]]:
    """See :func:`recbatch.storage.create`; encoded into a local temporary, then uploaded on condition."""
    created = Created()
    with tempfile.TemporaryFile() as stream:
        yield stream, created
        with explaining(uri):
            created.won = insert(uri, stream, 0)


def insert(uri: str, stream: BinaryIO, generation: int, earlier: tuple[str, ...] = ()) -> bool:
    """Upload a stream if the object still has this generation (0: absent); returns whether it had.

    ``earlier`` are the tokens of who wrote what this replaces. They are kept, so that a writer whose answer got lost
    finds its token even if another has written since.
    """
    token = uuid.uuid4().hex
    size = stream.seek(0, os.SEEK_END)
    blob = blob_of(uri)
    blob.metadata = {_WRITERS: " ".join([token, *earlier[: _KEPT_WRITERS - 1]])}
    blob.chunk_size = WRITE_BLOCK_BYTES
    try:
        blob.upload_from_file(stream, rewind=True, size=size, if_generation_match=generation, retry=DEFAULT_RETRY)
    except PreconditionFailed:
        try:
            return token in _writers(found_blob(uri))
        except FileNotFoundError:  # theirs was there, and is gone
            return False
    return True


def _writers(blob: Any) -> tuple[str, ...]:
    """Tokens of the conditional writes that led to this object, the newest first."""
    return tuple((blob.metadata or {}).get(_WRITERS, "").split())


@explained
def compare_and_swap(uri: str, expected: bytes | None, data: bytes) -> bool:
    """See :func:`recbatch.storage.compare_and_swap`."""
    if expected is None:
        return insert(uri, BytesIO(data), 0)
    try:
        blob = found_blob(uri)
        current = blob.download_as_bytes(if_generation_match=blob.generation, retry=DEFAULT_RETRY)
    except (FileNotFoundError, PreconditionFailed):
        return False
    except NotFound as error:  # replaced since we looked, and the service does not keep the old one
        if is_about_the_bucket(error):
            raise
        return False
    return current == expected and insert(uri, BytesIO(data), blob.generation, _writers(blob))


@explained
def checksum(uri: str) -> str:
    """See :func:`recbatch.storage.checksum`."""
    blob = found_blob(uri)
    return f"crc32c:{blob.crc32c};generation:{blob.generation}"


@explained
def delete(uri: str) -> None:
    """See :func:`recbatch.storage.delete`."""
    try:
        blob_of(uri).delete(retry=DEFAULT_RETRY)
    except NotFound as error:
        if is_about_the_bucket(error):
            raise
