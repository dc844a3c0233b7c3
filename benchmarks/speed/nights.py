"""A whole night of MovieLens 1M: the default model trained, all four tables published. How long, and in what memory."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.datasets import READING
from benchmarks.quality.sources import movielens_1m
from benchmarks.speed.children import run
from benchmarks.speed.facts import write

_DS = "2003-03-01"


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """One night into an empty output."""
    folder = Path(arguments.work)
    source, output = movielens_1m(Path(arguments.ml1m), folder), folder / "night"
    shutil.rmtree(output, ignore_errors=True)
    sets = [word for setting in source.pointing(READING) for word in ("--set", setting)]
    words = [sys.executable, "-m", "recbatch", "nightly", READING, *sets, "--ds", _DS, "--output", str(output)]
    ran = run(words)
    manifest = json.loads(next(output.glob("_runs/*/*/manifest.json")).read_text())
    rows = {name: table["rows"] for name, table in manifest["tables"].items()}
    return {**ran.facts, "rows": rows, "steps": manifest["timings"]["seconds_by_step"]}


def main(words: Sequence[str]) -> int:
    """``python -m benchmarks.speed.nights --work DIR --ml1m DIR``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for the data and the output")
    parser.add_argument("--ml1m", required=True, metavar="DIR", help="folder with MovieLens 1M")
    parser.add_argument("--results", default="benchmarks/results", metavar="DIR")
    arguments = parser.parse_args(words)
    result = measure(arguments)
    print(write(Path(arguments.results), "night-1m", result))
    print(f"{result['seconds']:.0f} s, {result['peak_bytes'] / 1e9:.1f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
