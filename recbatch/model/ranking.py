"""Held-out targets among all candidates: which queries are asked for, the targets' ranks, and the figures from these.

The held-out events of a fit and the questions of the model gate are ranked by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from recbatch.metrics import ndcg_at_k, recall_at_k, target_ranks

NDCG, RECALL_10, RECALL_100 = "heldout_ndcg_at_10", "heldout_recall_at_10", "heldout_recall_at_100"
MOST_QUERIES = 10_000  # sampled above: the standard error of a mean over queries is below .005 then
_BLOCK, _SCORES = 1024, 1 << 24  # at a time: queries, and scores (64 MB)
_MISSED = np.iinfo(np.int64).max

Scores = Callable[[slice], NDArray[np.float32]]
"""Queries of a slice -> scores [q, num_candidates]; -inf for what cannot be recommended."""
Excluded = Callable[[slice], tuple[NDArray[np.integer], NDArray[np.integer]]]
"""Queries of a slice -> (row in the slice, candidate) of what does not compete; none of the queries' targets."""


def sample_queries(count: int) -> NDArray[np.int64]:
    """Which of ``count`` queries are asked for, rising: all, or always the same random ``MOST_QUERIES`` of them."""
    if count <= MOST_QUERIES:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MOST_QUERIES, replace=False))


def query_slices(num_queries: int, num_candidates: int) -> Iterator[slice]:
    """All queries, so many at a time that their scores of all candidates stay small."""
    block = max(1, min(_BLOCK, _SCORES // max(1, num_candidates)))
    for start in range(0, num_queries, block):
        yield slice(start, min(start + block, num_queries))


def heldout_ranks(
    scores: Scores,
    shape: tuple[int, int],
    query_of: NDArray[np.integer],
    targets: NDArray[np.integer],
    excluded: Excluded,
) -> NDArray[np.int64]:
    """Ranks [t] of all targets, 0 is best; a missed target has the largest int64.

    Args:
        scores: of the queries of a slice.
        shape: (number of queries, number of candidates).
        query_of: [t] the query of each target.
        targets: [t] its candidate; negative: it can only be missed.
        excluded: what does not compete.
    """
    num_queries, num_candidates = shape
    ranks = np.full(len(targets), _MISSED)
    for part in query_slices(num_queries, num_candidates):
        mine = np.flatnonzero((query_of >= part.start) & (query_of < part.stop) & (targets >= 0))
        if len(mine):
            ranks[mine] = target_ranks(scores(part), query_of[mine] - part.start, targets[mine], *excluded(part))
    return ranks


def heldout_metrics(ranks: NDArray[np.int64], query_of: NDArray[np.integer]) -> dict[str, float]:
    """Recall@10 and recall@100 (over targets [t]) and NDCG@10 (mean over queries)."""
    return {
        RECALL_10: recall_at_k(ranks, 10),
        RECALL_100: recall_at_k(ranks, 100),
        NDCG: ndcg_at_k(ranks, query_of, 10),
    }
