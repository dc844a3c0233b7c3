"""The cut points of a night: users and items are cut into ranges of their ids, once, for everything that follows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from recbatch import storage
from recbatch.config.models import Entity


@dataclass(frozen=True)
class Ranges:
    """Inner cut points by entity, ascending in UTF-8 byte order: ``n`` cuts make ``n + 1`` ranges.

    Range ``i`` holds the ids from cut ``i - 1`` (inclusive) to cut ``i`` (exclusive).
    """

    users: tuple[str, ...]
    items: tuple[str, ...]

    def cuts(self, entity: Entity) -> tuple[str, ...]:
        """The cut points of one entity."""
        return self.users if entity == "user" else self.items

    def count(self, entity: Entity) -> int:
        """How many ranges an entity has (at least one)."""
        return len(self.cuts(entity)) + 1

    def save(self, uri: str) -> Ranges:
        """Store them unless somebody was first; returns the ones that count."""
        storage.put_if_absent(uri, json.dumps(asdict(self), indent=1).encode())
        return self.load(uri)

    @classmethod
    def load(cls, uri: str) -> Ranges:
        """Read stored cut points.

        Raises:
            FileNotFoundError: the night has not been planned yet.
        """
        stored = json.loads(storage.read_bytes(uri))
        return cls(tuple(stored["users"]), tuple(stored["items"]))
