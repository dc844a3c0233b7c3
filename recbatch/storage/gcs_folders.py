"""Whole folders on Google Cloud Storage, which has none: in which order their objects come and go."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from google.cloud.storage.retry import DEFAULT_RETRY

from recbatch.errors import InputError, RecbatchError
from recbatch.storage.gcs_errors import explained, explaining
from recbatch.storage.gcs_objects import (
    WRITE_BLOCK_BYTES,
    blob_of,
    delete,
    exists,
    insert,
    list_blobs,
    list_files,
    read_bytes,
)

_THREADS = 8  # they wait for the network, and the client keeps ten connections
_ATTEMPTS = 5
_MOST_WAIT_SECONDS = 5.0

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


def _each(work: Callable[[Task], Outcome], tasks: Iterable[Task]) -> list[Outcome]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, tasks))


def _below(uri: str) -> set[str]:
    """Names of all files of a folder, relative to it."""
    return {file.uri.removeprefix(f"{uri}/") for file in list_files(uri)}


@explained
def delete_tree(uri: str) -> None:
    """See :func:`recbatch.storage.delete_tree`."""
    _each(delete, [file.uri for file in list_files(uri)])


@explained
def put_folder_if_absent(folder: Path, uri: str, last: str) -> bool:
    """See :func:`recbatch.storage.put_folder_if_absent`.

    Two that put different folders under one name must not mix their files. So each uploads to a place of its own, one
    small object decides whose place counts, and whoever sees the decision copies from there: always the same bytes,
    and also if the one who was decided for is gone.
    """
    parent, _, name = uri.rpartition("/")
    if parent == "gs:/":
        raise InputError(f"{uri} is a whole bucket; name a folder in it")
    if exists(f"{uri}/{last}"):
        return False
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if strangers := _below(uri) - names:
        raise InputError(f"{uri} holds other files ({min(strangers)}); remove them or choose another folder")
    ours = f"{parent}/.temporary-{uuid.uuid4().hex}"
    _each(lambda file: _put(folder / file, f"{ours}/{file}"), names)
    decision = f"{parent}/.decided-{name}"
    insert(decision, BytesIO(ours.encode()), 0)
    try:
        winner = read_bytes(decision).decode()
        if not exists(f"{uri}/{last}"):
            _copy_folder(winner, uri, last)
    except FileNotFoundError:
        # Whoever has completed the folder tidies up; a decision that was made later decides nothing.
        if not exists(f"{uri}/{last}"):
            delete(decision)
            raise RecbatchError(f"{uri}: files on their way there were removed by somebody else; run again") from None
        winner = ours
    for staged in {ours, winner}:
        delete_tree(staged)
    delete(decision)
    return read_bytes(f"{uri}/{last}") == (folder / last).read_bytes()


def _copy_folder(source: str, target: str, last: str) -> None:
    _each(lambda file: _put(f"{source}/{file}", f"{target}/{file}"), _below(source) - {last})
    _put(f"{source}/{last}", f"{target}/{last}")


@explained
def replace_folder(uri: str, contents: Mapping[str, str | bytes], last: str) -> None:
    """See :func:`recbatch.storage.replace_folder`.

    Raises:
        RecbatchError: somebody else keeps changing the folder. ``last`` is not there then.
    """
    source = contents[last]
    marker = source if isinstance(source, bytes) else read_bytes(source)
    others = {name: content for name, content in contents.items() if name != last}
    for _ in range(_ATTEMPTS):
        delete(f"{uri}/{last}")
        delete_tree(uri)
        checksums = dict(zip(others, _each(lambda name: _put(others[name], f"{uri}/{name}"), others), strict=True))
        there = {found.removeprefix(f"{uri}/"): blob.crc32c for found, blob in list_blobs(uri)}
        if there == checksums and _mark(f"{uri}/{last}", marker):
            return
        delete(f"{uri}/{last}")
        time.sleep(random.uniform(0, _MOST_WAIT_SECONDS))  # two that wait for each other must not do so for ever
    raise RecbatchError(f"{uri} keeps being changed by another run; let it end, then run again")


def _mark(uri: str, marker: bytes) -> bool:
    """Write the file that completes a folder; False if another has, with other content."""
    if insert(uri, BytesIO(marker), 0):
        return True
    try:
        return read_bytes(uri) == marker
    except FileNotFoundError:
        return False


def _put(source: str | bytes | Path, target: str) -> str:
    """Store a URI's content, bytes or a local file, whatever was there; returns the crc32c."""
    blob = blob_of(target)
    if isinstance(source, str):
        _copy(source, blob)
    elif isinstance(source, bytes):
        blob.upload_from_string(source, "application/octet-stream", retry=DEFAULT_RETRY)
    else:
        blob.chunk_size = WRITE_BLOCK_BYTES
        blob.upload_from_filename(str(source), "application/octet-stream", retry=DEFAULT_RETRY)
    return str(blob.crc32c)


def _copy(source: str, target: Any) -> None:
    """Copy on the server; large objects take several calls."""
    token = None
    with explaining(source):
        while True:
            token, _, _ = target.rewrite(blob_of(source), token=token, retry=DEFAULT_RETRY)
            if token is None:
                return
