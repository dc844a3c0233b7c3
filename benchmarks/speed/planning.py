"""How well `recbatch plan` foretells a night: what it says, and then what happens, at several sizes."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.speed.children import Ran, run
from benchmarks.speed.facts import write
from benchmarks.speed.inputs import DS, write_config, write_vectors
from benchmarks.speed.worlds import World

_K = 100
WANTED = 0.3
"""A prediction may be off by so much of what then happens."""
JUDGED = ("seconds", "output_bytes", "peak_bytes")
"""What that is asked of; the rest is shown."""


def compare(folder: Path, world: World, tables: Sequence[str], users: int, items: int) -> dict[str, Any]:
    """The plan of a night, and the night: ``predicted`` and ``actual`` of every figure, and how far off."""
    vectors = {
        "users": write_vectors(world, "users", users, folder / "vectors"),
        "items": write_vectors(world, "items", items, folder / "vectors"),
    }
    config = write_config(folder, {name: {"k": _K} for name in tables})
    words = [str(config), "--ds", DS]
    words += ["--user-vectors", str(vectors["users"]), "--item-vectors", str(vectors["items"])]
    said, output = folder / "plan.json", folder / "output"
    planning = run([sys.executable, "-m", "recbatch", "plan", *words, "--json", str(said)])
    plan = json.loads(said.read_text())
    shutil.rmtree(output, ignore_errors=True)
    night = run([sys.executable, "-m", "recbatch", "recommend", *words, "--output", str(output)])
    manifest = json.loads(next(output.glob("_runs/*/*/manifest.json")).read_text())
    figures = {
        name: {"predicted": predicted, "actual": actual, "off": _off(predicted, actual)}
        for name, (predicted, actual) in _figures(plan, night, manifest, stored_bytes(output)).items()
    }
    shards = json.loads(next(output.glob("_runs/*/*/shards.json")).read_text())
    cuts = json.loads(next(output.glob("_runs/*/*/plan.json")).read_text())
    return {
        "users": users,
        "items": items,
        "tables": list(tables),
        "planning": planning.facts,
        "cores": plan["machine"]["cores"],
        "same_ranges": cuts == plan["cuts"],
        "same_shards": shards == plan["shards"],
        "figures": figures,
    }


def stored_bytes(folder: Path) -> int:
    """Bytes of all files, those with several names once."""
    sizes = {(status.st_dev, status.st_ino): status.st_size for status in map(Path.stat, _files(folder))}
    return sum(sizes.values())


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _figures(
    plan: Mapping[str, Any], night: Ran, manifest: Mapping[str, Any], stored: int
) -> dict[str, tuple[float, float]]:
    steps = manifest["timings"]["seconds_by_step"]
    rows = {name: sum(file["bytes"] for file in entry["files"]) for name, entry in manifest["tables"].items()}
    return {
        "seconds": (plan["seconds"], night.seconds),
        "cpu_seconds": (plan["cpu_seconds"], night.cpu_seconds),
        "output_bytes": (plan["output_bytes"]["all"], stored),
        "peak_bytes": (plan["memory_bytes"]["peak"], night.peak_bytes),
        **{f"seconds of {step}": (plan["seconds_by_step"][step], value) for step, value in steps.items()},
        **{f"bytes of {name}": (plan["output_bytes"][name], size) for name, size in rows.items()},
    }


def _off(predicted: float, actual: float) -> float:
    """Of what happened: above 0 where too much was predicted."""
    return predicted / actual - 1 if actual else 0.0


def within(compared: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of each judged figure the largest error at any size."""
    return {name: max(abs(each["figures"][name]["off"]) for each in compared) for name in JUDGED}


def show(compared: Mapping[str, Any]) -> None:
    """Print what was foretold beside what happened."""
    table = Table(title=f"{'+'.join(compared['tables'])}, {compared['users']:,} users x {compared['items']:,} items")
    for name in ("figure", "predicted", "actual", "off"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for name, each in compared["figures"].items():
        sides = each["predicted"], each["actual"]
        shown = (f"{value / 1e6:,.1f} MB" if "bytes" in name else f"{value:.1f} s" for value in sides)
        table.add_row(name, *shown, f"{each['off']:+.0%}")
    Console(width=100).print(table)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All sizes."""
    folder, compared = Path(arguments.work), []
    for users in arguments.users:
        compared.append(compare(folder, World(), arguments.tables, users, arguments.items))
        show(compared[-1])
    return {"wanted": WANTED, "off_at_most": within(compared), "sizes": compared}


def main(words: Sequence[str]) -> int:
    """``python -m benchmarks.speed.planning --work DIR``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for vectors and outputs (some GB)")
    parser.add_argument("--users", type=int, nargs="+", default=[200_000, 500_000, 1_000_000])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--tables", nargs="+", default=["user2item"], metavar="TABLE")
    parser.add_argument("--results", default="benchmarks/results", metavar="DIR")
    arguments = parser.parse_args(words)
    result = measure(arguments)
    print(write(Path(arguments.results), "plan", result))
    for name, off in result["off_at_most"].items():
        print(f"{name}: off by {off:.0%} at most (wanted: {WANTED:.0%})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
