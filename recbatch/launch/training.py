"""Training as a job of its own: one bundle, made by the same work item as in a night."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from recbatch import storage
from recbatch.config.columns import feature_columns
from recbatch.config.load import load_config
from recbatch.errors import InputError
from recbatch.interactions import end_of_day_us, resolve_inputs
from recbatch.launch.bundles import GivenBundle, look_at
from recbatch.launch.dates import parse_date
from recbatch.launch.prepare import require_writable, training_job
from recbatch.night import TrainingJob

log = logging.getLogger(__name__)


def train(
    config_path: str,
    overrides: Sequence[str],
    model: str,
    ds: str | None,
    *,
    beam_arguments: Sequence[str],
    warm_start: str | None = None,
) -> None:
    """Train a bundle at ``model`` as of ``ds`` (None: of the last event), unless it is there.

    ``warm_start`` is the URI of a bundle whose weights the fit begins with.

    Raises:
        InputError: the config, the date or an input is wrong, or something else lies at ``model``.
        RecbatchError: the training failed.
    """
    target = storage.absolute(model)
    config = load_config(config_path, overrides, output=target)
    as_of_us = None if ds is None else end_of_day_us(parse_date(ds), config.zone)
    inputs = resolve_inputs(config, feature_columns(config, [config.model]))
    start = None if warm_start is None else _start(warm_start, as_of_us)
    if start is None and config.model.training.warm_start:
        log.info("the fit starts cold, for no model is given as --warm-start")
    job = replace(training_job(config, inputs, as_of_us, start), target=target)

    if storage.exists(storage.join(target, "manifest.json")):
        found = look_at(target, "--model").fingerprint
        if found == job.name:
            log.info("nothing to do: %s holds this model already", target)
            return
        raise InputError(f"--model: {target} holds another model ({found}); choose another folder, or remove it")
    # On an object store a model without its manifest is one whose upload was stopped, and is gone on with.
    if not storage.is_remote(target) and (storage.exists(target) or storage.list_names(target)):
        raise InputError(f"--model: {target} holds something else than a model; choose another folder, or empty it")
    require_writable(job.state_uri, "--model")
    _run(job, beam_arguments)


def _start(uri: str, as_of_us: int | None) -> GivenBundle:
    bundle = look_at(uri, "--warm-start")
    if not bundle.has_weights:
        raise InputError(
            f"--warm-start: {bundle.reference.uri} holds no weights, for it was made by an older version; train without"
        )
    if as_of_us is not None and bundle.last_event_us is not None and bundle.last_event_us >= as_of_us:
        log.warning("the model %s was trained on events after this date", bundle.reference.uri)
    return bundle


def _run(job: TrainingJob, beam_arguments: Sequence[str]) -> None:
    from recbatch.launch.pipelines import run_pipeline
    from recbatch.pipeline import build_training

    ran = run_pipeline(
        lambda root: build_training(root, job),
        f"recbatch-train-{job.name}",
        beam_arguments,
        state_uri=job.state_uri,
        uris=[
            job.target,
            *([job.warm_start.uri] if job.warm_start else []),
            *(file.uri for source in job.inputs.sources for file in source.files),
        ],
    )
    log.info("trained %s" if ran.finished else "handed the training of %s to the runner", job.target)
