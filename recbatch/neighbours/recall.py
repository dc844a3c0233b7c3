"""How much of the exact result an index finds: ``index_recall_at_k``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recbatch.neighbours.scores import Neighbours, Scores

ONE_SIDED_95 = 1.645
"""Standard errors below the mean where the true value lies with 5 % probability."""

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Recall:
    """``index_recall_at_k``, averaged over a sample of queries."""

    mean: float
    lower: float
    """Lower end of the one-sided 95 % interval; what a table is judged by."""
    standard_error: float
    queries: int
    """Queries of the sample that have anything to find."""
    k: int


def query_recalls(found: Scores, exact: Scores) -> npt.NDArray[np.float64]:
    """The share of each query's exact result that was found, for the queries that have anything to find.

    A found candidate is a hit if its score reaches the k-th exact one (the last one, where fewer are eligible) less
    1e-6 * max(1, |score|), so that any of several equal candidates is right.

    Args:
        found: scores of what the index found, float32 [m, k]; NaN where a query got fewer than k.
        exact: scores of what exact search found for the same queries, k and exclusions, best first; [m, k].
    """
    given = (~np.isnan(exact)).sum(axis=1)
    asked = given > 0
    counts = given[asked]
    last = exact[asked, counts - 1].astype(np.float64)
    needed = last - _TOLERANCE * np.maximum(1.0, np.abs(last))
    hits = (found[asked] >= needed[:, None]).sum(axis=1)
    return np.minimum(hits, counts) / counts


def mean_recall(recalls: npt.NDArray[np.float64], k: int) -> Recall:
    """The mean of a random sample of queries' recalls, with its interval.

    The interval is as wide as if one more query had been drawn that found nothing: a small sample in which everything
    was found does not prove that everything always is. If no query has anything to find, all of it was found.
    """
    if not len(recalls):
        return Recall(mean=1.0, lower=1.0, standard_error=0.0, queries=0, k=k)
    cautious = np.append(recalls, 0.0)
    error = float(cautious.std(ddof=1)) / math.sqrt(len(cautious))
    lower = float(cautious.mean()) - ONE_SIDED_95 * error
    return Recall(float(recalls.mean()), lower, error, len(recalls), k)


def index_recall(found: Neighbours, exact: Neighbours) -> Recall:
    """The recall of a random sample of queries: see :func:`query_recalls` and :func:`mean_recall`."""
    return mean_recall(query_recalls(found.scores, exact.scores), exact.scores.shape[1])
