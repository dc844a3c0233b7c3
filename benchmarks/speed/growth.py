"""Time and memory of a night that grows: users x1, x2, x4, items x1, x2, x4; and candidates that are cut into shards.

Every night is ``recbatch recommend`` from given vectors, with the tables named. An exponent is the slope of the
logarithm of the seconds over the logarithm of the size: 1 is linear. Seconds are those above a base, a night of the
same tables with hardly any users and items, for start-up would make everything look better than linear; the exponents
of the whole seconds are beside them.

* ``users``: user2item, and item2item, whose candidates are items: the peak must not depend on the number of users.
* ``items``: user2item.
* ``sharded``: a table whose candidates are users, with an ``index.memory_gib`` that cuts the largest one into the
  shards asked for. What a worker holds of candidates and their indexes is beside the budget: by the count that shards
  are cut by (:func:`recbatch.index.candidate_bytes`), and as measured, the peak above that of two other nights: the
  base, and one with the same users and without such a table. The first difference has more in it than candidates:
  cleaning and embedding as many users, and the blocks of queries.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.children import exit_code
from benchmarks.speed.facts import median, write
from benchmarks.speed.inputs import write_config, write_vectors
from benchmarks.speed.sides import SIDES, K, run_night
from benchmarks.speed.worlds import Side, World
from recbatch.index import candidate_bytes
from recbatch.night import Shards

_TIMES = (1, 2, 4)
_BASE = 2_000
"""Users and items of a base."""
_RANGES = 40
"""Ranges of the most users in the sharded series, at least: no range is split, so a shard is a whole number of them."""
_MARGIN = 1.05
_AT_ONCE = 2
"""Shards of a table that a worker may hold at once: the budget is shared by so many."""
_WANTED = {"users_exponent": 1.1, "items_exponent": 0.75, "peak_spread": 0.1}


@dataclass(frozen=True)
class Growth:
    """Where the nights are made, and how often."""

    folder: Path
    runs: int
    world: World = field(default_factory=World)

    def night(self, tables: Sequence[str], users: int, items: int, **sections: dict[str, Any]) -> dict[str, Any]:
        """Nights of some tables, each into an empty output: every run, and the medians of seconds and peak."""
        counts: dict[Side, int] = {"users": users, "items": items}
        vectors: dict[str, Path] = {
            side: write_vectors(self.world, side, count, self.folder / "vectors") for side, count in counts.items()
        }
        config = write_config(self.folder, {name: {"k": K} for name in tables}, **sections)
        output, runs = self.folder / "output", []
        for _ in range(self.runs):
            shutil.rmtree(output, ignore_errors=True)
            ran, made = run_night(config, vectors, output)
            runs.append({**ran, "kind": {name: table["index"]["kind"] for name, table in made.items()}})
            said = f"{ran['seconds']:.1f} s, {ran['peak_bytes'] / 1e9:.2f} GB"
            print(f"{'+'.join(tables)}, {users:,} users x {items:,} items: {said}", flush=True)
        shards = {name: [each["candidates"] for each in table["index"]["shards"]] for name, table in made.items()}
        cut = Shards.load(str(next(output.glob("_runs/*/*/shards.json"))))
        assert all(len(cut.of(name)) == len(shards[name]) for name in tables)
        medians = {name: median([run[name] for run in runs]) for name in ("seconds", "peak_bytes")}
        sizes = {"users": users, "items": items}
        return {"tables": list(tables), **sizes, **medians, "shards": shards, "runs": runs}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All series, and what follows from them."""
    growth = Growth(Path(arguments.work), arguments.runs)
    users, items = arguments.users, arguments.items
    result: dict[str, Any] = {"dim": growth.world.dim, "k": K, "users": {}}
    for table in ("user2item", "item2item"):
        base = growth.night([table], _BASE, _BASE)
        nights = [growth.night([table], users * times, items) for times in _TIMES]
        result["users"][table] = series(nights, base, "users")
    (first, *_), base = (result["users"]["user2item"][name] for name in ("nights", "base"))
    more = [growth.night(["user2item"], users, items * times) for times in _TIMES[1:]]
    result["items"] = series([first, *more], base, "items")
    result["sharded"] = sharded(growth, arguments)
    figures = {
        "users_exponent": result["users"]["user2item"]["exponent"],
        "items_exponent": result["items"]["exponent"],
        "peak_spread": max(each["peak_spread"] for each in result["users"].values()),
    }
    reached = {name: figure <= _WANTED[name] for name, figure in figures.items()}
    most = result["sharded"]["nights"][-1]
    figures |= {"shards": most["count"], "share_of_budget": most["above_others_bytes"] / most["budget_bytes"]}
    reached |= {"shards": most["count"] >= arguments.shards, "share_of_budget": figures["share_of_budget"] <= 1}
    return {"figures": figures, "reached": reached, **result}


