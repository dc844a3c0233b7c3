"""All cores for blocks of queries: a thread per core, each computing its own blocks from first to last."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import OpenBLASController, ThreadpoolController

Item = TypeVar("Item")

_lock = threading.Lock()
_inside = 0
_libraries: ThreadpoolController | None = None
_limiter: Any = None


def for_each(work: Callable[[Item], None], items: Iterable[Item], threads: int | None = None) -> None:
    """Call ``work`` with every item on ``threads`` threads (None: one per core that the process may use).

    Matrix products inside use one thread each: many small ones at a time beat a large one on all cores, and the work
    around them is not left to one core. The first exception is raised here.
    """
    items = list(items)
    threads = min(threads or len(os.sched_getaffinity(0)), len(items))
    with _one_blas_thread():
        if threads <= 1:
            for item in items:
                work(item)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, items):
                pass


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the next one is being made while the caller works with the one before.

    What making it raises is raised here. An iterator that is given up is not asked any more.
    """
    with ThreadPoolExecutor(1) as pool:
        end = object()
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Limit BLAS while anybody is inside; the limit is the process's, so the last one out lifts it."""
    global _inside, _libraries, _limiter
    with _lock:
        if _inside == 0:
            _libraries = _libraries or ThreadpoolController()  # NumPy's BLAS is there from the start
            # Threads take turns here, but threadpoolctl listens to none but the one that was first.
            OpenBLASController.clear_controlling_thread(force=True)
            _limiter = _libraries.limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                OpenBLASController.clear_controlling_thread(force=True)
                _limiter.restore_original_limits()
                _limiter = None
