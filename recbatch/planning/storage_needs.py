"""Bytes: what a night writes, and what its worker holds."""

from __future__ import annotations

import os
from collections.abc import Mapping

from recbatch.index import candidate_bytes
from recbatch.planning.prediction import Work

_HELD_ROW = 40
"""Bytes of memory for each row of a table that is in hand: scores, ordinals, the encoded part and the decoded one.
Measured: nights of 100 and 200 thousand users with 100 rows each, 50 thousand users a range."""
_LIBRARY, _TABLE = 165 * 10**6, 85 * 10**6
"""Of ScaNN and what an index needs while it is built and asked, whatever its size; and what every further table leaves
behind that the allocator does not give back. Measured: nights of two thousand users, and of four tables."""
_CLEANED = 3
"""Copies of a slice that is being cleaned: as read, as it is kept, encoded."""
_INTERACTION = 88
"""Bytes of an interaction that is brought to its range in this process (docs/performance.md)."""
_BLOCK = 256 * 4096 * 4
"""Of exact search, on each core."""
_IN_HAND, _STEPS = 2, 2
"""Work items of a step that are in hand, and steps: searching and auditing."""


def output_bytes(work: Work) -> dict[str, int]:
    """What a night stores, by kind; the published folders are links to the same files."""
    stored, sizes = work.calibration.prepared.stored, work.sizes

    def per_row(name: str) -> float:
        return stored[name].per_row if name in stored else 0.0

    result = {"slices": sum(rows * per_row(f"slices/{source}") for source, rows in sizes.rows.items())}
    result["profiles"] = sum(size.ids * per_row(f"profiles/{entity}") for entity, size in sizes.entities.items())
    for vectors in work.night.sets:
        plain = 4 * work.calibration.widths[vectors.name]
        rows = sum(work.vectors(vectors))
        result[vectors.name] = rows * (per_row(f"vectors/{vectors.name}") or plain)
    for job in work.night.jobs:
        rates = work.calibration.tables.get(job.name)
        if rates is None:
            result[job.name] = 0.0
            continue
        shards = work.shards.of(job.name)
        rows = table_rows(work)[job.name]
        result[job.name] = rows * rates.row_bytes
        if rates.method == "index":
            result["indexes"] = result.get("indexes", 0.0) + rates.index_bytes * len(shards)
        if len(shards) > 1:
            result["shards"] = result.get("shards", 0.0) + rows * rates.row_bytes * len(shards)
    return {name: round(value) for name, value in result.items()}


def table_rows(work: Work) -> dict[str, int]:
    """Rows of each table, if no query has too few eligible candidates."""
    result = {}
    for job in work.night.jobs:
        candidates = sum(work.vectors(job.candidates)) - job.settings.exclude_self
        result[job.name] = sum(work.vectors(job.queries)) * max(0, min(job.settings.k, candidates))
    return result


def memory_bytes(work: Work, *, grouped_here: bool = True) -> dict[str, int]:
    """What one worker holds at most, by what it is for; ``peak`` is the worst step's.

    Args:
        work: the night.
        grouped_here: whether this process brings interactions together, as on one machine; else the runner does.
    """
    night, sizes = work.night, work.sizes
    budget = int(night.config.index.memory_gib * 2**30)
    stored = work.calibration.prepared.stored
    slices = [
        rows * max(stored[f"slices/{source}"].per_row, 8 * len(night.read_spec.columns(source)))
        for source, of_source in sizes.slices.items()
        for rows in of_source
    ]
    result = {
        "process": work.calibration.empty.peak_bytes,
        "slices": round(_CLEANED * sum(sorted(slices)[-_IN_HAND:])),
        "interactions": _INTERACTION * sizes.rows.get("interactions", 0) if grouped_here else 0,
        "candidates": min(budget, sum(_held(work).values())),
        "rows in hand": max((_rows_in_hand(work, job.name) for job in night.jobs), default=0),
        "index library": _library(work),
        "blocks": _BLOCK * _IN_HAND * len(os.sched_getaffinity(0)),
    }
    searching = result["candidates"] + result["rows in hand"] + result["blocks"] + result["index library"]
    result["peak"] = result["process"] + max(result["slices"], result["interactions"], searching)
    return result


def _library(work: Work) -> int:
    indexes = sum(rates.method == "index" for rates in work.calibration.tables.values())
    return _LIBRARY + _TABLE * (indexes - 1) if indexes else 0


def _held(work: Work) -> Mapping[str, int]:
    """Bytes of each table's largest shard while its index is being built."""
    return {
        job.name: max(work.candidates(job, shard) for shard in work.shards.of(job.name))
        * candidate_bytes(work.calibration.widths[job.candidates.name])
        for job in work.night.jobs
    }


def _rows_in_hand(work: Work, table: str) -> int:
    (job,) = [job for job in work.night.jobs if job.name == table]
    ranges = sorted(work.vectors(job.queries))[-_IN_HAND:]
    return _STEPS * sum(ranges) * job.rows_per_query(sum(work.vectors(job.candidates))) * _HELD_ROW
