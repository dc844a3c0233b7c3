"""A fit's whole state in one file, replaced in one step: a kill at any moment leaves the old state or the new one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STATE = "state"


@dataclass
class FitState:
    """Where a fit is; with the arrays of the checkpoint, all that a continuation needs."""

    identity: str
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    best_step: int = 0
    best_quality: float = 0.0
    best_metrics: dict[str, float] = field(default_factory=dict)
    evaluations_since_best: int = 0
    evaluated_step: int = 0
    done: bool = False


def save_checkpoint(path: Path, state: FitState, arrays: Mapping[str, NDArray]) -> None:
    """Write ``state`` and ``arrays`` to ``path``, whole or not at all."""
    everything: dict[str, Any] = {_STATE: np.frombuffer(json.dumps(vars(state)).encode(), np.uint8), **arrays}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.temporary")
    with temporary.open("wb") as stream:
        np.savez(stream, **everything)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path) -> tuple[FitState, dict[str, NDArray]] | None:
    """(state, arrays), or None where no checkpoint is."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return FitState(**json.loads(arrays.pop(_STATE).tobytes())), arrays
