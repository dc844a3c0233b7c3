"""Auditing what was stored: every part is read back and held against what its table promises."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import storage
from recbatch.index import recall_lower_bound
from recbatch.neighbours import measure_recall, ordinals_of, score
from recbatch.night import EmbeddingSet, Night, Ranges, TableJob
from recbatch.run import existing_part
from recbatch.tables.audit import audit_top_k, audit_vectors, read_stored
from recbatch.work.candidates import Loaded, TableCandidates, load_candidates
from recbatch.work.embedding import embedding_item
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
        data = storage.read_bytes(embedded.part.uri)
        rows = read_stored(data)
        return PartAudit(
            self.vectors.name,
            embedded.number,
            embedded.part,
            sha256=hashlib.sha256(data).hexdigest(),
            queries=rows.num_rows,
            problems=(*_count_problem(embedded, rows), *audit_vectors(rows, self.vectors.schema)),
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
        data = storage.read_bytes(searched.part.uri)
        rows = read_stored(data)
        candidates = load_candidates(night, job, index, candidate_parts, self.on_load)
        queries = range_queries(night, job, _queries_part(night, job, searched.number), candidates.ids)
        problems = [
            *_count_problem(searched, rows),
            *audit_top_k(
                rows,
                table=job.name,
                k=job.settings.k,
                queries=queries.ids,
                candidates=candidates.ids,
                offsets=queries.excluded.offsets,
                ordinals=queries.excluded.ordinals,
            ),
        ]
        hits = total = 0
        if not problems:
            sample = _Sample.of(night, job, rows, queries, candidates)
            problems += sample.wrong_scores()
            if index.record["kind"] != "exact":
                hits, total = sample.recall(job.settings.k)
        return PartAudit(
            job.name,
            searched.number,
            searched.part,
            sha256=hashlib.sha256(data).hexdigest(),
            queries=pc.count_distinct(rows.column(0)).as_py(),
            problems=tuple(problems),
            recall_hits=hits,
            recall_total=total,
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
        hits, total = (sum(getattr(a, name) for a in audits) for name in ("recall_hits", "recall_total"))
        if total == 0 or recall_lower_bound(hits, total) >= self.job.settings.min_recall:
            return audit
        queries = _queries_part(night, self.job, audit.number)
        searched = Search(self.job, self.on_load, exactly=True)(night, queries, index, candidate_parts)
        again = AuditTable(self.job, self.on_load)(night, searched, index, candidate_parts)
        return replace(again, exact=True)


@dataclass(frozen=True)
class _Sample:
    """Some queries of a part with the neighbours that were stored for them; ordinals are padded with -1."""

    vectors: np.ndarray
    ordinals: np.ndarray
    scores: np.ndarray
    queries: RangeQueries
    rows: np.ndarray
    candidates: TableCandidates

    @classmethod
    def of(
        cls, night: Night, job: TableJob, rows: pa.Table, queries: RangeQueries, candidates: TableCandidates
    ) -> _Sample:
        parts = Ranges.load(night.ranges_uri).count(job.queries.entity)
        wanted = min(len(queries.ids), -(-_SAMPLED_QUERIES // parts))
        chosen = np.unique(np.linspace(0, max(len(queries.ids) - 1, 0), wanted).astype(np.int64))
        places = pc.index_in(rows.column(0), value_set=queries.ids.take(pa.array(chosen))).combine_chunks()
        stored = rows.filter(places.is_valid())
        place = places.drop_null().to_numpy().astype(np.int64)
        ordinals = np.full((len(chosen), job.settings.k), -1, np.int32)
        scores = np.full(ordinals.shape, np.nan, np.float32)
        rank = stored.column(1).to_numpy() - 1
        ordinals[place, rank] = ordinals_of(stored.column(2), candidates.ids)
        scores[place, rank] = stored.column(3).to_numpy()
        vectors = candidates.prepared.prepare_queries(queries.vectors[chosen])
        return cls(vectors, ordinals, scores, queries, chosen, candidates)

    def wrong_scores(self) -> Iterator[str]:
        """Stored scores that are not those of the published vectors."""
        again = score(self.vectors, self.candidates.prepared, self.ordinals)
        with np.errstate(invalid="ignore"):
            wrong = np.abs(again - self.scores) > _MOST_DIFFERENCE * np.maximum(1, np.abs(again))
        wrong &= self.ordinals >= 0
        if wrong.any():
            yield f"{int(wrong.sum())} scores of sampled queries are not those of the published vectors"

    def recall(self, k: int) -> tuple[int, int]:
        """Neighbours that were found, of those that exact search finds."""
        return measure_recall(
            self.vectors, self.candidates.prepared, k, self.queries.excluded.take(self.rows), self.ordinals
        )


def _count_problem(item: RangePart, rows: pa.Table) -> Iterator[str]:
    if rows.num_rows != item.part.rows:
        yield f"{rows.num_rows} rows were read back where {item.part.rows} were written"


def _queries_part(night: Night, job: TableJob, number: int) -> RangePart:
    uri = night.embedding_uri(job.queries, number)
    part = existing_part(uri, embedding_item(job.queries, number), night.run)
    if part is None:
        raise FileNotFoundError(f"{uri} was removed during the run; run the night again")
    return RangePart(job.queries.name, number, part)
