"""A fit's whole state in one file, replaced in one step: a kill at any moment leaves the old state or the new one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STATE = "state"


def save_checkpoint(path: Path, state: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> None:
    """Write ``state`` (JSON-able) and ``arrays`` to ``path``, whole or not at all."""
    everything: dict[str, Any] = {_STATE: np.frombuffer(json.dumps(state).encode(), np.uint8), **arrays}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.temporary")
    with temporary.open("wb") as stream:
        np.savez(stream, **everything)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, NDArray]] | None:
    """(state, arrays), or None where no checkpoint is."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return json.loads(arrays.pop(_STATE).tobytes()), arrays
