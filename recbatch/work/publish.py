"""The last work item: recount, judge, write the manifest, swap the pointer, make the folders."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recbatch import storage
from recbatch.errors import InputError, RecbatchError
from recbatch.interactions import check_unchanged
from recbatch.night import Night, Plan, Ranges, Shards
from recbatch.tables.pointer import publish_pointer
from recbatch.tables.projection import project
from recbatch.work.inputs import ENTITIES, remarks
from recbatch.work.items import IndexRef, PartAudit, RangePart, Results, SlicePart, SliceSample
from recbatch.work.manifest import make_manifest, relative, table_entries

log = logging.getLogger(__name__)

_SHOWN_PROBLEMS = 5
_THREADS = 8  # a look at an input waits for disk or network, not for the processor


def publish_night(
    plan: Plan,
    samples: Sequence[SliceSample],
    cleaned: Sequence[SlicePart],
    profiles: Sequence[RangePart],
    embeddings: Sequence[RangePart],
    indexes: Sequence[IndexRef],
    audits: Sequence[PartAudit],
) -> str:
    """Publish the night; returns the name of the run.

    Raises:
        InputError: no interaction names a user (item) of the users (items) table.
        RecbatchError: the audit found a problem, a part is missing, too many ids have no valid vector, or an input is
            not the one that was planned with. Nothing is published then, and readers keep what they have.
    """
    night = plan.night
    _check_inputs(plan)
    results = Results(samples, cleaned, profiles, embeddings, indexes, audits)
    _check_strangers(results)
    problems = [f"{audit.part.uri}: {problem}" for audit in audits for problem in audit.problems]
    problems += _missing_parts(night, results)
    if not problems:
        tables = table_entries(night, results)
        problems += [*_unaccounted(night, results, tables), *_invalid_vectors(night, results, tables)]
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        shown = "; ".join(problems[:_SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        if any(audit.problems for audit in audits):
            shown += (
                ". If a file was damaged after it was written, remove it and run again: only what is missing is made"
            )
        raise RecbatchError(f"the night of {night.ds} is not published, readers keep what they have: {shown}")
    recount = {
        name: {"rows": entry["rows"], "queries": entry["queries"], "files": len(entry["files"])}
        for name, entry in tables.items()
    }
    _warn_of_emptiness(night, tables)
    storage.put_if_absent(night.audit_uri, _json({"problems": [], "tables": recount}))
    storage.put_if_absent(night.manifest_uri, _json(make_manifest(plan, results, tables)))
    _publish(night)
    return night.run


def _publish(night: Night) -> None:
    content = storage.read_bytes(night.manifest_uri)  # that of the first who wrote it
    publish_pointer(night.output, night.ds, night.run, relative(night, night.manifest_uri), content)
    project(night.output, night.ds)


def _check_inputs(plan: Plan) -> None:
    """The run's name says which inputs it was made from, so they have to be these to the end."""
    files = [file for source in plan.inputs.sources for file in source.files]
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(check_unchanged, files):
            pass


def _missing_parts(night: Night, results: Results) -> list[str]:
    """The barrier's own count: every range of every step must have arrived here."""
    ranges = Ranges.load(night.ranges_uri)
    arrived = {(item.of, item.number) for item in results.profiles} | {(a.table, a.number) for a in results.audits}
    expected: dict[str, int] = {entity: ranges.count(entity) for entity in ("user", "item")}
    expected |= {job.name: ranges.count(job.queries.entity) for job in night.jobs}
    expected |= {vectors.name: ranges.count(vectors.entity) for vectors in night.sets}
    missing = [
        f"{name}: range {number} is missing"
        for name, count in expected.items()
        for number in range(count)
        if (name, number) not in arrived
    ]
    shards = Shards.load(night.shards_uri)
    indexed = {job.name: {index.shard for index in results.indexed(job.name)} for job in night.jobs}
    return missing + [
        f"{job.name}: the index of shard {shard.number} is missing"
        for job in night.jobs
        for shard in shards.of(job.name)
        if shard not in indexed[job.name]
    ]


def _check_strangers(results: Results) -> None:
    """A users or items table that no interaction knows is the wrong table, or has the wrong column as its id."""
    for entity in ENTITIES:
        counts = results.counts(entity)
        for sentence in remarks(f"{entity}s", counts):
            log.warning(sentence)
        unknown = counts[f"unknown_{entity}_events"]
        if unknown and counts[f"{entity}s"] and not counts["events"]:
            raise InputError(
                f"inputs.{entity}s: none of the {unknown} interactions names one of the table's "
                f"{counts[f'{entity}s']} {entity}s, so the night is not published; check inputs.{entity}s.path and "
                f"inputs.{entity}s.id"
            )


def _unaccounted(night: Night, results: Results, tables: Mapping[str, Any]) -> list[str]:
    """Every id is a query of the table, or counted with the reason why not."""
    problems = []
    queries = {vectors.name: vectors.name for vectors in night.sets}
    queries |= {job.name: job.queries.name for job in night.jobs}
    for name, vectors in queries.items():
        entry, ids = tables[name], results.counts(vectors)["ids"]
        accounted = entry["queries"] + sum(entry["not_served"].values())
        if accounted != ids:
            problems.append(f"{name}: {ids} ids, but {accounted} are served or counted with a reason")
    return problems


def _invalid_vectors(night: Night, results: Results, tables: Mapping[str, Any]) -> list[str]:
    """Sets with more ids without a valid vector than the config allows; the table that can use the fewest counts."""
    limit = night.config.run.max_invalid_vector_share
    problems = []
    for vectors in night.sets:
        counts = results.counts(vectors.name)
        unusable = [
            tables[job.name][side]["zero_vector"] + tables[job.name][side]["too_long_vector"]
            for job in night.jobs
            for side, own in (("not_served", job.queries), ("candidates_left_out", job.candidates))
            if own == vectors
        ]
        invalid = counts["not_finite"] + max(unusable, default=0)
        if invalid > limit * counts["ids"]:
            problems.append(
                f"{vectors.name}: {invalid} of {counts['ids']} ids have a vector that is NaN, infinite, too long (dot) "
                f"or zero (cosine), and run.max_invalid_vector_share allows {limit:.2%}; look at the training"
            )
    return problems


def _warn_of_emptiness(night: Night, tables: Mapping[str, Any]) -> None:
    """Rows in no top-k table at all: right for a catalog where nothing is eligible, but readers should know."""
    if not any(tables[job.name]["rows"] for job in night.jobs):
        log.warning(
            "the night of %s has no row in any of %s, and readers get these empty tables; look at the inputs and at "
            "not_served in %s",
            night.ds,
            ", ".join(job.name for job in night.jobs),
            night.manifest_uri,
        )


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
