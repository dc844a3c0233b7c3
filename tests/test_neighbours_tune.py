"""The recall contract: how it is measured, and the setting chosen by it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from neighbours_oracle import exclusions
from neighbours_world import clustered, indexed_world

from recbatch.index import SearchParameters, Similarity
from recbatch.neighbours import (
    Exclusions,
    Neighbours,
    exact_tuning,
    find_neighbours,
    index_recall,
    mean_recall,
    plan_index,
    query_recalls,
    tune,
)

K = 10


def scored(rows: list[list[float]]) -> Neighbours:
    width = max(len(row) for row in rows)
    scores = np.array([[*row, *[np.nan] * (width - len(row))] for row in rows], np.float32)
    ordinals = np.where(np.isnan(scores), -1, np.arange(width)).astype(np.int32)
    return Neighbours(ordinals, scores, (ordinals >= 0).sum(axis=1, dtype=np.int32))


def test_recall_counts_what_reaches_the_last_exact_score() -> None:
    exact = scored([[9, 8, 7], [5, 5, 5], [1000, 999, 998], [4], [-1, -2, -3]])
    found = scored([[9, 7, 6], [5, 5, 5], [1000, 998.0005, 997.9995], [4], [-1, -3.0000005, -3.00002]])
    assert query_recalls(found.scores, exact.scores).tolist() == pytest.approx([2 / 3, 1, 1, 1, 2 / 3])


def test_queries_with_nothing_to_find_do_not_count() -> None:
    nothing = Neighbours.empty(3, 5)
    assert query_recalls(nothing.scores, nothing.scores).tolist() == []
    recall = index_recall(nothing, nothing)
    assert (recall.mean, recall.lower, recall.queries) == (1.0, 1.0, 0)


def test_interval_narrows_with_the_sample_and_is_never_certain() -> None:
    recalls = np.random.default_rng(0).choice([0.9, 1.0], 4_000)
    wide, narrow = mean_recall(recalls[:100], K), mean_recall(recalls, K)
    assert wide.lower < narrow.lower < narrow.mean
    assert 4 < (wide.mean - wide.lower) / (narrow.mean - narrow.lower) < 20
    perfect = mean_recall(np.ones(10), K)
    assert (perfect.mean, perfect.lower < 0.8) == (1.0, True)
    assert mean_recall(np.ones(2_000), K).lower > 0.998


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_chosen_setting_meets_the_recall_on_other_queries(similarity: Similarity) -> None:
    candidates, searcher = indexed_world(similarity, 20_000)
    queries = clustered(3_000, seed=2)
    rng = np.random.default_rng(0)
    excluded = exclusions([set(rng.integers(0, 20_000, size).tolist()) for size in rng.integers(0, 60, 3_000)])
    tuning = tune(queries[:1_500], candidates, searcher, K, 0.95, excluded=excluded.rows(0, 1_500))
    assert tuning.method == "index"
    assert tuning.search is not None
    assert tuning.recall is not None
    assert tuning.recall.lower > 0.95
    assert tuning.cost < tuning.exact_cost
    assert tuning.cost == min(trial.cost for trial in tuning.curve if trial.enough)
    others, out = queries[1_500:], excluded.rows(1_500, 3_000)
    found = find_neighbours(others, candidates, K, excluded=out, searcher=searcher, parameters=tuning.search)
    assert index_recall(found, find_neighbours(others, candidates, K, excluded=out)).lower >= 0.95


def test_tuning_is_deterministic_and_its_record_is_json() -> None:
    candidates, searcher = indexed_world("dot", 20_000)
    queries = clustered(500, seed=2)
    own = np.full(500, -1, np.int32)
    first = tune(queries, candidates, searcher, K, 0.9, own=own)
    second = tune(queries, candidates, searcher, K, 0.9, own=own, threads=1)
    assert first == second
    record = json.loads(json.dumps(first.to_json()))
    assert SearchParameters(**record["search"]) == first.search
    assert record["curve"][0].keys() == {"search", "recall", "cost", "enough"}
    costs = [trial["cost"] for trial in record["curve"]]
    assert costs == sorted(costs)


def test_higher_recall_costs_more() -> None:
    candidates, searcher = indexed_world("dot", 20_000)
    queries = clustered(800, seed=2)
    costs = [tune(queries, candidates, searcher, K, recall).cost for recall in (0.7, 0.9, 0.97)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


@pytest.mark.parametrize("min_recall", [1.0, 0.9999])
def test_recall_out_of_reach_is_searched_exactly(min_recall: float) -> None:
    candidates, searcher = indexed_world("cosine")
    tuning = tune(clustered(200, seed=2), candidates, searcher, K, min_recall, kind="scann")
    assert (tuning.method, tuning.search) == ("exact", None)
    assert tuning.reason == "no setting of the index reached the recall"
    assert tuning.curve


def test_exact_search_is_taken_where_it_is_cheaper_unless_an_index_is_configured() -> None:
    candidates, searcher = indexed_world("dot", 1_200)
    queries = clustered(1_000, seed=2)
    cheaper = tune(queries, candidates, searcher, K, 0.9)
    assert (cheaper.method, cheaper.cost) == ("exact", cheaper.exact_cost)
    assert cheaper.reason.endswith("for less than exact search costs")
    forced = tune(queries, candidates, searcher, K, 0.9, kind="scann")
    assert forced.method == "index"
    assert forced.cost > forced.exact_cost


def test_a_catalog_searched_through_exclusions_alone() -> None:
    """Whoever has seen nearly everything is searched exactly, so the index does nothing for them."""
    candidates, searcher = indexed_world("dot")
    queries = clustered(100, seed=2)
    out = np.tile(np.arange(5_000, dtype=np.int32), 100)
    tuning = tune(queries, candidates, searcher, K, 0.9, excluded=Exclusions(np.arange(101) * 5_000, out))
    assert tuning.method == "exact"


@pytest.mark.parametrize(
    ("candidates", "queries", "min_recall", "kind", "reason"),
    [
        (1_682, 943, 0.95, "auto", "exact search is cheaper"),
        (100_000, 943, 0.95, "auto", "exact search is cheaper"),
        (500, 10**9, 0.95, "scann", "500 candidates; an index needs at least 1000"),
        (0, 0, 0.95, "auto", "0 candidates"),
        (10**6, 10**7, 0.95, "exact", "configured"),
        (10**6, 10**7, 1.0, "auto", "min_recall 1"),
    ],
)
def test_no_index_and_why(candidates: int, queries: int, min_recall: float, kind: str, reason: str) -> None:
    plan = plan_index(candidates, 64, 100, queries, min_recall, kind)  # type: ignore[arg-type]
    assert plan.parameters is None
    assert reason in plan.reason
    tuning = exact_tuning(plan, candidates, 64, 100, min_recall)
    assert (tuning.method, tuning.reason) == ("exact", plan.reason)


def test_an_index_and_why() -> None:
    large = plan_index(10**6, 64, 100, 10**7, 0.95)
    assert large.parameters is not None
    assert large.parameters.leaves == 1_000
    assert "an index is cheaper" in large.reason
    small = plan_index(1_682, 64, 100, 943, 0.95, "scann")
    assert small.parameters is not None
    assert "configured" in small.reason
