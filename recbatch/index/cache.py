"""What a process holds, such as its indexes: each is loaded once, and together they stay within a memory budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something that takes memory."""

    @property
    def nbytes(self) -> int:
        """How much, about."""


Held = TypeVar("Held", bound=Sized)


class BudgetCache(Generic[Held]):
    """What was loaded by name, such as searchers with their candidates; the least recently used is given up first.

    Threads that ask for one at the same time wait for a single load. One that is larger than the budget is loaded and
    kept alone. One that was given up lives on for those who still hold it.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._taken = 0
        self._left = threading.Condition(self._lock)

    def get(
        self, name: str, load: Callable[[], Held], on_load: Callable[[str], None] | None = None, expected: int = 0
    ) -> Held:
        """What ``name`` stands for; ``load`` is called if the process does not hold it.

        Args:
            name: identifies the content, as a checksum or an immutable place does.
            load: makes it. If it fails, the next one who asks tries again.
            on_load: called with the name after every load, to count them.
            expected: bytes that it will take, about; room is made for them before it is loaded.
        """
        with self._lock:
            loading = self._loading.setdefault(name, threading.Lock())
        with loading:
            with self._lock:
                if name in self._held:
                    self._held.move_to_end(name)
                    return self._held[name]
            with self._lock:
                self._give_up(expected, kept=0)
            loaded = load()
            self._keep(name, loaded)
        if on_load is not None:
            on_load(name)
        return loaded

    @property
    def nbytes(self) -> int:
        """Bytes of all that is held."""
        with self._lock:
            return sum(each.nbytes for each in self._held.values())

    @contextmanager
    def room(self, expected: int) -> Iterator[None]:
        """Room for ``expected`` bytes that the block takes beside what is held, which is given up where it must be.

        Blocks at the same time stay within the budget together: one that does not fit beside the others waits.
        """
        with self._left:
            self._left.wait_for(lambda: not self._taken or self._taken + expected <= self._budget)
            self._taken += expected
            self._give_up(0, kept=0)
        try:
            yield
        finally:
            with self._left:
                self._taken -= expected
                self._left.notify_all()

    def _keep(self, name: str, loaded: Held) -> None:
        with self._lock:
            self._held[name] = loaded
            self._give_up(0, kept=1)

    def _give_up(self, expected: int, kept: int) -> None:
        held = self._taken + expected + sum(each.nbytes for each in self._held.values())
        while held > self._budget and len(self._held) > kept:
            _, oldest = self._held.popitem(last=False)
            held -= oldest.nbytes
