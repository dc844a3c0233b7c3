"""The neighbours of one range of queries in one shard of the candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recbatch.index import BudgetCache, SearchParameters
from recbatch.neighbours import Exclusions, Neighbours, ahead, exclusions_of, find_neighbours, ordinals_of, places_of
from recbatch.night import Night, Shard, TableJob
from recbatch.run import make_part, read_part
from recbatch.tables.rows import queries_per_row_group, top_k_layout, top_k_rows
from recbatch.work.candidates import (
    TableCandidates,
    load_candidates,
    rows_per_query,
    similarity_of,
    valid_rows,
)
from recbatch.work.embedding import Vectors, read_vectors
from recbatch.work.items import IndexRef, RangePart, ShardPart, ShardQueries

_SEARCHED = 5
"""Row groups that are searched together: the more queries, the more of them look at the same leaves."""
_HELD_BYTES = 128 * 2**20
"""Queries that were searched are kept for their audit, which follows at once."""


@dataclass(frozen=True)
class RangeQueries:
    """The queries of one range that a table can serve.

    Attributes:
        ids: ``[m]``, sorted.
        vectors: ``[m, dim]``, as published.
        excluded: candidates of the shard that each query must not get.
        invalid: how many ids are left out because the similarity cannot use their vector.
    """

    ids: pa.Array
    vectors: Vectors
    excluded: Exclusions
    invalid: dict[str, int]

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        held: int = self.ids.nbytes + self.vectors.nbytes
        return held + self.excluded.offsets.nbytes + self.excluded.ordinals.nbytes


_cache = BudgetCache[RangeQueries](_HELD_BYTES)


@dataclass(frozen=True)
class Search:
    """Searches one range of a table's queries in one shard of its candidates.

    Attributes:
        job: the table.
        exactly: compare with every candidate, whatever the index is.
    """

    job: TableJob
    exactly: bool = False

    def __call__(self, night: Night, element: ShardQueries, candidate_parts: Sequence[RangePart]) -> ShardPart:
        """The best of the shard, rows sorted by (query, rank): the table's own part if it is the only one."""
        job, layout, index, queries = self.job, top_k_layout(self.job.name), element.index, element.queries
        k = rows_per_query(job, candidate_parts)
        loaded: list[str] = []

        def make(counts: dict[str, int]) -> Iterator[pa.Table]:
            candidates = load_candidates(night, job, index, candidate_parts, loaded)
            wanted = range_queries(night, job, queries, index.shard, candidates.ids)
            counts.update(wanted.invalid, nothing_eligible=0)
            step = queries_per_row_group(k)
            blocks = [slice(first, first + _SEARCHED * step) for first in range(0, len(wanted.ids), _SEARCHED * step)]
            # While one block is written, on one core, the next is searched.
            searched = ahead(self._neighbours(wanted, rows, candidates, index, k) for rows in blocks)
            for rows, found in zip(blocks, searched, strict=True):
                counts["nothing_eligible"] += int((found.counts == 0).sum())
                ids = wanted.ids[rows]
                for first in range(0, len(ids), step):
                    group = slice(first, first + step)
                    yield top_k_rows(layout, ids[group], candidates.ids, found[group])

        uri = night.shard_part_uri(job, index.shard, queries.number, exactly=self.exactly)
        part = make_part(uri, self._item(index.shard, queries.number), night.run, layout, make)
        return ShardPart(index, queries.number, part, tuple(loaded))

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


def range_queries(
    night: Night, job: TableJob, queries: RangePart, shard: Shard, candidate_ids: pa.Array
) -> RangeQueries:
    """The queries of a range with what they must not get in a shard; read once for a search and its audit."""

    def load() -> RangeQueries:
        return read_queries(night, job, queries, candidate_ids)

    return _cache.get(f"{night.uri} {job.name} {queries.number} {shard}", load, expected=queries.part.rows * 256)


def read_queries(
    night: Night,
    job: TableJob,
    queries: RangePart,
    candidate_ids: pa.Array,
    chosen: Callable[[int], npt.NDArray[np.int64]] | None = None,
) -> RangeQueries:
    """The queries of a range with what they must not get of ``candidate_ids``.

    Args:
        night: its vectors and profiles are there.
        job: the table.
        queries: the range's vectors.
        candidate_ids: ids of all candidates in order.
        chosen: which of so many queries, ascending; None: all.
    """
    ids, vectors, invalid = valid_rows(*read_vectors([queries]), *similarity_of(night, job))
    if chosen is not None:
        places = chosen(len(ids))
        ids, vectors = ids.take(pa.array(places)), vectors[places]
    excluded = Exclusions.none(len(ids))
    if job.settings.exclude_seen:
        profiles = read_part(night.profile_uri(job.queries.entity, queries.number), ["id", "seen"])
        rows = places_of(ids, profiles.column("id").combine_chunks())
        excluded = exclusions_of(profiles.column("seen").take(pa.array(rows)), candidate_ids)
    if job.settings.exclude_self:
        excluded = excluded.with_own(ordinals_of(ids, candidate_ids))
    return RangeQueries(ids, vectors, excluded, invalid)
