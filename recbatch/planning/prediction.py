"""From sizes and rates to what a night takes: a formula for every stage, in the order of the pipeline.

Stages run one after the other on one machine; the work items of a stage share its cores (:mod:`.schedule`). Seconds
have the names of the manifest's ``timings.seconds_by_step``, where two items at a time count double.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from recbatch.night import EmbeddingSet, Night, Shard, Shards, TableJob
from recbatch.planning.calibration import Calibration
from recbatch.planning.schedule import Item, Step, run_stage
from recbatch.planning.searching import TableRates
from recbatch.planning.sizes import Sizes
from recbatch.tables.rows import queries_per_row_group
from recbatch.work.auditing import SAMPLED_QUERIES

STEPS = ("clean", "profiles", "embed", "index", "search", "audit")
"""Of the manifest's ``timings.seconds_by_step``."""


@dataclass(frozen=True)
class StageTime:
    """One stage of the night.

    Attributes:
        name: what it does.
        seconds: from its start to its end on this machine.
        steps: seconds of its work items added up, by step of the manifest.
        cpu_seconds: what can be shared among workers.
        serial_seconds: what cannot: one work item on one core.
        items: work items.
        reason: the formula, in words.
    """

    name: str
    seconds: float
    steps: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    serial_seconds: float = 0.0
    items: int = 1
    reason: str = ""


@dataclass(frozen=True)
class Work:
    """What the stages are made from.

    Attributes:
        night: the night.
        sizes: of it.
        calibration: of this machine.
        shards: of its tables.
    """

    night: Night
    sizes: Sizes
    calibration: Calibration
    shards: Shards

    @property
    def alone(self) -> float:
        """The share of a core that a single thread gets."""
        return min(1.0, self.calibration.cores)

    @property
    def wait(self) -> float:
        """Seconds that storing a part takes, whatever its size."""
        return self.calibration.part_seconds

    def vectors(self, side: EmbeddingSet) -> list[int]:
        """Vectors of each range of a set."""
        share = self.calibration.shares[side.name]
        return [round(ids * share) for ids in self.sizes.entities[side.entity].ranges]

    def candidates(self, job: TableJob, shard: Shard) -> int:
        """Candidates of a shard."""
        return sum(self.vectors(job.candidates)[shard.first : shard.stop])

    def per_unit(self, name: str) -> float:
        """Processor seconds of a unit of ``step/of``."""
        return self.calibration.prepared.meter.of(name).per_unit

    def threads(self, name: str) -> float:
        """Cores that a work item of ``step/of`` uses at a time."""
        return self.calibration.prepared.meter.of(name).threads


def stage_times(work: Work) -> list[StageTime]:
    """All stages, in order."""
    empty = work.calibration.empty
    start = StageTime(
        "start and end",
        empty.seconds,
        serial_seconds=empty.cpu_seconds,
        reason="a night of a few rows in a process of its own: imports, Beam, publishing",
    )
    return [start, _clean(work), _cut(work), *_profiles(work), *_tables(work)]


def seconds_by_step(stages: Sequence[StageTime]) -> dict[str, float]:
    """As the manifest has them."""
    total = Counter[str]()
    for stage in stages:
        total.update(stage.steps)
    return {step: float(total[step]) for step in STEPS}


def _clean(work: Work) -> StageTime:
    names = [(source, rows) for source, slices in work.sizes.slices.items() for rows in slices]
    steps = [
        Step(
            "clean",
            [
                Item(rows * work.per_unit(f"clean/{name}"), work.threads(f"clean/{name}"), work.wait)
                for name, rows in names
            ],
        ),
        Step("sample", [Item(rows * work.per_unit(f"sample/{name}")) for name, rows in names]),
    ]
    return _stage("clean", work, steps, "rows x what a row of the sample took", "clean")


def _cut(work: Work) -> StageTime:
    names = [(source, rows) for source, slices in work.sizes.slices.items() for rows in slices]
    every = sum(work.sizes.rows.values()) * work.per_unit("cut/all")
    split = [Item(rows * work.per_unit(f"split/{name}"), work.threads(f"split/{name}")) for name, rows in names]
    stage = run_stage([Step("split", split, at_once=1)], work.calibration.cores)
    cpu = sum(item.cpu for item in split)
    reason = "rows x what sorting a row of the sample into ranges took"
    return StageTime("cut and split", every / work.alone + stage.wall, {}, cpu, every, len(split), reason)


