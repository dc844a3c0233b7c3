"""One night: prepared, skipped if it is published, else run and published."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from recbatch.errors import RecbatchError
from recbatch.launch.prepare import prepare_night
from recbatch.launch.progress import parts_there
from recbatch.night import Night
from recbatch.run import clear_failures, first_failure, watch
from recbatch.tables.pointer import Pointer, read_pointer
from recbatch.tables.projection import is_projected, partition_uri, project
from recbatch.tables.read import read_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of a night; ``published`` is False when there was nothing to do."""

    night: Night
    published: bool


def nightly(
    config: str, overrides: Sequence[str], output: str, ds: str, *, force: bool, beam_arguments: Sequence[str]
) -> Outcome:
    """Train (unless the bundle is there), make and publish the tables of ``ds``.

    Raises:
        RecbatchError: with what failed; exit code 2 for config and input errors.
    """
    return run_night(prepare_night(config, overrides, output, ds, model=None, force=force), force, beam_arguments)


def recommend(
    config: str,
    overrides: Sequence[str],
    output: str,
    ds: str,
    *,
    model: str,
    force: bool,
    beam_arguments: Sequence[str],
) -> Outcome:
    """Make and publish the tables of ``ds`` with a bundle that is there.

    Raises:
        RecbatchError: with what failed; exit code 2 for config and input errors.
    """
    return run_night(prepare_night(config, overrides, output, ds, model=model, force=force), force, beam_arguments)


def run_night(night: Night, force: bool, beam_arguments: Sequence[str]) -> Outcome:
    """Run the pipeline of a prepared night, or find that there is nothing to do."""
    if not force and _is_published(night):
        log.info("%s: nothing to do, %s is published as run %s", night.ds, night.output, night.run)
        return Outcome(night, published=False)
    # Beam takes seconds to import: not before it is needed.
    from recbatch.launch.pipelines import run_pipeline
    from recbatch.pipeline import build

    log.info("%s: run %s in %s", night.ds, night.run, night.uri)
    clear_failures(night.uri)
    try:
        with watch(lambda: parts_there(night)):
            finished = run_pipeline(lambda root: build(root, night), f"recbatch-{night.ds}", beam_arguments)
    except RecbatchError:
        raise
    except Exception as error:
        failure = first_failure(night.uri)
        raise failure if failure is not None else error from None
    if not finished:
        log.info("%s: the job was handed over; its last step publishes", night.ds)
        return Outcome(night, published=False)
    log.info("%s: published %s", night.ds, ", ".join(job.name for job in night.jobs))
    for name in [*(job.name for job in night.jobs), *(vectors.name for vectors in night.sets)]:
        log.info("  %s", partition_uri(night.output, name, night.ds))
    return Outcome(night, published=True)


def _is_published(night: Night) -> bool:
    """Whether the pointer names this run (or a forced one of the same inputs); mends its folders if need be."""
    pointer = read_pointer(night.output, night.ds)
    if pointer is None or not _same_inputs(pointer, night):
        return False
    manifest = read_manifest(night.output, pointer)
    if not is_projected(night.output, night.ds, pointer.run, manifest):
        log.info("%s: published, but its folders are not complete; making them again", night.ds)
        project(night.output, night.ds, pointer.run, manifest, set())
    return True


def _same_inputs(pointer: Pointer, night: Night) -> bool:
    return pointer.run == night.run or pointer.run.startswith(f"{night.run}-")
