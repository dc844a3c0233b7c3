"""The neighbours of one range of queries in one shard of the candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from recbatch.index import SearchParameters
from recbatch.neighbours import Exclusions, Neighbours, exclusions_of, find_neighbours, ordinals_of
from recbatch.night import Night, Shard, TableJob
from recbatch.run import make_part, read_part
from recbatch.tables.rows import queries_per_row_group, top_k_layout, top_k_rows
from recbatch.work.candidates import (
    Loaded,
    TableCandidates,
    load_candidates,
    rows_per_query,
    similarity_of,
    valid_rows,
)
from recbatch.work.embedding import Vectors, read_vectors
from recbatch.work.items import IndexRef, RangePart, ShardPart, ShardQueries


@dataclass(frozen=True)
class RangeQueries:
    """The queries of one range that a table can serve.

    Attributes:
        ids: ``[m]``, sorted.
        vectors: ``[m, dim]``, as published.
        excluded: candidates that each query must not get.
        invalid: how many ids are left out because the similarity cannot use their vector.
    """

    ids: pa.Array
    vectors: Vectors
    excluded: Exclusions
    invalid: dict[str, int]


@dataclass(frozen=True)
class Search:
    """Searches one range of a table's queries in one shard of its candidates.

    Attributes:
        job: the table.
        on_load: told when this process loads the index.
        exactly: compare with every candidate, whatever the index is.
    """

    job: TableJob
    on_load: Loaded
    exactly: bool = False

    def __call__(self, night: Night, element: ShardQueries, candidate_parts: Sequence[RangePart]) -> ShardPart:
        """The best of the shard, rows sorted by (query, rank): the table's own part if it is the only one."""
        job, layout, index, queries = self.job, top_k_layout(self.job.name), element.index, element.queries
        k = rows_per_query(job, candidate_parts)

        def make(counts: dict[str, int]) -> Iterator[pa.Table]:
            candidates = load_candidates(night, job, index, candidate_parts, self.on_load)
            wanted = range_queries(night, job, queries, candidates.ids)
            counts.update(wanted.invalid, nothing_eligible=0)
            step = queries_per_row_group(k)
            for first in range(0, len(wanted.ids), step):
                found = self._neighbours(wanted, slice(first, first + step), candidates, index, k)
                counts["nothing_eligible"] += int((found.counts == 0).sum())
                yield top_k_rows(layout, wanted.ids[first : first + step], candidates.ids, found)

        uri = night.shard_part_uri(job, index.shard, queries.number, exactly=self.exactly)
        return ShardPart(
            index, queries.number, make_part(uri, self._item(index.shard, queries.number), night.run, layout, make)
        )

    def _item(self, shard: Shard, number: int) -> str:
        """Name of the work item."""
        names = [self.job.name, *(["exactly"] if self.exactly else [])]
        names += [] if shard.alone else [f"shard {shard.number:05d}"]
        return f"search {' '.join(names)} {number:05d}"

    def _neighbours(
        self, wanted: RangeQueries, rows: slice, candidates: TableCandidates, index: IndexRef, k: int
    ) -> Neighbours:
        searcher = None if self.exactly else candidates.searcher
        vectors = wanted.vectors[rows]
        return find_neighbours(
            vectors,
            candidates.prepared,
            k,
            excluded=wanted.excluded.rows(rows.start, rows.start + len(vectors)),
            searcher=searcher,
            parameters=None if searcher is None else SearchParameters(**index.record["search"]),
        )


def range_queries(night: Night, job: TableJob, queries: RangePart, candidate_ids: pa.Array) -> RangeQueries:
    """The queries of a range with what they must not get."""
    ids, vectors, invalid = valid_rows(*read_vectors([queries]), *similarity_of(night, job))
    excluded = Exclusions.none(len(ids))
    if job.settings.exclude_seen:
        profiles = read_part(night.profile_uri(job.queries.entity, queries.number), ["id", "seen"])
        rows = pc.index_in(ids, value_set=profiles.column("id").combine_chunks())
        excluded = exclusions_of(profiles.column("seen").take(rows), candidate_ids)
    if job.settings.exclude_self:
        excluded = excluded.with_own(ordinals_of(ids, candidate_ids))
    return RangeQueries(ids, vectors, excluded, invalid)
