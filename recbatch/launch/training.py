"""Training as a job of its own: one bundle, made by the same work item as in a night."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from recbatch import storage
from recbatch.config.columns import feature_columns
from recbatch.config.load import load_config
from recbatch.errors import RecbatchError
from recbatch.interactions import end_of_day_us, resolve_inputs
from recbatch.launch.bundles import look_at
from recbatch.launch.dates import parse_date
from recbatch.launch.prepare import training_job
from recbatch.night import TrainingJob
from recbatch.run import clear_failures, first_failure

log = logging.getLogger(__name__)


def train(
    config_path: str, overrides: Sequence[str], model: str, ds: str | None, *, beam_arguments: Sequence[str]
) -> None:
    """Train a bundle at ``model`` as of ``ds`` (None: of the last event), unless it is there.

    Raises:
        RecbatchError: with what failed; exit code 2 for config and input errors, and where another bundle lies there.
    """
    target = storage.absolute(model)
    config = load_config(config_path, overrides, output=target)
    as_of_us = None if ds is None else end_of_day_us(parse_date(ds), config.zone)
    inputs = resolve_inputs(config, feature_columns(config, [config.model]))
    job = replace(training_job(config, inputs, as_of_us), target=target)

    if storage.exists(storage.join(target, "manifest.json")):
        found = look_at(target, "--model").fingerprint
        if found == job.name:
            log.info("nothing to do: %s holds this model already", target)
            return
        raise RecbatchError(f"{target} holds another model ({found}); choose another --model folder or remove it")
    _run(job, beam_arguments)


def _run(job: TrainingJob, beam_arguments: Sequence[str]) -> None:
    from recbatch.launch.pipelines import run_pipeline
    from recbatch.pipeline import build_training

    clear_failures(job.state_uri)
    try:
        finished = run_pipeline(lambda root: build_training(root, job), f"recbatch-train-{job.name}", beam_arguments)
    except RecbatchError:
        raise
    except Exception as error:
        failure = first_failure(job.state_uri)
        raise failure if failure is not None else error from None
    log.info("trained %s" if finished else "handed over the training of %s", job.target)
