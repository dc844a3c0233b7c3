"""The order in which queries are searched changes where they look one after the other, and nothing that they find."""

from __future__ import annotations

import numpy as np
import pytest
from neighbours_oracle import same_bits
from neighbours_world import clustered, indexed_world

from recbatch.index import Candidates, SearchParameters, Similarity
from recbatch.neighbours import find_neighbours
from recbatch.neighbours.locality import by_nearness

SEARCH = SearchParameters(leaves=8, reorder=60)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_what_is_found_does_not_depend_on_it(similarity: Similarity, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates, searcher = indexed_world(similarity)
    queries = clustered(3_000, seed=5)
    found = find_neighbours(queries, candidates, 20, searcher=searcher, parameters=SEARCH)
    monkeypatch.setattr("recbatch.neighbours.search.by_nearness", lambda queries, *_: np.arange(len(queries)))
    as_they_come = find_neighbours(queries, candidates, 20, searcher=searcher, parameters=SEARCH)
    assert same_bits(found, as_they_come)


def test_every_query_is_in_it_once() -> None:
    candidates = Candidates.of(clustered(6_000, seed=1), "dot")
    queries = candidates.prepare_queries(clustered(5_000, seed=2))
    assert sorted(by_nearness(queries, candidates).tolist()) == list(range(5_000))
    assert by_nearness(queries[:0], candidates).tolist() == []


def test_neighbours_in_the_order_look_in_the_same_direction() -> None:
    candidates = Candidates.of(clustered(6_000, seed=1), "dot")
    queries = candidates.prepare_queries(clustered(2_000, seed=2))

    def nearness(order: np.ndarray) -> float:
        rows = queries[order] / np.linalg.norm(queries[order], axis=1, keepdims=True)
        return float((rows[1:] * rows[:-1]).sum(axis=1).mean())

    assert nearness(by_nearness(queries, candidates)) > nearness(np.arange(2_000)) + 0.5


def test_few_candidates_have_no_pivots() -> None:
    candidates = Candidates.of(clustered(50, seed=1), "dot")
    assert len(candidates.pivots) == 0
    assert by_nearness(candidates.vectors, candidates).tolist() == list(range(50))


def test_pivots_are_unit_rows_and_a_zero_vector_is_none() -> None:
    vectors = clustered(6_400, seed=1)
    vectors[0] = 0
    pivots = Candidates.of(vectors, "dot").pivots
    assert len(pivots) == 99
    np.testing.assert_allclose(np.linalg.norm(pivots, axis=1), 1, rtol=1e-6)
