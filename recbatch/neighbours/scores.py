"""The score of a pair, computed in one fixed way, and the order of a query's candidates.

A score is the inner product of two prepared rows, summed in float64 in the order of the columns' blocks that NumPy's
einsum fixes for a width, and rounded once to float32. It does not depend on which other pairs are scored with it, on
threads, or on the path that found the pair: matrix products and indexes choose survivors, and never give a score.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recbatch.errors import RecbatchError
from recbatch.index import Candidates
from recbatch.index.vectors import FloatMatrix
from recbatch.neighbours.exclusions import Ordinals

Scores = npt.NDArray[np.float32]

_TILE = 262_144
"""Values gathered at a time: few enough to stay in a core's cache, many enough to make the calls cheap."""
_LAST = np.iinfo(np.int64).max
_scratch = threading.local()


@dataclass(frozen=True)
class Neighbours:
    """The best candidates of m queries: by score descending, then by ordinal ascending."""

    ordinals: Ordinals
    """int32 [m, k], -1 where a query got fewer than k."""
    scores: Scores
    """float32 [m, k], NaN where a query got fewer than k."""
    counts: npt.NDArray[np.int32]
    """Candidates got [m]: min(k, eligible)."""

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: slice) -> Neighbours:
        """Those of some consecutive queries, not copied."""
        return Neighbours(self.ordinals[rows], self.scores[rows], self.counts[rows])

    @classmethod
    def empty(cls, queries: int, k: int) -> Neighbours:
        """``queries`` queries that got nothing."""
        return cls(
            np.full((queries, k), -1, np.int32),
            np.full((queries, k), np.nan, np.float32),
            np.zeros(queries, np.int32),
        )

    def put(self, rows: npt.NDArray[np.int64] | slice, part: Neighbours) -> None:
        """Replace the ``rows`` by those of ``part``."""
        self.ordinals[rows], self.scores[rows], self.counts[rows] = part.ordinals, part.scores, part.counts

    def take(self, rows: npt.NDArray[np.int64], k: int) -> Neighbours:
        """Those of the queries ``rows``, in that order, ``k`` wide."""
        found = Neighbours.empty(len(rows), k)
        width = min(k, self.ordinals.shape[1])
        found.ordinals[:, :width], found.scores[:, :width] = self.ordinals[rows, :width], self.scores[rows, :width]
        found.counts[:] = np.minimum(self.counts[rows], k)
        return found

    def shifted(self, first: int) -> Neighbours:
        """The same with ordinals that count from ``first`` on, as those of a shard do in the whole candidate set."""
        return Neighbours(np.where(self.ordinals < 0, -1, self.ordinals + np.int32(first)), self.scores, self.counts)


