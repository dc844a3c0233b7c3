"""Which machines on Dataflow, how many, and for how long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recbatch.planning.prediction import StageTime

STARTING_SECONDS = 240.0
"""Until a worker does its first work item: machine and container. Assumed, not measured."""

_OVERHEAD = 1.25
"""Of memory: what the operating system, the runner's harness and fragments take."""
_LEAST = 16
"""GB that every worker is asked to have (``min_ram`` in :mod:`recbatch.launch.beam`)."""
_IN_HAND = 2
"""Work items that a worker has at a time: with fewer left, workers are idle."""


@dataclass(frozen=True)
class Machine:
    """A machine type; ``memory_gb`` is in units of 2**30 bytes, as its maker counts."""

    name: str
    vcpus: int
    memory_gb: int


MACHINES = tuple(
    Machine(f"n2-{kind}-{vcpus}", vcpus, vcpus * gb)
    for vcpus in (2, 4, 8, 16, 32, 64)
    for kind, gb in (("standard", 4), ("highmem", 8))
)
"""N2: 4 GB for each vCPU, or 8."""


@dataclass(frozen=True)
class Fleet:
    """Workers and what they come to.

    Attributes:
        machine: of every worker.
        workers: how many.
        hours: from the start of the job to its end.
        vcpu_hours: of all workers.
        gb_hours: likewise.
        in_time: whether that is within the hours that were asked for.
        remark: why not, or what limits it.
    """

    machine: Machine
    workers: int
    hours: float
    vcpu_hours: float
    gb_hours: float
    in_time: bool
    remark: str


def machine_for(memory_bytes: float) -> Machine | None:
    """The machine with the fewest vCPUs, and then the least memory, that holds so much; None: there is none."""
    needed = max(_LEAST, memory_bytes * _OVERHEAD / 2**30)
    fitting = [machine for machine in MACHINES if machine.memory_gb >= needed]
    return min(fitting, key=lambda machine: (machine.vcpus, machine.memory_gb), default=None)


def fleet(stages: Sequence[StageTime], memory_bytes: float, hours: float) -> Fleet | None:
    """The fewest workers that are done within ``hours``, or as many as have anything to do.

    A vCPU is reckoned as one core of this machine. Work items are shared evenly, a stage begins when the one before has
    ended, and what is one work item on one core takes as long as here.
    """
    machine = machine_for(memory_bytes)
    if machine is None:
        return None
    most = max(1, math.ceil(max((stage.items for stage in stages), default=1) / _IN_HAND))
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _hours(stages, machine, middle) <= hours else (middle + 1, high)
    taken = _hours(stages, machine, low)
    in_time = taken <= hours
    serial = sum(stage.serial_seconds for stage in stages)
    remark = (
        ""
        if in_time
        else f"more workers would not help: {serial:.0f} s of it are single work items, and the others "
        f"are {most * _IN_HAND} at most"
    )
    cost = low * taken
    return Fleet(machine, low, taken, cost * machine.vcpus, cost * machine.memory_gb, in_time, remark)


def _hours(stages: Sequence[StageTime], machine: Machine, workers: int) -> float:
    seconds = STARTING_SECONDS
    for stage in stages:
        useful = min(workers * machine.vcpus, max(1, stage.items) * machine.vcpus / _IN_HAND)
        seconds += stage.serial_seconds + stage.cpu_seconds / max(1.0, useful)
    return seconds / 3600
