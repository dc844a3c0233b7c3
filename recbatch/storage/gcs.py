"""Google Cloud Storage: generation preconditions instead of renames, server-side copies, ``crc32c`` checksums.

Transient errors are retried by the client library; a precondition makes the retries safe.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import storage as cloud
from google.cloud.storage.retry import DEFAULT_RETRY

from recbatch.storage.files import Created, StoredFile

_READ_BLOCK_BYTES = 8 << 20


@functools.cache
def _client() -> cloud.Client:
    return cloud.Client()


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


def _blob(uri: str) -> Any:
    bucket, name = _split(uri)
    return _client().bucket(bucket).blob(name)


def _found(uri: str) -> Any:
    bucket, name = _split(uri)
    blob = _client().bucket(bucket).get_blob(name)
    if blob is None:
        raise FileNotFoundError(f"{uri} does not exist")
    return blob


def list_files(folder: str) -> list[StoredFile]:
    """See :func:`recbatch.storage.list_files`."""
    bucket, name = _split(folder)
    prefix = f"{name.rstrip('/')}/" if name else ""
    blobs = _client().list_blobs(bucket, prefix=prefix)
    return [StoredFile(f"gs://{bucket}/{blob.name}", blob.size) for blob in blobs if not blob.name.endswith("/")]


def list_names(folder: str) -> list[str]:
    """See :func:`recbatch.storage.list_names`."""
    bucket, name = _split(folder)
    prefix = f"{name.rstrip('/')}/" if name else ""
    listing = _client().list_blobs(bucket, prefix=prefix, delimiter="/")
    names = [blob.name.removeprefix(prefix) for blob in listing]
    return [*(found for found in names if found), *(p.removeprefix(prefix).rstrip("/") for p in listing.prefixes)]


def glob(pattern: str) -> list[StoredFile]:
    """See :func:`recbatch.storage.glob`."""
    bucket, name = _split(pattern)
    fixed = re.split(r"[*?\[]", name, maxsplit=1)[0]
    matches = re.compile(_translate(name)).fullmatch
    blobs = _client().list_blobs(bucket, prefix=fixed)
    return [
        StoredFile(f"gs://{bucket}/{blob.name}", blob.size)
        for blob in blobs
        if (matches(blob.name) or blob.name == name) and not blob.name.endswith("/")
    ]


def _translate(pattern: str) -> str:
    """A regular expression in which ``*`` stays within a folder and ``**`` does not, as for local paths."""
    pieces = re.split(r"(\*\*/?|\*|\?|\[[^\]]+\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        known[piece] if piece in known else fnmatch.translate(piece)[4:-3] if piece.startswith("[") else re.escape(piece)
        for piece in pieces
    )


def exists(uri: str) -> bool:
    """See :func:`recbatch.storage.exists`."""
    return bool(_blob(uri).exists())


def size_of(uri: str) -> int:
    """See :func:`recbatch.storage.size_of`."""
    return int(_found(uri).size)


def read_bytes(uri: str) -> bytes:
    """See :func:`recbatch.storage.read_bytes`."""
    try:
        data: bytes = _blob(uri).download_as_bytes()
    except NotFound:
        raise FileNotFoundError(f"{uri} does not exist") from None
    return data


def open_input(uri: str) -> pa.NativeFile:
    """See :func:`recbatch.storage.open_input`."""
    return pa.PythonFile(_found(uri).open("rb", chunk_size=_READ_BLOCK_BYTES), mode="r")


@contextlib.contextmanager
def create(uri: str) -> Iterator[tuple[BinaryIO, Created]]:
    """See :func:`recbatch.storage.create`; encoded into a local temporary, then uploaded on condition."""
    created = Created()
    with tempfile.TemporaryFile() as stream:
        yield stream, created
        stream.seek(0)
        try:
            _blob(uri).upload_from_file(stream, if_generation_match=0, retry=DEFAULT_RETRY)
            created.won = True
        except PreconditionFailed:
            created.won = False


def put_folder_if_absent(folder: Path, uri: str, last: str) -> bool:
    """See :func:`recbatch.storage.put_folder_if_absent`."""
    if exists(f"{uri}/{last}"):
        return False
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in [*(name for name in names if name != last), last]:
        condition = {"if_generation_match": 0} if name == last else {}
        try:
            _blob(f"{uri}/{name}").upload_from_filename(str(folder / name), retry=DEFAULT_RETRY, **condition)
        except PreconditionFailed:
            return False
    return True


def compare_and_swap(uri: str, expected: bytes | None, data: bytes) -> bool:
    """See :func:`recbatch.storage.compare_and_swap`."""
    generation = 0
    if expected is not None:
        try:
            blob = _found(uri)
            generation = blob.generation
            if blob.download_as_bytes(if_generation_match=generation) != expected:
                return False
        except (FileNotFoundError, NotFound, PreconditionFailed):
            return False
    try:
        _blob(uri).upload_from_string(data, if_generation_match=generation, retry=DEFAULT_RETRY)
    except PreconditionFailed:
        return False
    return True


def replace_folder(uri: str, contents: Mapping[str, str | bytes], last: str) -> None:
    """See :func:`recbatch.storage.replace_folder`."""
    delete(f"{uri}/{last}")
    for file in list_files(uri):
        delete(file.uri)
    for name, source in [*((n, s) for n, s in contents.items() if n != last), (last, contents[last])]:
        if isinstance(source, bytes):
            _blob(f"{uri}/{name}").upload_from_string(source, retry=DEFAULT_RETRY)
        else:
            _rewrite(source, f"{uri}/{name}")


def _rewrite(source: str, target: str) -> None:
    """Copy on the server; large objects take several calls."""
    token = None
    while True:
        token, _, _ = _blob(target).rewrite(_blob(source), token=token, retry=DEFAULT_RETRY)
        if token is None:
            return


def checksum(uri: str) -> str:
    """See :func:`recbatch.storage.checksum`."""
    blob = _found(uri)
    return f"crc32c:{blob.crc32c};generation:{blob.generation}"


def delete(uri: str) -> None:
    """See :func:`recbatch.storage.delete`."""
    with contextlib.suppress(NotFound):
        _blob(uri).delete(retry=DEFAULT_RETRY)


def delete_tree(uri: str) -> None:
    """See :func:`recbatch.storage.delete_tree`."""
    for file in list_files(uri):
        delete(file.uri)
