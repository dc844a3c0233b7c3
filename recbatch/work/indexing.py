"""The index of one shard of a table's candidates: built, tuned and stored once, then loaded by every worker."""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recbatch import storage
from recbatch.index import build_index, index_checksum, load_index
from recbatch.neighbours import SAMPLE_QUERIES, Exclusions, exact_tuning, plan_index, tune
from recbatch.night import Night, Shard, TableJob
from recbatch.work.candidates import cache_of, files_uri, read_candidates, shard_bytes
from recbatch.work.embedding import Vectors
from recbatch.work.items import IndexRef, IndexWork, RangePart
from recbatch.work.search import read_queries
from recbatch.work.starting import EarlierSetting

_RECORD = "index.json"

_SAMPLED_RANGES = 32
"""Ranges of queries that the tuner's sample is taken from, at most: each has to be read."""


def make_index(night: Night, work: IndexWork, embeddings: Sequence[RangePart]) -> IndexRef:
    """The index of a shard: the one that is there, else one built and tuned now; its record is stored last.

    ``embeddings`` are the parts of all sets.
    """
    started = time.monotonic()
    job, shard = work.job, work.shard
    uri = storage.join(night.index_uri(job, shard), _RECORD)
    if not storage.exists(uri):
        queries, candidates = (
            [part for part in embeddings if part.of == side.name] for side in (job.queries, job.candidates)
        )
        with cache_of(night).room(shard_bytes(shard, candidates)):
            record = _make(night, job, shard, candidates, queries)
        storage.put_if_absent(uri, json.dumps(record, indent=1, sort_keys=True).encode())
    return IndexRef(job.name, shard, json.loads(storage.read_bytes(uri)), time.monotonic() - started)


def _make(
    night: Night, job: TableJob, shard: Shard, candidate_parts: Sequence[RangePart], query_parts: Sequence[RangePart]
) -> dict[str, Any]:
    ids, candidates, left_out = read_candidates(night, job, shard, candidate_parts)
    k, min_recall, kind = job.rows_per_query(len(candidates)), job.settings.min_recall, night.config.index.kind
    queries = sum(item.part.rows for item in query_parts)
    asked = {
        "k": k,
        "min_recall": min_recall,
        "width": candidates.width,
        "similarity": candidates.similarity,
        "kind": kind,
    }
    record: dict[str, Any] = {
        "kind": "exact",
        "ranges": [shard.first, shard.stop],
        "candidates": len(candidates),
        "candidates_left_out": left_out,
        "asked": asked,
    }
    plan = plan_index(len(candidates), candidates.width, k, queries, min_recall, kind)
    if plan.parameters is None:
        tuning = exact_tuning(plan, len(candidates), candidates.width, k, min_recall)
        return record | {"tuning": tuning.to_json()}
    built = asdict(plan.parameters)
    earlier = EarlierSetting.of(night, job, shard, asked, built, len(candidates))
    with tempfile.TemporaryDirectory(prefix="recbatch-index-") as scratch:
        folder = Path(scratch, "files")
        files = build_index(candidates, plan.parameters, folder)
        vectors, excluded = _sample(night, job, query_parts, ids)
        searcher = load_index(folder, files)
        start = None if earlier is None else earlier.start
        tuning = tune(vectors, candidates, searcher, k, min_recall, excluded=excluded, kind=kind, start=start)
        record |= {"start": earlier and earlier.to_json(), "tuning": tuning.to_json()}
        if tuning.search is not None:
            now = {
                "ds": night.ds,
                "run": night.run,
                "candidates": len(candidates),
                "recall": tuning.recall and tuning.recall.mean,
            }
            record |= {
                "kind": "scann",
                "built": built,
                "search": asdict(tuning.search),
                "tuned": earlier.tuned if earlier and tuning.by == "start" else now,
                "files": files,
                "checksum": index_checksum(files),
            }
            for name in files:
                storage.put_if_absent(storage.join(files_uri(night, job, shard, record), name), folder / name)
    return record


def _sample(
    night: Night, job: TableJob, query_parts: Sequence[RangePart], candidate_ids: pa.Array
) -> tuple[Vectors, Exclusions]:
    """Evenly spaced queries of evenly spaced ranges, and what each must not get."""
    vectors, offsets, ordinals = [], [np.zeros(1, np.int64)], []
    ordered = sorted(query_parts, key=lambda part: part.number)
    sampled = ordered[:: -(-len(ordered) // _SAMPLED_RANGES)]
    wanted = -(-SAMPLE_QUERIES // len(sampled))
    for part in sampled:
        queries = read_queries(night, job, part, candidate_ids, functools.partial(_evenly, wanted))
        vectors.append(queries.vectors)
        offsets.append(offsets[-1][-1] + queries.excluded.offsets[1:])
        ordinals.append(queries.excluded.ordinals)
    return np.concatenate(vectors), Exclusions(np.concatenate(offsets), np.concatenate(ordinals))


def _evenly(wanted: int, queries: int) -> npt.NDArray[np.int64]:
    """At most ``wanted`` of ``queries`` positions, evenly spaced from the first on."""
    wanted = min(wanted, queries)
    return (np.arange(wanted) * queries / max(wanted, 1)).astype(np.int64)
