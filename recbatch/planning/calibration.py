"""A few seconds of the night's own work on this machine, as rates."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from recbatch.config.models import Entity
from recbatch.night import EmbeddingSet, Plan, TableJob
from recbatch.planning.meter import cores
from recbatch.planning.preparing import Prepared, Vectors, measure_preparing
from recbatch.planning.searching import Ask, TableRates, measure_table
from recbatch.planning.sizes import Sizes
from recbatch.run import Layout, make_part
from recbatch.work.candidates import similarity_of, valid_rows

_STAND_IN, _PARTS = 20_000, 9


@dataclass(frozen=True)
class EmptyNight:
    """A night of next to nothing, in a process of its own: what every night costs.

    Attributes:
        seconds: from start to end.
        cpu_seconds: of all threads.
        peak_bytes: resident memory at most.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Calibration:
    """What this machine takes for the night's work.

    Attributes:
        cores: that a process gets when it asks for all.
        empty: what every night costs.
        prepared: what a row costs until its vector is there.
        tables: what a query and its rows cost, by table.
        widths: of each set of vectors, and ``shares`` how many ids have one.
        part_seconds: until a part of a few rows is safely stored: what does not depend on its size.
    """

    cores: float
    empty: EmptyNight
    prepared: Prepared
    tables: Mapping[str, TableRates]
    widths: Mapping[str, int]
    shares: Mapping[str, float]
    part_seconds: float = 0.0


def calibrate(
    plan: Plan,
    small: Callable[[], Plan],
    empty: EmptyNight,
    sizes: Sizes,
    shards: Callable[[Mapping[str, int], Mapping[str, float]], Mapping[str, int]],
) -> Calibration:
    """Measure.

    Args:
        plan: the night.
        small: plans the same night of a sample of its inputs, each time in a folder of its own.
        empty: measured before.
        sizes: of the night.
        shards: widths and shares of vectors -> the largest shard of each table, in candidates.
    """
    before = cores()
    first = measure_preparing(small())
    night = small()
    prepared = measure_preparing(night)
    prepared.meter = prepared.meter.less_of(first.meter)
    widths = prepared.width or {vectors.name: _untrained_width(plan) for vectors in plan.night.sets}
    shares = prepared.share or {vectors.name: 1.0 for vectors in plan.night.sets}
    largest = shards(widths, shares)
    tables = {}
    with tempfile.TemporaryDirectory(prefix="recbatch-plan-") as scratch:
        for job in night.night.jobs:
            sides = _sides(night, job, prepared, widths, sizes)
            queries = round(sizes.entities[job.queries.entity].ids * shares[job.queries.name])
            bias = _bias(night, job, prepared)
            real = bool(prepared.vectors)
            ask = Ask(job, largest[job.name], queries, plan.night.config.index.kind, bias, real)
            if all(len(ids) for ids, _ in sides):
                tables[job.name] = measure_table(ask, *sides, Path(scratch))
        stored = _part_seconds(Path(scratch))
    return Calibration((before + cores()) / 2, empty, prepared, tables, widths, shares, stored)


def _part_seconds(folder: Path) -> float:
    rows, seconds = pa.table({"id": ["a"]}), []
    for number in range(_PARTS):
        started = time.perf_counter()
        make_part(str(folder / f"stored-{number}.parquet"), "plan", "", Layout(rows.schema), lambda _: [rows])
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _untrained_width(plan: Plan) -> int:
    """Of the vectors of a model that is yet to be trained, at most."""
    model = plan.night.config.model
    return model.dim + int(model.item_bias) + (0 if model.linear is None else model.linear.rank)


def _bias(night: Plan, job: TableJob, prepared: Prepared) -> int | None:
    return similarity_of(night.night, job)[1] if prepared.vectors else None


def _sides(
    night: Plan, job: TableJob, prepared: Prepared, widths: Mapping[str, int], sizes: Sizes
) -> tuple[tuple[pa.Array, Vectors], tuple[pa.Array, Vectors]]:
    """Some valid queries and candidates of a table: (ids, vectors) of both."""
    if not prepared.vectors:
        return _stand_in(job.queries, prepared, widths, sizes), _stand_in(job.candidates, prepared, widths, sizes)
    similarity, bias = similarity_of(night.night, job)
    queries, candidates = (
        valid_rows(*prepared.vectors[side.name], similarity, bias)[:2] for side in (job.queries, job.candidates)
    )
    return queries, candidates


def _stand_in(
    vectors: EmbeddingSet, prepared: Prepared, widths: Mapping[str, int], sizes: Sizes
) -> tuple[pa.Array, Vectors]:
    """Random vectors for ids of the inputs: as much work as real ones, whatever is found."""
    entity: Entity = vectors.entity
    ids = prepared.ids[entity]
    ids = ids[: min(len(ids), _STAND_IN, sizes.entities[entity].ids)]
    rng = np.random.default_rng(0)
    return ids, rng.standard_normal((len(ids), widths[vectors.name])).astype(np.float32)
