"""All that a plan says, as one record; for people and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbatch.night import Plan
from recbatch.planning.calibration import Calibration
from recbatch.planning.dataflow import STARTING_SECONDS, Fleet, fleet
from recbatch.planning.prediction import StageTime, Work, seconds_by_step, stage_times
from recbatch.planning.sharding import planned_shards
from recbatch.planning.sizes import Sizes
from recbatch.planning.storage_needs import memory_bytes, output_bytes, table_rows


@dataclass(frozen=True)
class Forecast:
    """What a night will take.

    Attributes:
        work: what was predicted from.
        stages: times, in order.
        rows: of each table.
        output: bytes by kind.
        memory: bytes of this process, by what for; ``worker`` likewise of a worker on Dataflow.
        fleet: Dataflow; None: no machine is large enough.
        hours: that were asked for.
        not_predicted: sentences.
    """

    work: Work
    stages: Sequence[StageTime]
    rows: Mapping[str, int]
    output: Mapping[str, int]
    memory: Mapping[str, int]
    worker: Mapping[str, int]
    fleet: Fleet | None
    hours: float
    not_predicted: Sequence[str]

    @property
    def cpu_seconds(self) -> float:
        """Of all cores."""
        return sum(stage.cpu_seconds + stage.serial_seconds for stage in self.stages)

    @property
    def seconds(self) -> float:
        """From start to end on this machine, without what is not predicted."""
        return sum(stage.seconds for stage in self.stages)


def forecast(plan: Plan, sizes: Sizes, calibration: Calibration, hours: float) -> Forecast:
    """Put it all together."""
    shards = planned_shards(plan.night, sizes, calibration.widths, calibration.shares)
    work = Work(plan.night, sizes, calibration, shards)
    stages, worker = stage_times(work), memory_bytes(work, grouped_here=False)
    return Forecast(
        work,
        stages,
        table_rows(work),
        output_bytes(work),
        memory_bytes(work),
        worker,
        fleet(stages, worker["peak"], hours),
        hours,
        tuple(_not_predicted(plan)),
    )


def _not_predicted(plan: Plan) -> list[str]:
    if plan.training is None:
        return []
    training = plan.training.model.training
    events = plan.night.input_rows.get("interactions", 0)
    steps = max(training.min_steps, -(-events // training.batch_size) * training.epochs)
    until = "" if training.early_stopping is None else "; how many it takes is for early stopping to say"
    twice = " and as many for the refit at most" if training.refit else ""
    return [
        f"training: the time of a step depends on the towers, which there are none of yet. It is at most {steps:,} "
        f"steps of {training.batch_size:,} examples if every interaction is positive{twice}{until}",
        "embedding: the towers are not there yet, so their part of `embed` is missing, and TensorFlow's start",
        "index: without vectors the setting of an index is the one that the night hopes for, not one that was tuned",
    ]


def to_json(found: Forecast) -> dict[str, Any]:
    """As JSON-able values; bytes, seconds and counts."""
    work = found.work
    night, sizes, calibration = work.night, work.sizes, work.calibration
    return {
        "ds": night.ds,
        "rows": dict(sizes.rows),
        "entities": {entity: dataclasses.asdict(size) for entity, size in sizes.entities.items()},
        "cuts": dataclasses.asdict(sizes.cuts),
        "slices": {source: len(slices) for source, slices in sizes.slices.items()},
        "shards": {name: list(stops) for name, stops in work.shards.stops.items()},
        "tables": {
            job.name: {
                "rows": found.rows[job.name],
                "queries": sum(work.vectors(job.queries)),
                "candidates": sum(work.vectors(job.candidates)),
                "shards": len(work.shards.of(job.name)),
                **(dataclasses.asdict(calibration.tables[job.name]) if job.name in calibration.tables else {}),
            }
            for job in night.jobs
        },
        "stages": [dataclasses.asdict(stage) for stage in found.stages],
        "seconds_by_step": seconds_by_step(found.stages),
        "seconds": found.seconds,
        "cpu_seconds": found.cpu_seconds,
        "not_predicted": list(found.not_predicted),
        "output_bytes": {**found.output, "all": sum(found.output.values())},
        "memory_bytes": dict(found.memory),
        "worker_memory_bytes": dict(found.worker),
        "dataflow": None
        if found.fleet is None
        else {**dataclasses.asdict(found.fleet), "asked_hours": found.hours, "starting_seconds": STARTING_SECONDS},
        "machine": {
            "cores": calibration.cores,
            "part_seconds": calibration.part_seconds,
            "empty_night": dataclasses.asdict(calibration.empty),
            "measured": {
                name: {"cpu_seconds": spent.cpu, "seconds": spent.wall, "units": spent.units}
                for name, spent in calibration.prepared.meter.spent.items()
            },
        },
    }
