"""``python -m benchmarks.quality``: makes what is missing of the measurement and writes docs/quality.md.

Exit codes: 0 every cell is there, 1 a cell failed, 2 usage or input error, 3 there was no MovieLens 1M, 4 the time ran
out. The page is written in any case but 2. Whether targets are met does not matter to the exit code: the page says it.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality.cells import ROOT
from benchmarks.quality.datasets import LARGE
from benchmarks.quality.plan import plan
from benchmarks.quality.protocols import BUDGET_SECONDS, QUICK_BUDGET_SECONDS
from benchmarks.quality.report import Run, render
from benchmarks.quality.running import Made, Runner
from benchmarks.quality.sources import CACHE, Source, movielens_1m, movielens_100k, sparse_world
from benchmarks.quality.store import Store
from recbatch.errors import RecbatchError

log = logging.getLogger("benchmarks.quality")

_FAILED, _NO_DATA, _NO_TIME = 1, 3, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an orderly end, in which the cell's process ends as well
    try:
        return _run(options)
    except RecbatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the cells that are done are kept, and the same command goes on from there", file=sys.stderr)
        return 130


def exit_code(made: Sequence[Made], *, has_1m: bool) -> int:
    """What the state of the cells comes to."""
    states = {part.state for part in made}
    if states & {"failed", "no parameters", "no configuration"}:
        return _FAILED
    if not has_1m:
        return _NO_DATA
    return _NO_TIME if states & {"time", "missing"} else 0


def _run(options: argparse.Namespace) -> int:
    started = time.monotonic()
    sources = _sources(options.ml1m)
    bundles = CACHE / "bundles"
    budget = QUICK_BUDGET_SECONDS if options.quick else BUDGET_SECONDS
    if options.minutes is not None:
        budget = options.minutes * 60
    runner = Runner(
        Store(options.results), sources, bundles, None if options.report_only else budget, jobs=options.jobs
    )
    made = runner.make_all(plan(quick=options.quick, seed=options.seed))
    code = exit_code(made, has_1m=LARGE in sources)
    seconds = None if options.report_only else time.monotonic() - started
    command = _command(quick=options.quick, seed=options.seed, has_1m=LARGE in sources)
    page = render(Run(command, options.quick, options.seed, seconds, datetime.date.today()), made)
    _write(options.page, page)
    print(f"wrote {options.page}; {sum(part.result is not None for part in made)} of {len(made)} cells are there")
    if code == _NO_DATA:
        print("MovieLens 1M was not given (ML1M=DIR), so its rows say: not run", file=sys.stderr)
    if code == _NO_TIME:
        print("the time ran out; the same command goes on from there", file=sys.stderr)
    if code != _NO_TIME:
        shutil.rmtree(bundles, ignore_errors=True)
    return code


def _sources(ml1m: Path | None) -> dict[str, Source]:
    found = [movielens_100k(), sparse_world()]
    if ml1m is not None:
        found.append(movielens_1m(ml1m))
    return {source.name: source for source in found}


def _command(*, quick: bool, seed: int, has_1m: bool) -> str:
    words = [
        "make bench-quality",
        "ML1M=DIR" if has_1m else "",
        "QUICK=1" if quick else "",
        f"SEED={seed}" if seed else "",
    ]
    return " ".join(word for word in words if word)


def _write(page: Path, text: str) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=page.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--ml1m", type=_folder, metavar="DIR", help="folder with MovieLens 1M (Parquet or GroupLens' files)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="at most 20 minutes: fewer splits, protocols, peers, trials"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the first split (0)")
    parser.add_argument("--minutes", type=float, help="budget instead of 3 hours (--quick: 20 minutes)")
    parser.add_argument(
        "--jobs",
        type=int,
        choices=range(1, 9),
        default=min(2, len(os.sched_getaffinity(0))),
        metavar="N",
        help="cells at a time, each on an equal part of the cores (2, on one core 1)",
    )
    parser.add_argument(
        "--report-only", action="store_true", help="make no cell, write the page from those that are there"
    )
    parser.add_argument(
        "--results", type=Path, default=ROOT / "benchmarks/quality/results", metavar="DIR", help="where cells are kept"
    )
    parser.add_argument(
        "--page", type=Path, default=ROOT / "docs/quality.md", metavar="FILE", help="the page that is written"
    )
    return parser


def _folder(text: str) -> Path | None:
    return Path(text).absolute() if text else None  # `make bench-quality` without ML1M gives an empty text


if __name__ == "__main__":
    sys.exit(main())
