"""One function per need; each picks the local or the Google Cloud Storage side by the URI's scheme."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import pyarrow as pa

from recbatch.errors import InputError
from recbatch.storage import local
from recbatch.storage.files import Created, StoredFile

__all__ = ["Created", "StoredFile"]


_HASHED_BYTES = 4 << 20


def is_remote(uri: str) -> bool:
    """Whether ``uri`` names an object store rather than a path of this machine."""
    return "://" in uri


def _side(uri: str) -> ModuleType:
    if not is_remote(uri):
        return local
    if uri.startswith("gs://"):
        # Imported at the first gs:// path only: a local night must not pay for the cloud libraries.
        from recbatch.storage import gcs

        return gcs
    raise InputError(f"{uri!r} is neither a local path nor gs://: other object stores are not supported")


def join(base: str, *names: str) -> str:
    """``base/name/...`` with single slashes, for paths and URIs alike."""
    return "/".join([base.rstrip("/") if base != "/" else "", *(name.strip("/") for name in names)])


def name_of(uri: str) -> str:
    """The last component of a URI."""
    return uri.rstrip("/").rsplit("/", 1)[-1]


def absolute(uri: str) -> str:
    """``uri`` independent of the current directory; workers may run elsewhere."""
    return uri.rstrip("/") if is_remote(uri) else os.path.abspath(os.path.expanduser(uri))


def list_files(folder: str) -> list[StoredFile]:
    """Every file below ``folder`` (hidden ones too), sorted by URI; empty where nothing is there."""
    return sorted(_side(folder).list_files(folder), key=lambda file: file.uri.encode())


def list_names(folder: str) -> list[str]:
    """Names of the entries directly in ``folder``, sorted; empty where nothing is there."""
    return sorted(_side(folder).list_names(folder))


def glob(pattern: str) -> list[StoredFile]:
    """Files that match ``*``, ``?``, ``[..]`` and ``**``; a plain file matches itself. Sorted by URI."""
    return sorted(_side(pattern).glob(pattern), key=lambda file: file.uri.encode())


def exists(uri: str) -> bool:
    """Whether a file (not a folder) is there."""
    return bool(_side(uri).exists(uri))


def size_of(uri: str) -> int:
    """Bytes of a file.

    Raises:
        FileNotFoundError: it is not there.
    """
    return int(_side(uri).size_of(uri))


def read_bytes(uri: str) -> bytes:
    """The whole file.

    Raises:
        FileNotFoundError: it is not there.
    """
    data: bytes = _side(uri).read_bytes(uri)
    return data


def open_input(uri: str) -> pa.NativeFile:
    """A file to read at random places, as pyarrow's readers want it."""
    return _side(uri).open_input(uri)


@contextlib.contextmanager
def create(uri: str) -> Iterator[tuple[BinaryIO, Created]]:
    """Write a new file that appears, complete, when the block ends without an exception; otherwise nothing appears.

    If the file is there already (somebody was first) theirs stands and ours is dropped: ``Created.won`` tells.
    """
    with _side(uri).create(uri) as (stream, created):
        yield stream, created


def put_if_absent(uri: str, data: bytes | Path) -> bool:
    """Store ``data`` (bytes, or a local file) under ``uri`` unless something is there; returns whether it was ours."""
    with create(uri) as (stream, created):
        if isinstance(data, Path):
            with data.open("rb") as source:
                while block := source.read(1 << 22):
                    stream.write(block)
        else:
            stream.write(data)
    return created.won


def put_folder_if_absent(folder: Path, uri: str, last: str) -> bool:
    """Store a local folder under ``uri`` unless one is there; returns whether the one that is there now is ours.

    Readers go by the file ``last``, which appears last. A local target takes the folder itself, if it can be renamed.

    Raises:
        InputError: other files are in the place.
    """
    return bool(_side(uri).put_folder_if_absent(folder, uri.rstrip("/"), last))


def compare_and_swap(uri: str, expected: bytes | None, data: bytes) -> bool:
    """Replace the file by ``data`` if it still is ``expected`` (None: absent); returns whether it did."""
    return bool(_side(uri).compare_and_swap(uri, expected, data))


def replace_folder(uri: str, contents: Mapping[str, str | bytes], last: str) -> None:
    """Make the folder hold exactly ``contents``: ``{name: URI to link or copy, or bytes}``.

    Locally the whole folder is exchanged in one step. On an object store ``last`` is taken away first and put back
    last, so whoever waits for it never sees two states mixed.
    """
    _side(uri).replace_folder(uri.rstrip("/"), contents, last)


def checksum(uri: str) -> str:
    """A checksum of the content: ``sha256:...`` locally, ``crc32c:...;generation:...`` on GCS (nothing is downloaded).

    Raises:
        FileNotFoundError: it is not there.
    """
    return str(_side(uri).checksum(uri))


def content_sha256(uri: str) -> str:
    """sha256 of a file's bytes, hexadecimal: the same on every storage, and read anew each time.

    Raises:
        FileNotFoundError: it is not there.
    """
    digest = hashlib.sha256()
    with open_input(uri) as source:
        while block := source.read(_HASHED_BYTES):
            digest.update(block)
    return digest.hexdigest()


def delete(uri: str) -> None:
    """Remove a file; one that is not there is fine."""
    _side(uri).delete(uri)


def delete_tree(uri: str) -> None:
    """Remove a folder and all that is in it; one that is not there is fine."""
    _side(uri).delete_tree(uri)
