"""Exact search against the oracle: ranks, ties, exclusions, odd sizes, and independence of blocks and threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neighbours_oracle import all_scores, best_by_hand, exclusions, rows_of, same_bits
from neighbours_world import clustered

from recbatch.errors import RecbatchError
from recbatch.index import Candidates, Similarity
from recbatch.neighbours import Neighbours, exact, find_neighbours


@st.composite
def searches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, list[set[int]], np.ndarray]:
    """Queries and candidates of few small whole numbers, so that sums are exact and ties abound."""
    width = draw(st.integers(1, 4))
    queries = draw(st.integers(0, 7))
    count = draw(st.sampled_from([0, 1, 2, 15, 16, 17, 40, 99]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0, 1, 3]))
    values = [rng.integers(-spread, spread + 1, (rows, width)).astype(np.float32) for rows in (queries, count)]
    shares = draw(st.lists(st.sampled_from([0.0, 0.1, 0.9, 1.0]), min_size=queries, max_size=queries))
    excluded = [set(np.flatnonzero(rng.random(count) < share).tolist()) for share in shares]
    own = rng.integers(-1, count, queries).astype(np.int32) if count else np.full(queries, -1, np.int32)
    return values[0], values[1], draw(st.sampled_from([1, 3, 10, 120])), excluded, own


@settings(max_examples=150, deadline=None)
@given(searches(), st.booleans())
def test_equals_the_oracle(
    search: tuple[np.ndarray, np.ndarray, int, list[set[int]], np.ndarray], small_blocks: bool
) -> None:
    queries, vectors, k, excluded, own = search
    with pytest.MonkeyPatch.context() as patch:
        if small_blocks:
            patch.setattr(exact, "_CANDIDATES", 8)
            patch.setattr(exact, "_QUERIES", 2)
        found = find_neighbours(queries, Candidates.of(vectors, "dot"), k, excluded=exclusions(excluded), own=own)
    out = [row | {int(mine)} for row, mine in zip(excluded, own, strict=True)]
    assert rows_of(found) == best_by_hand(all_scores(queries, vectors), k, out)
    assert found.counts.tolist() == [min(k, len(set(range(len(vectors))) - row)) for row in out]


@pytest.mark.parametrize(("similarity", "bias"), [("dot", None), ("dot", 2), ("cosine", None), ("cosine", 2)])
def test_scores_are_of_the_published_vectors(similarity: Similarity, bias: int | None) -> None:
    queries, vectors = clustered(30, 8, seed=2), clustered(5_000, 8, seed=3)
    found = find_neighbours(queries, Candidates.of(vectors, similarity, bias), 20)
    scores = all_scores(queries, vectors, similarity, bias)
    assert np.abs(np.take_along_axis(scores, found.ordinals, 1) - found.scores).max() < 2e-6
    assert np.abs(-np.sort(-scores, axis=1)[:, :20] - found.scores).max() < 2e-6
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_dot_scores_are_correctly_rounded() -> None:
    queries, vectors = clustered(20, 64, seed=2), clustered(3_000, 64, seed=3)
    found = find_neighbours(queries, Candidates.of(vectors, "dot"), 50)
    expected = np.take_along_axis(all_scores(queries, vectors), found.ordinals, 1).astype(np.float32)
    assert found.scores.tobytes() == expected.tobytes()


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_equal_candidates_come_in_the_order_of_their_ordinals(similarity: Similarity) -> None:
    vector = np.array([0.1, -0.7, 0.3], np.float32)
    vectors = np.tile(vector, (9_000, 1))
    vectors[8_500] = -vector
    queries = np.stack([vector, -vector, np.array([1, 1, 1], np.float32)])
    found = find_neighbours(queries, Candidates.of(vectors, similarity), 12)
    best = list(range(12))
    assert found.ordinals.tolist() == [best, [8_500, *best[:11]], [8_500, *best[:11]]]


def test_duplicates_of_the_best_across_blocks() -> None:
    vectors = clustered(10_000, 16, seed=5)
    vectors[[9_999, 4_097, 4_095, 17]] = 3 * np.abs(vectors).max(axis=0)
    query = np.ones((1, 16), np.float32)
    found = find_neighbours(query, Candidates.of(vectors, "dot"), 3)
    assert found.ordinals.tolist() == [[17, 4_095, 4_097]]
    assert len(set(found.scores[0].tolist())) == 1


def test_candidates_that_only_the_rounding_of_a_float32_product_tells_apart() -> None:
    """Every candidate has the same values in another order; all scores are equal, no two float32 sums need be."""
    rng = np.random.default_rng(0)
    values = (rng.integers(-(2**23), 2**23, 64) / 2**20).astype(np.float32)
    vectors = np.stack([rng.permutation(values) for _ in range(9_000)])
    query = np.ones((1, 64), np.float32)
    assert len(np.unique(query @ vectors.T)) > 1
    found = find_neighbours(query, Candidates.of(vectors, "dot"), 15)
    assert found.ordinals.tolist() == [list(range(15))]


def test_blocks_and_threads_do_not_matter() -> None:
    candidates = Candidates.of(clustered(9_000, 16, seed=3), "cosine")
    queries = clustered(600, 16, seed=4)
    rng = np.random.default_rng(0)
    out = exclusions([set(rng.integers(0, 9_000, rng.integers(0, 500)).tolist()) for _ in range(600)])
    whole = find_neighbours(queries, candidates, 10, excluded=out)
    assert same_bits(whole, find_neighbours(queries, candidates, 10, excluded=out, threads=1))
    for step in (1, 7, 256):
        pieces = Neighbours.empty(600, 10)
        for first in range(0, 600 if step > 1 else 50, step):
            rows = slice(first, min(600, first + step))
            part = find_neighbours(queries[rows], candidates, 10, excluded=out.rows(rows.start, rows.stop))
            pieces.put(rows, part)
        done = slice(0, 600 if step > 1 else 50)
        assert whole.ordinals[done].tobytes() == pieces.ordinals[done].tobytes()
        assert whole.scores[done].tobytes() == pieces.scores[done].tobytes()


def test_huge_exclusions() -> None:
    vectors = clustered(6_000, 4, seed=3)
    queries = clustered(4, 4, seed=4)
    everything = set(range(6_000))
    left = {3, 4_500, 5_999}
    out = [everything, everything - left, set(), everything - {0}]
    found = find_neighbours(queries, Candidates.of(vectors, "dot"), 5, excluded=exclusions(out))
    assert found.counts.tolist() == [0, 3, 5, 1]
    assert set(found.ordinals[1, :3].tolist()) == left
    assert found.ordinals[3, 0] == 0


def test_scores_far_below_zero_and_vectors_of_very_unequal_length() -> None:
    rng = np.random.default_rng(0)
    vectors = -rng.random((5_000, 3)).astype(np.float32) * (10.0 ** rng.integers(-12, 13, (5_000, 1))).astype(
        np.float32
    )
    queries = rng.random((5, 3)).astype(np.float32)
    found = find_neighbours(queries, Candidates.of(vectors, "dot"), 30)
    expected = best_by_hand(all_scores(queries, vectors).astype(np.float32), 30, [set()] * 5)
    assert found.ordinals.tolist() == [[ordinal for ordinal, _ in row] for row in expected]
    assert (found.scores < 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"excluded": exclusions([{0}])}, "exclusions are of 1 queries"),
        ({"excluded": exclusions([{0}, {7}])}, "not among the 5 candidates"),
        ({"own": np.array([0, 5], np.int32)}, "not among the 5 candidates"),
    ],
)
def test_arguments_that_do_not_belong_together(arguments: dict, message: str) -> None:
    candidates = Candidates.of(clustered(5, 4), "dot")
    with pytest.raises(RecbatchError, match=message):
        find_neighbours(clustered(2, 4), candidates, 3, **arguments)


def test_invalid_queries_are_refused() -> None:
    candidates = Candidates.of(clustered(5, 4), "dot")
    queries = clustered(2, 4)
    queries[1, 2] = np.nan
    with pytest.raises(RecbatchError, match="row 1, is not finite"):
        find_neighbours(queries, candidates, 3)
    with pytest.raises(RecbatchError, match="queries are 3 wide, but the candidates 4"):
        find_neighbours(clustered(2, 3), candidates, 3)
