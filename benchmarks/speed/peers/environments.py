"""How the peers are run: their interpreters, and what of this process' environment they get."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.quality import environments
from benchmarks.speed.peers.roster import Peer
from recbatch.errors import RecbatchError

FOLDER = Path(__file__).parent
ENVIRONMENTS = FOLDER / ".envs"
_UNWANTED = ("OPENBLAS_", "OMP_", "MKL_", "PYTHON", "VIRTUAL_ENV")


def python_of(name: str | None, kept: Path = ENVIRONMENTS) -> Path:
    """The interpreter of the environment of ``<name>/requirements.txt``, made if it is not there.

    Made as those of the quality measurement are, which lie beside the folder that holds the lock: so the lock is
    copied to where the environments are kept. None: this process' own interpreter.

    Raises:
        RecbatchError: it cannot be made.
    """
    if name is None:
        return Path(sys.executable)
    folder = kept / name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(FOLDER / name / "requirements.txt", folder)
    return environments.python_of(str(folder))


def command(peer: Peer, task: Mapping[str, Any]) -> list[str]:
    """The words that run a peer's script without this Python's variables, and with no settings of BLAS but its own.

    Raises:
        RecbatchError: its environment cannot be made.
    """
    unset = [f"--unset={name}" for name in os.environ if name.startswith(_UNWANTED)]
    script = FOLDER / peer.script / "peer.py"
    return ["env", *unset, str(python_of(peer.environment)), str(script), json.dumps(task)]


def require_program(peer: Peer) -> None:
    """See that the program is there that a peer needs.

    Raises:
        RecbatchError: it is not.
    """
    if peer.program is None or shutil.which(peer.program):
        return
    if peer.program == "java" and Path(os.environ.get("JAVA_HOME", ""), "bin", "java").is_file():
        return
    raise RecbatchError(
        f"{peer.label} needs {peer.program}, which is not on this machine: install it (Spark: Java 17 or newer), or "
        f"name the other peers with --peers"
    )
