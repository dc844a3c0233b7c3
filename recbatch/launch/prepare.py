"""Everything that is decided before the first work item: files, checksums, names. It reads footers, never rows."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from recbatch import storage
from recbatch.config.columns import FeatureColumns, feature_columns
from recbatch.config.load import read_config
from recbatch.config.models import Config, Model
from recbatch.errors import ConfigError, InputError
from recbatch.interactions import ReadSpec, ResolvedInputs, end_of_day_us, plan_slices, resolve_inputs
from recbatch.launch.bundles import GivenBundle, look_at
from recbatch.launch.dates import parse_date
from recbatch.launch.last import as_last_night, last_bundle, last_indexes, last_published, wants_last
from recbatch.night import BundleRef, LastIndexes, LastNight, Night, Plan, TrainingJob, embedding_sets, table_jobs
from recbatch.run import code_checksum, fingerprint, library_versions
from recbatch.schemas import all_columns

log = logging.getLogger(__name__)


def training_job(
    config: Config, inputs: ResolvedInputs, as_of_us: int | None, start: GivenBundle | None = None
) -> TrainingJob:
    """A training as a work item, named by what goes into it; the caller fills in its target.

    ``start`` is the bundle of a warm start.
    """
    columns = feature_columns(config, [config.model])
    identity = {
        "model": config.model.model_dump(mode="json"),
        "inputs": config.inputs.model_dump(
            mode="json", exclude={"interactions": {"path"}, "users": {"path"}, "items": {"path"}}
        ),
        "positives": config.positives.model_dump(mode="json"),
        "time_zone": config.time_zone,
        "as_of_us": as_of_us,
        "checksums": inputs.checksums,
        "warm_start": None if start is None else start.name,
        "code": code_checksum(),
        "versions": library_versions(),
    }
    spec = ReadSpec.of(config, columns, as_of_us)
    name = fingerprint(identity)
    warm_start = None if start is None else start.reference
    return TrainingJob(config.model, inputs, spec, config.run.slice_rows, as_of_us, name, "", warm_start)


def prepare_night(
    config_path: str,
    overrides: Sequence[str],
    output: str,
    ds: str,
    *,
    model: str | None,
    force: bool,
    backfill: bool = False,
) -> Plan:
    """A night, named.

    Args:
        config_path: the configuration file.
        overrides: ``key=value`` words.
        output: root of all nights.
        ds: the date.
        model: URI of a bundle to use; None: train one.
        force: name a run of its own even if the same one is there.
        backfill: tune every index from nothing, so that a night does not depend on which others are made before it.

    Raises:
        InputError: the config, the date, the inputs or a bundle is wrong.
    """
    as_of_date = parse_date(ds)
    output = storage.absolute(output)
    loaded = read_config(config_path, overrides)
    loaded.check_output(output)
    config = loaded.config
    as_of_us = end_of_day_us(as_of_date, config.zone)

    others = {
        name: look_at(table.model, f"tables.{name}.model")
        for name, table in config.tables.enabled().items()
        if table.model is not None
    }
    vectors = config.inputs.has_vectors
    if vectors and model is not None:
        raise InputError(
            "--model: the vectors are given (inputs.users.embedding, inputs.items.embedding), so no model makes them; "
            "leave one of the two out"
        )
    given = None if model is None else look_at(model, "--model")
    for bundle in [*([] if given is None else [given]), *others.values()]:
        if bundle.last_event_us is not None and bundle.last_event_us >= as_of_us:
            log.warning("%s: the model %s was trained on events after this date", ds, bundle.reference.uri)
    trains = given is None and not vectors
    own = [] if vectors else [config.model if given is None else given.model]
    models = [*own, *(bundle.model for bundle in others.values())]
    compares, starts = trains and wants_last(config), config.index.start_from == "last" and not backfill
    published = last_published(output, ds) if compares or starts else None
    found = last_bundle(output, ds, published) if compares else None
    start = last_indexes(published, config.tables.enabled()) if starts else None
    columns, inputs, obstacle = _resolved(config, models, found and found[1].model)
    last = found and as_last_night(*found, as_of_us, config, obstacle)

    training = None
    if vectors:
        default = BundleRef(storage.join(output, "_models", _vectors_name(config, inputs)), given=True)
    elif given is None:
        warm = config.model.training.warm_start
        warm_from = found[1] if warm and found and last and last.obstacle is None else None
        job = training_job(config, inputs, as_of_us, warm_from)
        if warm and warm_from is None:
            reason = "there is no published date before" if last is None else last.obstacle
            log.info("%s: the fit starts cold: %s", ds, reason)
        training = replace(job, target=storage.join(output, "_models", job.name))
        default = BundleRef(training.target, config.model.query_entity)
    else:
        default = given.reference
    try:
        jobs = table_jobs(config, default, {name: bundle.reference for name, bundle in others.items()})
    except ConfigError as error:
        raise loaded.located(error) from None
    identity = _identity(config, ds, inputs, training, given, others, last, start)
    slices = plan_slices(inputs, config.run.slice_rows)
    night = Night(
        output=output,
        ds=ds,
        as_of_us=as_of_us,
        run=_run_name(output, ds, fingerprint(identity), force=force),
        config=config,
        columns=columns,
        input_rows={source.name: source.rows for source in inputs.sources},
        input_slices=Counter(piece.source for piece in slices),
        jobs=jobs,
        sets=embedding_sets(jobs, default),
        bundle=default,
        gated=trains,
        last=last,
        start=start,
    )
    return Plan(night, inputs, slices, training, identity)


def _resolved(
    config: Config, models: Sequence[Model], last: Model | None
) -> tuple[FeatureColumns, ResolvedInputs, str | None]:
    """(columns, inputs, why ``last`` cannot be used on them); its columns are read too where they are there."""
    obstacle = None
    if last is not None:
        try:
            columns = feature_columns(config, [*models, last], vectors=config.inputs.has_vectors)
            return columns, resolve_inputs(config, columns), None
        except InputError as error:  # of its columns, or of the night's own: then it comes again
            obstacle = f"its model does not fit the inputs: {error}"
    columns = feature_columns(config, models, vectors=config.inputs.has_vectors)
    return columns, resolve_inputs(config, columns), obstacle


def _vectors_name(config: Config, inputs: ResolvedInputs) -> str:
    """Names given vectors, as a model bundle is named by what it was made from."""
    checksums = {name: inputs.checksums[name] for name in ("users", "items")}
    return fingerprint(
        {"vectors": checksums, "inputs": config.inputs.model_dump(mode="json", include={"users", "items"})}
    )


def require_writable(uri: str, option: str) -> None:
    """See that a local folder can be written before any work is done; made if it is not there.

    Raises:
        InputError: it cannot.
    """
    if storage.is_remote(uri):
        return
    try:
        os.makedirs(uri, exist_ok=True)
        reason = None if os.access(uri, os.W_OK | os.X_OK) else "there is no permission, or it is mounted read-only"
    except OSError as error:
        reason = error.strerror
    if reason is not None:
        raise InputError(f"{option}: {uri} cannot be written: {reason}; choose another folder")


def _identity(
    config: Config,
    ds: str,
    inputs: ResolvedInputs,
    training: TrainingJob | None,
    given: GivenBundle | None,
    others: dict[str, GivenBundle],
    last: LastNight | None,
    start: LastIndexes | None,
) -> dict[str, Any]:
    return {
        "ds": ds,
        "config": config.model_dump(mode="json"),
        "checksums": inputs.checksums,
        "bundle": training.name if given is None and training is not None else given and given.checksum,
        "other_bundles": {name: bundle.checksum for name, bundle in others.items()},
        "last_bundle": last and {"name": last.name, "usable": last.obstacle is None},
        "last_indexes": start and start.identity,
        "code": code_checksum(),
        "versions": library_versions(),
        "schemas": fingerprint(all_columns()),
    }


def _run_name(output: str, ds: str, name: str, *, force: bool) -> str:
    """The run's directory: the fingerprint, and a counter when it was forced; an unfinished one is gone on with."""
    folder = storage.join(output, "_runs", ds)
    there = [found for found in storage.list_names(folder) if found == name or found.startswith(f"{name}-")]
    if not force:
        return name
    endings = [found.removeprefix(f"{name}-") for found in there if found != name]
    counters = [int(ending) for ending in endings if ending.isdecimal()]
    newest = max(counters, default=1)
    latest = name if newest == 1 else f"{name}-{newest}"
    unfinished = newest > 1 and not storage.exists(storage.join(folder, latest, "manifest.json"))
    return latest if unfinished else f"{name}-{newest + 1}"
