"""Retrieval metrics from the ranks of held-out targets, vectorised. A rank counts the better candidates: 0 is best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def target_ranks(
    scores: NDArray[np.float32],
    rows: NDArray[np.integer],
    targets: NDArray[np.integer],
    excluded_rows: NDArray[np.integer] | None = None,
    excluded: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Rank [num_targets] of every target among the candidates of its query.

    Args:
        scores: [num_queries, num_candidates], larger is better; not changed.
        rows: [num_targets], the query of each target.
        targets: [num_targets], the candidate.
        excluded_rows: [m], with ``excluded`` [m]: candidates of a query that do not compete (its seen items). A target
            must not be among them.

    Equal scores are ranked by candidate number, so a model that says nothing does not look good.
    """
    if excluded_rows is not None and excluded is not None and len(excluded):
        scores = scores.copy()
        scores[excluded_rows, excluded] = -np.inf
    ranks = np.empty(len(targets), np.int64)
    block = max(1, (1 << 24) // max(1, scores.shape[1]))  # 16M scores at a time: 64 MB
    for start in range(0, len(targets), block):
        part = slice(start, start + block)
        row, target = rows[part], targets[part]
        of_target = scores[row, target][:, None]
        of_all = scores[row]
        better = (of_all > of_target).sum(axis=1)
        tied_before = ((of_all == of_target) & (np.arange(scores.shape[1]) < target[:, None])).sum(axis=1)
        ranks[part] = better + tied_before
    return ranks


def recall_at_k(ranks: NDArray[np.int64], k: int) -> float:
    """Share of the held-out targets that are among the best ``k``: hits / all targets (not / min(k, targets))."""
    return float(np.mean(ranks < k)) if len(ranks) else float("nan")


def ndcg_at_k(ranks: NDArray[np.int64], queries: NDArray[np.integer], k: int) -> float:
    """Mean over queries of DCG / ideal DCG with binary relevance, both cut at ``k``.

    ``queries`` [num_targets] says whose target each rank is; queries without a target do not count.
    """
    if not len(ranks):
        return float("nan")
    _, query = np.unique(queries, return_inverse=True)
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    gains = np.where(ranks < k, discount[np.minimum(ranks, k - 1)], 0.0)
    ideal = np.cumsum(discount)[np.minimum(np.bincount(query), k) - 1]
    return float(np.mean(np.bincount(query, weights=gains) / ideal))
