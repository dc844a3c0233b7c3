"""The last night: the newest published date before this one.

Its model is what this night's is measured by, and its indexes say how to search this night's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbatch.night.jobs import BundleRef


@dataclass(frozen=True)
class LastNight:
    """What a night takes from the one before.

    Attributes:
        ds: its date.
        bundle: the bundle that its tables were made with.
        name: names the bundle's content; part of the name of this night's run.
        obstacle: why the bundle can neither be compared with nor used tonight; None: it can.
    """

    ds: str
    bundle: BundleRef
    name: str
    obstacle: str | None = None


@dataclass(frozen=True)
class LastIndexes:
    """How the last night searched its tables: what this night's tuner starts from.

    Attributes:
        ds: its date.
        run: its run.
        tables: of each table that it searched through an index, what the records of its shards say (None: of one that
            was searched exactly). A record names what its setting was ``asked`` for, the ``search`` itself, how the
            index was ``built``, and when it was ``tuned``.
    """

    ds: str
    run: str
    tables: Mapping[str, Sequence[Mapping[str, Any] | None]]

    @property
    def identity(self) -> dict[str, Any]:
        """All of it that this night depends on, JSON-able: another run with the same settings is the same start."""
        tables = {
            table: [record and {**record, "tuned": {**record["tuned"], "run": None}} for record in records]
            for table, records in self.tables.items()
        }
        return {"ds": self.ds, "tables": tables}
