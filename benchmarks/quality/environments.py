"""Environments of the peers: made once from a lock with hashes, apart from the package's own."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.quality.cells import ROOT
from recbatch.errors import RecbatchError

log = logging.getLogger(__name__)

QUALITY = ROOT / "benchmarks" / "quality"
ENVIRONMENTS = QUALITY / ".envs"


def python_of(name: str | None) -> Path:
    """The interpreter of the environment of ``benchmarks/quality/<name>/requirements.txt``, made if it is not there.

    An environment is named by its lock and finished by a mark that is written last. None: this process' own.

    Raises:
        RecbatchError: it cannot be made.
    """
    if name is None:
        return Path(sys.executable)
    lock = QUALITY / name / "requirements.txt"
    folder = ENVIRONMENTS / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not (folder / ".finished").exists():
        log.info("making the environment of %s in %s", name, folder)
        shutil.rmtree(folder, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(folder)], name)
        _call([str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", str(lock)], name)
        (folder / ".finished").touch()
    return python


def peer_environment(name: str | None) -> dict[str, str]:
    """Variables of a peer's process. `implicit` has threads of its own, which BLAS' would only get in the way of."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    cores = str(len(os.sched_getaffinity(0)))
    threads = "1" if name == "implicit" else cores
    return kept | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": cores}


def _call(words: list[str], name: str) -> None:
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RecbatchError(
            f"the environment of {name} cannot be made: `{' '.join(words[1:4])} ...` failed"
            f"{': ' + said[-1] if said else ''}; see that pip reaches a package index, then run this again"
        )
