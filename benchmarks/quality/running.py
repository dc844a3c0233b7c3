"""Makes the cells of a plan, some at a time, until they are there or the time is up."""

from __future__ import annotations

import functools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.quality.cells import ROOT, Cell, cell_key, code_checksum
from benchmarks.quality.children import Outcome, run_child
from benchmarks.quality.environments import python_of
from benchmarks.quality.peers import PEERS
from benchmarks.quality.plan import Planned
from benchmarks.quality.sources import Source
from benchmarks.quality.store import Store
from recbatch.config.load import load_config
from recbatch.errors import ConfigError, RecbatchError

log = logging.getLogger(__name__)

State = Literal["done", "older code", "time", "no data", "no configuration", "no parameters", "failed", "missing"]

_MODULES = {
    "two-tower": "benchmarks.quality.measuring",
    "program": "benchmarks.quality.tutorial",
    "peer": "benchmarks.quality.measuring",
    "search": "benchmarks.quality.searching",
}
_SEARCH_SHARE = 0.06
"""Of the whole budget, what one search may take: a slow peer gets fewer trials, not everyone's time."""

_START_SECONDS = 20.0
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Made:
    """A planned cell and what became of it: the result where it is there, else the reason why not."""

    cell: Cell
    state: State
    result: Mapping[str, Any] | None = None
    message: str = ""


class Runner:
    """Makes or finds cells.

    Args:
        store: where they are kept.
        sources: the datasets that are there, by name.
        bundles: a folder for the models of this run.
        budget: seconds from now on; None: nothing is made, only found.
        child: how a process is run: module, task and seconds, see :func:`.children.run_child`, which it is by default.
        jobs: cells at a time; each gets an equal part of the cores. A fit of a small model keeps one core busy but not
            two, so that two cells side by side, a core each, are done sooner than one after the other with both.
    """

    def __init__(
        self,
        store: Store,
        sources: Mapping[str, Source],
        bundles: Path,
        budget: float | None,
        child: Callable[[str, dict[str, Any], float], Outcome] | None = None,
        jobs: int = 1,
    ) -> None:
        self._store, self._sources, self._bundles, self._jobs = store, sources, bundles, jobs
        self._stop, self._environments = threading.Event(), threading.Lock()
        self._child = child or functools.partial(run_child, stop=self._stop)
        self._budget = budget or 0.0
        self._deadline = time.monotonic() + self._budget
        self._checksums = {name: source.checksum for name, source in sources.items()}

    def make_all(self, planned: Sequence[Planned]) -> list[Made]:
        """Every cell, begun in the order of the plan. One that fails does not stop the others."""
        making: dict[str, Future[Made]] = {}
        with ThreadPoolExecutor(self._jobs, initializer=_take_cores, initargs=(_shares(self._jobs),)) as pool:
            try:
                for part in planned:
                    search = None if part.search is None else making[part.search.stem]
                    making[part.cell.stem] = pool.submit(self._make_planned, part, search)
                self._follow(set(making.values()))
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.result() for future in making.values()]

    def _follow(self, pending: set[Future[Made]]) -> None:
        number, count = 0, len(pending)
        while pending:
            # With a timeout, for a signal that comes just before a wait without end would not be seen before the next.
            done, pending = wait(pending, _POLL_SECONDS, FIRST_COMPLETED)
            for future in done:
                number += 1
                self._say(f"{number}/{count}", future.result())

    def _say(self, number: str, made: Made) -> None:
        if self._budget and made.result is not None:
            log.info("%s %s: %s", number, made.cell.stem, _in_short(made))
        elif self._budget:
            why = f": {made.message}" if made.message else ""
            log.warning("%s %s: not run (%s)%s", number, made.cell.stem, made.state, why)

    def _make_planned(self, part: Planned, search: Future[Made] | None) -> Made:
        cell = part.cell
        if cell.dataset not in self._sources:
            return Made(cell, "no data")
        if not (ROOT / cell.config).is_file():
            return Made(cell, "no configuration", message=cell.config)
        if search is not None:
            searched = search.result()  # it was begun before, so that waiting for it comes to an end
            if searched.result is None:
                return Made(cell, searched.state if searched.state in ("time", "missing") else "no parameters")
            cell = part.with_parameters(searched.result["best"])
        try:
            return self._make(cell)
        except RecbatchError as error:
            return Made(cell, "failed", message=str(error))

    def _make(self, cell: Cell) -> Made:
        key = self._key(cell)
        found = self._store.find(cell, key)
        if found is not None and (found.current or not self._budget):
            return Made(cell, "done" if found.current else "older code", found.result)
        if self._budget:
            with self._environments:
                python_of(_environment(cell))  # made here, so that its time is nobody's
        left = self._deadline - time.monotonic()
        if left < _START_SECONDS:
            return Made(cell, "time" if self._budget else "missing")
        task = {
            "cell": cell.as_dict(),
            "pointing": self._pointing(cell),
            "bundles": str(self._bundles / code_checksum("two-tower")[:16]),
            "seconds": min(left - _START_SECONDS, self._budget * _SEARCH_SHARE),
        }
        outcome = self._child(_MODULES[cell.kind], task, left)
        if outcome.result is None:
            return Made(cell, "time" if outcome.status == "time" else "failed", message=outcome.message)
        result = outcome.result | {"wall_seconds": round(outcome.wall_seconds, 1)}
        self._store.keep(cell, key, result)
        return Made(cell, "done", result)

    def _pointing(self, cell: Cell) -> tuple[str, ...]:
        return self._sources[cell.dataset].pointing(str(ROOT / cell.config))

    def _key(self, cell: Cell) -> str:
        try:
            config = load_config(str(ROOT / cell.config), [*cell.overrides, *self._pointing(cell)])
        except ConfigError as error:
            raise RecbatchError(f"{cell.config}: {error}") from None
        paths = {"interactions": {"path"}, "users": {"path"}, "items": {"path"}}
        resolved = {
            "inputs": config.inputs.model_dump(mode="json", exclude=paths),
            "positives": config.positives.model_dump(mode="json"),
            "model": None if cell.system in PEERS else config.model.model_dump(mode="json"),
        }
        return cell_key(cell, resolved, self._checksums[cell.dataset], _environment(cell))


def _environment(cell: Cell) -> str | None:
    return PEERS[cell.system].environment if cell.system in PEERS else None


def _shares(jobs: int) -> queue.SimpleQueue[set[int]]:
    """The cores of this process in ``jobs`` parts."""
    cores, shares = sorted(os.sched_getaffinity(0)), queue.SimpleQueue[set[int]]()
    for number in range(jobs):
        shares.put(set(cores[number % len(cores) :: jobs]))
    return shares


def _take_cores(shares: queue.SimpleQueue[set[int]]) -> None:
    """Bind this thread, and with it the processes that it starts, to a part of the cores."""
    os.sched_setaffinity(0, shares.get())


def _in_short(made: Made) -> str:
    assert made.result is not None
    figures = made.result.get("figures") or {made.result["objective"]: made.result["score"]}
    said = ", ".join(f"{name} {value:.4f}" for name, value in list(figures.items())[:3])
    return f"{said} ({made.result['wall_seconds']:.0f} s)"