def score(queries: FloatMatrix, candidates: Candidates, ordinals: Ordinals) -> Scores:
    """Scores of the prepared queries [m, width] with their candidates ``ordinals`` [m, s]; float32 [m, s].

    Where the ordinal is -1 the score means nothing.
    """
    wide_queries = queries.astype(np.float64)
    totals = np.empty(ordinals.shape, np.float64)
    step = max(1, _TILE // max(1, ordinals.shape[1] * candidates.width))
    gathered, wide = _buffers((step, ordinals.shape[1], candidates.width))
    for first in range(0, len(queries) if len(candidates) else 0, step):
        rows = slice(first, first + step)
        size = len(totals[rows])
        np.take(candidates.vectors, ordinals[rows], axis=0, out=gathered[:size], mode="clip")
        np.copyto(wide[:size], gathered[:size])
        np.einsum("md,msd->ms", wide_queries[rows], wide[:size], out=totals[rows])
    return _rounded(totals, candidates)


class PairScorer:
    """Scores single pairs of one block of queries, the same bits as :func:`score`, in buffers of its own."""

    def __init__(self, queries: FloatMatrix, candidates: Candidates) -> None:
        self._queries, self._candidates = queries.astype(np.float64), candidates
        self._step = max(1, _TILE // (4 * max(1, candidates.width)))
        shape = (self._step, candidates.width)
        self._left, self._gathered, self._right = np.empty(shape), np.empty(shape, np.float32), np.empty(shape)

    def score(self, rows: npt.NDArray[np.int64], ordinals: npt.NDArray[np.int64]) -> Scores:
        """Scores of the pairs (query ``rows[i]``, candidate ``ordinals[i]``); float32 [pairs]."""
        totals = np.empty(len(rows), np.float64)
        for first in range(0, len(rows), self._step):
            pairs = slice(first, first + self._step)
            size = len(totals[pairs])
            left, gathered, right = self._left[:size], self._gathered[:size], self._right[:size]
            np.take(self._queries, rows[pairs], axis=0, out=left, mode="clip")
            np.take(self._candidates.vectors, ordinals[pairs], axis=0, out=gathered, mode="clip")
            np.copyto(right, gathered)
            np.einsum("pd,pd->p", left, right, out=totals[pairs])
        return _rounded(totals, self._candidates)


def best(ordinals: Ordinals, scores: Scores, k: int) -> Neighbours:
    """The k best of every row of candidates ``ordinals`` [m, s] (-1: none) with ``scores`` [m, s]."""
    if ordinals.shape[1] < k:
        missing = ((0, 0), (0, k - ordinals.shape[1]))
        ordinals, scores = np.pad(ordinals, missing, constant_values=-1), np.pad(scores, missing)
    # One integer per candidate that sorts by score descending and then by ordinal: the score's bits, made to rise
    # with it (0.0 and -0.0 being one), upside down in the upper half, and the ordinal in the lower.
    bits = (scores + np.float32(0)).view(np.int32)
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = ((~rising).astype(np.int64) << 32) | ordinals
    keys[ordinals < 0] = _LAST
    keys.sort(axis=1)
    keys = keys[:, :k]
    rising = ~(keys >> 32).astype(np.int32)
    result = (keys & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    values = (rising ^ ((rising >> 31) & 0x7FFFFFFF)).view(np.float32)
    none = keys == _LAST
    values[none] = np.nan
    return Neighbours(result, values, k - none.sum(axis=1, dtype=np.int32))


def merge(parts: Sequence[Neighbours]) -> Neighbours:
    """The best k of what one block of queries got from several candidate shards.

    Args:
        parts: of the same queries and the same k; ordinals are of the whole candidate set (a shard's own ordinals
            plus its first one) and no candidate is in two parts.

    Raises:
        RecbatchError: no parts, or parts of different shape.
    """
    if not parts or len({part.ordinals.shape for part in parts}) != 1:
        raise RecbatchError(f"cannot merge neighbours of shapes {[part.ordinals.shape for part in parts]}")
    ordinals = np.concatenate([part.ordinals for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    return best(ordinals, scores, parts[0].ordinals.shape[1])


def best_scores(parts: Sequence[Scores], k: int) -> Scores:
    """The k best scores of the same queries in several candidate shards, best first; NaN where there are fewer.

    Args:
        parts: float32 [m, any], NaN where a query got fewer.
        k: at least 1.
    """
    every = np.concatenate([*parts, np.full((len(parts[0]), k), np.nan, np.float32)], axis=1)
    return -np.sort(-every, axis=1)[:, :k]  # NaN comes last


def _buffers(shape: tuple[int, ...]) -> tuple[FloatMatrix, npt.NDArray[np.float64]]:
    """Arrays of a shape, with anything in them: this thread's from the last time, since fresh memory costs as much."""
    size = math.prod(shape)
    if getattr(_scratch, "size", 0) < size:
        _scratch.size, _scratch.narrow, _scratch.wide = size, np.empty(size, np.float32), np.empty(size, np.float64)
    return _scratch.narrow[:size].reshape(shape), _scratch.wide[:size].reshape(shape)


def _rounded(totals: npt.NDArray[np.float64], candidates: Candidates) -> Scores:
    if candidates.similarity == "cosine":
        np.clip(totals, -1.0, 1.0, out=totals)  # unit vectors are so only up to rounding
    return totals.astype(np.float32)
