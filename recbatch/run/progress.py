"""Progress is what is stored: parts there of parts planned. It holds on every runner and file system."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

log = logging.getLogger(__name__)

Progress = Mapping[str, tuple[int, int]]
"""Step -> (parts there, parts planned); steps whose number of parts is not known yet are absent."""

_POLL_SECONDS = 0.5
_LOG_SECONDS = 60.0
_shown: list[Bars] = []


@contextlib.contextmanager
def display() -> Iterator[Bars | None]:
    """The progress bars of this process on its terminal, one set however many ask; None where there is no terminal."""
    if _shown:
        yield _shown[0]
    elif not sys.stderr.isatty():
        yield None
    else:
        columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
            _shown.append(bars)
            try:
                yield bars
            finally:
                _shown.remove(bars)


@contextlib.contextmanager
def watch(look: Callable[[], Progress], poll_seconds: float = _POLL_SECONDS) -> Iterator[None]:
    """Show how far the block's work is: bars on a terminal, elsewhere (in a log) a line a minute.

    Args:
        look: counts the parts. It is called in a thread of its own, and its errors only cost the display.
        poll_seconds: between two looks for a terminal; a look at an object store costs money.
    """
    with display() as bars:
        stop = threading.Event()
        show = _Lines() if bars is None else _Bars(bars)
        every = _LOG_SECONDS if bars is None else poll_seconds
        thread = threading.Thread(target=_poll, args=(look, show, every, stop), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _poll(look: Callable[[], Progress], show: Callable[[Progress], None], every: float, stop: threading.Event) -> None:
    ended = False
    while not ended:
        ended = stop.wait(every)
        if not ended or isinstance(show, _Bars):  # full bars at the end; a log has its own last line
            with contextlib.suppress(Exception):
                show(look())


class _Bars:
    """A bar per step, from when it has begun, or all before it are done."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        waiting = False
        for step, (there, planned) in progress.items():
            if step not in self._tasks and (there or not waiting):
                self._tasks[step] = self._bars.add_task(step, total=planned)
            if step in self._tasks:
                self._bars.update(self._tasks[step], completed=there, total=planned)
            waiting = waiting or there < planned


class _Lines:
    """One line with the steps that have begun and are not done."""

    def __call__(self, progress: Progress) -> None:
        under_way = [
            f"{step} {there} of {planned}" for step, (there, planned) in progress.items() if 0 < there < planned
        ]
        if under_way:
            log.info("parts there: %s", ", ".join(under_way))
