"""Progress is what is stored: parts there of parts planned. It holds on every runner and file system."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

Progress = Mapping[str, tuple[int, int]]
"""Step -> (parts there, parts planned); steps whose number of parts is not known yet are absent."""

_POLL_SECONDS = 0.5
_shown: list[Bars] = []


@contextlib.contextmanager
def display() -> Iterator[Bars | None]:
    """The progress bars of this process on its terminal, one set however many ask; None where there is no terminal."""
    if _shown:
        yield _shown[0]
    elif not sys.stderr.isatty():
        yield None
    else:
        columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
            _shown.append(bars)
            try:
                yield bars
            finally:
                _shown.remove(bars)


@contextlib.contextmanager
def watch(look: Callable[[], Progress]) -> Iterator[None]:
    """Show progress bars on a terminal while the block runs; elsewhere (a log) show nothing.

    ``look`` counts the parts. It runs in a thread of its own and its errors only cost the display.
    """
    with display() as bars:
        if bars is None:
            yield
            return
        stop = threading.Event()
        thread = threading.Thread(target=_poll, args=(bars, look, stop), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _poll(bars: Bars, look: Callable[[], Progress], stop: threading.Event) -> None:
    tasks: dict[str, TaskID] = {}
    ended = False
    while not ended:
        ended = stop.wait(_POLL_SECONDS)  # one more look after the end
        with contextlib.suppress(Exception):
            for step, (there, planned) in look().items():
                if step not in tasks:
                    tasks[step] = bars.add_task(step, total=planned)
                bars.update(tasks[step], completed=there, total=planned)
