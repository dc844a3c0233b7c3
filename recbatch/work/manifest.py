"""The manifest of a run: what was made from what, every file with its checksum, and how good it is."""

from __future__ import annotations

import dataclasses
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from recbatch import storage
from recbatch.model.bundle import read_manifest as read_bundle_manifest
from recbatch.model.bundle import switched_off
from recbatch.night import EmbeddingSet, Night, Plan, TableJob
from recbatch.run import Part, library_versions
from recbatch.schemas import columns
from recbatch.work.auditing import audited_recall
from recbatch.work.candidates import files_uri
from recbatch.work.inputs import remarks
from recbatch.work.items import IndexRef, PartAudit, Results, added
from recbatch.work.verdict import read_verdict, used_bundle

FORMAT = 1
_MODEL_KEYS = ("fingerprint", "metrics", "steps", "heldout", "refit", "seconds")
_NEWER_MODEL_KEYS = ("warm_started", "training")  # that a bundle of an older version does not have


def make_manifest(plan: Plan, results: Results, tables: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest, JSON-able. All paths are relative to the output."""
    night = plan.night
    used = used_bundle(night)
    bundle, counts = read_bundle_manifest(used.uri), _counts(plan, results)
    return {
        "format": FORMAT,
        "ds": night.ds,
        "as_of_us": night.as_of_us,
        "run": night.run,
        "created_at": datetime.now(UTC).isoformat(),
        "bias_coordinate": bundle["bias_coordinate"],
        "identity": dict(plan.identity),
        "model": {
            "bundle": relative(night, used.uri),
            "given": used.given,
            **{key: bundle[key] for key in _MODEL_KEYS},
            **{key: bundle.get(key) for key in _NEWER_MODEL_KEYS},
        },
        "gate": read_verdict(night) if night.gated else None,
        "counts": counts,
        "tables": tables,
        "schemas": {entry["schema"]: columns(entry["schema"]) for entry in tables.values()},
        "parts": _parts(night, results),
        "labels": _labels(night),
        "notes": [*switched_off(bundle), *_remarks(counts)],
        "timings": {"seconds_by_step": _seconds(results)},
        "work": _work(night, results),
        "versions": library_versions(),
        "processor": {"machine": platform.machine(), "name": _processor()},
    }


def table_entries(night: Night, results: Results) -> dict[str, dict[str, Any]]:
    """What the manifest says of each table and of each set of vectors."""
    entries = {job.name: _table_entry(night, job, results) for job in night.jobs}
    return entries | {vectors.name: _vectors_entry(night, vectors, results) for vectors in night.sets}


def _table_entry(night: Night, job: TableJob, results: Results) -> dict[str, Any]:
    audits = results.audited(job.name)
    without, candidates = results.counts(job.queries.name), results.counts(job.candidates.name)
    served = added(audit.part.counts for audit in audits)
    not_served = {
        "cold": without["cold"],
        "not_finite": without["not_finite"],
        "zero_vector": served["zero_vector"],
        "too_long_vector": served["too_long_vector"],
        "nothing_eligible": served["nothing_eligible"],
    }
    left_out = {reason: candidates[reason] for reason in ("cold", "not_finite")}
    left_out |= added(index.record["candidates_left_out"] for index in results.indexed(job.name))
    entry = _entry(night, job.name, audits)
    index = _index_entry(job, results.indexed(job.name), audits)
    return {**entry, "not_served": not_served, "candidates_left_out": left_out, "index": index}


def _index_entry(job: TableJob, indexes: Sequence[IndexRef], audits: Sequence[PartAudit]) -> dict[str, Any]:
    recall = audited_recall(job, audits)
    return {
        "kind": "scann" if any(index.record["kind"] == "scann" for index in indexes) else "exact",
        "candidates": sum(index.record["candidates"] for index in indexes),
        "shards": [dict(index.record) for index in indexes],
        "index_recall_at_k": recall.mean,
        "audit": dataclasses.asdict(recall),
        "searched_again_exactly": any(audit.exact for audit in audits),
    }


def _vectors_entry(night: Night, vectors: EmbeddingSet, results: Results) -> dict[str, Any]:
    without = results.counts(vectors.name)
    not_served = {"cold": without["cold"], "not_finite": without["not_finite"]}
    return {**_entry(night, vectors.schema, results.audited(vectors.name)), "not_served": not_served}


def _entry(night: Night, schema: str, audits: list[PartAudit]) -> dict[str, Any]:
    return {
        "schema": schema,
        "rows": sum(audit.part.rows for audit in audits),
        "queries": sum(audit.queries for audit in audits),
        "files": [_file(night, audit.part) for audit in audits],
    }


def _counts(plan: Plan, results: Results) -> dict[str, dict[str, int]]:
    nothing = {"rows": 0, "accepted": 0, "quarantined": 0}  # an input without rows has no slices
    counts = {
        source.name: dict(
            sorted(added([nothing, *(s.counts for s in results.samples if s.source == source.name)]).items())
        )
        for source in plan.inputs.sources
    }
    return counts | {f"{entity}_profiles": dict(sorted(results.counts(entity).items())) for entity in ("user", "item")}


def _labels(night: Night) -> dict[str, str]:
    tables = {"user": night.config.inputs.users, "item": night.config.inputs.items}
    return {entity: table.label for entity, table in tables.items() if table is not None and table.label is not None}


def _parts(night: Night, results: Results) -> dict[str, list[dict[str, Any]]]:
    """The files of the run that are not published as tables: what the tables were made from."""
    slices = {item.part.uri: item for item in results.cleaned}
    cleaned = [item for _, item in sorted(slices.items())]
    parts = {
        "slices": [_file(night, item.part) for item in cleaned],
        "quarantine": [_file(night, item.quarantine) for item in cleaned if item.quarantine is not None],
    }
    for entity in ("user", "item"):
        parts[f"{entity}_profiles"] = [_file(night, item.part) for item in results.of(entity)]
    parts["shards"] = [
        _file(night, part) for job in night.jobs for audit in results.audited(job.name) for part in audit.merged
    ]
    parts["indexes"] = [
        {
            "path": relative(night, storage.join(files_uri(night, job, index.shard, index.record), name)),
            "sha256": checksum.removeprefix("sha256:"),
        }
        for job in night.jobs
        for index in results.indexed(job.name)
        for name, checksum in index.record.get("files", {}).items()
    ]
    return parts


def _file(night: Night, part: Part) -> dict[str, Any]:
    return {"path": relative(night, part.uri), "rows": part.rows, "bytes": part.size_bytes, "sha256": part.sha256}


def _remarks(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [sentence for source, found in counts.items() for sentence in remarks(source, found)]


def _seconds(results: Results) -> dict[str, float]:
    """Seconds of the work items that ran in this attempt; parts found from an earlier one took none."""
    audits = Counter[str]()
    for audit in results.audits:
        audits.update(audit.seconds)
    seconds = {
        "clean": sum(item.part.seconds for item in results.cleaned),
        "profiles": sum(item.part.seconds for item in results.profiles),
        "embed": sum(item.part.seconds for item in results.embeddings),
        "index": sum(index.seconds for index in results.indexes),
        "search": audits["search"],
        "audit": audits["audit"],
    }
    return {name: round(value, 3) for name, value in seconds.items()}


def _work(night: Night, results: Results) -> dict[str, dict[str, int]]:
    """How many parts this attempt made, and how many it found."""
    parts = {"inputs": [item.part for item in results.cleaned]}
    parts |= {f"{entity}_profiles": [item.part for item in results.of(entity)] for entity in ("user", "item")}
    parts |= {vectors.name: [item.part for item in results.of(vectors.name)] for vectors in night.sets}
    for job in night.jobs:
        audits = results.audited(job.name)
        parts[job.name] = [audit.part for audit in audits]
        merged = [part for audit in audits for part in audit.merged]
        if merged:
            parts[f"{job.name}_shards"] = merged
    return {
        step: {"made": sum(part.made for part in found), "found": sum(not part.made for part in found)}
        for step, found in parts.items()
    }


def relative(night: Night, uri: str) -> str:
    """A URI as a path relative to the output; one outside it stays as it is."""
    return uri.removeprefix(f"{night.output}/")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
