"""The neighbours of a block of queries: through an index where there is one, exactly where it must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recbatch.index import Candidates, Searcher, SearchParameters
from recbatch.index.vectors import FloatMatrix
from recbatch.neighbours.approximate import Bucket, buckets, search_index
from recbatch.neighbours.exact import search_exactly
from recbatch.neighbours.exclusions import Exclusions, Ordinals, Positions
from recbatch.neighbours.locality import by_nearness
from recbatch.neighbours.scores import Neighbours
from recbatch.neighbours.threads import for_each

_QUERIES = 256


def find_neighbours(
    queries: npt.NDArray[np.float32],
    candidates: Candidates,
    k: int,
    *,
    excluded: Exclusions | None = None,
    own: Ordinals | None = None,
    searcher: Searcher | None = None,
    parameters: SearchParameters | None = None,
    threads: int | None = None,
    routes: Counter[str] | None = None,
) -> Neighbours:
    """The k best candidates of every query, none of them excluded: min(k, eligible) rows for each.

    What a query gets depends on that query alone: not on the other queries of the call, nor on threads.

    Args:
        queries: published vectors, float32 [m, dim], all valid under the candidates' similarity.
        candidates: what is searched.
        k: at least 1.
        excluded: candidates that must not be found, per query.
        own: int32 [m], the ordinal of the query among the candidates, excluded as well; -1 where it is none.
        searcher: index of the candidates; None searches exactly.
        parameters: how much of the index to look at; needed with ``searcher``.
        threads: None for one per core that the process may use.
        routes: counts queries by how they were searched: ``index``, ``wider`` (the index again, having found too
            few) and ``exact``. A query may be counted under several.

    Raises:
        RecbatchError: arguments that do not belong together, or a query that is not valid.
    """
    prepared = candidates.prepare_queries(queries)
    excluded = Exclusions.none(len(queries)) if excluded is None else excluded
    excluded.check(len(queries), len(candidates))
    if own is not None:
        excluded = excluded.with_own(own)
        excluded.check(len(queries), len(candidates))
    counted = Counter[str]() if routes is None else routes
    if searcher is None or parameters is None:
        counted["exact"] += len(queries)
        return search_exactly(prepared, candidates, k, excluded, threads)
    searcher.check(candidates)
    return _Search(prepared, candidates, k, excluded, searcher, threads).run(parameters, counted)


class _Search:
    """Queries by the number of their exclusions through the index; those that got too few wider, and then exactly."""

    def __init__(
        self,
        queries: FloatMatrix,
        candidates: Candidates,
        k: int,
        excluded: Exclusions,
        searcher: Searcher,
        threads: int | None,
    ) -> None:
        self.queries, self.candidates, self.k, self.excluded = queries, candidates, k, excluded
        self.searcher, self.threads = searcher, threads
        self.owed = np.minimum(k, len(candidates) - excluded.counts)
        self.found = Neighbours.empty(len(queries), k)

    def run(self, parameters: SearchParameters, routes: Counter[str]) -> Neighbours:
        everyone = by_nearness(self.queries, self.candidates, self.threads)
        routes["index"] += self._through_index(everyone, buckets(self.searcher, self.k, parameters))
        short = self._short()
        short = short[self.found.counts[short] > 0]  # the others were not asked, or looked in quite the wrong place
        routes["wider"] += self._through_index(short, buckets(self.searcher, self.k, parameters.wider()))
        rest = self._short()
        routes["exact"] += len(rest)
        part = search_exactly(self.queries[rest], self.candidates, self.k, self.excluded.take(rest), self.threads)
        self.found.put(rest, part)
        return self.found

    def _short(self) -> Positions:
        return np.flatnonzero(self.found.counts < self.owed)

    def _through_index(self, rows: Positions, steps: Sequence[Bucket]) -> int:
        """Search the ``rows`` that belong to one of the buckets; how many did."""
        at = np.searchsorted([step.excluded for step in steps], self.excluded.counts[rows])
        tiles = [
            (members[first : first + _QUERIES], step)
            for number, step in enumerate(steps)
            for members in [rows[at == number]]
            for first in range(0, len(members), _QUERIES)
        ]

        def search(tile: tuple[Positions, Bucket]) -> None:
            members, step = tile
            excluded = self.excluded.take(members)
            part = search_index(self.queries[members], self.searcher, self.candidates, self.k, excluded, step)
            self.found.put(members, part)

        for_each(search, tiles, self.threads)
        return sum(len(members) for members, _ in tiles)
