"""The process of a search: tries a peer's parameters on validation data and keeps every trial's score.

``python -m benchmarks.quality.searching TASK.json RESULT.json``

A validation task is the protocol applied once more, to the training data of the first split. Nothing that the first
split is measured on is seen, and where the protocol is not random (C, D) every split is this one. The further splits of
a random protocol are measured on other events, and most of these are in the training data of the first split: the
parameters were chosen with a part of them as validation targets. Each further split is fitted to its own training data
alone, but its parameters are not blind to its test events.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.cells import ROOT, Cell
from benchmarks.quality.measuring import cell_of, figures_of, run_peer
from benchmarks.quality.peers import PEERS
from benchmarks.quality.protocols import USES
from benchmarks.quality.tasks import validation_tasks
from recbatch.config.load import load_config
from recbatch.errors import RecbatchError
from recbatch.evaluation import Task, evaluate_lists
from recbatch.launch.evaluating import read_training_data

VALIDATION_SEED = 10_000
"""Added to the split's seed: the inner splits are others."""

_TRIALS_SEED = 77


def search(cell: Cell, tasks: Sequence[Task], folder: Path, seconds: float) -> dict[str, Any]:
    """Try the cell's number of points on every task.

    Args:
        cell: who searches what.
        tasks: validation tasks; a point's score is its mean over them.
        folder: where files are exchanged with the peer.
        seconds: for all of it. A point that a slow peer does not reach on every task does not count.

    Returns:
        ``log`` with a row per point (trial, parameters, score, figures, seconds; of one that failed trial, parameters
        and the reason, ``failed``), ``best`` (the best one's parameters), its ``score``, ``objective`` and the number
        of ``validations``.

    Raises:
        RecbatchError: no point was done in time.
    """
    peer, objective = PEERS[cell.system], USES[cell.protocol].objective
    trials = peer.trials(cell.trials, _TRIALS_SEED + cell.seed)
    made = [
        run_peer(peer, task, folder / str(number), trials, cell.seed, seconds / len(tasks))
        for number, task in enumerate(tasks)
    ]
    log: list[dict[str, Any]] = []
    for number, of_trial in enumerate(zip(*made, strict=True)):
        reached = [part for part in of_trial if part is not None]
        failures = [part["failed"] for part in reached if "failed" in part]
        if failures:
            log.append({"trial": number, "parameters": trials[number], "failed": failures[0]})
        if failures or len(reached) < len(tasks):
            continue
        found = [
            figures_of(cell.protocol, evaluate_lists(task, part["lists"], repetitions=0))
            for task, part in zip(tasks, reached, strict=True)
        ]
        figures = {name: round(float(np.mean([part[name] for part in found])), 6) for name in found[0]}
        took = round(sum(part["seconds"] for part in reached), 2)
        row = {"trial": number, "parameters": trials[number], "score": figures[objective]}
        log.append(row | {"figures": figures, "seconds": took})
    done = [row for row in log if "score" in row]
    if not done:
        why = f"; the first that failed: {log[0]['failed']}" if log else ""
        raise RecbatchError(f"{peer.label}: no trial was done in {seconds:.0f} seconds{why}")
    best = max(done, key=lambda row: row["score"])
    return {
        "log": log,
        "best": best["parameters"],
        "score": best["score"],
        "objective": objective,
        "validations": len(tasks),
    }


def main(given: Path, made: Path) -> None:
    """Do the search that ``given`` describes; write its result to ``made``."""
    spec = json.loads(given.read_text())
    cell = cell_of(spec["cell"])
    config = load_config(str(ROOT / cell.config), [*cell.overrides, *spec["pointing"]])
    data, _ = read_training_data(config, [config.model])
    first = VALIDATION_SEED + cell.seed
    tasks = validation_tasks(cell.protocol, data, cell.seed, range(first, first + cell.validations))
    with tempfile.TemporaryDirectory() as folder:
        result = search(cell, tasks, Path(folder), spec["seconds"])
    made.write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
