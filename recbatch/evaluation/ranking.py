"""Exact top-k lists out of scores, a block of queries at a time: never a score of everything at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from recbatch.evaluation.task import WIDTH, Lists, Task

_BLOCK_SCORES = 1 << 24  # scores at a time: 64 MB

Scorer = Callable[[slice], NDArray[np.float32]]
"""Scores [rows, c] of a slice of the queries for all candidates; larger is better, NaN and -inf are not ranked."""


def rank_scores(task: Task, scorer: Scorer) -> Lists:
    """The lists of whatever can score all candidates of some queries: seen ones removed, ties by candidate number."""
    block = max(1, _BLOCK_SCORES // max(1, task.num_candidates))
    lists = np.full((task.num_queries, WIDTH), -1, np.int32)
    for start in range(0, task.num_queries, block):
        rows = slice(start, min(start + block, task.num_queries))
        scores = np.array(scorer(rows), np.float32)
        seen = slice(*np.searchsorted(task.seen_query, [rows.start, rows.stop]))
        scores[task.seen_query[seen] - start, task.seen_item[seen]] = -np.inf
        lists[rows] = best_of(scores, WIDTH)
    return lists


def rank_vectors(
    task: Task,
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    ranked: NDArray[np.bool_],
) -> Lists:
    """The lists by dot product.

    Args:
        task: who asks for what.
        queries: [q, dim]; a query whose vector is not finite gets an empty list.
        candidates: [c, dim].
        ranked: [c] candidates that may be in a list.
    """
    ranked = ranked & np.isfinite(candidates).all(axis=1)
    transposed = np.ascontiguousarray(np.where(ranked[:, None], candidates, 0.0).T)

    def scorer(rows: slice) -> NDArray[np.float32]:
        vectors = queries[rows]
        scores = vectors @ transposed
        scores[:, ~ranked] = -np.inf
        scores[~np.isfinite(vectors).all(axis=1)] = -np.inf
        return scores

    return rank_scores(task, scorer)


def best_of(scores: NDArray[np.float32], k: int) -> NDArray[np.int32]:
    """Columns [n, k] of the largest ``scores`` [n, c] of each row, largest first, equal ones by column; -1 where
    fewer than k are above -inf. NaN counts as -inf."""
    count = scores.shape[1]
    scores = np.where(np.isnan(scores), -np.inf, scores)
    if count > k:
        # A partition of the values alone is vectorised, unlike one that also moves the columns' numbers.
        least = np.partition(scores, count - k, axis=1)[:, count - k, None]
        rows, columns = np.nonzero((scores >= least) & (scores > -np.inf))
    else:
        rows, columns = np.nonzero(scores > -np.inf)
    order = np.lexsort((-scores[rows, columns], rows))  # stable, so equal scores stay in order of their columns
    rows, columns = rows[order], columns[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    lists = np.full((len(scores), k), -1, np.int32)
    kept = place < k
    lists[rows[kept], place[kept]] = columns[kept]
    return lists


def rank_order(task: Task, order: NDArray[np.integer]) -> Lists:
    """One order [c] of the candidates for every query, seen ones removed."""
    place_of = np.empty(len(order), np.int64)
    place_of[order] = np.arange(len(order))
    seen_place = place_of[task.seen_item]
    removed = np.bincount(task.seen_query, minlength=task.num_queries)
    lists = np.full((task.num_queries, WIDTH), -1, np.int32)
    block = 4096
    for start in range(0, task.num_queries, block):
        rows = slice(start, min(start + block, task.num_queries))
        seen = slice(*np.searchsorted(task.seen_query, [rows.start, rows.stop]))
        width = min(len(order), WIDTH + int(removed[rows].max(initial=0)))
        allowed = np.ones((rows.stop - start, width), bool)
        near = seen_place[seen] < width
        allowed[task.seen_query[seen][near] - start, seen_place[seen][near]] = False
        row, place = np.nonzero(allowed)
        rank = place - (np.cumsum(~allowed, axis=1)[row, place])
        kept = rank < WIDTH
        lists[start + row[kept], rank[kept]] = order[place[kept]]
    return lists
