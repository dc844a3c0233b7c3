"""Whether an index can pay for a table at all: decided from sizes, before anything is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recbatch.index import MIN_CANDIDATES, IndexParameters, SearchParameters
from recbatch.neighbours.approximate import survivors
from recbatch.neighbours.cost import build_cost, exact_cost, index_cost

Kind = Literal["auto", "exact", "scann"]

SAMPLE_QUERIES = 2_000
"""Queries to tune on, and about as many others to audit on."""

TRIALS = 40
"""Settings tried, about; what a decision before building reckons with."""


@dataclass(frozen=True)
class IndexPlan:
    """Whether to build an index for a table, decided from sizes alone."""

    parameters: IndexParameters | None
    """None: search exactly."""
    reason: str


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
