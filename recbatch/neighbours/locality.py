"""Queries in an order in which those that follow each other look at the same leaves of an index.

What a query finds does not depend on the order, but a tile of queries that look at the same leaves finds them, and the
vectors of their candidates, in the core's cache.
"""

from __future__ import annotations

import numpy as np

from recbatch.index import Candidates
from recbatch.index.vectors import FloatMatrix
from recbatch.neighbours.exclusions import Positions
from recbatch.neighbours.threads import for_each

_QUERIES = 2_048
"""Queries compared with the pivots at a time."""


def by_nearness(queries: FloatMatrix, candidates: Candidates, threads: int | None = None) -> Positions:
    """An order of prepared queries [m, width]: by the pivot nearest to each, pivots by nearness; int64 [m].

    Args:
        queries: prepared.
        candidates: whose :attr:`recbatch.index.Candidates.pivots` the queries are compared with.
        threads: None for one per core.
    """
    nearest = np.zeros(len(queries), np.int32)

    def compare(first: int) -> None:
        rows = slice(first, first + _QUERIES)
        nearest[rows] = (queries[rows] @ candidates.pivots.T).argmax(axis=1)

    if len(candidates.pivots):
        for_each(compare, range(0, len(queries), _QUERIES), threads)
    return np.argsort(nearest, kind="stable")
