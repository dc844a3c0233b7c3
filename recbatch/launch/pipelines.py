"""Running a pipeline on the runner that the options name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, StandardOptions, TestOptions
from apache_beam.runners.runner import PipelineState

from recbatch.errors import RecbatchError
from recbatch.launch.beam import beam_options, runner_for


def run_pipeline(build: Callable[[beam.Pipeline], Any], name: str, arguments: Sequence[str]) -> bool:
    """Build and run a pipeline, and wait for it unless the runner was told not to.

    Args:
        build: adds the transforms to the root.
        name: job name where the options give none.
        arguments: Beam options as command-line words.

    Returns:
        Whether it has run to its end; False for a dry run, or where the runner does not wait.

    Raises:
        InputError: an option is wrong.
        RecbatchError: the job failed or was cancelled.
    """
    options = beam_options(arguments)
    cloud = options.view_as(GoogleCloudOptions)
    cloud.job_name = cloud.job_name or re.sub(r"[^a-z0-9-]", "-", name.lower())
    root = beam.Pipeline(runner_for(options), options)
    build(root)
    result = root.run()
    if options.view_as(TestOptions).dry_run or options.view_as(StandardOptions).no_wait_until_finish:
        return False
    state = result.wait_until_finish()
    if state != PipelineState.DONE:
        raise RecbatchError(f"the job ended as {state}; its runner's log says why, and a rerun goes on where it stopped")
    return True
