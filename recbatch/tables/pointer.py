"""The pointer of a date: which run is the night that readers get. Publishing is one compare-and-swap of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from recbatch import storage
from recbatch.errors import InputError, RecbatchError

_FOLDER = "_published"
_ATTEMPTS = 5


@dataclass(frozen=True)
class Pointer:
    """What ``_published/<ds>.json`` says. Paths are relative to the output, so a copied output still holds."""

    ds: str
    run: str
    manifest: str
    manifest_sha256: str
    published_at: str
    previous: tuple[str, ...] = ()


def pointer_uri(output: str, ds: str) -> str:
    """Where the pointer of a date lies."""
    return storage.join(output, _FOLDER, f"{ds}.json")


def read_pointer(output: str, ds: str) -> Pointer | None:
    """The pointer of a date, or None if the date is not published.

    Raises:
        RecbatchError: the file is there but cannot be understood.
    """
    raw = _read(output, ds)
    return None if raw is None else _parse(raw, pointer_uri(output, ds))


def published_dates(output: str) -> list[str]:
    """The dates that have a pointer, ascending."""
    names = storage.list_names(storage.join(output, _FOLDER))
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def require_pointer(output: str, ds: str) -> Pointer:
    """The pointer of a date.

    Raises:
        InputError: the date is not published; the message lists the dates that are.
    """
    pointer = read_pointer(output, ds)
    if pointer is None:
        dates = published_dates(output)
        there = f"published there: {', '.join(dates[-10:])}" if dates else "nothing is published there"
        raise InputError(f"{output} has no published night of {ds}; {there}")
    return pointer


def publish_pointer(output: str, ds: str, run: str, manifest: str, content: bytes) -> Pointer:
    """Make ``run`` the night of ``ds``; from now on whoever follows the pointer reads it.

    Args:
        output: the output root.
        ds: the date.
        run: name of the run.
        manifest: path of its manifest, relative to the output.
        content: the manifest's bytes; the pointer keeps their sha256.
    """
    target = Pointer(ds, run, manifest, hashlib.sha256(content).hexdigest(), datetime.now(UTC).isoformat())
    for _ in range(_ATTEMPTS):
        before = _read(output, ds)
        current = None if before is None else _parse(before, pointer_uri(output, ds))
        if current is not None and (current.run, current.manifest_sha256) == (run, target.manifest_sha256):
            return current
        if current is not None:
            earlier = dict.fromkeys([current.run, *current.previous])
            target = replace(target, previous=tuple(name for name in earlier if name != run))
        if storage.compare_and_swap(pointer_uri(output, ds), before, json.dumps(asdict(target), indent=1).encode()):
            return target
    raise RecbatchError(f"{pointer_uri(output, ds)} keeps being changed by others; let one run of {ds} end, then rerun")


def _read(output: str, ds: str) -> bytes | None:
    try:
        return storage.read_bytes(pointer_uri(output, ds))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parse(raw: bytes, uri: str) -> Pointer:
    try:
        stored = json.loads(raw)
        return Pointer(**{**stored, "previous": tuple(stored["previous"])})
    except (ValueError, TypeError, KeyError) as error:
        message = f"{uri} is not a pointer of this program ({error}); restore it or delete it and rerun"
        raise RecbatchError(message) from None
