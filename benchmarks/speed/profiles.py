"""Interactions per second of the night's grouping, beside DuckDB making the same lists.

Ours reads, checks and cleans every row, keeps what it puts aside, cuts the ids into ranges and writes a part for each;
DuckDB aggregates the raw columns. Both are whole processes, and the memory is the most that they ever held.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed import lists
from benchmarks.speed.children import Ran, run
from benchmarks.speed.events import write_events
from benchmarks.speed.facts import median, write

_DS = "2026-01-31"


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both in turn, several times."""
    folder = Path(arguments.work)
    events = write_events(arguments.rows, arguments.heaviest, folder)
    runs: dict[str, list[Ran]] = {"night": [], "duckdb": []}
    for _ in range(arguments.runs):
        runs["night"].append(_grouping(events, folder))
        runs["duckdb"].append(_lists(events, folder))
        print(
            ", ".join(
                f"{name} {each[-1].seconds:.1f} s, {each[-1].peak_bytes / 1e9:.1f} GB" for name, each in runs.items()
            )
        )
    seconds = {name: median([ran.seconds for ran in each]) for name, each in runs.items()}
    peak = median([ran.peak_bytes for ran in runs["night"]])
    return {
        "rows": arguments.rows,
        "heaviest_user": arguments.heaviest,
        "time_ratio": seconds["night"] / seconds["duckdb"],
        "bytes_per_interaction": peak / arguments.rows,
        "interactions_per_second": {name: arguments.rows / each for name, each in seconds.items()},
        "runs": {
            name: [
                {"seconds": ran.seconds, "cpu_seconds": ran.cpu_seconds, "peak_bytes": ran.peak_bytes} for ran in each
            ]
            for name, each in runs.items()
        },
    }


def _grouping(events: Path, folder: Path) -> Ran:
    config, output = folder / "grouping.yaml", folder / "grouping"
    config.write_text(json.dumps({"inputs": {"interactions": {"path": f"{events}/"}}}))  # JSON is YAML
    shutil.rmtree(output, ignore_errors=True)
    return run([sys.executable, "-m", "benchmarks.speed.grouping", str(config), str(output), _DS])


def _lists(events: Path, folder: Path) -> Ran:
    output = folder / "lists"
    output.mkdir(exist_ok=True)
    return run([sys.executable, lists.__file__, f"{events}/*.parquet", str(output)])


def main(words: Sequence[str]) -> int:
    """``python -m benchmarks.speed.profiles --work DIR``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for events and outputs (some GB)")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--heaviest", type=int, default=5_000_000, help="events of one user among them")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--results", default="benchmarks/results", metavar="DIR")
    arguments = parser.parse_args(words)
    result = measure(arguments)
    print(write(Path(arguments.results), "profiles", result))
    for name in ("time_ratio", "bytes_per_interaction"):
        print(f"{name}: {result[name]:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
