"""Checksums of published files, the same on every storage so that a copied output still verifies."""

from __future__ import annotations

import hashlib

from recbatch import storage

_BLOCK_BYTES = 4 << 20


def content_sha256(uri: str) -> str:
    """sha256 of a file's bytes, hexadecimal; read anew each time.

    Raises:
        FileNotFoundError: it is not there.
    """
    digest = hashlib.sha256()
    with storage.open_input(uri) as source:
        while block := source.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
