"""Search through an index: what is promised of every result holds, and the result is nearly the exact one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from neighbours_oracle import exclusions, same_bits
from neighbours_world import clustered, indexed_world

from recbatch.errors import RecbatchError
from recbatch.index import Candidates, SearchParameters, Similarity
from recbatch.neighbours import Exclusions, Neighbours, find_neighbours, index_recall, score

K = 20
SEARCH = SearchParameters(leaves=20, reorder=100)


def seen_by(queries: np.ndarray, candidates: Candidates, sizes: list[int]) -> Exclusions:
    """The best candidates of each query, as many as in ``sizes``, are excluded: the hardest case."""
    best = find_neighbours(queries, candidates, max(*sizes, 1))
    return exclusions([set(row[:size].tolist()) for row, size in zip(best.ordinals, sizes, strict=True)])


def check(found: Neighbours, queries: np.ndarray, candidates: Candidates, excluded: Exclusions, k: int) -> None:
    """Everything that holds for any result."""
    count = len(candidates)
    assert found.counts.tolist() == np.minimum(k, count - excluded.counts).tolist()
    there = found.ordinals >= 0
    assert (there == (np.arange(k) < found.counts[:, None])).all()
    assert (np.isnan(found.scores) == ~there).all()
    assert not excluded.contains(found.ordinals).any()
    for row, got in zip(found.ordinals, found.counts, strict=True):
        assert len(set(row[:got].tolist())) == got
    again = score(candidates.prepare_queries(queries), candidates, found.ordinals)
    assert again[there].tobytes() == found.scores[there].tobytes()
    falls = np.diff(found.scores, axis=1) < 0
    ties_rise = (np.diff(found.scores, axis=1) == 0) & (np.diff(found.ordinals, axis=1) > 0)
    assert (falls | ties_rise | ~there[:, 1:]).all()


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_with_exclusions_of_all_sizes(similarity: Similarity) -> None:
    candidates, searcher = indexed_world(similarity)
    queries = clustered(700, seed=2)
    rng = np.random.default_rng(0)
    sizes = rng.choice([0, 1, 2, 7, 8, 9, 30, 80, 130, 200, 2_000, 5_990, 6_000], len(queries)).tolist()
    excluded = seen_by(queries, candidates, sizes)
    routes = Counter[str]()
    found = find_neighbours(
        queries, candidates, K, excluded=excluded, searcher=searcher, parameters=SEARCH, routes=routes
    )
    check(found, queries, candidates, excluded, K)
    exact = find_neighbours(queries, candidates, K, excluded=excluded)
    assert index_recall(found, exact).mean > 0.9
    many = sum(size > max(4 * K, 120) for size in sizes)
    assert routes["index"] == len(queries) - many
    assert many - sizes.count(6_000) <= routes["exact"] <= many


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_without_itself(similarity: Similarity) -> None:
    candidates, searcher = indexed_world(similarity)
    own = np.array([*range(0, 6_000, 20), -1], np.int32)
    queries = np.concatenate([clustered(6_000, seed=1)[own[:-1]], clustered(1, seed=9)])
    found = find_neighbours(queries, candidates, K, own=own, searcher=searcher, parameters=SEARCH)
    check(found, queries, candidates, Exclusions.none(len(own)).with_own(own), K)
    exact = find_neighbours(queries, candidates, K, own=own)
    assert index_recall(found, exact).mean > 0.9


def test_blocks_and_threads_do_not_matter() -> None:
    candidates, searcher = indexed_world("dot")
    queries = clustered(600, seed=2)
    excluded = seen_by(queries, candidates, np.random.default_rng(1).choice([0, 1, 10, 50, 300], 600).tolist())

    def search(first: int, last: int, threads: int | None = None) -> Neighbours:
        return find_neighbours(
            queries[first:last],
            candidates,
            K,
            excluded=excluded.rows(first, last),
            searcher=searcher,
            parameters=SearchParameters(2, 40),
            threads=threads,
        )

    whole = search(0, 600)
    assert same_bits(whole, search(0, 600, threads=1))
    for step, last in ((1, 60), (7, 600), (333, 600)):
        pieces = Neighbours.empty(600, K)
        for first in range(0, last, step):
            end = min(first + step, 600)
            pieces.put(slice(first, end), search(first, end))
        assert pieces.ordinals[:last].tobytes() == whole.ordinals[:last].tobytes()
        assert pieces.scores[:last].tobytes() == whole.scores[:last].tobytes()


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_all_leaves_and_full_reordering_are_exact(similarity: Similarity) -> None:
    candidates, searcher = indexed_world(similarity)
    queries = clustered(200, seed=2)
    excluded = seen_by(queries, candidates, [0, 5] * 100)
    everything = SearchParameters(leaves=10**6, reorder=10**6)
    found = find_neighbours(queries, candidates, K, excluded=excluded, searcher=searcher, parameters=everything)
    assert same_bits(found, find_neighbours(queries, candidates, K, excluded=excluded))


def test_queries_that_found_too_few_are_searched_wider_and_then_exactly() -> None:
    candidates, searcher = indexed_world("dot")
    queries = clustered(300, seed=2)
    k = 300
    routes = Counter[str]()
    found = find_neighbours(queries, candidates, k, searcher=searcher, parameters=SearchParameters(1, k), routes=routes)
    check(found, queries, candidates, Exclusions.none(300), k)
    assert routes["index"] == 300
    assert 300 >= routes["wider"] > routes["exact"]
    assert routes["exact"] > 0


def test_nothing_to_search_for() -> None:
    candidates, searcher = indexed_world("dot")
    found = find_neighbours(clustered(0), candidates, K, searcher=searcher, parameters=SEARCH)
    assert found.ordinals.shape == (0, K)


def test_more_asked_than_there_are_candidates() -> None:
    candidates, searcher = indexed_world("cosine")
    queries = clustered(3, seed=2)
    found = find_neighbours(queries, candidates, 6_100, searcher=searcher, parameters=SEARCH)
    check(found, queries, candidates, Exclusions.none(3), 6_100)


def test_an_index_of_other_candidates_is_refused() -> None:
    _, searcher = indexed_world("dot")
    other = Candidates.of(clustered(5_000, seed=1), "dot")
    with pytest.raises(RecbatchError, match="index is of"):
        find_neighbours(clustered(2), other, K, searcher=searcher, parameters=SEARCH)


def test_nan_never_reaches_the_index() -> None:
    candidates, searcher = indexed_world("dot")
    queries = clustered(4, seed=2)
    queries[2, 0] = np.nan
    with pytest.raises(RecbatchError, match="not finite"):
        find_neighbours(queries, candidates, K, searcher=searcher, parameters=SEARCH)
