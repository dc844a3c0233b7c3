"""How much of the exact result an index finds: ``index_recall_at_k``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recbatch.index import Candidates
from recbatch.neighbours.exclusions import Exclusions, Ordinals
from recbatch.neighbours.scores import Neighbours
from recbatch.neighbours.search import find_neighbours

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


def index_recall(found: Neighbours, exact: Neighbours, population: int | None = None) -> Recall:
    """Compare what was found with the exact result for the same queries, k and exclusions.

    A found candidate is a hit if its score reaches the k-th exact one (the last one, where fewer are eligible) less
    1e-6 * max(1, |score|), so that any of several equal candidates is right.

    The interval is as wide as if one more query had been drawn that found nothing: a small sample in which everything
    was found does not prove that everything always is. Nothing is uncertain about a sample that is the population.

    Args:
        found: what the index found; scores are the fixed ones.
        exact: what exact search found.
        population: number of queries that the sample was drawn from, if known.
    """
    everyone = population is not None and len(exact) >= population
    return mean_recall(query_recalls(found, exact), exact.scores.shape[1], everyone=everyone)


def query_recalls(found: Neighbours, exact: Neighbours) -> npt.NDArray[np.float64]:
    """The recall of each query that has anything to find; see :func:`index_recall`."""
    asked = exact.counts > 0
    counts = exact.counts[asked]
    last = exact.scores[asked, counts - 1].astype(np.float64)
    needed = last - _TOLERANCE * np.maximum(1.0, np.abs(last))
    hits = (found.scores[asked] >= needed[:, None]).sum(axis=1)
    return np.minimum(hits, counts) / counts


def mean_recall(recalls: npt.NDArray[np.float64], k: int, *, everyone: bool = False) -> Recall:
    """The mean of the queries' recalls and its interval; ``everyone``: they are all queries, not a sample."""
    if not len(recalls):
        return Recall(1.0, 1.0, 0.0, 0, k)
    mean = float(recalls.mean())
    if everyone:
        return Recall(mean, mean, 0.0, len(recalls), k)
    cautious = np.append(recalls, 0.0)
    error = float(cautious.std(ddof=1)) / math.sqrt(len(cautious))
    return Recall(mean, float(cautious.mean()) - ONE_SIDED_95 * error, error, len(recalls), k)


def measure_recall(
    found: Neighbours,
    queries: npt.NDArray[np.float32],
    candidates: Candidates,
    *,
    excluded: Exclusions | None = None,
    own: Ordinals | None = None,
    population: int | None = None,
    threads: int | None = None,
) -> Recall:
    """Search a sample of queries exactly and compare: ``found`` is what the table has for them.

    Arguments are those of :func:`recbatch.neighbours.find_neighbours` and :func:`index_recall`; k is that of ``found``.
    """
    k = found.scores.shape[1]
    exact = find_neighbours(queries, candidates, k, excluded=excluded, own=own, threads=threads)
    return index_recall(found, exact, population)
