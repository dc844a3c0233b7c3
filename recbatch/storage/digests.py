"""sha256 of local files, remembered so that a second look at an unchanged file costs nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

import platformdirs

# A file changed within the clock's granularity after we read it would keep its times; so young results are not kept.
_SETTLED_SECONDS = 2.0

_known_here: dict[str, tuple[list[int], str]] = {}
"""This process's own memory of the same, for where the cache folder cannot be written."""


def checksum(uri: str) -> str:
    """``sha256:<hex>`` of a file's bytes; cached by path, inode, size, mtime and ctime.

    The ctime cannot be set by a program, so a value changed in place is noticed even if size and mtime are restored.
    """
    before, path = _identity(uri), os.path.abspath(uri)
    if path in _known_here and _known_here[path][0] == before:
        return _known_here[path][1]
    cache = _cache_folder() / f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json"
    known = _read(cache)
    if known is not None and known.get("identity") == before:
        return str(known["checksum"])
    with open(uri, "rb") as stream:
        value = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    settled = time.time() - max(before[3], before[4]) / 1e9 > _SETTLED_SECONDS
    if settled and _identity(uri) == before:
        _known_here[path] = (before, value)
        _write(cache, {"identity": before, "checksum": value})
    return value


def _identity(uri: str) -> list[int]:
    status = os.stat(uri)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _cache_folder() -> Path:
    return Path(platformdirs.user_cache_dir("recbatch")) / "checksums"


def _read(cache: Path) -> dict[str, object] | None:
    try:
        found = json.loads(cache.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(cache: Path, entry: dict[str, object]) -> None:
    temporary = cache.with_suffix(f".{os.getpid()}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(entry))
        temporary.replace(cache)
    except OSError:  # a home that cannot be written only costs the next run a second look
        with contextlib.suppress(OSError):
            temporary.unlink()
