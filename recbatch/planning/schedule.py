"""How long work items take together: a stage's steps one after the other, two items of a step at a time.

What :class:`recbatch.dofns.DoTwo` does, with shares of the cores instead of threads: an element goes through the steps
of its stage in order; a step has a few items in hand, and hands its oldest on when it has as many as it may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One work item of one step: ``cpu`` seconds on at most ``threads`` cores at a time, then ``wait`` for storage."""

    cpu: float
    threads: float = 1.0
    wait: float = 0.0


@dataclass(frozen=True)
class Step:
    """A step of a stage: its work items in the order of the elements, and how many it has in hand at a time."""

    name: str
    items: Sequence[Item]
    at_once: int = 2


@dataclass(frozen=True)
class Stage:
    """What a stage took: ``wall`` seconds, and by step those of its work items added up, as a manifest has them."""

    wall: float
    seconds: Mapping[str, float]


def run_stage(steps: Sequence[Step], cores: float) -> Stage:
    """Let the elements of a stage through its steps; all steps have as many items."""
    return _Clock(steps, cores).run()


class _Clock:
    """Time, and the items that are running: each with what is left of it and when it began."""

    def __init__(self, steps: Sequence[Step], cores: float) -> None:
        self._steps, self._cores = steps, cores
        self._now = 0.0
        self._left: dict[tuple[int, int], float] = {}  # (step, element) -> CPU seconds
        self._waiting: dict[tuple[int, int], float] = {}
        self._began: dict[tuple[int, int], float] = {}
        self._seconds = {step.name: 0.0 for step in steps}
        self._queues: list[list[int]] = [[] for _ in steps]

    def run(self) -> Stage:
        for element in range(len(self._steps[0].items) if self._steps else 0):
            self._take(0, element)
        for place, queue in enumerate(self._queues):
            while queue:
                self._hand_on(place)
        return Stage(self._now, dict(self._seconds))

    def _take(self, place: int, element: int) -> None:
        if place == len(self._steps):
            return
        self._left[place, element] = self._steps[place].items[element].cpu
        self._began[place, element] = self._now
        self._queues[place].append(element)
        if len(self._queues[place]) >= self._steps[place].at_once:
            self._hand_on(place)

    def _hand_on(self, place: int) -> None:
        element = self._queues[place].pop(0)
        while (place, element) in self._left or (place, element) in self._waiting:
            self._advance()
        self._take(place + 1, element)

    def _advance(self) -> None:
        """Until the next item is done; cores are shared evenly among those that can use them."""
        shares = self._shares()
        passed = min([*(self._left[key] / share for key, share in shares.items()), *self._waiting.values()])
        self._now += passed
        for key in list(self._waiting):
            self._waiting[key] -= passed
            if self._waiting[key] <= 1e-9:
                self._end(key)
        for key, share in shares.items():
            self._left[key] -= share * passed
            if self._left[key] <= 1e-9:
                del self._left[key]
                self._waiting[key] = self._steps[key[0]].items[key[1]].wait
                if not self._waiting[key]:
                    self._end(key)

    def _end(self, key: tuple[int, int]) -> None:
        del self._waiting[key]
        self._seconds[self._steps[key[0]].name] += self._now - self._began[key]

    def _shares(self) -> dict[tuple[int, int], float]:
        shares: dict[tuple[int, int], float] = {}
        left = self._cores
        limits = {key: min(self._cores, self._steps[key[0]].items[key[1]].threads) for key in self._left}
        for count, key in enumerate(sorted(limits, key=lambda each: limits[each])):
            shares[key] = min(limits[key], left / (len(limits) - count))
            left -= shares[key]
        return shares
