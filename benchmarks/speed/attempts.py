"""How long a command took that was stopped, and run again, and stopped: the seconds of every attempt."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_EVERY_SECONDS = 2.0


@contextlib.contextmanager
def attempt(path: Path, *, new: bool, every: float = _EVERY_SECONDS) -> Iterator[list[float]]:
    """Note the seconds of the block in ``path`` while it runs, so that they are known however it ends.

    Args:
        path: JSON, the seconds of all attempts.
        new: forget the earlier ones.
        every: seconds between two notes; what a killed attempt loses at most.

    Yields:
        Seconds of the earlier attempts.
    """
    earlier: list[float] = [] if new or not path.exists() else json.loads(path.read_text())
    started, ended = time.perf_counter(), threading.Event()

    def note() -> None:
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps([*earlier, time.perf_counter() - started]))
        unfinished.replace(path)

    def keep_noting() -> None:
        while not ended.wait(every):
            note()

    thread = threading.Thread(target=keep_noting, daemon=True)
    note()
    thread.start()
    try:
        yield list(earlier)
    finally:
        ended.set()
        thread.join()
        note()
