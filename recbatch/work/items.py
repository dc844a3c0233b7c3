"""What travels between work items: small records that name parts, never their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recbatch.interactions import Slice
from recbatch.neighbours import Scores
from recbatch.night import Ranges, Shard, TableJob
from recbatch.run import Part


@dataclass(frozen=True)
class RangePart:
    """The part of one range; ``of`` says of what: an entity's profiles, or a set of vectors."""

    of: str
    number: int
    part: Part


@dataclass(frozen=True)
class SlicePart:
    """A cleaned slice, and the rows of it that were put aside (None: there are none)."""

    piece: Slice
    part: Part
    quarantine: Part | None


@dataclass(frozen=True)
class SliceSample:
    """What the cut points need to know of one slice: Arrow streams of sampled ids by entity; and its counts."""

    source: str
    counts: Mapping[str, int]
    samples: Mapping[str, bytes]


@dataclass(frozen=True)
class Cuts:
    """The cut points, and the ranges whose profile part is still to be made, by entity."""

    ranges: Ranges
    missing: Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class IndexWork:
    """One shard of a table's candidates, for which an index is to be made."""

    job: TableJob
    shard: Shard


@dataclass(frozen=True)
class IndexRef:
    """The index of one shard of a table: its record (parameters, checksums of its files, the tuner's findings)."""

    table: str
    shard: Shard
    record: Mapping[str, Any]
    seconds: float = 0.0


@dataclass(frozen=True)
class ShardQueries:
    """One range of queries that is to be searched in one shard."""

    index: IndexRef
    queries: RangePart


@dataclass(frozen=True)
class ShardPart:
    """What one range of queries found in one shard of a table's candidates; ``loaded`` names what was read for it."""

    index: IndexRef
    number: int
    part: Part
    loaded: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShardAudit:
    """What the audit of a :class:`ShardPart` found by reading it back.

    Attributes:
        shard: which one, and ``number`` the range of queries.
        part: the audited part.
        queries: different queries in it.
        problems: sentences; empty when the part is as promised.
        found: of some queries, the scores of what was stored, ``[sampled, k]``; only where there are other shards.
        exact: likewise of what exact search finds in the shard; None where that is what was stored.
        recalls: of these queries, where the shard is alone and its search not exact.
        seconds: how long searching and auditing took.
        loaded: the table, if its candidates were read for this.
    """

    shard: Shard
    number: int
    part: Part
    queries: int
    problems: tuple[str, ...] = ()
    found: Scores | None = None
    exact: Scores | None = None
    recalls: tuple[float, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    loaded: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartAudit:
    """What the audit of one part of a table found.

    Attributes:
        table: name of the table.
        number: the range.
        part: the audited part.
        queries: different queries in it.
        problems: sentences; empty when the part is as promised.
        recalls: of each sampled query, against exact search; none where the search is exact.
        exact: whether the part was searched again, exactly, because the index found too little.
        merged: the shards' parts that it was merged from; none where one shard is all there is.
        seconds: how long the steps behind it took, by name.
    """

    table: str
    number: int
    part: Part
    queries: int
    problems: tuple[str, ...] = ()
    recalls: tuple[float, ...] = ()
    exact: bool = False
    merged: tuple[Part, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """All that the work items of a night reported. A work item that ran twice is in it twice."""

    samples: Sequence[SliceSample]
    cleaned: Sequence[SlicePart]
    profiles: Sequence[RangePart]
    embeddings: Sequence[RangePart]
    indexes: Sequence[IndexRef]
    audits: Sequence[PartAudit]

    def audited(self, table: str) -> list[PartAudit]:
        """The audits of one table by range, each range once."""
        return [audit for _, audit in sorted({a.number: a for a in self.audits if a.table == table}.items())]

    def of(self, name: str) -> list[RangePart]:
        """The profile parts of an entity, or the embedding parts of a set, by range, each range once."""
        items = [*self.profiles, *self.embeddings]
        return [item for _, item in sorted({i.number: i for i in items if i.of == name}.items())]

    def indexed(self, table: str) -> list[IndexRef]:
        """The indexes of one table by shard, each shard once."""
        return [ref for _, ref in sorted({i.shard.number: i for i in self.indexes if i.table == table}.items())]

    def counts(self, name: str) -> Counter[str]:
        """Counts of :meth:`of`, added up."""
        return added(item.part.counts for item in self.of(name))


def added(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Counts of several parts, added up by name."""
    total = Counter[str]()
    for found in counts:
        total.update(found)
    return total
