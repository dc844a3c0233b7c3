"""What this user may not read, as opposed to what is not there."""

from __future__ import annotations

import os
from pathlib import Path

from recbatch.storage.api import absolute, is_remote


def denied(uri: str) -> str | None:
    """The local file or folder, on the way to ``uri`` or there, that this user may not read, in words; None: none."""
    if is_remote(uri):
        return None
    target = Path(absolute(uri))
    for path in [*reversed(target.parents), target]:
        is_folder = path.is_dir()
        wanted = os.R_OK if path == target else 0
        wanted |= os.X_OK if is_folder else 0
        if not os.access(path, wanted or os.F_OK, effective_ids=True):
            return _whose(path)
    return None


def _whose(path: Path) -> str | None:
    try:
        status = path.stat()
    except OSError:  # it is not there
        return None
    try:
        owner = path.owner()
    except KeyError:
        owner = f"user {status.st_uid}"
    return f"permission denied: {path} belongs to {owner} (mode {status.st_mode & 0o777:03o})"
