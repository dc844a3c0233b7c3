"""A cell's process: with a limit of time and of memory. What memory it took, it says itself."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.quality.cells import ROOT
from benchmarks.quality.protocols import MEMORY_BYTES

Status = Literal["done", "failed", "time"]

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        status: ``done``, ``failed``, or stopped because its ``time`` was up.
        result: what it wrote, or None.
        message: the last lines of its error output where it failed.
        wall_seconds: how long it took.
    """

    status: Status
    result: dict[str, Any] | None
    message: str
    wall_seconds: float


def run_child(module: str, task: dict[str, Any], seconds: float, stop: threading.Event | None = None) -> Outcome:
    """Run ``python -m module TASK.json RESULT.json`` in a session of its own, for ``seconds`` or until ``stop``."""
    with tempfile.TemporaryDirectory(prefix="recbatch-quality-") as folder:
        given, made, errors = (Path(folder) / name for name in ("task.json", "result.json", "errors.txt"))
        given.write_text(json.dumps(task))
        started = time.monotonic()
        with errors.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(given), str(made)],
                cwd=ROOT,
                env=os.environ | {"TMPDIR": folder, "TF_CPP_MIN_LOG_LEVEL": "2"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            # From here and not from a preexec_fn, which may hang where there are threads.
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
            code, stopped = _wait(process, started + seconds, stop or threading.Event())
        wall = time.monotonic() - started
        if code == 0:
            return Outcome("done", json.loads(made.read_text()), "", wall)
        said = errors.read_text(errors="replace").strip().splitlines()[-8:]
        return Outcome("time" if stopped else "failed", None, "\n".join(said) or f"exit code {code}", wall)


def _wait(process: subprocess.Popen[bytes], deadline: float, stop: threading.Event) -> tuple[int, bool]:
    """(exit code, whether it was killed); it is killed as well where something is raised here meanwhile."""
    try:
        while time.monotonic() < deadline and not stop.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic()))), False
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait(), True