def _profiles(work: Work) -> Iterator[StageTime]:
    for entity, size in work.sizes.entities.items():
        events = work.sizes.rows.get("interactions", 0)
        per_row = work.per_unit(f"group/{entity}")
        share = [ids / max(1, size.ids) for ids in size.ranges]
        group = [
            Item((events * part + ids) * per_row, work.threads(f"group/{entity}"), work.wait)
            for part, ids in zip(share, size.ranges, strict=True)
        ]
        steps = [Step("profiles", group, at_once=1)]
        for vectors in [each for each in work.night.sets if each.entity == entity]:
            ids = size.ranges
            name = vectors.name
            steps.append(
                Step(
                    "embed",
                    [Item(n * work.per_unit(f"embed/{name}"), work.threads(f"embed/{name}"), work.wait) for n in ids],
                )
            )
            steps.append(Step("audit", [Item(n * work.per_unit(f"audit/{name}")) for n in ids]))
        reason = "(interactions + ids) and ids x what one of the sample took"
        yield _stage(f"profiles and vectors of {entity}s", work, steps, reason, *STEPS)


def _tables(work: Work) -> Iterator[StageTime]:
    for job in work.night.jobs:
        rates = work.calibration.tables.get(job.name)
        if rates is not None:
            yield _index(work, job, rates)
            yield _search(work, job, rates)


def _index(work: Work, job: TableJob, rates: TableRates) -> StageTime:
    shards = work.shards.of(job.name)
    serial = tuning = 0.0
    largest = max(1, *(work.candidates(job, shard) for shard in shards))
    for shard in shards:
        candidates = work.candidates(job, shard)
        serial += candidates * work.per_unit(f"read/{job.candidates.name}")
        serial += rates.build * candidates / largest
        tuning += rates.tuning * candidates / largest
    seconds = serial / work.alone + tuning / work.calibration.cores
    reason = "counted cost of building (one core) and of tuning (all) x seconds of a unit; " + rates.reason
    return StageTime(f"index {job.name}", seconds, {"index": seconds}, tuning, serial, len(shards), reason)


def _search(work: Work, job: TableJob, rates: TableRates) -> StageTime:
    shards, cores = work.shards.of(job.name), work.calibration.cores
    queries = work.vectors(job.queries)
    sampled = -(-SAMPLED_QUERIES // max(1, len(queries)))
    loading = sum(work.candidates(job, shard) for shard in shards) * work.per_unit(f"read/{job.candidates.name}")
    search, audit = [], []
    for shard in shards:
        candidates = work.candidates(job, shard)
        k = job.rows_per_query(candidates)
        for count in queries:
            rows = count * min(k, candidates)
            search.append(Item(count * rates.query + rows * rates.row, cores, work.wait))
            exactly = min(count, sampled) * rates.exact_query if rates.method == "index" else 0.0
            groups = -(-count // queries_per_row_group(k))
            checked = rows * rates.audited_row + candidates * rates.looked_up
            alone = checked / min(cores, max(1, groups)) + exactly / cores  # row groups, and blocks of queries
            audit.append(Item(checked + exactly, (checked + exactly) / alone if alone else 1.0))
    merged = 0.0
    if len(shards) > 1:  # read, ranked, written and audited once more
        rows = sum(queries) * job.rows_per_query(sum(work.vectors(job.candidates)))
        merged = rows * (len(shards) * rates.audited_row + rates.row + rates.audited_row)
    stage = run_stage([Step("search", search), Step("audit", audit)], cores)
    cpu = sum(item.cpu for item in [*search, *audit]) + merged
    seconds = {"search": stage.seconds["search"] + loading + merged / 2, "audit": stage.seconds["audit"] + merged / 2}
    reason = f"queries x {'the index' if rates.method == 'index' else 'exact search'}, rows x writing and checking"
    if merged:
        reason += f", in {len(shards)} shards, and merged"
    wall = stage.wall + loading / work.alone + merged / work.calibration.cores
    return StageTime(f"search {job.name}", wall, seconds, cpu, loading, len(search), reason)


def _stage(name: str, work: Work, steps: Sequence[Step], reason: str, *kept: str) -> StageTime:
    """A stage of one element after the other; steps of a name are added up."""
    numbered = [Step(f"{place}/{step.name}", step.items, step.at_once) for place, step in enumerate(steps)]
    stage = run_stage(numbered, work.calibration.cores)
    seconds = Counter[str]()
    for numbered_name, value in stage.seconds.items():
        step = numbered_name.partition("/")[2]
        if step in kept:
            seconds[step] += value  # type: ignore[assignment]
    cpu = sum(item.cpu for step in steps for item in step.items)
    return StageTime(name, stage.wall, dict(seconds), cpu, 0.0, max(1, len(steps[0].items)), reason)
