"""Auditing what was stored: every part is read back and held against what its table promises."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recbatch import storage
from recbatch.neighbours import (
    Exclusions,
    Neighbours,
    Recall,
    Scores,
    find_neighbours,
    mean_recall,
    query_recalls,
    score,
)
from recbatch.night import EmbeddingSet, Night, Ranges, TableJob
from recbatch.run import Part, existing_part
from recbatch.tables.audit import TopKAudit, VectorsAudit
from recbatch.tables.stored import StoredFile
from recbatch.work.candidates import TableCandidates, load_candidates, rows_per_query
from recbatch.work.embedding import Vectors, embedding_item
from recbatch.work.items import PartAudit, RangePart, ShardAudit, ShardPart
from recbatch.work.search import range_queries

SAMPLED_QUERIES = 2_000
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
        problems, changed = read_back(embedded.part, VectorsAudit(self.vectors.schema))
        return PartAudit(
            self.vectors.name,
            embedded.number,
            embedded.part,
            queries=embedded.part.rows,
            problems=(*problems, *changed),
            seconds={"audit": time.monotonic() - started},
        )


@dataclass(frozen=True)
class AuditShard:
    """Audits what one range of queries found in one shard, and finds for some of them what exact search finds there."""

    job: TableJob

    def __call__(self, night: Night, searched: ShardPart, candidate_parts: Sequence[RangePart]) -> ShardAudit:
        """What was found."""
        started = time.monotonic()
        job, index, number = self.job, searched.index, searched.number
        loaded: list[str] = []
        candidates = load_candidates(night, job, index, candidate_parts, loaded)
        queries = range_queries(night, job, queries_part(night, job, number), index.shard, candidates.ids)
        wanted = np.minimum(job.settings.k, len(candidates.ids) - queries.excluded.counts)
        audit = TopKAudit(job.name, queries.ids, candidates.ids, queries.excluded, wanted)
        problems, changed = read_back(searched.part, audit)
        stored = audit.found
        result = ShardAudit(index.shard, number, searched.part, queries=int((stored.counts > 0).sum()))
        if not problems:
            chosen = sampled(night, job, len(queries.ids))
            k = rows_per_query(job, candidate_parts)
            sample = _Sample(queries.vectors[chosen], queries.excluded.take(chosen), stored.take(chosen, k), candidates)
            problems += sample.wrong_scores()
            exact = None if index.record["kind"] == "exact" else sample.exact()
            if not index.shard.alone:
                result = replace(result, found=sample.stored.scores, exact=exact)
            elif exact is not None:
                result = replace(result, recalls=tuple(query_recalls(sample.stored.scores, exact).tolist()))
        seconds = {"search": searched.part.seconds, "audit": time.monotonic() - started}
        return replace(result, problems=(*problems, *changed), seconds=seconds, loaded=tuple(loaded))


def audited_recall(job: TableJob, audits: Sequence[PartAudit]) -> Recall:
    """The recall of a table's index, from the samples of all its parts."""
    by_range = {audit.number: audit.recalls for audit in audits}
    recalls = np.array([recall for _, found in sorted(by_range.items()) for recall in found])
    return mean_recall(recalls, job.settings.k)


def sampled(night: Night, job: TableJob, queries: int) -> npt.NDArray[np.int64]:
    """Which of a range's queries are looked at more closely; the same ones for all shards."""
    parts = Ranges.load(night.ranges_uri).count(job.queries.entity)
    wanted = min(queries, -(-SAMPLED_QUERIES // parts))
    # Centres of equal stretches, so that a sample of tuning queries, which begins at the first, is another one.
    return ((np.arange(wanted) + 0.5) * queries / max(wanted, 1)).astype(np.int64)


@dataclass(frozen=True)
class _Sample:
    """Some queries of a part, and the neighbours that were stored for them."""

    vectors: Vectors
    excluded: Exclusions
    stored: Neighbours
    candidates: TableCandidates

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


def read_back(part: Part, audit: Callable[[StoredFile], list[str]]) -> tuple[list[str], list[str]]:
    """What ``audit`` finds wrong with what is in storage, or why it cannot be asked; and if the part was changed."""
    data = storage.read_bytes(part.uri)
    same = hashlib.sha256(data).hexdigest() == part.sha256
    try:
        stored = StoredFile.of(data, verify=not same)
        if stored.rows != part.rows:
            return [f"{stored.rows} rows were read back where {part.rows} were written"], []
        problems = audit(stored)
    except (OSError, pa.ArrowException) as error:
        return [f"cannot be read back: {error}"], []
    return problems, [] if same else ["was changed after it was written: its sha256 is another one"]


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
