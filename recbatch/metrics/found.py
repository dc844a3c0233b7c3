"""Which targets a list holds, and how far up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 16


def places_of_targets(
    lists: NDArray[np.int32], target_query: NDArray[np.integer], target_item: NDArray[np.integer]
) -> NDArray[np.int32]:
    """Place [t] of each target in the list of its query, 0 for the best; the lists' width where it is not in it.

    Args:
        lists: [q, width] candidate numbers, best first, padded with -1.
        target_query: [t] rows of ``lists``.
        target_item: [t] candidate numbers; a negative one (no candidate stands for the target) is in no list.
    """
    width = lists.shape[1]
    places = np.full(len(target_query), width, np.int32)
    for start in range(0, len(places), _BLOCK):
        part = slice(start, start + _BLOCK)
        row, column = np.nonzero(lists[target_query[part]] == target_item[part, None])
        places[start + row[::-1]] = column[::-1]  # of equal indices the last assignment stands: the best place
    places[target_item < 0] = width
    return places


def query_metrics(
    places: NDArray[np.int32],
    target_query: NDArray[np.integer],
    num_queries: int,
    width: int,
    ks: Sequence[int] = (10, 100),
) -> dict[str, NDArray[np.float64]]:
    """Metrics of every query from the places of its distinct targets.

    Returns:
        Name -> [num_queries], NaN where the query has no target. With R the query's targets, hits@k those of them
        among its best k, rel(i) whether place i (from 1) holds one:

        * ``recall@<k>``: hits@k / |R|
        * ``capped_recall@<k>``: hits@k / min(k, |R|), so that 1 can be reached
        * ``ndcg@10``: sum of rel(i) / log2(i + 1) over i <= 10, divided by the same sum of an ideal list, whose
          first min(10, |R|) places hold targets (Järvelin and Kekäläinen, TOIS 2002, with binary gains)
        * ``map@<width>``: mean average precision, sum over the hits of precision at their place, divided by |R|
          (trec_eval's ``map_cut``)
    """
    wanted = np.bincount(target_query, minlength=num_queries).astype(np.float64)
    wanted[wanted == 0] = np.nan
    metrics: dict[str, NDArray[np.float64]] = {}
    for k in ks:
        hits = np.bincount(target_query[places < k], minlength=num_queries)
        metrics[f"recall@{k}"] = hits / wanted
        metrics[f"capped_recall@{k}"] = hits / np.minimum(wanted, k)
    metrics["ndcg@10"] = _ndcg(places, target_query, wanted, 10)
    found = np.flatnonzero(places < width)
    order = found[np.lexsort((places[found], target_query[found]))]
    query = target_query[order]
    first = np.ones(len(query), bool)
    first[1:] = np.diff(query) != 0
    number = np.arange(len(query)) - np.maximum.accumulate(np.where(first, np.arange(len(query)), 0)) + 1
    precision = number / (places[order] + 1.0)
    metrics[f"map@{width}"] = np.bincount(query, weights=precision, minlength=num_queries) / wanted
    return metrics


def _ndcg(
    places: NDArray[np.int32], target_query: NDArray[np.integer], wanted: NDArray[np.float64], k: int
) -> NDArray[np.float64]:
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    near = places < k
    gains = np.bincount(target_query[near], weights=discount[places[near]], minlength=len(wanted))
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])
    return gains / ideal[np.nan_to_num(np.minimum(wanted, k)).astype(np.int64)]
