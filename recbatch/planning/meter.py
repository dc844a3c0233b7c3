"""What work takes: seconds of the processor, and on how many cores at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from recbatch.neighbours import for_each

_PROBE = 384


@dataclass
class Spent:
    """Of some work: processor seconds and seconds, and how many units of it there were."""

    cpu: float = 0.0
    wall: float = 0.0
    units: float = 0.0

    @property
    def per_unit(self) -> float:
        """Processor seconds of one unit; 0 where there was none."""
        return self.cpu / self.units if self.units else 0.0

    @property
    def threads(self) -> float:
        """Cores that the work used at a time when it was alone, at least 1."""
        return max(1.0, self.cpu / self.wall) if self.wall else 1.0


@dataclass
class Meter:
    """Spent by name."""

    spent: dict[str, Spent] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str, units: float) -> Iterator[None]:
        """Count what the block takes, of all threads of the process, as ``units`` of ``name``."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        total = self.spent.setdefault(name, Spent())
        total.cpu += time.process_time() - cpu
        total.wall += time.perf_counter() - wall
        total.units += units

    def less_of(self, other: Meter) -> Meter:
        """By name the cheaper of two measurements of the same: what comes first also pays for what is done once."""
        return Meter(
            {
                name: min(spent, other.spent.get(name, spent), key=lambda each: each.per_unit)
                for name, spent in self.spent.items()
            }
        )

    def of(self, name: str) -> Spent:
        """What was spent; nothing where it was not measured."""
        return self.spent.get(name, Spent())


def cores() -> float:
    """Cores that this process gets when it asks for all of them, now: other processes take the rest."""
    there = len(os.sched_getaffinity(0))
    matrix = np.ones((_PROBE, _PROBE), np.float32)

    def work(_: int) -> None:
        for _ in range(20):
            matrix @ matrix

    cpu, wall = time.process_time(), time.perf_counter()
    for_each(work, range(8 * there))
    return min(float(there), max(0.05, (time.process_time() - cpu) / (time.perf_counter() - wall)))
