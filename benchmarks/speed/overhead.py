"""What the night costs beside a bare loop, from vectors in files to the published tables.

Both sides read the same files and search the same candidates with the same parameters, which the night's tuner has
chosen. Seconds are fitted as ``fixed + slope * users`` over several numbers of users; the slopes' ratio is what a user
costs more.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed.facts import import_seconds, line, median, write
from benchmarks.speed.inputs import write_config, write_vectors
from benchmarks.speed.sides import SIDES, K, run_loop, run_night
from benchmarks.speed.worlds import World


@dataclass(frozen=True)
class Bench:
    """Where a measurement keeps its files, and how often it measures."""

    folder: Path
    runs: int
    world: World = field(default_factory=World)

    def compare(self, tables: Sequence[str], users: int, items: int) -> dict[str, Any]:
        """Night and loop in turn, so that what the machine does besides hits both."""
        vectors = {
            "users": write_vectors(self.world, "users", users, self.folder / "vectors"),
            "items": write_vectors(self.world, "items", items, self.folder / "vectors"),
        }
        config = write_config(self.folder, {name: {"k": K} for name in tables})
        pairs, output = [], self.folder / "output"
        for _ in range(self.runs):
            shutil.rmtree(output, ignore_errors=True)
            night, made = run_night(config, vectors, output)
            pairs.append((night, run_loop(made, vectors, self.folder)))
            _say(f"{'+'.join(tables)}, {users:,} users x {items:,} items", pairs[-1])
        nights, loops = zip(*pairs, strict=True)
        return {"users": users, "items": items, "night": list(nights), "loop": list(loops)}


def fitted(compared: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Fixed seconds and seconds per user of both sides, from the medians of the runs."""
    users = [each["users"] for each in compared]
    result: dict[str, Any] = {}
    for side in ("night", "loop"):
        fixed, slope = line(users, [_median_seconds(each, side) for each in compared])
        result[side] = {"fixed": fixed, "seconds_per_user": slope}
    return result


def _median_seconds(compared: Mapping[str, Any], side: str) -> float:
    return median([ran["seconds"] for ran in compared[side]])


def _say(what: str, pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    night, bare = (f"{each['seconds']:.1f} s, {each['peak_bytes'] / 1e9:.1f} GB" for each in pair)
    share = pair[1]["rates"]["search"] / pair[1]["rates"]["scann"]
    print(f"{what}: night {night}; loop {bare}, at {share:.0%} of ScaNN's own rate", flush=True)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All runs and what follows from them."""
    bench, four = (Bench(Path(arguments.work), runs) for runs in (arguments.runs, arguments.four_runs))
    one = [bench.compare(["user2item"], users, arguments.items) for users in arguments.users]
    every = [four.compare(list(SIDES), users, arguments.items) for users in arguments.four_users]
    whole = bench.compare(["user2item"], max(arguments.users), 2 * arguments.items)
    fits, fits_four = fitted(one), fitted(every)
    return {
        "slope_ratio": _slope_ratio(fits),
        "slope_ratio_four_tables": _slope_ratio(fits_four),
        "whole_ratio": _median_seconds(whole, "night") / _median_seconds(whole, "loop"),
        "fixed_seconds_above_loop": fits["night"]["fixed"] - fits["loop"]["fixed"],
        "dim": bench.world.dim,
        "k": K,
        "fits": fits,
        "fits_four_tables": fits_four,
        "import_seconds": import_seconds("recbatch.launch.pipelines, recbatch.pipeline"),
        "one_table": one,
        "four_tables": every,
        "whole": whole,
    }


def _slope_ratio(fits: Mapping[str, Any]) -> float:
    return float(fits["night"]["seconds_per_user"] / fits["loop"]["seconds_per_user"])


def main(words: Sequence[str]) -> int:
    """``python -m benchmarks.speed.overhead --work DIR``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for vectors and outputs (some GB)")
    parser.add_argument("--users", type=int, nargs="+", default=[200_000, 1_000_000, 2_000_000])
    parser.add_argument("--four-users", type=int, nargs="+", default=[200_000, 500_000, 1_000_000])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--four-runs", type=int, default=1)
    parser.add_argument("--results", default="benchmarks/results", metavar="DIR")
    arguments = parser.parse_args(words)
    result = measure(arguments)
    print(write(Path(arguments.results), "overhead", result))
    for name in ("slope_ratio", "slope_ratio_four_tables", "whole_ratio", "fixed_seconds_above_loop"):
        print(f"{name}: {result[name]:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
