"""What the night costs beside a bare loop, from vectors in files to the published table.

Both sides search the same candidates with the same parameters, which the night's tuner has chosen. Seconds are fitted
as ``fixed + slope * queries`` over several numbers of users; the slopes' ratio is what a query costs more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed import loop
from benchmarks.speed.children import Ran, run
from benchmarks.speed.facts import line, median, write
from benchmarks.speed.inputs import DS, Vectors, write_config, write_vectors
from benchmarks.speed.worlds import World

_K = 100
_MAIN = {"user2item": {"k": _K}}
_FOUR: dict[str, Any] = {name: {"k": _K} for name in ("user2item", "item2item", "user2user", "item2user")}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All runs and what follows from them."""
    world, items = World(), arguments.items
    folder = Path(arguments.work)
    candidates = write_vectors(world, "items", items, folder / "vectors")
    config = write_config(folder, _MAIN)
    sizes, ours, loops = arguments.users, {}, {}
    for count in sizes:
        queries = write_vectors(world, "users", count, folder / "vectors")
        ours[count], loops[count] = _compare(config, queries, candidates, folder, arguments.runs)
    fits = {
        name: line(sizes, [median([ran["seconds"] for ran in runs[count]]) for count in sizes])
        for name, runs in (("night", ours), ("loop", loops))
    }
    return {
        "sizes": {"users": list(sizes), "items": items, "dim": world.dim, "k": _K, "runs": arguments.runs},
        "slope_ratio": fits["night"][1] / fits["loop"][1],
        "fixed_seconds_above_loop": fits["night"][0] - fits["loop"][0],
        "fits": {name: {"fixed": fixed, "seconds_per_query": slope} for name, (fixed, slope) in fits.items()},
        "night": ours,
        "loop": loops,
    }


def _compare(
    config: Path, queries: Vectors, candidates: Vectors, folder: Path, runs: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Night and loop in turn, so that what the machine does besides hits both."""
    nights, loops = [], []
    for _ in range(runs):
        output = folder / "output"
        shutil.rmtree(output, ignore_errors=True)
        ran = run(
            [sys.executable, "-m", "recbatch", "recommend", str(config), "--output", str(output), "--ds", DS]
            + ["--user-vectors", str(queries.parquet), "--item-vectors", str(candidates.parquet)]
        )
        manifest = json.loads(next(output.glob("_runs/*/*/manifest.json")).read_text())
        index = manifest["tables"]["user2item"]["index"]
        nights.append(
            {
                **_facts(ran),
                "index_recall_at_k": index["index_recall_at_k"],
                "steps": manifest["timings"]["seconds_by_step"],
            }
        )
        shard = index["shards"][0]
        task = {
            "users": str(queries.npy),
            "items": str(candidates.npy),
            "output": str(folder / "loop.parquet"),
            "k": _K,
            "leaves": shard["built"]["leaves"],
            "dims_per_block": shard["built"]["dims_per_block"],
            "training_sample": shard["built"]["training_sample"],
            "search_leaves": shard["search"]["leaves"],
            "reorder": shard["search"]["reorder"],
            "threads": len(os.sched_getaffinity(0)),
        }
        ran = run([sys.executable, loop.__file__, json.dumps(task)])
        loops.append({**_facts(ran), "steps": json.loads(ran.output)["seconds"], "parameters": task["search_leaves"]})
    return nights, loops


def _facts(ran: Ran) -> dict[str, Any]:
    return {"seconds": ran.seconds, "cpu_seconds": ran.cpu_seconds, "peak_bytes": ran.peak_bytes}


def main(words: Sequence[str]) -> int:
    """``python -m benchmarks.speed.overhead --work DIR``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for vectors and outputs (some GB)")
    parser.add_argument("--users", type=int, nargs="+", default=[200_000, 1_000_000, 2_000_000])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--results", default="benchmarks/results", metavar="DIR")
    arguments = parser.parse_args(words)
    result = measure(arguments)
    print(write(Path(arguments.results), "overhead", result))
    print(f"slope ratio {result['slope_ratio']:.3f}, fixed part {result['fixed_seconds_above_loop']:.1f} s longer")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
