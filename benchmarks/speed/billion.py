"""One billion rows: 10 million users x 1 million items, from vectors in files to the published table, k = 100.

The night first, then the bare loop on the same files with the index that the night's tuner has chosen. Run again after
it was stopped, it goes on: vectors that are there are kept, a night resumes from its run directory (its time is that of
all attempts, its memory that of the last one), and a side that is done is not run again while the code stays as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed import loop
from benchmarks.speed.attempts import attempt
from benchmarks.speed.children import exit_code
from benchmarks.speed.facts import write
from benchmarks.speed.inputs import write_config, write_vectors
from benchmarks.speed.sides import K, run_loop, run_night
from benchmarks.speed.worlds import Side, World
from recbatch.errors import RecbatchError
from recbatch.run import code_checksum

_TABLE = "user2item"
_RECALL = 0.95
_WANTED = {"ratio": 1.2, "seconds": 25 * 60, "peak_bytes": 8e9}
_ID_BYTES, _ROW_BYTES = 16, 10
"""Bytes of an id in a file of vectors, and of a table's row (a score, a coded id, their pages), rounded up."""
_COPIES = 3
"""Of the vectors: the file, the night's cleaned slices, and its embeddings."""


@dataclass(frozen=True)
class Sizes:
    """How large the measurement is."""

    users: int
    items: int
    k: int
    dim: int

    @property
    def disk_bytes(self) -> int:
        """What all files need together at most, about: vectors and their copies, and both sides' tables."""
        vectors = (self.users + self.items) * (4 * self.dim + _ID_BYTES)
        return _COPIES * vectors + 2 * self.users * self.k * _ROW_BYTES


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sides, as far as they are not there."""
    world = World(dim=arguments.dim)
    sizes = Sizes(arguments.users, arguments.items, arguments.k, world.dim)
    folder = Path(arguments.work) / f"billion-{sizes.users}x{sizes.items}x{sizes.dim}-{sizes.k}"
    folder.mkdir(parents=True, exist_ok=True)
    require_room(folder, sizes)
    counts: dict[Side, int] = {"users": sizes.users, "items": sizes.items}
    vectors: dict[str, Path] = {}
    for side, count in counts.items():
        print(f"vectors of {count:,} {side}", flush=True)
        vectors[side] = write_vectors(world, side, count, folder / "vectors")
    night = _kept(folder / "night.json", code_checksum(), lambda: _night(folder, vectors, sizes))
    bare = hashlib.sha256(Path(loop.__file__).read_bytes()).hexdigest() + json.dumps(night["table"]["index"])
    theirs = _kept(folder / "loop.json", bare, lambda: _loop(folder, vectors, night["table"], sizes.k))
    table = night.pop("table")
    rows, recall = table["rows"], table["index"]["index_recall_at_k"]
    figures = {"ratio": night["seconds"] / theirs["seconds"], "seconds": night["seconds"]}
    figures |= {"peak_bytes": night["peak_bytes"], "index_recall_at_k": recall, "rows": rows}
    reached = {name: figures[name] <= most for name, most in _WANTED.items()}
    reached |= {"index_recall_at_k": recall >= _RECALL, "rows": rows == sizes.users * min(sizes.k, sizes.items)}
    return {
        "users": sizes.users,
        "items": sizes.items,
        "dim": sizes.dim,
        "k": sizes.k,
        "figures": figures,
        "reached": reached,
        "rows_per_second": {"night": rows / night["seconds"], "loop": rows / theirs["seconds"]},
        "index_seconds_share": night["steps"]["index"] / night["seconds"],
        "disk_bytes": {"estimated": sizes.disk_bytes, "taken": taken_bytes(folder)},
        "night": night,
        "loop": theirs,
    }


def require_room(folder: Path, sizes: Sizes) -> None:
    """Look before it begins; what is there from an earlier attempt needs no room any more.

    Raises:
        RecbatchError: the disk has not enough.
    """
    free, needed = shutil.disk_usage(folder).free, sizes.disk_bytes - taken_bytes(folder)
    print(f"room on the disk: {max(needed, 0) / 1e9:.1f} GB more needed, {free / 1e9:.1f} GB free", flush=True)
    if free < needed:
        raise RecbatchError(
            f"{folder} needs {needed / 1e9:.1f} GB more for vectors and tables, but its disk has {free / 1e9:.1f} GB "
            "free; make room or give another --work"
        )


def taken_bytes(folder: Path) -> int:
    """Of all files below a folder; hard links to one file count once."""
    found = {(stat.st_dev, stat.st_ino): stat.st_blocks * 512 for stat in map(Path.stat, _files(folder))}
    return sum(found.values())


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def _kept(path: Path, made_by: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A side's result: the one that is there, if the same code made it, else one made now."""
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text())
        if kept["made_by"] == made_by:
            print(f"{path.stem}: done before, {path} keeps it", flush=True)
            return kept["result"]
    result = run()
    path.write_text(json.dumps({"made_by": made_by, "result": result}, indent=1))
    return result


def _night(folder: Path, vectors: Mapping[str, Path], sizes: Sizes) -> dict[str, Any]:
    config = write_config(folder, {_TABLE: {"k": sizes.k, "min_recall": _RECALL}})
    output = folder / "output"
    code, there = folder / "code", output.exists()
    of_other_code = there and (not code.exists() or code.read_text() != code_checksum())
    # Of other code; or done, but stopped before its result was kept: then its memory is not known.
    if of_other_code or list(output.glob("_published/*.json")):
        shutil.rmtree(output)
    code.write_text(code_checksum())
    print("night: its own progress follows", flush=True)
    with attempt(folder / "attempts.json", new=not output.exists()) as earlier:
        ran, tables = run_night(config, vectors, output, shown=True)
    return {
        **ran,
        "seconds": ran["seconds"] + sum(earlier),
        "attempts": [*earlier, ran["seconds"]],
        "table": tables[_TABLE],
    }


def _loop(folder: Path, vectors: Mapping[str, Path], table: Mapping[str, Any], k: int) -> dict[str, Any]:
    print("loop: its own progress follows", flush=True)
    made = run_loop({_TABLE: table}, vectors, folder, k=k, shown=True)
    output = folder / f"loop-{_TABLE}.parquet"
    made["table_bytes"] = output.stat().st_size
    return made


def main(words: Sequence[str]) -> int:
    """``python -m benchmarks.speed.billion --work DIR``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for vectors and outputs")
    parser.add_argument("--users", type=int, default=10_000_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=K)
    parser.add_argument("--dim", type=int, default=World.dim)
    parser.add_argument("--results", default="benchmarks/results", metavar="DIR")
    arguments = parser.parse_args(words)
    result = measure(arguments)
    print(write(Path(arguments.results), "billion", result))
    for side in ("night", "loop"):
        ran = result[side]
        speed = f"{result['rows_per_second'][side]:,.0f} rows/s"
        print(f"{side}: {ran['seconds']:,.0f} s, {speed}, {ran['peak_bytes'] / 1e9:.1f} GB")
    for name, figure in result["figures"].items():
        print(f"{name}: {figure:,.3f} ({'as wanted' if result['reached'][name] else 'NOT as wanted'})")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main, sys.argv[1:]))
