"""Many nights, each as of its own date, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date

from recbatch import storage
from recbatch.config.load import load_config
from recbatch.config.models import Config
from recbatch.errors import InputError, RecbatchError
from recbatch.interactions import end_of_day_us
from recbatch.launch.bundles import look_at
from recbatch.launch.dates import days, parse_date
from recbatch.launch.nightly import run_night
from recbatch.launch.prepare import prepare_night
from recbatch.run import explain
from recbatch.tables.pointer import pointer_uri

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
        InputError: the config or the range is wrong, or ``model`` knows events after a date that is to be made.
        RecbatchError: some dates failed; the message lists them.
    """
    dates = list(days(parse_date(first, "--from"), parse_date(last, "--to")))
    output = storage.absolute(output)
    config = load_config(config_path, overrides, output=output)
    wanted = [day for day in dates if force or not _is_published(output, day)]
    others = {f"tables.{name}.model": table.model for name, table in config.tables.enabled().items()}
    for key, uri in {"--model": model, **others}.items():
        if uri is not None and wanted:
            _refuse_future_model(config, key, uri, wanted[0])

    failed = []
    for day in wanted:
        ds = day.isoformat()
        try:
            plan = prepare_night(config_path, overrides, output, ds, model=model, force=force, backfill=True)
            run_night(plan, force, beam_arguments)
        except (RecbatchError, OSError) as error:
            log.error("%s: failed: %s", ds, explain(error, kept=True))
            failed.append(ds)
    if failed:
        raise RecbatchError(
            f"{len(failed)} of {len(dates)} dates failed: {', '.join(failed)}; the log above says why, and running the "
            f"same command again tries only these"
        )


def _is_published(output: str, day: date) -> bool:
    """Whether there is a pointer, whatever it says: a backfill fills gaps and does not follow changed inputs."""
    there = storage.exists(pointer_uri(output, day.isoformat()))
    if there:
        log.info("%s: skipped, it is published (--force makes it again)", day)
    return there


def _refuse_future_model(config: Config, key: str, model: str, day: date) -> None:
    """A past date's recommendations must not know the events that they will be measured by."""
    bundle = look_at(model, key)
    last = bundle.last_event_us
    if config.run.allow_future_model or (last is not None and last < end_of_day_us(day, config.zone)):
        return
    what = "events whose time it does not say" if last is None else f"events after {day}"
    raise InputError(
        f"{key}: {bundle.reference.uri} was trained on {what}, so it must not make the night of {day}; train one "
        f"with --ds {day}, leave it out, or set run.allow_future_model: true"
    )
