"""How far a search is, on standard error: lines per trial, and a bar where there is a terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.progress import Progress

from recbatch.run import display

_log = logging.getLogger(__name__)
_LINE_SECONDS = 60.0

Row = Mapping[str, Any]
"""A trial as the log of a search has it."""


class SearchProgress:
    """Told about every trial and every epoch of one search."""

    def __init__(self, total: int, rows: Sequence[Row], bars: Progress | None) -> None:
        self._total, self._bars = total, bars
        self._task = None if bars is None else bars.add_task("trials", total=total)
        self._name, self._number, self._best = "", 0, ""
        self._line_at = 0.0
        if rows:
            _log.info("%d of %d trials are there; %s", len(finished(rows)), total, best_text(rows))
        self._bar(rows)

    @classmethod
    @contextmanager
    def shown(cls, total: int, rows: Sequence[Row]) -> Iterator[SearchProgress]:
        """Show a search of ``total`` trials, of which ``rows`` are there."""
        with display() as bars:
            yield cls(total, rows, bars)

    def begin(self, number: int, values: Row) -> None:
        """A trial begins, or goes on."""
        self._number, self._name, self._line_at = number, f"trial {number} of {self._total}", time.monotonic()
        _log.info("%s: %s", self._name, values_text(values))

    def epoch(self, epoch: int, score: float) -> None:
        """An epoch of it was measured."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, description=f"{self._number}: {score:.4f}, {self._best}")
        elif time.monotonic() - self._line_at > _LINE_SECONDS:
            self._line_at = time.monotonic()
            _log.info("%s: epoch %d, %.4f", self._name, epoch, score)

    def ended(self, rows: Sequence[Row], seconds_left: float | None) -> None:
        """The last of ``rows`` has ended."""
        left = _left(finished(rows), self._total, seconds_left)
        _log.info("%s: %s; %s; %s", self._name, _how(rows[-1]), best_text(rows), left)
        self._bar(rows)

    def _bar(self, rows: Sequence[Row]) -> None:
        best = best_row(rows)
        self._best = "" if best is None else f"best {best['score']:.4f}"
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=len(finished(rows)), description=self._best or "trials")


def finished(rows: Sequence[Row]) -> list[Row]:
    """Those that count towards the number of trials."""
    return [row for row in rows if row["state"] != "unfinished"]


def best_row(rows: Sequence[Row]) -> Row | None:
    """The one with the best score."""
    return max((row for row in rows if row["score"] is not None), key=lambda row: row["score"], default=None)


def best_text(rows: Sequence[Row]) -> str:
    """``best so far 0.1234 by trial 3``."""
    best = best_row(rows)
    return "no result so far" if best is None else f"best so far {best['score']:.4f} by trial {best['trial']}"


def values_text(values: Mapping[str, Any]) -> str:
    """``dim 64, training.batch_size 512``: keys below ``model``, of tied ones the first."""
    return ", ".join(f"{name.split(', ')[0].removeprefix('model.')} {value}" for name, value in values.items())


def _how(row: Row) -> str:
    if row["same_as"] is not None:
        return f"the same values as trial {row['same_as']}"
    if row["state"] == "complete":
        return f"{row['score']:.4f} in {row['seconds']:.0f} s"
    return f"{row['state']}, {row['reason']}"


def _left(rows: Sequence[Row], total: int, seconds_left: float | None) -> str:
    left = sum(row["seconds"] for row in rows) / len(rows) * max(0, total - len(rows))
    minutes = (left if seconds_left is None else min(left, seconds_left)) / 60
    return f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"
