"""Many nights, each as of its own date, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date

from recbatch import storage
from recbatch.config.load import load_config
from recbatch.errors import InputError, RecbatchError
from recbatch.interactions import end_of_day_us
from recbatch.launch.bundles import look_at
from recbatch.launch.dates import days, parse_date
from recbatch.launch.nightly import run_night
from recbatch.launch.prepare import prepare_night
from recbatch.tables.pointer import read_pointer

log = logging.getLogger(__name__)


def backfill(
    config_path: str,
    overrides: Sequence[str],
    output: str,
    first: str,
    last: str,
    *,
    model: str | None,
    force: bool,
    beam_arguments: Sequence[str],
) -> None:
    """Make the nights from ``first`` to ``last`` that are not published (all of them with ``force``).

    Trains a model per date unless ``model`` is given. A failed date does not stop the ones after it.

    Raises:
        InputError: the config or the range is wrong, or ``model`` knows events after the first date.
        RecbatchError: some dates failed; the message lists them.
    """
    dates = list(days(parse_date(first), parse_date(last)))
    config = load_config(config_path, overrides, output=storage.absolute(output))
    if model is not None and not config.run.allow_future_model:
        _refuse_future_model(model, dates[0], end_of_day_us(dates[0], config.zone))

    failed = []
    for day in dates:
        ds = day.isoformat()
        try:
            if not force and read_pointer(storage.absolute(output), ds) is not None:
                log.info("%s: skipped, it is published (--force makes it again)", ds)
                continue
            night = prepare_night(config_path, overrides, output, ds, model=model, force=force)
            run_night(night, force, beam_arguments)
        except (RecbatchError, OSError) as error:
            log.error("%s: failed: %s", ds, error)
            failed.append(ds)
    if failed:
        raise RecbatchError(
            f"{len(failed)} of {len(dates)} dates failed: {', '.join(failed)}; the log above says why, and running the "
            f"same command again tries only these"
        )


def _refuse_future_model(model: str, day: date, as_of_us: int) -> None:
    """A past date's recommendations must not know the events that they will be measured by."""
    bundle = look_at(model, "--model")
    last = bundle.last_event_us
    if last is None or last >= as_of_us:
        what = "events whose time it does not say" if last is None else f"events after {day}"
        raise InputError(
            f"--model: {bundle.reference.uri} was trained on {what}, so it must not make the night of {day}; train one with "
            f"--ds {day}, leave --model out to train one per date, or set run.allow_future_model: true"
        )
