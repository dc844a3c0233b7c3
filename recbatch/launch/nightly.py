"""One night: prepared, skipped if it is published, else run and published."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from recbatch import storage
from recbatch.errors import InputError, RecbatchError
from recbatch.launch.prepare import prepare_night, require_writable
from recbatch.launch.progress import parts_there
from recbatch.night import Night, Plan
from recbatch.run import watch
from recbatch.tables.pointer import Pointer, read_pointer, require_pointer
from recbatch.tables.projection import is_projected, partition_uri, project
from recbatch.tables.read import read_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of a night.

    Attributes:
        night: which one.
        published: False when there was nothing to do.
        counters: what the pipeline counted, by name; empty where it did not run to its end here.
    """

    night: Night
    published: bool
    counters: Mapping[str, int] = field(default_factory=dict)


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
    model: str | None,
    vectors: Mapping[str, str | None] = MappingProxyType({}),
    force: bool,
    beam_arguments: Sequence[str],
) -> Outcome:
    """Make and publish the tables of ``ds`` with a bundle that is there, or from given vectors.

    Args:
        config, overrides, output, ds, force, beam_arguments: as of :func:`nightly`.
        model: URI of the bundle; None: the vectors are given.
        vectors: where those of ``users`` and ``items`` are; none: where the config says.

    Raises:
        RecbatchError: with what failed; exit code 2 for config and input errors.
    """
    plan = prepare_night(config, [*vector_settings(vectors), *overrides], output, ds, model=model, force=force)
    if plan.training is not None:
        raise InputError(
            "neither a model nor vectors are given; name --model, or --user-vectors and --item-vectors, or train with "
            "`recbatch nightly`"
        )
    return run_night(plan, force, beam_arguments)


def vector_settings(vectors: Mapping[str, str | None]) -> list[str]:
    """Where vectors of ``users`` and ``items`` are -> the settings (``--set``) that take them from there."""
    return [
        f"inputs.{name}={json.dumps({'path': uri, 'id': 'id', 'embedding': 'embedding'})}"
        for name, uri in vectors.items()
        if uri is not None
    ]


def run_night(plan: Plan, force: bool, beam_arguments: Sequence[str]) -> Outcome:
    """Run the pipeline of a planned night, or find that there is nothing to do."""
    night = plan.night
    if not force and _is_published(night):
        pointer = require_pointer(night.output, night.ds)
        log.info("%s: nothing to do, %s is published as run %s", night.ds, night.output, pointer.run)
        return Outcome(night, published=False)
    require_writable(night.output, "--output")
    # Beam takes seconds to import: not before it is needed.
    from recbatch.launch.pipelines import run_pipeline
    from recbatch.pipeline import build

    log.info("%s: run %s in %s", night.ds, night.run, night.uri)
    inputs = [file.uri for source in plan.inputs.sources for file in source.files]
    with watch(lambda: parts_there(plan), poll_seconds=5.0 if storage.is_remote(night.output) else 0.5):
        ran = run_pipeline(
            lambda root: build(root, plan),
            f"recbatch-{night.ds}",
            beam_arguments,
            state_uri=night.uri,
            uris=[night.output, night.bundle.uri, *([night.last.bundle.uri] if night.last else []), *inputs],
        )
    if not ran.finished:
        log.info("%s: handed to the runner; the last step of the job publishes", night.ds)
        return Outcome(night, published=False)
    made, found = (
        sum(count for name, count in ran.counters.items() if name.endswith(ending))
        for ending in ("_parts_made", "_parts_found")
    )
    log.info("%s: %d parts made, %d found from earlier attempts", night.ds, made, found)
    log.info("%s: published %s", night.ds, ", ".join(job.name for job in night.jobs))
    for name in [*(job.name for job in night.jobs), *(vectors.name for vectors in night.sets)]:
        log.info("  %s", partition_uri(night.output, name, night.ds))
    return Outcome(night, published=True, counters=ran.counters)


def _is_published(night: Night) -> bool:
    """Whether the pointer names this run (or a forced one of the same inputs); mends its folders if need be."""
    pointer = read_pointer(night.output, night.ds)
    if pointer is None or not _same_inputs(pointer, night):
        return False
    try:
        manifest = read_manifest(night.output, pointer)
    except RecbatchError as error:
        # Parts are audited again before it is published again, so all that is lost is this one file.
        log.warning("%s: published, but %s; making the night again", night.ds, error)
        storage.delete(storage.join(night.output, pointer.manifest))
        return False
    if not is_projected(night.output, night.ds, pointer.run, manifest):
        log.info("%s: published, but its folders are not complete; making them again", night.ds)
        project(night.output, night.ds)
    return True


def _same_inputs(pointer: Pointer, night: Night) -> bool:
    return pointer.run == night.run or pointer.run.startswith(f"{night.run}-")
