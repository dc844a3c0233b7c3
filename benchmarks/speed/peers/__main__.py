"""Queries ranked and written to Parquet per second: the night beside other libraries, over the same vectors.

Whole processes are timed at several numbers of users; their slope is what a query costs, the rest is start-up. Every
peer that is finished is written into the results, where the others' figures stay: a measurement that was stopped goes
on with ``--peers`` and the names that are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.facts import write
from benchmarks.speed.peers.comparing import Bench, Sizes
from benchmarks.speed.peers.environments import python_of, require_program
from benchmarks.speed.peers.figures import table
from benchmarks.speed.peers.roster import PEERS
from recbatch.errors import RecbatchError

_NAME = "peers"


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare with the peers that are asked for, one after the other.

    Returns:
        Name -> figures, of them alone.
    """
    for name in arguments.peers:  # what is missing shall be said now and not in ten minutes
        require_program(PEERS[name])
        python_of(PEERS[name].environment)
    bench, compared = Bench(Path(arguments.work), arguments.runs), {}
    for name in arguments.peers:
        peer = PEERS[name]
        users = arguments.users or peer.users
        if len(users) != len(arguments.night_users):
            raise RecbatchError(
                f"--night-users names {len(arguments.night_users)} numbers of users and the peer {name} has "
                f"{len(users)}: name as many for both, with --users"
            )
        print(f"{peer.label}:", flush=True)
        sizes = Sizes(arguments.items or peer.items, arguments.night_users, users, arguments.k)
        compared[name] = bench.compare(peer, sizes)
        keep(Path(arguments.results), {name: compared[name]})
    return compared


def keep(folder: Path, compared: Mapping[str, Any]) -> Path:
    """Put figures into the results beside those of other peers; the whole file's path."""
    path = folder / f"{_NAME}.json"
    kept = json.loads(path.read_text())["peers"] if path.exists() else {}
    peers = {**kept, **compared}
    ordered = {name: peers[name] for name in PEERS if name in peers}
    return write(folder, _NAME, {"ratios": {name: each["ratio"] for name, each in ordered.items()}, "peers": ordered})


def main(words: Sequence[str]) -> int:
    """``python -m benchmarks.speed.peers --work DIR``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.peers", description=__doc__)
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for vectors and outputs (some GB)")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS), help="default: all")
    parser.add_argument("--items", type=int, help="instead of each peer's own size of the catalog")
    parser.add_argument("--users", type=int, nargs="+", help="instead of each peer's own numbers of users")
    parser.add_argument("--night-users", type=int, nargs="+", default=[200_000, 600_000])
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--results", default="benchmarks/results", metavar="DIR")
    arguments = parser.parse_args(words)
    try:
        compared = measure(arguments)
    except RecbatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(Path(arguments.results) / f"{_NAME}.json")
    print(table(compared))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
