"""The process of a cell: reads the data, makes the split, trains and ranks (or has a peer do it), and measures.

``python -m benchmarks.quality.measuring TASK.json RESULT.json``
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.bounds import heldout_popularity
from benchmarks.quality.cells import ROOT, Cell
from benchmarks.quality.environments import peer_environment, python_of
from benchmarks.quality.exchange import peak_bytes
from benchmarks.quality.genres import genre_popularity
from benchmarks.quality.peers import PEERS, Parameters, Peer
from benchmarks.quality.protocols import USES
from benchmarks.quality.tasks import two_tower_task
from recbatch.config.load import load_config
from recbatch.config.models import Config
from recbatch.errors import RecbatchError
from recbatch.evaluation import BASELINES, Result, Task, evaluate_lists, make_task, write_task
from recbatch.launch.evaluating import read_training_data
from recbatch.metrics import UserSums
from recbatch.run import fingerprint

COMPARED = ("hit@10", "hit@100", "ndcg@10")
"""The metrics whose sums over users are kept, so that two systems can be compared user by user."""


_IN_THIS_PROCESS = {
    **BASELINES,
    "genre popularity": genre_popularity,
    "held-out popularity": heldout_popularity,
}


def cell_of(values: dict[str, Any]) -> Cell:
    """The inverse of :meth:`Cell.as_dict`, after a way through JSON."""
    return Cell(**{**values, "overrides": tuple(values["overrides"])})


def figures_of(protocol: str, result: Result) -> dict[str, float]:
    """The figures of the protocol's table by name; one that the split says nothing about is left out."""
    found = {column.name: result.value(column.metric, column.group) for column in USES[protocol].columns}
    return {name: round(value, 6) for name, value in found.items() if value == value}


def packed_sums(sums: UserSums) -> dict[str, Any]:
    """The part of ``sums`` that comparisons need, as JSON-able values; see :func:`unpacked_sums`."""
    places = [sums.columns.index(("all", metric)) for metric in COMPARED]
    return {
        "users": sums.users.tolist(),
        "activity": sums.activity.tolist(),
        "numerators": np.round(sums.numerators[:, places].astype(float), 6).tolist(),
        "denominators": sums.denominators[:, places].astype(int).tolist(),
    }


def unpacked_sums(packed: dict[str, Any]) -> UserSums:
    """The sums that :func:`packed_sums` was given, in the compared metrics alone."""
    return UserSums(
        np.array(packed["users"], np.int32),
        np.array(packed["activity"], np.int8),
        tuple(("all", metric) for metric in COMPARED),
        np.array(packed["numerators"], np.float32),
        np.array(packed["denominators"], np.float32),
        {},
    )


def run_peer(
    peer: Peer, task: Task, folder: Path, trials: list[Parameters], seed: int, seconds: float | None = None
) -> list[dict[str, Any] | None]:
    """Have a peer fit and rank once per parameters, one after another, in a process of its environment.

    Args:
        peer: who.
        task: what.
        folder: where the files are exchanged.
        trials: the parameters.
        seed: of its random numbers.
        seconds: after which it is stopped; what it has done by then counts.

    Returns:
        For each trial ``lists``, ``seconds`` and ``peak_bytes``; or ``failed`` with the reason; or None where it was
        not reached, be it that the time was up or that the process died.
    """
    write_task(task, folder)
    outs = [f"lists-{number}.npy" for number in range(len(trials))]
    jobs = [
        {"model": peer.model, "parameters": parameters, "seed": seed, "out": out}
        for out, parameters in zip(outs, trials, strict=True)
    ]
    assert peer.module is not None  # the baselines run in this process
    words = [str(python_of(peer.environment)), "-m", peer.module, str(folder), json.dumps(jobs)]
    try:
        done = subprocess.run(words, cwd=ROOT, env=peer_environment(peer.environment), timeout=seconds, check=False)
        if done.returncode:
            print(f"{peer.label}: its process ended with code {done.returncode}", file=sys.stderr)
    except subprocess.TimeoutExpired:
        print(f"{peer.label}: stopped after {seconds} seconds", file=sys.stderr)
    return [_made(folder, out) for out in outs]


def _made(folder: Path, name: str) -> dict[str, Any] | None:
    facts, failed = folder / f"{name}.json", folder / f"{name}.failed.txt"  # written after the lists; instead of them
    if failed.exists():
        return {"failed": failed.read_text()}
    return {"lists": np.load(folder / name), **json.loads(facts.read_text())} if facts.exists() else None


def measure_peer(cell: Cell, task: Task, folder: Path) -> dict[str, Any]:
    """Lists of a peer with the cell's parameters, and what was found out on the way.

    Raises:
        RecbatchError: the peer failed.
    """
    peer = PEERS[cell.system]
    if peer.module is None:
        return {"lists": _IN_THIS_PROCESS[peer.model](task)}
    made = run_peer(peer, task, folder, [dict(cell.parameters)], cell.seed)[0]
    if made is None or "failed" in made:
        reason = "its process ended without lists" if made is None else made["failed"]
        raise RecbatchError(f"{peer.label} with {dict(cell.parameters)}: {reason}")
    return made


def measure_two_tower(config: Config, task: Task, folder: Path) -> dict[str, Any]:
    """Lists of a two-tower model trained on the task's training data alone, and what was found out on the way.

    ``folder`` keeps the bundles of this configuration: A and B have the same training data, and one bundle serves both.
    """
    from recbatch.evaluation import embed_task, rank_embedded  # TensorFlow, which a peer's cell does without
    from recbatch.evaluation.runs import Subject

    bundle = Subject(config.model, config.inputs.interactions.context, folder).bundle(task, 0)
    lists = rank_embedded(task, embed_task(task, bundle))
    return {"lists": lists, "training_seconds": bundle.manifest["seconds"], "steps": bundle.manifest["steps"]}


def main(given: Path, made: Path) -> None:
    """Make the cell that ``given`` describes; write its result to ``made``."""
    spec = json.loads(given.read_text())
    cell = cell_of(spec["cell"])
    config = load_config(str(ROOT / cell.config), [*cell.overrides, *spec["pointing"]])
    data, _ = read_training_data(config, [config.model])
    if cell.kind == "peer":
        task = make_task(cell.protocol, data, cell.seed)
        with tempfile.TemporaryDirectory() as folder:
            found = measure_peer(cell, task, Path(folder))
    else:
        task = two_tower_task(cell.protocol, config, data, cell.seed)
        name = fingerprint(
            [cell.dataset, config.positives.model_dump(mode="json"), config.model.model_dump(mode="json")]
        )
        found = measure_two_tower(config, task, Path(spec["bundles"]) / name)
    lists = found.pop("lists")
    measured = evaluate_lists(task, lists, repetitions=0)
    result = {"figures": figures_of(cell.protocol, measured), "sums": packed_sums(measured.splits[0])}
    peak = max(peak_bytes(), found.pop("peak_bytes", 0))  # of this process, or of the peer's
    made.write_text(json.dumps({**result, "counts": task.counts, **found, "peak_bytes": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
