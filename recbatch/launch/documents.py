"""JSON files that a command writes where it is told to."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from recbatch import storage
from recbatch.errors import InputError
from recbatch.launch.prepare import require_writable


def document_target(uri: str, option: str) -> str:
    """The absolute URI of the file to be written, seen to be writable before any work is done.

    Args:
        uri: a JSON file, local or ``gs://``.
        option: that names it, for messages.

    Raises:
        InputError: it is a folder, or cannot be written.
    """
    target = storage.absolute(uri)
    if storage.is_remote(target):
        return target
    if Path(target).is_dir():
        raise InputError(f"{option}: {target} is a folder; name a file in it, such as {storage.join(target, 'b.json')}")
    require_writable(str(Path(target).parent), option)
    return target


def write_document(target: str, document: dict[str, Any], option: str) -> None:
    """Write JSON, in the place of what is there.

    Raises:
        InputError: somebody else wrote it at the same time.
    """
    data = (json.dumps(_without_nan(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    before = storage.read_bytes(target) if storage.exists(target) else None
    if not storage.compare_and_swap(target, before, data):
        raise InputError(f"{option}: {target} was written by somebody else at the same time; choose another file")


def _without_nan(value: Any) -> Any:
    """The same with null for what is not a number, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: _without_nan(found) for key, found in value.items()}
    if isinstance(value, list):
        return [_without_nan(found) for found in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
