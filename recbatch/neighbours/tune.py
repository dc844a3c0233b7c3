"""Whether a table is searched through an index, and how much of the index a query looks at."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from recbatch.index import MIN_CANDIDATES, Candidates, IndexParameters, Searcher, SearchParameters
from recbatch.neighbours.approximate import buckets, survivors
from recbatch.neighbours.cost import build_cost, exact_cost, index_cost
from recbatch.neighbours.exclusions import Exclusions, Ordinals
from recbatch.neighbours.recall import Recall, index_recall
from recbatch.neighbours.scores import Neighbours
from recbatch.neighbours.search import find_neighbours

Kind = Literal["auto", "exact", "scann"]

SAMPLE_QUERIES = 2_000
"""Queries to tune on, and about as many others to audit on."""

TRIALS = 40
"""Settings tried, about; what a decision before building reckons with."""
_SPREAD = 4 * math.sqrt(2)
"""Standard errors between the tuned recall and the needed one, so that the audit, on as many other queries and with
an error of its own, falls below by chance about once in 30,000 tables: such a table is searched again exactly."""
_REORDERS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
_LEAF_STEP = 1.15
_FLAT = 0.002


@dataclass(frozen=True)
class IndexPlan:
    """Whether to build an index for a table, decided from sizes alone."""

    parameters: IndexParameters | None
    """None: search exactly."""
    reason: str


@dataclass(frozen=True)
class Trial:
    """One measured setting: a point of the recall/cost curve."""

    search: SearchParameters
    recall: Recall
    cost: float
    """Counted cost of a query, searching again where too few were found included."""
    enough: bool


@dataclass(frozen=True)
class Tuning:
    """How a table is searched, and the measurements behind it."""

    method: Literal["exact", "index"]
    reason: str
    min_recall: float
    search: SearchParameters | None
    """Of the index; None for exact search."""
    recall: Recall | None
    """Of the chosen setting, on the sample."""
    exact_cost: float
    cost: float
    """Counted cost of a query, by the chosen way."""
    curve: tuple[Trial, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return dataclasses.asdict(self)


def plan_index(
    candidates: int,
    width: int,
    k: int,
    queries: int,
    min_recall: float,
    kind: Kind = "auto",
) -> IndexPlan:
    """Decide by counted cost whether an index of ``candidates`` can pay for ``queries`` queries of k each.

    ``kind`` "exact" and "scann" decide themselves, but too few candidates never get an index.
    """
    if kind == "exact":
        return IndexPlan(None, "exact search is configured (index.kind)")
    if candidates < MIN_CANDIDATES:
        return IndexPlan(None, f"{candidates} candidates; an index needs at least {MIN_CANDIDATES}")
    if min_recall >= 1:
        return IndexPlan(None, "min_recall 1 is what exact search is")
    parameters = IndexParameters.for_candidates(candidates)
    if kind == "scann":
        return IndexPlan(parameters, "an index is configured (index.kind)")
    exact = exact_cost(candidates, width, k)
    index = index_cost(candidates, width, parameters, hoped_search(parameters, k), survivors(k))
    tuning = min(queries, SAMPLE_QUERIES) * (exact + TRIALS * index)
    fixed = build_cost(candidates, width, parameters) + tuning
    comparison = (
        f"counted cost of {queries} queries: exact {queries * exact:.3g}; "
        f"index {queries * index:.3g} at best, after {fixed:.3g} for building and tuning"
    )
    if queries * exact <= fixed + queries * index:
        return IndexPlan(None, f"exact search is cheaper ({comparison})")
    return IndexPlan(parameters, f"an index is cheaper ({comparison})")


def hoped_search(parameters: IndexParameters, k: int) -> SearchParameters:
    """What an index is hoped to need before there is one."""
    return SearchParameters(max(1, parameters.leaves // 30), 2 * survivors(k))


def exact_tuning(plan: IndexPlan, candidates: int, width: int, k: int, min_recall: float) -> Tuning:
    """The record of a table for which no index is built."""
    cost = exact_cost(candidates, width, k)
    return Tuning("exact", plan.reason, min_recall, None, None, cost, cost, ())


def tune(
    queries: npt.NDArray[np.float32],
    candidates: Candidates,
    searcher: Searcher,
    k: int,
    min_recall: float,
    *,
    excluded: Exclusions | None = None,
    own: Ordinals | None = None,
    kind: Kind = "auto",
    threads: int | None = None,
) -> Tuning:
    """The cheapest setting of the index whose recall on real queries is at least ``min_recall`` with a margin.

    Args:
        queries: a random sample of the table's queries with their exclusions (``excluded`` and ``own``), as in
            :func:`recbatch.neighbours.find_neighbours`; about ``SAMPLE_QUERIES`` of them.
        candidates: what is searched.
        searcher: their index.
        k: of the table.
        min_recall: of the table.
        excluded: per query.
        own: per query.
        kind: "auto" takes exact search unless a setting costs less; "scann" only if no setting reaches the recall.
        threads: None for one per core. The result does not depend on it.

    Returns:
        A record with all settings tried; exact search if no setting reaches the recall for less.
    """
    excluded = Exclusions.none(len(queries)) if excluded is None else excluded
    if own is not None:
        excluded = excluded.with_own(own)
    truth = find_neighbours(queries, candidates, k, excluded=excluded, threads=threads)
    return Tuner(queries, candidates, searcher, k, min_recall, excluded, truth, kind, threads).tune()


class Tuner:
    """For each amount of reordering, from little to much, the fewest leaves that are enough.

    Where there is more than ``candidates`` to search, ``searcher`` tells how much: a subclass that overrides
    :meth:`try_search` tunes for candidates that are not there.
    """

    def __init__(
        self,
        queries: npt.NDArray[np.float32],
        candidates: Candidates,
        searcher: Searcher,
        k: int,
        min_recall: float,
        excluded: Exclusions,
        truth: Neighbours,
        kind: Kind,
        threads: int | None,
    ) -> None:
        self.queries, self.candidates, self.searcher, self.k = queries, candidates, searcher, k
        self.min_recall, self.excluded, self.truth, self.threads = min_recall, excluded, truth, threads
        self.exact_cost = exact_cost(searcher.candidates, searcher.width, k)
        self.affordable = math.inf if kind == "scann" else self.exact_cost
        self.steps = _leaf_steps(searcher.parameters.leaves)
        self.trials: dict[SearchParameters, Trial] = {}

    def tune(self) -> Tuning:
        """The cheapest setting that is enough, or exact search."""
        limit = len(self.steps) - 1
        for factor in _REORDERS:
            reorder = min(self.searcher.candidates, round(factor * survivors(self.k)))
            enough = self._fewest_leaves(reorder, limit)
            if enough is not None:
                limit = enough
        good = [trial for trial in self.trials.values() if trial.enough]
        curve = tuple(sorted(self.trials.values(), key=lambda trial: (trial.cost, trial.recall.mean)))
        if not good:
            less = "" if math.isinf(self.affordable) else " for less than exact search costs"
            return self._exact(f"no setting of the index reached the recall{less}", curve)
        chosen = min(good, key=lambda trial: (trial.cost, trial.search.leaves, trial.search.reorder))
        reason = f"the cheapest of {len(curve)} settings tried that reaches the recall with a margin"
        return Tuning(
            "index", reason, self.min_recall, chosen.search, chosen.recall, self.exact_cost, chosen.cost, curve
        )

    def _exact(self, reason: str, curve: tuple[Trial, ...]) -> Tuning:
        return Tuning("exact", reason, self.min_recall, None, None, self.exact_cost, self.exact_cost, curve)

    def _fewest_leaves(self, reorder: int, limit: int) -> int | None:
        """Position of the fewest leaves, up to ``limit``, that are enough with ``reorder``; None if none are.

        Doubles the leaves until they are enough, gives up where that costs too much or helps no more, and then halves
        the interval.
        """
        doubling = round(math.log(2, _LEAF_STEP))
        low, high = -1, min(doubling, limit)
        last = -1.0
        while True:
            if self._cost(self._parameters(high, reorder), Counter()) >= self._worth():
                return None
            trial = self._try(self._parameters(high, reorder))
            if trial.enough:
                break
            if high == limit or trial.recall.mean - last < _FLAT:
                return None
            last, low, high = trial.recall.mean, high, min(high + doubling, limit)
        while high - low > 1:
            middle = (low + high) // 2
            if self._try(self._parameters(middle, reorder)).enough:
                high = middle
            else:
                low = middle
        return high

    def _worth(self) -> float:
        """A setting that costs more than this is of no use."""
        return min((trial.cost for trial in self.trials.values() if trial.enough), default=self.affordable)

    def _parameters(self, step: int, reorder: int) -> SearchParameters:
        """With the exclusions up to which a query costs less than exact search does."""
        search = SearchParameters(self.steps[step], reorder)
        cheap = [each.excluded for each in buckets(self.searcher, self.k, search) if each.cost < self.affordable]
        return dataclasses.replace(search, max_excluded=max(cheap, default=-1))

    def try_search(self, search: SearchParameters) -> tuple[Recall, Counter[str]]:
        """The recall of a setting on the sample, and how many queries were searched again (see ``routes``)."""
        routes = Counter[str]()
        found = find_neighbours(
            self.queries,
            self.candidates,
            self.k,
            excluded=self.excluded,
            searcher=self.searcher,
            parameters=search,
            threads=self.threads,
            routes=routes,
        )
        return index_recall(found, self.truth), routes

    def _try(self, search: SearchParameters) -> Trial:
        if search not in self.trials:
            recall, routes = self.try_search(search)
            cost = self._cost(search, routes)
            needed = self.min_recall + _SPREAD * recall.standard_error
            self.trials[search] = Trial(search, recall, cost, recall.lower >= needed and cost < self.affordable)
        return self.trials[search]

    def _cost(self, search: SearchParameters, routes: Counter[str]) -> float:
        """Counted cost of a query of the sample on average."""
        if not len(self.queries):
            return 0.0
        steps = buckets(self.searcher, self.k, search)
        at = np.searchsorted([step.excluded for step in steps], self.excluded.counts)
        first = np.append([step.cost for step in steps], self.exact_cost)[at].sum()
        straight = int((at == len(steps)).sum())
        wider = buckets(self.searcher, self.k, search.wider())
        again = routes["wider"] * wider[0].cost if wider else 0.0
        return float(first + again + max(0, routes["exact"] - straight) * self.exact_cost) / len(self.queries)


def _leaf_steps(leaves: int) -> list[int]:
    """1, 2, 3, ... and then in steps of 15 %, up to all leaves."""
    steps = [1]
    while steps[-1] < leaves:
        steps.append(min(leaves, max(steps[-1] + 1, round(steps[-1] * _LEAF_STEP))))
    return steps