def series(nights: Sequence[Mapping[str, Any]], base: Mapping[str, Any], by: str) -> dict[str, Any]:
    """Exponents over the sizes ``by`` (``users`` or ``items``), and by how much the peaks differ."""
    sizes, seconds = ([night[name] for night in nights] for name in (by, "seconds"))
    peaks = [night["peak_bytes"] for night in nights]
    return {
        "exponent": exponent(sizes, [each - base["seconds"] for each in seconds]),
        "exponent_of_whole": exponent(sizes, seconds),
        "peak_spread": max(peaks) / min(peaks) - 1,
        "base": base,
        "nights": list(nights),
    }


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The slope of log(seconds) over log(size) by least squares; None where a time is not above its base."""
    if min(seconds) <= 0:
        return None
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def sharded(growth: Growth, arguments: argparse.Namespace) -> dict[str, Any]:
    """Users x1/4, x1/2, x1 as candidates, in a budget that cuts the last ones into as many shards as asked for."""
    most, items, tables = arguments.sharded_users, arguments.sharded_items, arguments.sharded_tables
    one = candidate_bytes(growth.world.dim)
    held = max(_AT_ONCE, len(tables)) * most / arguments.shards * one * _MARGIN
    sections = {
        "index": {"memory_gib": held / 2**30},
        "run": {"range_ids": max(1, min(50_000, most // _RANGES))},
    }
    base = growth.night(tables, _BASE, _BASE, **sections)
    nights = []
    for times in _TIMES:
        users = most * times // max(_TIMES)
        others = growth.night(["item2item"], users, items, **sections)
        night = growth.night(tables, users, items, **sections)
        shards = night["shards"]
        nights.append(
            {
                **night,
                "count": min(map(len, shards.values())),
                "budget_bytes": held,
                "shard_bytes": {name: [count * one for count in each] for name, each in shards.items()},
                "without_bytes": sum(sum(each) for each in shards.values()) * one,
                "above_base_bytes": night["peak_bytes"] - base["peak_bytes"],
                "above_others_bytes": night["peak_bytes"] - others["peak_bytes"],
                "others": others,
            }
        )
        said = f"{night['peak_bytes'] / 1e9:.2f} GB, {nights[-1]['above_others_bytes'] / 1e9:.2f} above other tables'"
        print(f"  {nights[-1]['count']} shards, budget {held / 1e9:.2f} GB: peak {said}", flush=True)
    return {"candidate_bytes": one, "memory_gib": held / 2**30, "base": base, "nights": nights}


def main(words: Sequence[str]) -> int:
    """``python -m benchmarks.speed.growth --work DIR``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for vectors and outputs (some GB)")
    parser.add_argument("--users", type=int, default=250_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--shards", type=int, default=4, help="into which the most users are cut")
    parser.add_argument("--sharded-users", type=int, default=4_000_000, help="the most users that are candidates")
    parser.add_argument("--sharded-items", type=int, default=50_000)
    parser.add_argument(
        "--sharded-tables", nargs="+", default=["item2user"], choices=[each for each in SIDES if each.endswith("user")]
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--results", default="benchmarks/results", metavar="DIR")
    arguments = parser.parse_args(words)
    result = measure(arguments)
    print(write(Path(arguments.results), "growth", result))
    for name, figure in result["figures"].items():
        print(f"{name}: {figure:.3f} ({'as wanted' if result['reached'][name] else 'NOT as wanted'})")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main, sys.argv[1:]))
