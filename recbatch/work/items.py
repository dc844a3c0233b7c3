"""What travels between work items: small records that name parts, never their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recbatch.night import Ranges
from recbatch.run import Part


@dataclass(frozen=True)
class RangePart:
    """The part of one range."""

    number: int
    part: Part


@dataclass(frozen=True)
class Cuts:
    """The cut points, and the ranges whose profile part is still to be made, by entity."""

    ranges: Ranges
    missing: Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class IndexRef:
    """A table's index: the folder's record (parameters, checksums of its files, the tuner's findings)."""

    table: str
    record: Mapping[str, Any]
    made: bool


@dataclass(frozen=True)
class PartAudit:
    """What the audit of one table part found by reading it back.

    Attributes:
        table: name of the table.
        number: the range.
        part: the audited part.
        problems: sentences; empty when the part is as promised.
        recall_hits: candidates found of those that the exact search of the sampled queries gives.
        recall_total: how many the exact search gives; 0 when the search is exact.
    """

    table: str
    number: int
    part: Part
    problems: tuple[str, ...] = ()
    recall_hits: int = 0
    recall_total: int = 0
    samples: Mapping[str, Any] = field(default_factory=dict)
