"""What the tests of ``gs://`` share: a server on which everything takes several requests, and its bad days."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from gcs_server import RESET, GcsServer, emulated
from google.cloud.storage import blob

from recbatch.storage import gcs_folders, gcs_objects

BASE = "gs://bucket/folder"
BLOCK = 256 << 10
LARGE = bytes(range(256)) * 2_500  # two blocks and a half

bad_days = pytest.mark.parametrize(
    ("what", "done"),
    [(503, False), (503, True), (429, False), (500, True), (RESET, False), (RESET, True)],
    ids=["503", "503, but done", "429", "500, but done", "reset", "reset, but done"],
)


@contextlib.contextmanager
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    """A server; two names per page, and 256 KiB per request of an upload, a read or a copy."""
    monkeypatch.setattr(gcs_objects, "WRITE_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(gcs_folders, "WRITE_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(gcs_objects, "_READ_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(gcs_folders, "_MOST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(blob, "_MAX_MULTIPART_SIZE", BLOCK)
    with emulated(monkeypatch, page_size=2, rewrite_bytes=BLOCK) as server:
        yield server
