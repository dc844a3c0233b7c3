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
    Scores,
    find_neighbours,
    mean_recall,
    ordinals_of,
    query_recalls,
    score,
)
from recbatch.night import EmbeddingSet, Night, Ranges, TableJob
from recbatch.run import Part, existing_part
from recbatch.tables.audit import audit_top_k, audit_vectors, read_stored
from recbatch.work.candidates import Loaded, TableCandidates, load_candidates, rows_per_query
from recbatch.work.embedding import Vectors, embedding_item
from recbatch.work.items import PartAudit, RangePart, ShardAudit, ShardPart
from recbatch.work.search import RangeQueries, range_queries

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
        rows, problems, changed = read_back(embedded.part)
        if not problems:
            problems += audit_vectors(rows, self.vectors.schema)
        return PartAudit(
            self.vectors.name,
            embedded.number,
            embedded.part,
            queries=rows.num_rows,
            problems=(*problems, *changed),
            seconds={"audit": time.monotonic() - started},
        )


@dataclass(frozen=True)
class AuditShard:
    """Audits what one range of queries found in one shard, and finds for some of them what exact search finds there."""

    job: TableJob
    on_load: Loaded

    def __call__(self, night: Night, searched: ShardPart, candidate_parts: Sequence[RangePart]) -> ShardAudit:
        """What was found."""
        started = time.monotonic()
        job, index, number = self.job, searched.index, searched.number
        rows, problems, changed = read_back(searched.part)
        candidates = load_candidates(night, job, index, candidate_parts, self.on_load)
        queries = range_queries(night, job, queries_part(night, job, number), candidates.ids)
        if not problems:
            problems += audit_top_k(
                rows,
                table=job.name,
                queries=queries.ids,
                candidates=candidates.ids,
                offsets=queries.excluded.offsets,
                ordinals=queries.excluded.ordinals,
                wanted=np.minimum(job.settings.k, len(candidates.ids) - queries.excluded.counts),
            )
        result = ShardAudit(index.shard, number, searched.part, queries=pc.count_distinct(rows.column(0)).as_py())
        if not problems:
            sample = _Sample.of(night, job, rows, queries, candidates, rows_per_query(job, candidate_parts))
            problems += sample.wrong_scores()
            exact = None if index.record["kind"] == "exact" else sample.exact()
            if not index.shard.alone:
                result = replace(result, found=sample.stored.scores, exact=exact)
            elif exact is not None:
                result = replace(result, recalls=tuple(query_recalls(sample.stored.scores, exact).tolist()))
        seconds = {"search": searched.part.seconds, "audit": time.monotonic() - started}
        return replace(result, problems=(*problems, *changed), seconds=seconds)


def audited_recall(job: TableJob, audits: Sequence[PartAudit]) -> Recall:
    """The recall of a table's index, from the samples of all its parts."""
    by_range = {audit.number: audit.recalls for audit in audits}
    recalls = np.array([recall for _, found in sorted(by_range.items()) for recall in found])
    return mean_recall(recalls, job.settings.k)


def sampled(night: Night, job: TableJob, queries: int) -> npt.NDArray[np.int64]:
    """Which of a range's queries are looked at more closely; the same ones for all shards."""
    parts = Ranges.load(night.ranges_uri).count(job.queries.entity)
    wanted = min(queries, -(-_SAMPLED_QUERIES // parts))
    # Centres of equal stretches, so that a sample of tuning queries, which begins at the first, is another one.
    return ((np.arange(wanted) + 0.5) * queries / max(wanted, 1)).astype(np.int64)


def stored_rows(rows: pa.Table, queries: pa.Array, candidates: pa.Array, k: int) -> Neighbours:
    """The stored neighbours of some of a part's queries; ordinals are positions in ``candidates``."""
    places = pc.index_in(rows.column(0), value_set=queries).combine_chunks()
    asked = rows.filter(places.is_valid())
    at = places.drop_null().to_numpy().astype(np.int64), asked.column(1).to_numpy() - 1
    stored = Neighbours.empty(len(queries), k)
    stored.ordinals[at] = ordinals_of(asked.column(2), candidates)
    stored.scores[at] = asked.column(3).to_numpy()
    stored.counts[:] = np.bincount(at[0], minlength=len(queries))
    return stored


@dataclass(frozen=True)
class _Sample:
    """Some queries of a part, and the neighbours that were stored for them."""

    vectors: Vectors
    excluded: Exclusions
    stored: Neighbours
    candidates: TableCandidates

    @classmethod
    def of(
        cls, night: Night, job: TableJob, rows: pa.Table, queries: RangeQueries, candidates: TableCandidates, k: int
    ) -> _Sample:
        chosen = sampled(night, job, len(queries.ids))
        stored = stored_rows(rows, queries.ids.take(pa.array(chosen)), candidates.ids, k)
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

    def exact(self) -> Scores:
        """Scores of what exact search finds."""
        k = self.stored.ordinals.shape[1]
        return find_neighbours(self.vectors, self.candidates.prepared, k, excluded=self.excluded).scores


def read_back(part: Part) -> tuple[pa.Table, list[str], list[str]]:
    """The rows of a stored part, why they cannot be audited (then perhaps one empty column), and if it was changed."""
    data = storage.read_bytes(part.uri)
    try:
        rows = read_stored(data)
    except (OSError, pa.ArrowException) as error:
        return pa.table({"": pa.array([], pa.string())}), [f"cannot be read back: {error}"], []
    if rows.num_rows != part.rows:
        return rows, [f"{rows.num_rows} rows were read back where {part.rows} were written"], []
    same = hashlib.sha256(data).hexdigest() == part.sha256
    return rows, [], [] if same else ["was changed after it was written: its sha256 is another one"]


def queries_part(night: Night, job: TableJob, number: int) -> RangePart:
    """The embedding part of one range of a table's queries.

    Raises:
        FileNotFoundError: it is not there any more.
    """
    uri = night.embedding_uri(job.queries, number)
    part = existing_part(uri, embedding_item(job.queries, number), night.run)
    if part is None:
        raise FileNotFoundError(f"{uri} was removed during the run; run the night again")
    return RangePart(job.queries.name, number, part)
