"""How much of an index a query looks at, so that the recall is kept at the least counted cost."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from recbatch.index import Candidates, Searcher, SearchParameters
from recbatch.neighbours.approximate import buckets, survivors
from recbatch.neighbours.cost import exact_cost
from recbatch.neighbours.exclusions import Exclusions, Ordinals
from recbatch.neighbours.planning import IndexPlan, Kind
from recbatch.neighbours.recall import Recall, index_recall
from recbatch.neighbours.scores import Neighbours
from recbatch.neighbours.search import find_neighbours

_SPREAD = 4 * math.sqrt(2)
"""Standard errors between the tuned recall and the needed one, so that the audit, on as many other queries and with
an error of its own, falls below by chance about once in 30,000 tables: such a table is searched again exactly."""
_REORDERS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
_LEAF_STEP = 1.15
_FLAT = 0.002
_WIDENED = 3
"""Steps of leaves that an earlier setting may take before all settings are tried."""


@dataclass(frozen=True)
class Trial:
    """One measured setting: a point of the recall/cost curve."""

    search: SearchParameters
    recall: Recall
    cost: float
    """Counted cost of a query, searching again where too few were found included."""
    enough: bool


@dataclass(frozen=True)
class Start:
    """A setting that was tuned for other vectors of the same kind, such as those of the night before."""

    search: SearchParameters
    recall: float
    """Mean recall that it had when it was tuned."""


@dataclass(frozen=True)
class Tuning:
    """How a table is searched, and the measurements behind it."""

    method: Literal["exact", "index"]
    by: Literal["sizes", "start", "widened", "tuning"]
    """What decided: sizes alone; the setting it started from, as it was or with a few leaves more; all settings."""
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


def exact_tuning(plan: IndexPlan, candidates: int, width: int, k: int, min_recall: float) -> Tuning:
    """The record of a table for which no index is built."""
    cost = exact_cost(candidates, width, k)
    return Tuning("exact", "sizes", plan.reason, min_recall, None, None, cost, cost, ())


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
    start: Start | None = None,
    threads: int | None = None,
) -> Tuning:
    """The cheapest setting of the index whose recall on real queries is at least ``min_recall`` with a margin.

    With ``start`` that setting is measured first, and taken if its recall is; it need not be the cheapest any more.

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
        start: what to begin with; None: try all settings. It is measured on all queries: one that was tuned is just
            above what so many can show, and fewer would have to show more.
        threads: None for one per core. The result does not depend on it.

    Returns:
        A record with all settings tried; exact search if no setting reaches the recall for less.
    """
    excluded = Exclusions.none(len(queries)) if excluded is None else excluded
    if own is not None:
        excluded = excluded.with_own(own)
    truth = find_neighbours(queries, candidates, k, excluded=excluded, threads=threads)
    tuner = Tuner(queries, candidates, searcher, k, min_recall, excluded, truth, kind, threads)
    return (start and tuner.keep(start)) or tuner.tune()


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

    def keep(self, start: Start) -> Tuning | None:
        """The setting to start from, or one that looks at a little more; None if that is not enough, or it is far more.

        What is tuned barely reaches the recall, so on other queries every other one falls short by a little: a few
        leaves more then cost less than to try all settings again.
        """
        trial = self._try(start.search)
        if trial.enough:
            if 1 - trial.recall.mean < (1 - start.recall) / 2:
                return None  # it loses so much less than it did that others are cheaper by now
            return self._index("start", "the setting it starts from still reaches the recall with a margin", trial)
        more = [step for step, leaves in enumerate(self.steps) if leaves > start.search.leaves]
        for step in more[:_WIDENED]:
            trial = self._try(self._parameters(step, start.search.reorder))
            if trial.enough:
                reason = "the setting it starts from reaches the recall with a margin when it looks at more leaves"
                return self._index("widened", reason, trial)
        return None

    def tune(self) -> Tuning:
        """The cheapest setting that is enough, or exact search."""
        limit = len(self.steps) - 1
        for factor in _REORDERS:
            reorder = min(self.searcher.candidates, round(factor * survivors(self.k)))
            enough = self._fewest_leaves(reorder, limit)
            if enough is not None:
                limit = enough
        good = [trial for trial in self.trials.values() if trial.enough]
        if not good:
            less = "" if math.isinf(self.affordable) else " for less than exact search costs"
            reason, cost = f"no setting of the index reached the recall{less}", self.exact_cost
            return Tuning("exact", "tuning", reason, self.min_recall, None, None, cost, cost, self._curve())
        chosen = min(good, key=lambda trial: (trial.cost, trial.search.leaves, trial.search.reorder))
        reason = f"the cheapest of {len(self.trials)} settings tried that reaches the recall with a margin"
        return self._index("tuning", reason, chosen)

    def _index(self, by: Literal["start", "widened", "tuning"], reason: str, chosen: Trial) -> Tuning:
        recall, cost = chosen.recall, chosen.cost
        return Tuning("index", by, reason, self.min_recall, chosen.search, recall, self.exact_cost, cost, self._curve())

    def _curve(self) -> tuple[Trial, ...]:
        return tuple(sorted(self.trials.values(), key=lambda trial: (trial.cost, trial.recall.mean)))

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
