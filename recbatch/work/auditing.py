"""Auditing what was stored: every part is read back and held against what its table promises."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import storage
from recbatch.neighbours import (
    Exclusions,
    Neighbours,
    Recall,
    find_neighbours,
    mean_recall,
    ordinals_of,
    query_recalls,
    score,
)
from recbatch.night import EmbeddingSet, Night, Ranges, TableJob
from recbatch.run import existing_part
from recbatch.tables.audit import audit_top_k, audit_vectors, read_stored
from recbatch.work.candidates import Loaded, TableCandidates, load_candidates
from recbatch.work.embedding import Vectors, embedding_item
from recbatch.work.items import IndexRef, PartAudit, RangePart
from recbatch.work.search import RangeQueries, Search, range_queries

_SAMPLED_QUERIES = 2_000
"""Queries of a table, about, whose neighbours are found again by exact search."""
_MOST_DIFFERENCE = 1e-5
"""Largest difference of a stored score and the one computed again, relative to max(1, |score|)."""


@dataclass(frozen=True)
class AuditVectors:
    """Audits one part of a set of vectors."""

    vectors: EmbeddingSet

    def __call__(self, night: Night, embedded: RangePart) -> PartAudit:
        """What was found."""
        started = time.monotonic()
        rows, problems, changed = _read_back(embedded)
        if not problems:
            problems += audit_vectors(rows, self.vectors.schema)
        return PartAudit(
            self.vectors.name,
            embedded.number,
            embedded.part,
            queries=rows.num_rows,
            problems=(*problems, *changed),
            seconds=time.monotonic() - started,
        )


@dataclass(frozen=True)
class AuditTable:
    """Audits one part of a top-k table, and measures the recall of its index on some of its queries."""

    job: TableJob
    on_load: Loaded

    def __call__(
        self, night: Night, searched: RangePart, index: IndexRef, candidate_parts: Sequence[RangePart]
    ) -> PartAudit:
        """What was found."""
        started = time.monotonic()
        job = self.job
        rows, problems, changed = _read_back(searched)
        candidates = load_candidates(night, job, index, candidate_parts, self.on_load)
        queries = range_queries(night, job, _queries_part(night, job, searched.number), candidates.ids)
        if not problems:
            problems += audit_top_k(
                rows,
                table=job.name,
                k=job.settings.k,
                queries=queries.ids,
                candidates=candidates.ids,
                offsets=queries.excluded.offsets,
                ordinals=queries.excluded.ordinals,
            )
        recalls: tuple[float, ...] = ()
        if not problems:
            sample = _Sample.of(night, job, rows, queries, candidates)
            problems += sample.wrong_scores()
            if index.record["kind"] != "exact":
                recalls = tuple(sample.recalls().tolist())
        return PartAudit(
            job.name,
            searched.number,
            searched.part,
            queries=pc.count_distinct(rows.column(0)).as_py(),
            problems=(*problems, *changed),
            recalls=recalls,
            seconds=time.monotonic() - started,
        )


@dataclass(frozen=True)
class Settle:
    """Lets a table's parts pass if its index found enough; else searches them again, exactly."""

    job: TableJob
    on_load: Loaded

    def __call__(
        self,
        night: Night,
        audit: PartAudit,
        index: IndexRef,
        candidate_parts: Sequence[RangePart],
        audits: Sequence[PartAudit],
    ) -> PartAudit:
        """The audit of the part that counts."""
        if audited_recall(self.job, audits).lower >= self.job.settings.min_recall:
            return audit
        queries = _queries_part(night, self.job, audit.number)
        searched = Search(self.job, self.on_load, exactly=True)(night, queries, index, candidate_parts)
        again = AuditTable(self.job, self.on_load)(night, searched, index, candidate_parts)
        return replace(again, exact=True)


def audited_recall(job: TableJob, audits: Sequence[PartAudit]) -> Recall:
    """The recall of a table's index, from the samples of all its parts."""
    by_range = {audit.number: audit.recalls for audit in audits}
    recalls = np.array([recall for _, found in sorted(by_range.items()) for recall in found])
    return mean_recall(recalls, job.settings.k)


@dataclass(frozen=True)
class _Sample:
    """Some queries of a part, and the neighbours that were stored for them."""

    vectors: Vectors
    excluded: Exclusions
    stored: Neighbours
    candidates: TableCandidates

    @classmethod
    def of(
        cls, night: Night, job: TableJob, rows: pa.Table, queries: RangeQueries, candidates: TableCandidates
    ) -> _Sample:
        parts = Ranges.load(night.ranges_uri).count(job.queries.entity)
        wanted = min(len(queries.ids), -(-_SAMPLED_QUERIES // parts))
        # Centres of equal stretches, so that a sample of tuning queries, which begins at the first, is another one.
        chosen = ((np.arange(wanted) + 0.5) * len(queries.ids) / max(wanted, 1)).astype(np.int64)
        places = pc.index_in(rows.column(0), value_set=queries.ids.take(pa.array(chosen))).combine_chunks()
        sampled = rows.filter(places.is_valid())
        at = places.drop_null().to_numpy().astype(np.int64), sampled.column(1).to_numpy() - 1
        stored = Neighbours.empty(wanted, job.rows_per_query(len(candidates.ids)))
        stored.ordinals[at] = ordinals_of(sampled.column(2), candidates.ids)
        stored.scores[at] = sampled.column(3).to_numpy()
        stored.counts[:] = np.bincount(at[0], minlength=wanted)
        return cls(queries.vectors[chosen], queries.excluded.take(chosen), stored, candidates)

    def wrong_scores(self) -> Iterator[str]:
        """Stored scores that are not those of the published vectors."""
        prepared = self.candidates.prepared
        again = score(prepared.prepare_queries(self.vectors), prepared, self.stored.ordinals)
        given = self.stored.ordinals >= 0
        allowed = _MOST_DIFFERENCE * np.maximum(1, np.abs(again[given]))
        wrong = int((np.abs(again[given] - self.stored.scores[given]) > allowed).sum())
        if wrong:
            yield f"{wrong} scores of sampled queries are not those of the published vectors"

    def recalls(self) -> npt.NDArray[np.float64]:
        """The recall of each query against exact search."""
        k = self.stored.ordinals.shape[1]
        exact = find_neighbours(self.vectors, self.candidates.prepared, k, excluded=self.excluded)
        return query_recalls(self.stored, exact)


def _read_back(item: RangePart) -> tuple[pa.Table, list[str], list[str]]:
    """The rows of a stored part, why they cannot be audited (then perhaps one empty column), and if it was changed."""
    data = storage.read_bytes(item.part.uri)
    try:
        rows = read_stored(data)
    except (OSError, pa.ArrowException) as error:
        return pa.table({"": pa.array([], pa.string())}), [f"cannot be read back: {error}"], []
    if rows.num_rows != item.part.rows:
        return rows, [f"{rows.num_rows} rows were read back where {item.part.rows} were written"], []
    same = hashlib.sha256(data).hexdigest() == item.part.sha256
    return rows, [], [] if same else ["was changed after it was written: its sha256 is another one"]


def _queries_part(night: Night, job: TableJob, number: int) -> RangePart:
    uri = night.embedding_uri(job.queries, number)
    part = existing_part(uri, embedding_item(job.queries, number), night.run)
    if part is None:
        raise FileNotFoundError(f"{uri} was removed during the run; run the night again")
    return RangePart(job.queries.name, number, part)
