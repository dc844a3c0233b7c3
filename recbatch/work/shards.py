"""Cutting candidates into shards that fit a worker, and the order in which queries meet them."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recbatch import storage
from recbatch.index import candidate_bytes
from recbatch.night import Night, Shards, TableJob
from recbatch.work.candidates import shard_bytes
from recbatch.work.items import IndexRef, IndexWork, RangePart, ShardQueries

_LANE, _LANES = 16, 64
"""Ranges of queries that one worker takes through a shard, one after the other, where there are several shards, at
most: what it loads for them is then a small part of its work, in whatever order a runner hands lanes out. Fewer where a
table would have fewer lanes than this for its workers."""
_AT_ONCE = 2
"""Shards of one table that a worker holds at once, at most: it has so many threads on Dataflow, and builds so many."""


@dataclass(frozen=True)
class Need:
    """What a table's candidates take: bytes of each range, in order."""

    table: str
    ranges: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.ranges)


def cut_shards(night: Night, _: None, embeddings: Sequence[RangePart]) -> Shards:
    """The shards of all tables; from the number of vectors, when all are there."""
    if not storage.exists(night.shards_uri):
        parts = {(item.of, item.number): item.part for item in embeddings}
        needs = []
        for job in night.jobs:
            own = [part for (name, _), part in sorted(parts.items()) if name == job.candidates.name]
            needs.append(Need(job.name, tuple(part.rows * candidate_bytes(part.counts["width"]) for part in own)))
        return plan_shards(needs, int(night.config.index.memory_gib * 2**30)).save(night.shards_uri)
    return Shards.load(night.shards_uri)


def plan_shards(needs: Sequence[Need], budget: int) -> Shards:
    """Shards so that what a worker holds at once of all tables stays within ``budget`` bytes.

    Tables share it evenly, and what one does not need is the others'. No range is split, so a shard has at least one.
    """
    small = sorted(needs, key=lambda need: need.total)
    left, large = budget, []
    for place, need in enumerate(small):
        if need.total * (len(small) - place) > left and sum(other.total for other in small[place:]) > left:
            large = small[place:]
            break
        left -= need.total
    share = left / max(_AT_ONCE, len(large))
    return Shards({need.table: _stops(need.ranges, share) if need in large else (len(need.ranges),) for need in needs})


def _stops(ranges: Sequence[int], share: float) -> tuple[int, ...]:
    """Where the fewest runs of ranges end that hold at most ``share`` bytes each, and that as evenly as may be."""
    fewest = len(_filled(ranges, share))
    capacity = bisect.bisect_left(range(int(share)), True, key=lambda held: len(_filled(ranges, held)) <= fewest)
    return _filled(ranges, capacity)


def _filled(ranges: Sequence[int], capacity: float) -> tuple[int, ...]:
    """Where runs end that are filled one after the other; a range larger than the capacity is one of its own."""
    stops, held = [], 0
    for number, size in enumerate(ranges):
        if held and held + size > capacity:
            stops.append(number)
            held = 0
        held += size
    return (*stops, len(ranges))


def largest_first(shards: Shards, jobs: Sequence[TableJob], embeddings: Sequence[RangePart]) -> list[IndexWork]:
    """The shards of all tables, those that take the most first: then the last ones to be built are short."""

    def size(work: IndexWork) -> int:
        return shard_bytes(work.shard, [part for part in embeddings if part.of == work.job.candidates.name])

    works = [IndexWork(job, shard) for job in jobs for shard in shards.of(job.name)]
    return sorted(works, key=size, reverse=True)


def lanes(index: IndexRef, queries: Sequence[RangePart]) -> Iterator[Sequence[ShardQueries]]:
    """All ranges of queries for one shard, in lanes that one worker takes: a single range where the shard is alone."""
    ordered = sorted(queries, key=lambda part: part.number)
    size = 1 if index.shard.alone else max(1, min(_LANE, len(ordered) * index.shard.count // _LANES))
    for first in range(0, len(ordered), size):
        yield [ShardQueries(index, part) for part in ordered[first : first + size]]
