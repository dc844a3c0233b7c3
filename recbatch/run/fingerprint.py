"""Names made from content: equal inputs give an equal name, so what has that name need not be made again."""

from __future__ import annotations

import functools
import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
_LIBRARIES = ("apache-beam", "numpy", "pyarrow", "scann", "tensorflow", "tensorflow-recommenders", "tf-keras")
_NAME_LENGTH = 16


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spare spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def fingerprint(inputs: Any) -> str:
    """A name of 16 hexadecimal digits for a JSON-able value (sha256 of its canonical form)."""
    return hashlib.sha256(canonical_json(inputs)).hexdigest()[:_NAME_LENGTH]


@functools.cache
def code_checksum() -> str:
    """sha256 over this package's source files: other code may make other parts."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"sha256:{digest.hexdigest()}"


@functools.cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries that the bytes of a table depend on."""
    return {name: metadata.version(name) for name in _LIBRARIES}
