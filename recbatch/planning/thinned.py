"""Tuning an index that is not there: of some of its candidates, in a tree as fine as the whole one's.

A random share f of the candidates lies in space as all of them do, only thinner: where the k best of all lie, there
lie the f k best of the share. So a tree of as many leaves, of which as many are searched, finds the same share of
them; what differs is how many candidates lie in a leaf, and that is counted, not measured.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recbatch.index import Candidates, IndexParameters, Searcher, SearchParameters
from recbatch.neighbours import SAMPLE_QUERIES, Exclusions, Recall, find_neighbours, for_each, score
from recbatch.neighbours.planning import Kind
from recbatch.neighbours.recall import ONE_SIDED_95, query_recalls
from recbatch.neighbours.tune import Tuner

_BLOCK = 256


@dataclass(frozen=True)
class Thinned:
    """Some candidates with an index of them, that stand for more.

    Attributes:
        candidates: the share that is there.
        searcher: their index.
        total: how many they stand for.
        parameters: of the index of all of them.
    """

    candidates: Candidates
    searcher: Searcher
    total: int
    parameters: IndexParameters

    @property
    def share(self) -> float:
        """The candidates that are there, of all."""
        return len(self.candidates) / self.total

    @property
    def whole(self) -> Searcher:
        """The sizes of the index of all; it cannot be asked."""
        candidates = self.candidates
        return Searcher(None, self.parameters, self.total, candidates.width, candidates.similarity, 0)

    def here(self, search: SearchParameters, count: int) -> SearchParameters:
        """What corresponds to parameters of the whole index, where ``count`` candidates are fetched."""
        leaves = max(1, round(search.leaves * self.searcher.parameters.leaves / self.parameters.leaves))
        return SearchParameters(leaves, max(count, round(search.reorder * self.share)))


class ThinnedTuner(Tuner):
    """The night's tuner, where each setting is tried on the candidates that are there."""

    def __init__(
        self,
        thinned: Thinned,
        queries: npt.NDArray[np.float32],
        own: npt.NDArray[np.int32] | None,
        k: int,
        min_recall: float,
        kind: Kind,
    ) -> None:
        self._thinned, self._own = thinned, own
        self._k = max(1, min(len(thinned.candidates) - 1, round(k * thinned.share)))
        truth = find_neighbours(queries, thinned.candidates, self._k, own=own)
        nothing = Exclusions.none(len(queries))
        excluded = nothing if own is None else nothing.with_own(own)
        super().__init__(queries, thinned.candidates, thinned.whole, k, min_recall, excluded, truth, kind, None)
        self._prepared = thinned.candidates.prepare_queries(queries)

    def try_search(self, search: SearchParameters) -> tuple[Recall, Counter[str]]:
        """The recall of a setting of the whole index, as it shows on the candidates that are there."""
        count = min(len(self.candidates), self._k + (self._own is not None))
        here = self._thinned.here(search, count)
        found = np.full((len(self._prepared), count), -1, np.int32)

        def ask(first: int) -> None:
            block = slice(first, first + _BLOCK)
            found[block] = self._thinned.searcher.search(self._prepared[block], count, here)

        for_each(ask, range(0, len(found), _BLOCK))
        if self._own is not None:
            found[found == self._own[:, None]] = -1
        scores = np.where(found < 0, np.nan, score(self._prepared, self.candidates, found)).astype(np.float32)
        return self._recall(query_recalls(scores, self.truth.scores)), Counter()

    def _recall(self, recalls: npt.NDArray[np.float64]) -> Recall:
        """With the error that the night's sample will have: of more queries, each with k to find instead of f k."""
        mean = float(recalls.mean()) if len(recalls) else 1.0
        chance = mean * (1 - mean) * (1 / self._k - 1 / self.k)
        between = max(float(recalls.var()) - chance, mean * (1 - mean) / self.k) if len(recalls) else 0.0
        error = math.sqrt((between + mean**2 / SAMPLE_QUERIES) / SAMPLE_QUERIES)
        return Recall(mean, mean * (1 - 1 / SAMPLE_QUERIES) - ONE_SIDED_95 * error, error, SAMPLE_QUERIES, self.k)


def as_much_work(thinned: Thinned, search: SearchParameters) -> SearchParameters:
    """Parameters by which a query scores as many of the candidates that are there as ``search`` does of all."""
    scored = thinned.total * search.leaves / thinned.parameters.leaves
    here = thinned.searcher.parameters
    leaves = min(here.leaves, max(1, round(scored * here.leaves / len(thinned.candidates))))
    return SearchParameters(leaves, min(len(thinned.candidates), search.reorder), search.max_excluded)
