"""The process's loaded indexes: each is loaded once, and together they stay within a memory budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from recbatch.index.searcher import Searcher

DEFAULT_BUDGET = 4 * 2**30
"""Bytes of loaded indexes that a process keeps; fixed, never what a machine happens to have."""


class Sized(Protocol):
    """Something whose memory is known."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, about."""


Held = TypeVar("Held", bound=Sized)


class SearcherCache(Generic[Held]):
    """Loaded searchers by checksum, the least recently used one given up first.

    Threads that ask for one index at the same time wait for a single load. An index larger than the budget is loaded
    and kept alone. A searcher that was given up lives on for those who still hold it.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        self._budget = budget
        self._searchers: OrderedDict[str, Held] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, checksum: str, load: Callable[[], Held], on_load: Callable[[str], None] | None = None) -> Held:
        """The searcher of ``checksum``; ``load`` is called if the process does not hold it.

        Args:
            checksum: what identifies the index's content (see :func:`recbatch.index.index_checksum`).
            load: makes the searcher.
            on_load: called with the checksum after every load, to count them.
        """
        with self._lock:
            if checksum in self._searchers:
                self._searchers.move_to_end(checksum)
                return self._searchers[checksum]
            loading = self._loading.setdefault(checksum, threading.Lock())
        with loading:
            with self._lock:
                if checksum in self._searchers:
                    return self._searchers[checksum]
            searcher = load()
            self._keep(checksum, searcher)
        if on_load is not None:
            on_load(checksum)
        return searcher

    @property
    def nbytes(self) -> int:
        """Bytes of all searchers held."""
        with self._lock:
            return sum(searcher.nbytes for searcher in self._searchers.values())

    def _keep(self, checksum: str, searcher: Held) -> None:
        with self._lock:
            self._loading.pop(checksum, None)
            self._searchers[checksum] = searcher
            held = sum(each.nbytes for each in self._searchers.values())
            while held > self._budget and len(self._searchers) > 1:
                _, oldest = self._searchers.popitem(last=False)
                held -= oldest.nbytes


searchers: SearcherCache[Searcher] = SearcherCache()
"""The cache of this process."""
