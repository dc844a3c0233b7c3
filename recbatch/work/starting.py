"""What a tuner starts from: how the last night searched the same shard, if tonight asks for the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recbatch.index import SearchParameters
from recbatch.neighbours import Start
from recbatch.night import Night, Shard, TableJob

_MOST_GROWTH = 0.1
"""Largest change of the number of candidates since a setting was tuned, as a share of it."""


@dataclass(frozen=True)
class EarlierSetting:
    """The setting of the last night, and why it is no start for tonight (None: it is one).

    Attributes:
        ds: date of the last night.
        run: its run.
        search: its setting.
        tuned: when that was tuned (``ds``, ``run``), for how many ``candidates``, and the mean ``recall`` that it had.
        misfit: a sentence.
    """

    ds: str
    run: str
    search: Mapping[str, Any]
    tuned: Mapping[str, Any]
    misfit: str | None

    @classmethod
    def of(
        cls,
        night: Night,
        job: TableJob,
        shard: Shard,
        asked: Mapping[str, Any],
        built: Mapping[str, Any],
        candidates: int,
    ) -> EarlierSetting | None:
        """That of the same shard; None if the night starts from nothing, or the last one searched this exactly.

        Args:
            night: tonight.
            job: the table.
            shard: of its candidates.
            asked: what tonight asks of the setting.
            built: how tonight's index is built.
            candidates: of the shard.
        """
        records = () if night.start is None else night.start.tables.get(job.name, ())
        if night.start is None or not records:
            return None
        comparable = len(records) == shard.count
        # Of other shards none is the one to compare with: any of them can say so.
        record = records[shard.number] if comparable else next(filter(None, records), None)
        if record is None:
            return None
        other = None if comparable else f"its candidates were cut into {len(records)} shards, not {shard.count}"
        misfit = other or _misfit(record, asked, built, candidates)
        return cls(night.start.ds, night.start.run, record["search"], record["tuned"], misfit)

    @property
    def start(self) -> Start | None:
        """For the tuner."""
        return None if self.misfit else Start(SearchParameters(**self.search), self.tuned["recall"])

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "ds": self.ds,
            "run": self.run,
            "search": dict(self.search),
            "tuned": dict(self.tuned),
            "misfit": self.misfit,
        }


def _misfit(
    record: Mapping[str, Any], asked: Mapping[str, Any], built: Mapping[str, Any], candidates: int
) -> str | None:
    for name, value in asked.items():
        if (then := record["asked"].get(name)) != value:
            return f"it was tuned for {name} {then}, not {value}"
    for name, value in built.items():
        # The number of leaves follows that of the candidates, which is looked at below.
        if name != "leaves" and (then := record["built"].get(name)) != value:
            return f"its index was built with {name} {then}, not {value}"
    tuned_for = record["tuned"]["candidates"]
    if abs(candidates - tuned_for) > _MOST_GROWTH * tuned_for:
        return f"it was tuned for {tuned_for} candidates, not {candidates}"
    return None
