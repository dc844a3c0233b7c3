"""The last night: what a night takes from the newest date that is published before it."""

from __future__ import annotations

import logging

from recbatch import storage
from recbatch.config.models import Config
from recbatch.errors import RecbatchError
from recbatch.launch.bundles import GivenBundle, look_at
from recbatch.night import LastNight
from recbatch.tables.pointer import published_dates, require_pointer
from recbatch.tables.read import read_manifest

log = logging.getLogger(__name__)


def wants_last(config: Config) -> bool:
    """Whether a night that trains has use for the last night's bundle: to compare with, to keep or to start from."""
    gate = config.gate
    compares = "last" in gate.worse_than or bool(gate.worse_than and gate.on_failure == "keep")
    return compares or config.model.training.warm_start


def last_bundle(output: str, ds: str) -> tuple[str, GivenBundle] | None:
    """(date, bundle) of the newest date before ``ds`` that is published in ``output``; None if there is none.

    One that cannot be read counts as none, with a warning: a night does not fail for what is wrong with another.
    """
    before = [date for date in published_dates(output) if date < ds]
    if not before:
        return None
    try:
        place = read_manifest(output, require_pointer(output, before[-1]))["model"]["bundle"]
        # Relative to the output if it lies there, so that a moved output still finds it.
        uri = place if storage.is_remote(place) or place.startswith("/") else storage.join(output, place)
        return before[-1], look_at(uri, f"the model of {before[-1]}")
    except (RecbatchError, OSError) as error:
        log.warning("%s: the last night (%s) is left aside: %s", ds, before[-1], error)
        return None


def as_last_night(date: str, bundle: GivenBundle, as_of_us: int, config: Config, obstacle: str | None) -> LastNight:
    """What the night needs to know of it; ``obstacle``: why its towers cannot be used tonight."""
    last_event = bundle.last_event_us
    if obstacle is None and not config.run.allow_future_model and last_event is not None and last_event >= as_of_us:
        obstacle = "its model was trained on events after this date"
    return LastNight(date, bundle.reference, bundle.name, obstacle)
