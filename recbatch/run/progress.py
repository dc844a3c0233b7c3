"""Progress is what is stored: parts there of parts planned. It holds on every runner and file system."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

Progress = Mapping[str, tuple[int, int]]
"""Step -> (parts there, parts planned); steps whose number of parts is not known yet are absent."""

_POLL_SECONDS = 0.5


@contextlib.contextmanager
def watch(look: Callable[[], Progress]) -> Iterator[None]:
    """Show progress bars on a terminal while the block runs; elsewhere (a log) show nothing.

    ``look`` counts the parts. It runs in a thread of its own and its errors only cost the display.
    """
    if not sys.stderr.isatty():
        yield
        return
    bars = Bars(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=False,
    )
    stop = threading.Event()
    tasks: dict[str, object] = {}

    def refresh() -> None:
        with contextlib.suppress(Exception):
            for step, (there, planned) in look().items():
                if step not in tasks:
                    tasks[step] = bars.add_task(step, total=planned)
                bars.update(tasks[step], completed=there, total=planned)  # type: ignore[arg-type]

    def poll() -> None:
        while not stop.wait(_POLL_SECONDS):
            refresh()

    thread = threading.Thread(target=poll, name="progress", daemon=True)
    with bars:
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            refresh()
