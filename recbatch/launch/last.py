"""The last night: what a night takes from the newest date that is published before it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from recbatch import storage
from recbatch.config.models import Config
from recbatch.errors import RecbatchError
from recbatch.launch.bundles import GivenBundle, look_at
from recbatch.night import LastIndexes, LastNight
from recbatch.tables.pointer import published_dates, require_pointer
from recbatch.tables.read import read_manifest

log = logging.getLogger(__name__)

_START = frozenset({"asked", "built", "search", "tuned"})
"""What the record of an index says of its setting."""


def wants_last(config: Config) -> bool:
    """Whether a night that trains has use for the last night's bundle: to compare with, to keep or to start from."""
    gate = config.gate
    compares = "last" in gate.worse_than or bool(gate.worse_than and gate.on_failure == "keep")
    return compares or config.model.training.warm_start


@dataclass(frozen=True)
class Published:
    """A published night: its date, its run and its manifest."""

    ds: str
    run: str
    manifest: dict[str, Any]


def last_published(output: str, ds: str) -> Published | None:
    """The newest date before ``ds`` that is published in ``output``; None if there is none.

    One that cannot be read counts as none, with a warning: a night does not fail for what is wrong with another.
    """
    before = [date for date in published_dates(output) if date < ds]
    if not before:
        return None
    try:
        pointer = require_pointer(output, before[-1])
        return Published(before[-1], pointer.run, read_manifest(output, pointer))
    except (RecbatchError, OSError) as error:
        log.warning("%s: the last night (%s) is left aside: %s", ds, before[-1], error)
        return None


def last_bundle(output: str, ds: str, last: Published | None) -> tuple[str, GivenBundle] | None:
    """(date, bundle) of the last night; None if there is none, or (with a warning) if it cannot be read."""
    if last is None:
        return None
    try:
        place = last.manifest["model"]["bundle"]
        # Relative to the output if it lies there, so that a moved output still finds it.
        uri = place if storage.is_remote(place) or place.startswith("/") else storage.join(output, place)
        return last.ds, look_at(uri, f"the model of {last.ds}")
    except (RecbatchError, OSError) as error:
        log.warning("%s: the last night (%s) is left aside: %s", ds, last.ds, error)
        return None


def last_indexes(last: Published | None, tables: Collection[str]) -> LastIndexes | None:
    """How the last night searched some tables; None if it has nothing to tell, for it searched all of them exactly.

    Records of an older version, which do not say what they were asked for, tell nothing. A table that was searched
    again exactly missed what its tuner had promised: its setting is not one to start from.
    """
    found: dict[str, list[dict[str, Any] | None]] = {}
    for name, entry in {} if last is None else last.manifest["tables"].items():
        index = entry.get("index") or {}
        if name in tables and not index.get("searched_again_exactly"):
            shards = index.get("shards", ())
            found[name] = [{key: each[key] for key in _START} if each.keys() >= _START else None for each in shards]
    starts = {name: records for name, records in found.items() if any(records)}
    return LastIndexes(last.ds, last.run, starts) if last and starts else None


def as_last_night(date: str, bundle: GivenBundle, as_of_us: int, config: Config, obstacle: str | None) -> LastNight:
    """What the night needs to know of it; ``obstacle``: why its towers cannot be used tonight."""
    last_event = bundle.last_event_us
    if obstacle is None and not config.run.allow_future_model and last_event is not None and last_event >= as_of_us:
        obstacle = "its model was trained on events after this date"
    return LastNight(date, bundle.reference, bundle.name, obstacle)
