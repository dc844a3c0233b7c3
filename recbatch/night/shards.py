"""The shards of a night: candidates that outgrow a worker's memory are cut into runs of their ranges, once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from recbatch import storage


@dataclass(frozen=True)
class Shard:
    """Consecutive ranges of a table's candidates, which a worker holds and searches together.

    Attributes:
        number: from 0, in the order of the ids.
        first: its first range.
        stop: the range after its last one.
        count: shards of the table.
    """

    number: int
    first: int
    stop: int
    count: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number < self.stop

    @property
    def alone(self) -> bool:
        """Whether it holds all candidates of its table, as nearly always."""
        return self.count == 1


@dataclass(frozen=True)
class Shards:
    """The shards of every table: the ranges after their last ones, rising; the last of all is the number of ranges."""

    stops: Mapping[str, tuple[int, ...]]

    def of(self, table: str) -> tuple[Shard, ...]:
        """The shards of one table."""
        stops = self.stops[table]
        firsts = (0, *stops[:-1])
        return tuple(
            Shard(number, first, stop, len(stops))
            for number, (first, stop) in enumerate(zip(firsts, stops, strict=True))
        )

    def save(self, uri: str) -> Shards:
        """Store them unless somebody was first; returns the ones that count."""
        storage.put_if_absent(uri, json.dumps(dict(self.stops), indent=1).encode())
        return self.load(uri)

    @classmethod
    def load(cls, uri: str) -> Shards:
        """Read stored shards.

        Raises:
            FileNotFoundError: the vectors of the night are not there yet.
        """
        return cls({table: tuple(stops) for table, stops in json.loads(storage.read_bytes(uri)).items()})
