"""Rows per second of the night's embed stage, beside a bare TensorFlow loop over the same SavedModel.

Both embed the same users, from the same profiles, with the user tower of one bundle: the default model's, which reads a
history of 1,000 items at most. The bundle is trained for a moment, for what it has learnt does not matter here.

* The *night's* seconds are those of the stage as a pipeline of its own: Beam and RunInference, checking and loading the
  tower, reading the profiles, leaving out who is cold or has no finite vector, and parts as a night writes them
  (compressed, with checksums and a page index, flushed to the disk, read back). Not in it: imports, and the audit.
* The *loop's* (:mod:`benchmarks.speed.towers`) are loading the tower, reading, embedding and plain writing.

Both are fitted as ``fixed + slope * rows`` over several numbers of ranges; the slopes' ratio is what a row costs more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.quality.datasets import READING
from benchmarks.speed import towers
from benchmarks.speed.children import exit_code, run
from benchmarks.speed.events import write_events
from benchmarks.speed.facts import line, median, rate, require_rates, write
from recbatch.config.load import load_config
from recbatch.errors import RecbatchError

_DS = "2026-01-31"
_EVENTS_PER_USER = 20
_TRAINED_ON = 50_000
"""Events that the bundle is trained on, at most."""


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turn, at every number of ranges, several times."""
    folder = Path(arguments.work) / f"embed-{arguments.users}-{arguments.range_ids}"
    night = _prepare(folder, arguments.users, arguments.range_ids)
    there = sorted(Path(night["profiles"]).glob("part-*.parquet"))
    if len(there) < 2:
        raise RecbatchError(
            f"{arguments.users:,} users in ranges of {arguments.range_ids:,} are {len(there)} range, and a rate needs "
            "two sizes; give more --users or fewer --range-ids"
        )
    sizes = sorted({max(1, round(len(there) * share)) for share in (0.2, 0.6, 1.0)})
    compared = []
    for ranges in sizes:
        runs: dict[str, list[dict[str, Any]]] = {"night": [], "loop": []}
        for _ in range(arguments.runs):
            runs["night"].append(_night(night, ranges))
            runs["loop"].append(_loop(night, there[:ranges], folder / "loop"))
            said = ", ".join(f"{side} {each[-1]['seconds']:.2f} s" for side, each in runs.items())
            print(f"{runs['night'][-1]['rows']:,} users: {said}", flush=True)
        compared.append({"ranges": ranges, "rows": runs["night"][0]["rows"], **runs})
    fits = {side: fitted(compared, side) for side in ("night", "loop")}
    return {
        "time_ratio": fits["night"]["seconds_per_row"] / fits["loop"]["seconds_per_row"],
        "rows_per_second": {side: rate(fit["seconds_per_row"]) for side, fit in fits.items()},
        "tower": {"length": night["length"], "dim": night["dim"]},
        "events_per_user": _EVENTS_PER_USER,
        "fits": fits,
        "compared": compared,
    }


def fitted(compared: Sequence[Mapping[str, Any]], side: str) -> dict[str, float]:
    """Fixed seconds and seconds per row of a side, from the medians of its runs."""
    rows = [each["rows"] for each in compared]
    fixed, slope = line(rows, [median([ran["seconds"] for ran in each[side]]) for each in compared])
    return {"fixed": fixed, "seconds_per_row": slope}


def _prepare(folder: Path, users: int, range_ids: int) -> dict[str, Any]:
    """A bundle and the profiles of all users, made unless they are there."""
    events = write_events(users * _EVENTS_PER_USER, 0, folder)
    few, bundle = folder / "few.parquet", folder / "bundle"
    if not (bundle / "manifest.json").exists():
        pq.write_table(pq.read_table(sorted(events.glob("*.parquet"))[0]).slice(0, _TRAINED_ON), few)
        config = _config(folder / "training.yaml", str(few), range_ids)
        run([sys.executable, "-m", "recbatch", "train", str(config), "--model", str(bundle), "--ds", _DS])
    config = _config(folder / "night.yaml", f"{events}/", range_ids)
    (history,) = (tower := json.loads((bundle / "manifest.json").read_text())["towers"]["query"])["inputs"]
    said = {"input": history["name"], "length": history["length"], "dim": tower["dim"]}
    words = [str(config), str(folder / "output"), _DS, str(bundle)]
    made = json.loads(run([sys.executable, "-m", "benchmarks.speed.embedding", *words, "0"]).output)
    return {**said, **made, "words": words, "bundle": bundle}


def _config(path: Path, events: str, range_ids: int) -> Path:
    """The default model with what these events have: no columns of items; nor a linear head, which takes minutes."""
    model = load_config(READING).model.model_dump(mode="json")
    model["candidate"]["features"] = [each for each in model["candidate"]["features"] if each["kind"] == "id"]
    model["training"] |= {"epochs": 1, "min_steps": 1, "early_stopping": None, "refit": False}
    settings = {"inputs": {"interactions": {"path": events}}, "run": {"range_ids": range_ids}}
    path.write_text(json.dumps({**settings, "model": {**model, "linear": None}}))  # JSON is YAML
    return path


def _night(night: Mapping[str, Any], ranges: int) -> dict[str, Any]:
    ran = run([sys.executable, "-m", "benchmarks.speed.embedding", *night["words"], str(ranges)])
    said = json.loads(ran.output)
    return {**ran.facts, "whole": ran.seconds, "seconds": said["seconds"], "rows": said["rows"]}


def _loop(night: Mapping[str, Any], profiles: Sequence[Path], output: Path) -> dict[str, Any]:
    task = {name: night[name] for name in ("input", "length", "dim")}
    task |= {"tower": str(night["bundle"] / "query"), "profiles": [str(path) for path in profiles]}
    ran = run([sys.executable, towers.__file__, json.dumps({**task, "output": str(output)})])
    said = json.loads(ran.output)
    return {**ran.facts, "whole": ran.seconds, "seconds": said["seconds"], "rows": said["rows"]}


def main(words: Sequence[str]) -> int:
    """``python -m benchmarks.speed.embed --work DIR``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for events and outputs (some GB)")
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument("--range-ids", type=int, default=50_000, help="users in a range, the night's unit of work")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--results", default="benchmarks/results", metavar="DIR")
    arguments = parser.parse_args(words)
    result = measure(arguments)
    require_rates(result["rows_per_second"])
    print(write(Path(arguments.results), "embed", result))
    for side, speed in result["rows_per_second"].items():
        print(f"{side}: {speed:,.0f} rows/s")
    print(f"time_ratio: {result['time_ratio']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main, sys.argv[1:]))
