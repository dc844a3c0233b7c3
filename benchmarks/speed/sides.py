"""The two sides of a measurement from given vectors: a night, and the bare loop with the parameters of that night."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed import loop
from benchmarks.speed.children import run
from benchmarks.speed.inputs import DS
from recbatch.errors import RecbatchError

K = 100

SIDES = {
    "user2item": ("users", "items"),
    "item2item": ("items", "items"),
    "user2user": ("users", "users"),
    "item2user": ("items", "users"),
}
"""(queries, candidates) of each table."""


def run_night(
    config: Path, vectors: Mapping[str, Path], output: Path, *, shown: bool = False
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """A night into ``output``, or the rest of one that was stopped.

    Args:
        config: of :func:`benchmarks.speed.inputs.write_config`.
        vectors: the files of ``users`` and ``items``.
        output: of this night alone.
        shown: show its progress on our standard error.

    Returns:
        What a result keeps of it, and the tables of its manifest.
    """
    words = ["recommend", str(config), "--output", str(output), "--ds", DS]
    words += ["--user-vectors", str(vectors["users"]), "--item-vectors", str(vectors["items"])]
    ran = run([sys.executable, "-m", "recbatch", *words], shown=shown)
    manifest = json.loads(next(output.glob("_runs/*/*/manifest.json")).read_text())
    tables = {name: manifest["tables"][name] for name in SIDES if name in manifest["tables"]}
    recall = {name: table["index"]["index_recall_at_k"] for name, table in tables.items()}
    return {**ran.facts, "index_recall_at_k": recall, "steps": manifest["timings"]["seconds_by_step"]}, tables


def run_loop(
    tables: Mapping[str, Any], vectors: Mapping[str, Path], output: Path, *, k: int = K, shown: bool = False
) -> dict[str, Any]:
    """The bare loop, with the parameters that the night has chosen.

    Args:
        tables: of the night's manifest.
        vectors: the files that the night read.
        output: folder for the loop's own tables, ``loop-<table>.parquet``.
        k: rows of a query.
        shown: show its progress on our standard error.

    Raises:
        RecbatchError: the night searched a table exactly, or in shards, which the loop does not.
    """
    asked = [_parameters(name, table["index"], output) for name, table in tables.items()]
    task = {"k": k, "threads": len(os.sched_getaffinity(0)), "tables": asked, "progress": shown}
    task |= {side: str(path) for side, path in vectors.items()}
    ran = run([sys.executable, loop.__file__, json.dumps(task)], shown=shown)
    said = json.loads(ran.output)
    extra = said["seconds"].pop("once more")  # what the loop did only to tell ScaNN's rate
    rates = said["queries_per_second"]
    return {**ran.facts, "seconds": ran.seconds - extra, "steps": said["seconds"], "rates": rates}


def _parameters(name: str, index: Mapping[str, Any], output: Path) -> dict[str, Any]:
    shards: Sequence[Mapping[str, Any]] = index["shards"]
    if len(shards) != 1 or index["kind"] != "scann":
        raise RecbatchError(
            f"the night searched {name} in {len(shards)} shards of kind {index['kind']}, but the bare loop holds one "
            "ScaNN index; take fewer candidates if there are shards, more if the search was exact"
        )
    queries, candidates = SIDES[name]
    search = {"search_leaves": shards[0]["search"]["leaves"], "reorder": shards[0]["search"]["reorder"]}
    sides = {"queries": queries, "candidates": candidates, "output": str(output / f"loop-{name}.parquet")}
    return {**sides, **shards[0]["built"], **search}
