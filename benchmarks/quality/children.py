"""A cell's process: with a limit of time and of memory. What memory it took, it says itself."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.quality.cells import ROOT
from benchmarks.quality.protocols import MEMORY_BYTES

Status = Literal["done", "failed", "time"]


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


def run_child(module: str, task: dict[str, Any], seconds: float) -> Outcome:
    """Run ``python -m module TASK.json RESULT.json`` in a session of its own, at most ``seconds`` long."""
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
                preexec_fn=_limit_memory,
            )
            stopped = False
            try:
                code = process.wait(seconds)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                code, stopped = process.wait(), True
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
        wall = time.monotonic() - started
        if code == 0:
            return Outcome("done", json.loads(made.read_text()), "", wall)
        said = errors.read_text(errors="replace").strip().splitlines()[-8:]
        return Outcome("time" if stopped else "failed", None, "\n".join(said) or f"exit code {code}", wall)


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
