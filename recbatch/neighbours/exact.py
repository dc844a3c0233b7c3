"""Exact search: blocked matrix products that pass on whatever could be among the best, scored in the one fixed way.

A float32 product differs from the fixed score by a bounded rounding error, so a candidate may only be dropped when its
product is below the k-th best score by more than the bound. What is left is a little over k candidates per query, or
all of them where all are equal; the result is exact either way. Memory is one block of products per thread.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recbatch.index import Candidates
from recbatch.index.vectors import FloatMatrix
from recbatch.neighbours.exclusions import Exclusions, Positions, lower_bound, slices
from recbatch.neighbours.scores import Neighbours, PairScorer, Scores, best
from recbatch.neighbours.threads import for_each

_QUERIES = 256
_CANDIDATES = 4_096
_GROUP = 8
_LOWEST = np.finfo(np.float32).min


def search_exactly(
    queries: FloatMatrix, candidates: Candidates, k: int, excluded: Exclusions, threads: int | None = None
) -> Neighbours:
    """The k best candidates of every query, by (score descending, ordinal ascending), without the excluded ones.

    Args:
        queries: prepared, float32 [m, width].
        candidates: what is searched.
        k: at most so many per query.
        excluded: per query.
        threads: None for one per core. The result does not depend on it, nor on how queries are cut into calls.
    """
    result = Neighbours.empty(len(queries), k)
    if not len(candidates):
        return result

    def search(first: int) -> None:
        rows = slice(first, min(first + _QUERIES, len(queries)))
        block = _QueryBlock(queries[rows], candidates, k, excluded.rows(rows.start, rows.stop))
        result.put(rows, block.search())

    for_each(search, range(0, len(queries), _QUERIES), threads)
    return result


class _QueryBlock:
    """One block of queries on its way through all blocks of candidates."""

    def __init__(self, queries: FloatMatrix, candidates: Candidates, k: int, excluded: Exclusions) -> None:
        self.queries, self.candidates, self.k, self.excluded = queries, candidates, k, excluded
        self.width = -(-max(_CANDIDATES, 4 * k) // _GROUP) * _GROUP
        self.scorer = PairScorer(queries, candidates)
        self.error = _rounding_error(queries, candidates)
        self.found = Neighbours.empty(len(queries), k)
        self.pending: list[tuple[Positions, Positions, Scores]] = []
        self.floor = np.full(len(queries), _LOWEST, np.float32)
        """Candidates whose product is lower cannot be among the k best."""

    def search(self) -> Neighbours:
        starts = np.arange(0, len(self.candidates), self.width)
        cuts = self._exclusion_cuts(np.append(starts, len(self.candidates)))
        buffer = np.empty((len(self.queries), min(self.width, _round_up(len(self.candidates)))), np.float32)
        fold_after = 0
        for number, first in enumerate(starts):
            products = self._products(int(first), buffer, cuts[:, number], cuts[:, number + 1])
            if number == 0:
                self._raise_floor(_kth_product_at_least(products, self.k), 2 * self.error)
            rows, ordinals = self._hits(products, int(first))
            self.pending.append((rows, ordinals, self.scorer.score(rows, ordinals)))
            # Each block brings the fewer hits the later it comes, so the floor need not rise after every one.
            crowded = sum(len(rows) for rows, _, _ in self.pending) > 2 * self.k * len(self.queries)
            if number >= fold_after or crowded:
                self._fold()
                fold_after = 2 * number + 1
        self._fold()
        return self.found

    def _products(
        self, first: int, buffer: npt.NDArray[np.float32], low: Positions, high: Positions
    ) -> npt.NDArray[np.float32]:
        """Products with the candidates from ``first`` on [queries, a multiple of the group]; excluded ones are -inf."""
        block = self.candidates.vectors[first : first + self.width]
        products = buffer[:, : _round_up(len(block))]
        np.matmul(self.queries, block.T, out=products[:, : len(block)])
        products[:, len(block) :] = -np.inf
        rows = np.repeat(np.arange(len(self.queries)), high - low)
        products[rows, self.excluded.ordinals[slices(low, high - low)] - first] = -np.inf
        return products

    def _hits(self, products: npt.NDArray[np.float32], first: int) -> tuple[Positions, Positions]:
        """(row, ordinal) of the products that reach their row's floor; groups that have none are passed over."""
        groups = products.reshape(len(products), _GROUP, -1)
        size = groups.shape[2]
        rows, at = np.divmod(np.flatnonzero(groups.max(axis=1) >= self.floor[:, None]), size)
        hit, member = np.nonzero(groups[rows, :, at] >= self.floor[rows, None])
        return rows[hit], first + member * size + at[hit]

    def _fold(self) -> None:
        """Rank the pending hits among the found ones and raise the floor."""
        rows = np.concatenate([rows for rows, _, _ in self.pending] or [np.empty(0, np.int64)])
        if len(rows):
            order = np.argsort(rows.astype(np.int16), kind="stable")
            rows = rows[order]
            counts = np.bincount(rows, minlength=len(self.queries))
            columns = self.k + slices(np.zeros_like(counts), counts)
            ordinals = np.full((len(self.queries), self.k + counts.max()), -1, np.int32)
            scores = np.zeros(ordinals.shape, np.float32)
            ordinals[:, : self.k], scores[:, : self.k] = self.found.ordinals, self.found.scores
            ordinals[rows, columns] = np.concatenate([each for _, each, _ in self.pending])[order]
            scores[rows, columns] = np.concatenate([each for _, _, each in self.pending])[order]
            self.found = best(ordinals, scores, self.k)
            self._raise_floor(np.where(self.found.counts == self.k, self.found.scores[:, -1], _LOWEST), self.error)
        self.pending.clear()

    def _raise_floor(self, kth: Scores, error: npt.NDArray[np.float64]) -> None:
        floor = np.maximum(kth - error, _LOWEST).astype(np.float32)
        self.floor = np.maximum(self.floor, np.nextafter(floor, _LOWEST))

    def _exclusion_cuts(self, bounds: Positions) -> Positions:
        """Where each row of exclusions crosses the bounds of the candidate blocks [queries, bounds]."""
        offsets = self.excluded.offsets
        return lower_bound(self.excluded.ordinals, offsets[:-1, None], offsets[1:, None], bounds)


def _rounding_error(queries: FloatMatrix, candidates: Candidates) -> npt.NDArray[np.float64]:
    """Largest difference between a float32 product and the fixed score, per query [m].

    However a product is summed, it is off by at most about width * 2**-24 * |q| * |c|; twice that, and what may vanish
    where tiny numbers are flushed to zero, is safe.
    """
    wide = queries.astype(np.float64)
    lengths = np.sqrt(np.einsum("md,md->m", wide, wide))
    return (candidates.width + 4) * (2.0**-23 * lengths * candidates.max_norm + 2.0**-125)


def _kth_product_at_least(products: npt.NDArray[np.float32], k: int) -> Scores:
    """A lower bound of the k-th largest product of every row: the k-th largest of the maxima of groups."""
    group = _GROUP
    while group > 1 and products.shape[1] // group < 4 * k:
        group //= 2
    maxima = products.reshape(len(products), group, -1).max(axis=1)
    if maxima.shape[1] <= k:
        return np.full(len(products), _LOWEST, np.float32)
    kth = maxima.shape[1] - k
    return np.partition(maxima, kth, axis=1)[:, kth]


def _round_up(columns: int) -> int:
    return -(-columns // _GROUP) * _GROUP
