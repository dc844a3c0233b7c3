"""Running a pipeline on the runner that the options name."""

from __future__ import annotations

import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions, TestOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from recbatch import storage
from recbatch.dofns import NAMESPACE
from recbatch.errors import InputError, RecbatchError
from recbatch.launch.beam import beam_options, runner_for
from recbatch.run import clear_failures, first_failure


@dataclass(frozen=True)
class Ran:
    """How a pipeline went.

    Attributes:
        finished: whether it has run to its end; False for a dry run, or where the runner does not wait.
        counters: our counters by name, added up over the steps.
    """

    finished: bool
    counters: Mapping[str, int] = field(default_factory=dict)


def run_pipeline(
    build: Callable[[beam.Pipeline], Any], name: str, arguments: Sequence[str], *, state_uri: str, uris: Iterable[str]
) -> Ran:
    """Build and run a pipeline, and wait for it unless the runner was told not to.

    Args:
        build: adds the transforms to the root.
        name: job name where the options give none.
        arguments: Beam options as command-line words.
        state_uri: folder where work items record their failures.
        uris: what the workers read and write.

    Raises:
        InputError: an option is wrong, or a work item found an input to be.
        RecbatchError: the job failed or was cancelled.
    """
    options = beam_options(arguments)
    cloud = options.view_as(GoogleCloudOptions)
    cloud.job_name = cloud.job_name or re.sub(r"[^a-z0-9-]", "-", name.lower())
    _check_reachable(options, uris)
    clear_failures(state_uri)
    root = beam.Pipeline(runner_for(options), options)
    build(root)
    try:
        result = root.run()
        if options.view_as(TestOptions).dry_run or options.view_as(StandardOptions).no_wait_until_finish:
            return Ran(finished=False)
        state = result.wait_until_finish()
    except Exception as error:
        if str(error).rpartition("\n")[2].startswith("KeyboardInterrupt"):  # it was in a work item
            raise KeyboardInterrupt from None
        raise first_failure(state_uri) or _unrecorded(error) from error
    if state != PipelineState.DONE:
        raise first_failure(state_uri) or RecbatchError(
            f"the job ended as {state}; its runner's log says why, and a rerun goes on where it stopped"
        )
    return Ran(finished=True, counters=_counters(result))


def _check_reachable(options: PipelineOptions, uris: Iterable[str]) -> None:
    if options.view_as(StandardOptions).runner != "DataflowRunner" or options.view_as(TestOptions).dry_run:
        return
    for uri in uris:
        if not storage.is_remote(uri):
            raise InputError(
                f"{uri} is on this machine, where the workers of DataflowRunner cannot reach it; use gs://"
            )


def _unrecorded(error: Exception) -> RecbatchError:
    """A failure that no work item could write down: the runner's last line is the exception, the rest its traceback."""
    if isinstance(error, RecbatchError):
        return error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    failure = RecbatchError(f"the runner failed: {lines[-1]}; a rerun goes on where it stopped")
    failure.add_note("".join(traceback.format_exception(error)))
    return failure


def _counters(result: PipelineResult) -> dict[str, int]:
    total = Counter[str]()
    for found in result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]:
        total[found.key.metric.name] += found.result
    return dict(total)
