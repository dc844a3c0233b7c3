"""What a query of a table costs, and its rows: measured on some vectors, for as many candidates as there will be."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbatch.index import Candidates, IndexParameters, SearchParameters, build_index, load_index
from recbatch.neighbours import (
    SAMPLE_QUERIES,
    Exclusions,
    Neighbours,
    find_neighbours,
    for_each,
    ordinals_of,
    plan_index,
)
from recbatch.neighbours.approximate import survivors
from recbatch.neighbours.cost import build_cost, exact_cost, index_cost
from recbatch.neighbours.planning import TRIALS, Kind, hoped_search
from recbatch.night import TableJob
from recbatch.planning.meter import Meter
from recbatch.planning.preparing import Vectors
from recbatch.planning.thinned import Thinned, ThinnedTuner, as_much_work
from recbatch.run import Part, make_part
from recbatch.tables.audit import TopKAudit
from recbatch.tables.rows import queries_per_row_group, top_k_layout, top_k_rows
from recbatch.work.auditing import read_back

_TIMED, _TUNED = 20_000, 1_000
"""Queries that are timed at a time, for a night asks for many at once, and that are tuned on."""
_EXACT, _WRITTEN = 500, 2_000
"""Queries that are searched exactly, and whose rows are written."""
_BUILD = 3e9
"""Counted cost of the index that is built to measure on, at most: some seconds."""


@dataclass(frozen=True)
class Ask:
    """What a table needs of one shard.

    Attributes:
        job: the table.
        candidates: of the shard.
        queries: of the table.
        kind: ``index.kind``.
        bias: the coordinate that is a bias.
        real: whether the vectors to measure on look like the night's; else nothing is tuned on them.
    """

    job: TableJob
    candidates: int
    queries: int
    kind: Kind
    bias: int | None
    real: bool


@dataclass(frozen=True)
class TableRates:
    """Processor seconds and bytes of one table.

    Attributes:
        method: how it is searched, and ``reason`` why.
        query: of one query searched, and ``row`` of one row made and written.
        audited_row: of one row read back and checked; ``looked_up`` of one candidate, each time a part is.
        exact_query: of one query searched exactly.
        build: of the index, on one core; 0 without one.
        tuning: of the tuner.
        row_bytes: of one stored row.
        index_bytes: of the stored index.
        measured: whether the setting of the index was measured on vectors like the night's.
    """

    method: str
    reason: str
    query: float
    row: float
    audited_row: float
    looked_up: float
    exact_query: float
    build: float
    tuning: float
    row_bytes: float
    index_bytes: float
    measured: bool


def measure_table(
    ask: Ask, queries: tuple[pa.Array, Vectors], candidates: tuple[pa.Array, Vectors], scratch: Path
) -> TableRates:
    """Search, write and audit some queries of a table.

    Args:
        ask: the table.
        queries: ids and vectors of some, all valid.
        candidates: likewise.
        scratch: a folder for files.
    """
    return _Table(ask, queries, candidates, scratch).rates()


@dataclass(frozen=True)
class _Setting:
    """How an index is asked: ``search`` (None: it is not worth it), the counted cost of a query, and of all trials."""

    search: SearchParameters | None
    typical: SearchParameters
    cost: float
    tried: float
    reason: str


class _Table:
    """One table's measurements, one after the other."""

    def __init__(
        self, ask: Ask, queries: tuple[pa.Array, Vectors], candidates: tuple[pa.Array, Vectors], scratch: Path
    ) -> None:
        self.ask, self.scratch, self.meter = ask, scratch, Meter()
        self.k = ask.job.rows_per_query(ask.candidates)
        self.query_ids, self.queries = queries
        self.ids, vectors = candidates
        self.candidates = Candidates.of(vectors, ask.job.settings.similarity, ask.bias)
        self.own = ordinals_of(self.query_ids, self.ids) if ask.job.settings.exclude_self else None

    def rates(self) -> TableRates:
        ask, width, k = self.ask, self.candidates.width, self.k
        plan = plan_index(ask.candidates, width, k, ask.queries, ask.job.settings.min_recall, ask.kind)
        exact = self._exact()
        build = tuning = index_bytes = 0.0
        query, method, reason = exact, "exact", plan.reason
        if plan.parameters is not None:
            thinned, build = self._build(plan.parameters)
            setting = self._tuned(thinned) if ask.real else self._hoped(plan.parameters)
            unit = self._timed(thinned, setting.typical)
            tuning = min(ask.queries, SAMPLE_QUERIES) * (exact + unit * setting.tried)
            reason = setting.reason
            if setting.search is not None:
                method, query = "index", unit * setting.cost
                index_bytes = _index_bytes(thinned)
        row, row_bytes, audited, looked_up = self._written()
        return TableRates(
            method, reason, query, row, audited, looked_up, exact, build, tuning, row_bytes, index_bytes, ask.real
        )

    def _some(self, count: int) -> npt.NDArray[np.int64]:
        return np.linspace(0, len(self.queries) - 1, min(count, len(self.queries))).astype(np.int64)

    def _find(self, places: npt.NDArray[np.int64], **more: object) -> Neighbours:
        own = None if self.own is None else self.own[places]
        k = min(self.k, len(self.candidates))
        return find_neighbours(self.queries[places], self.candidates, k, own=own, **more)  # type: ignore[arg-type]

    def _exact(self) -> float:
        """Of one query of all candidates."""
        places = self._some(_EXACT)
        here = exact_cost(len(self.candidates), self.candidates.width, min(self.k, len(self.candidates)))
        self._find(places[:16])
        with self.meter("exact", len(places)):
            self._find(places)
        whole = exact_cost(self.ask.candidates, self.candidates.width, self.k)
        return self.meter.of("exact").per_unit * whole / here

    def _build(self, parameters: IndexParameters) -> tuple[Thinned, float]:
        """An index of the candidates that are there, and what that of all costs to build."""
        width, there = self.candidates.width, len(self.candidates)
        leaves = min(parameters.leaves, max(1, there // 8))
        while leaves > 8 and build_cost(there, width, replace(parameters, leaves=leaves)) > _BUILD:
            leaves //= 2
        own = replace(parameters, leaves=leaves)
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            files = Path(folder, "index")
            with self.meter("build", build_cost(there, width, own)):
                listed = build_index(self.candidates, own, files)
            searcher = load_index(files, listed)
        thinned = Thinned(self.candidates, searcher, max(there, self.ask.candidates), parameters)
        return thinned, self.meter.of("build").per_unit * build_cost(self.ask.candidates, width, parameters)

    def _tuned(self, thinned: Thinned) -> _Setting:
        places = self._some(_TUNED)
        own = None if self.own is None else self.own[places]
        recall = self.ask.job.settings.min_recall
        tuned = ThinnedTuner(thinned, self.queries[places], own, self.k, recall, self.ask.kind).tune()
        trials = sorted(tuned.curve, key=lambda trial: trial.cost)
        typical = tuned.search or trials[len(trials) // 2].search
        return _Setting(tuned.search, typical, tuned.cost, sum(trial.cost for trial in trials), tuned.reason)

    def _hoped(self, parameters: IndexParameters) -> _Setting:
        """Without vectors to tune on: what the night itself reckons with before it has an index."""
        search = hoped_search(parameters, self.k)
        cost = index_cost(self.ask.candidates, self.candidates.width, parameters, search, survivors(self.k))
        return _Setting(search, search, cost, TRIALS * cost, "there are no vectors yet to tune the index on")

    def _timed(self, thinned: Thinned, search: SearchParameters) -> float:
        """Processor seconds of a unit of the counted cost of a query of the index, at about the work it will do."""
        here, places = as_much_work(thinned, search), self._some(_TIMED)
        cost = index_cost(
            len(self.candidates), self.candidates.width, thinned.searcher.parameters, here, survivors(self.k)
        )
        self._find(places[:256], searcher=thinned.searcher, parameters=here)
        with self.meter("index", cost * len(places)):
            self._find(places, searcher=thinned.searcher, parameters=here)
        return self.meter.of("index").per_unit

    def _written(self) -> tuple[float, float, float, float]:
        """Of a row: processor seconds of writing it, bytes, seconds of auditing it; seconds of a candidate there.

        On all cores at a time, as in a night: two threads of one core take longer than one alone.
        """
        step = queries_per_row_group(self.k)
        places = np.arange(min(step, _WRITTEN, len(self.queries)))
        found, layout = self._find(places), top_k_layout(self.ask.job.name)
        ids, copies = self.query_ids.take(pa.array(places)), len(os.sched_getaffinity(0))
        folder, parts = Path(tempfile.mkdtemp(dir=self.scratch)), dict[int, Part]()

        def write(number: int) -> None:
            uri = str(folder / f"{number}.parquet")
            parts[number] = make_part(uri, "plan", "", layout, lambda _: [top_k_rows(layout, ids, self.ids, found)])

        def audit(number: int) -> None:
            nothing, wanted = Exclusions.none(len(ids)), found.counts.astype(np.int64)
            read_back(parts[number], TopKAudit(self.ask.job.name, ids, self.ids, nothing, wanted))

        rows = copies * float(found.counts.sum())
        for name, work in (("write", write), ("audit", audit)):
            with self.meter(name, rows):
                for_each(work, range(copies))
        with self.meter("look up", copies * len(self.ids)):
            for_each(lambda _: pc.index_in(self.ids[:1], value_set=self.ids), range(copies))
        looked_up, audited = self.meter.of("look up"), self.meter.of("audit")
        per_row = max(0.0, audited.cpu - looked_up.cpu) / max(1.0, rows)
        return self.meter.of("write").per_unit, self._row_bytes(parts[0].uri), per_row, looked_up.per_unit

    def _row_bytes(self, uri: str) -> float:
        """Of a row of the whole table: what a row group of more queries among more candidates comes to."""
        metadata = pq.read_metadata(uri)
        group, rows = metadata.row_group(0), max(1, metadata.num_rows)
        sizes = {
            name: group.column(place).total_compressed_size
            for place, name in enumerate(metadata.schema.to_arrow_schema().names)
        }
        candidate = metadata.schema.to_arrow_schema().names[2]
        there = pq.read_table(uri, columns=[candidate]).column(0).unique()
        other = (sum(sizes.values()) - sizes[candidate]) / rows
        group_rows = min(self.ask.queries, queries_per_row_group(self.k)) * self.k
        names = _different(self.ask.candidates, group_rows)
        bits = max(1.0, np.log2(max(2.0, names)))
        per_name = self._name_bytes(there)
        return other + bits / 8 + names * per_name / max(1, group_rows)

    def _name_bytes(self, names: pa.ChunkedArray) -> float:
        """Of an id in the dictionary of a row group, compressed."""
        path = Path(self.scratch, "names.parquet")
        pq.write_table(pa.table({"id": names.cast(pa.string())}), path, compression="zstd", use_dictionary=False)
        return path.stat().st_size / max(1, len(names))


def _different(candidates: int, rows: int) -> float:
    """How many candidates occur among so many rows, if popular ones are as others: n (1 - exp(-rows / n))."""
    return candidates * -float(np.expm1(-rows / max(1, candidates)))


def _index_bytes(thinned: Thinned) -> float:
    """Of the files of the whole index: what a candidate takes, and the centres of the leaves."""
    width, here = thinned.candidates.width, thinned.searcher
    centres = 4 * width
    per_candidate = max(0.0, here.nbytes - centres * here.parameters.leaves) / len(thinned.candidates)
    return per_candidate * thinned.total + centres * thinned.parameters.leaves
