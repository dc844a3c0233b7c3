"""From what a range of queries found in every shard to its part of the table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recbatch.neighbours import Exclusions, Scores, best_scores, places_of, query_recalls
from recbatch.night import Night, TableJob
from recbatch.run import Part, make_part, read_part
from recbatch.schemas import arrow_schema
from recbatch.tables.audit import TopKAudit
from recbatch.tables.merge import merge_rows
from recbatch.tables.rows import top_k_layout
from recbatch.work.auditing import audited_recall, queries_part, read_back, sampled
from recbatch.work.candidates import similarity_of, valid_rows
from recbatch.work.embedding import read_vectors
from recbatch.work.items import PartAudit, ShardAudit


@dataclass(frozen=True)
class Merge:
    """Makes a range's part of a table from the best of every shard, and audits it; one shard's part is the table's."""

    job: TableJob
    exactly: bool = False

    def __call__(self, night: Night, element: tuple[int, Iterable[ShardAudit]]) -> PartAudit:
        """The audit of the table's part."""
        number, audits = element
        shards = [audit for _, audit in sorted({audit.shard.number: audit for audit in audits}.items())]
        seconds = Counter[str]()
        for audit in shards:
            seconds.update(audit.seconds)
        result = PartAudit(self.job.name, number, shards[0].part, shards[0].queries, seconds=seconds)
        if [audit.shard.number for audit in shards] != list(range(shards[0].shard.count)):
            return replace(result, problems=(f"{len(shards)} of {shards[0].shard.count} shards were searched",))
        bad = [audit for audit in shards if audit.problems]
        if bad:
            others = [f"{audit.part.uri}: {problem}" for audit in bad[1:] for problem in audit.problems]
            return replace(result, part=bad[0].part, problems=(*bad[0].problems, *others), exact=self.exactly)
        result = replace(result, exact=self.exactly)
        if shards[0].shard.alone:
            return replace(result, recalls=shards[0].recalls)
        return self._merged(night, result, shards)

    def _merged(self, night: Night, result: PartAudit, shards: Sequence[ShardAudit]) -> PartAudit:
        job, number = self.job, result.number
        layout, parts = top_k_layout(job.name), [audit.part.uri for audit in shards]
        vectors = read_vectors([queries_part(night, job, number)])
        ids, _, invalid = valid_rows(*vectors, *similarity_of(night, job))
        found = [audit.found for audit in shards if audit.found is not None]
        k = found[0].shape[1]

        def make(counts: dict[str, int]) -> Iterator[pa.Table]:
            counts.update(invalid, nothing_eligible=0)
            for rows, neighbours in merge_rows(layout, ids, parts, k):
                counts["nothing_eligible"] += int((neighbours.counts == 0).sum())
                yield rows

        item = f"merge {job.name}{' exactly' if self.exactly else ''} {number:05d}"
        part = make_part(night.table_uri(job, number, exactly=self.exactly), item, night.run, layout, make)
        started = time.monotonic()
        problems, queries = self._audit(night, part, ids, parts, best_scores(found, k))
        seconds = Counter(result.seconds)
        seconds.update({"search": part.seconds, "audit": time.monotonic() - started})
        return replace(
            result,
            part=part,
            queries=queries,
            problems=tuple(problems),
            recalls=_recalls(shards, k),
            merged=tuple(audit.part for audit in shards),
            seconds=seconds,
        )

    def _audit(
        self, night: Night, part: Part, ids: pa.Array, parts: Sequence[str], best: Scores
    ) -> tuple[list[str], int]:
        """(what is wrong with a merged part, its queries); the shards' parts were audited before.

        ``best`` are the scores that sampled queries must have.
        """
        given, candidates = _shard_rows(self.job.name, part.uri, parts, ids)
        nothing = Exclusions.none(len(ids))  # what is excluded is in no shard's part
        audit = TopKAudit(self.job.name, ids, candidates, nothing, np.minimum(self.job.settings.k, given))
        problems, changed = read_back(part, audit)
        if not problems:
            chosen = sampled(night, self.job, len(ids))
            if not np.array_equal(audit.found.take(chosen, best.shape[1]).scores, best, equal_nan=True):
                problems.append("the rows of sampled queries are not the best of what they found in the shards")
        return [*problems, *changed], int((audit.found.counts > 0).sum())


def found_enough(job: TableJob, audits: Sequence[PartAudit]) -> bool:
    """Whether the index of a table found what it must; all audits of its parts tell."""
    return audited_recall(job, audits).lower >= job.settings.min_recall


def _recalls(shards: Sequence[ShardAudit], k: int) -> tuple[float, ...]:
    """Of the sampled queries over all shards; none if all of them were searched exactly."""
    if all(audit.exact is None for audit in shards):
        return ()
    found = [audit.found for audit in shards if audit.found is not None]
    exact = [scores for audit in shards if (scores := audit.found if audit.exact is None else audit.exact) is not None]
    return tuple(query_recalls(best_scores(found, k), best_scores(exact, k)).tolist())


def _shard_rows(
    table: str, merged: str, parts: Sequence[str], queries: pa.Array
) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """(rows of each query in all shards together, those of the ``merged`` part's candidates that are there, in order).

    The others' ids would take more memory with every shard.
    """
    query, _, candidate, *_ = arrow_schema(table).names
    wanted = read_part(merged, [candidate], coded=[candidate]).column(0).unique().cast(pa.string())
    given, candidates = np.zeros(len(queries), np.int64), []
    for uri in parts:
        rows = read_part(uri, [query, candidate], coded=[query, candidate]).unify_dictionaries().combine_chunks()
        if not rows.num_rows:
            continue
        query_codes, candidate_codes = (column.combine_chunks() for column in rows.columns)
        places = places_of(query_codes.dictionary, queries)
        given += np.bincount(places[query_codes.indices.to_numpy()], minlength=len(queries))
        ids = candidate_codes.dictionary
        ids = ids.filter(pc.is_in(ids, value_set=wanted))
        candidates.append(ids.take(pc.array_sort_indices(ids)))
    return given, pa.concat_arrays(candidates) if candidates else pa.array([], pa.string())
