"""Search through an index: fetch more than asked, drop what is excluded, score the survivors in the one fixed way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recbatch.index import Candidates, Searcher, SearchParameters
from recbatch.index.vectors import FloatMatrix
from recbatch.neighbours.cost import index_cost
from recbatch.neighbours.exclusions import Exclusions, Ordinals
from recbatch.neighbours.scores import Neighbours, best, score


def survivors(k: int) -> int:
    """Candidates kept until the final scores: k and a margin, since the index's own scores order close ones freely."""
    return k + 8 + k // 25


@dataclass(frozen=True)
class Bucket:
    """Queries with about as many exclusions, and what they ask the index for."""

    excluded: int
    """Largest number of exclusions."""
    count: int
    """Candidates fetched."""
    parameters: SearchParameters
    cost: float
    """Counted cost of one query."""


def buckets(searcher: Searcher, k: int, parameters: SearchParameters) -> list[Bucket]:
    """The buckets, by rising number of exclusions; queries with more than the last one's are searched exactly."""
    limit = parameters.max_excluded
    if limit is None:
        limit = max(4 * k, searcher.candidates // 50)
    return [_bucket(searcher, k, excluded, parameters) for excluded in _steps(limit)]


def search_index(
    queries: FloatMatrix, searcher: Searcher, candidates: Candidates, k: int, excluded: Exclusions, bucket: Bucket
) -> Neighbours:
    """The k best of what the index fetches for each query, less the excluded; maybe fewer than k.

    Args:
        queries: prepared, float32 [m, width]; a few hundred at a time keep ScaNN in the core's cache.
        searcher: the index of ``candidates``.
        candidates: what is searched.
        k: at most so many per query.
        excluded: per query.
        bucket: of these queries.
    """
    found = searcher.search(queries, bucket.count, bucket.parameters)
    if len(excluded.ordinals):
        found = _first(found, ~excluded.contains(found), survivors(k))
    return best(found, score(queries, candidates, found), k)


def _bucket(searcher: Searcher, k: int, excluded: int, parameters: SearchParameters) -> Bucket:
    """Excluded candidates are usually among the best and take up places at every step, so every step is widened.

    In proportion what is reordered and by the root of it the leaves: with the best candidates of every query excluded
    this held the recall of synthetic tables within one percent from none to 1,600 of them.
    """
    share = (k + excluded) / k
    count = min(searcher.candidates, survivors(k) + excluded)
    widened = SearchParameters(
        leaves=min(searcher.parameters.leaves, math.ceil(parameters.leaves * math.sqrt(share))),
        reorder=min(searcher.candidates, max(count, math.ceil(parameters.reorder * share))),
    )
    cost = index_cost(searcher.candidates, searcher.width, searcher.parameters, widened, survivors(k))
    return Bucket(excluded, count, widened, cost)


def _steps(limit: int) -> list[int]:
    """0, 1, 8, 12, 16, 23, 32, ... and the limit."""
    powers = int(2 * math.log2(max(1, limit) / 8)) + 1
    steps = [0, 1, *(math.ceil(8 * 2 ** (power / 2)) for power in range(max(0, powers)))]
    return [*(step for step in steps if step < limit), *([limit] if limit >= 0 else [])]


def _first(ordinals: Ordinals, keep: npt.NDArray[np.bool_], width: int) -> Ordinals:
    """The first ``width`` of those to keep in every row, -1 after the last."""
    place = np.cumsum(keep, axis=1, dtype=np.int32) - 1
    rows, columns = np.nonzero(keep & (place < width))
    result = np.full((len(ordinals), width), -1, np.int32)
    result[rows, place[rows, columns]] = ordinals[rows, columns]
    return result
