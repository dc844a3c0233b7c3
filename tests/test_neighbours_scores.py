"""The score of a pair has the same bits however it comes about, and so has the ranking."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from neighbours_oracle import best_by_hand, exclusions, rows_of, same_bits
from neighbours_world import clustered

from recbatch.errors import RecbatchError
from recbatch.index import Candidates
from recbatch.neighbours import Neighbours, find_neighbours, merge
from recbatch.neighbours.scores import PairScorer, best, score


@pytest.mark.parametrize("width", [1, 2, 3, 7, 16, 33, 64, 129])
def test_a_pair_has_one_score(width: int) -> None:
    candidates = Candidates.of(clustered(300, width, seed=1), "dot")
    queries = clustered(40, width, seed=2)
    rng = np.random.default_rng(0)
    ordinals = rng.integers(0, 300, (40, 60)).astype(np.int32)
    together = score(queries, candidates, ordinals)
    rows, columns = np.divmod(rng.permutation(ordinals.size), 60)
    pairs = PairScorer(queries, candidates).score(rows, ordinals[rows, columns].astype(np.int64))
    assert pairs.tobytes() == together[rows, columns].tobytes()
    for row in range(0, 40, 13):
        for size in (1, 2, 5, 60):
            alone = score(queries[row : row + 1], candidates, ordinals[row : row + 1, -size:])
            assert alone.tobytes() == together[row : row + 1, -size:].tobytes()


def test_best_sorts_by_score_and_then_by_ordinal() -> None:
    values = np.array([-np.inf, -1e30, -1.5, -1e-40, -0.0, 0.0, 1e-40, 0.25, 1e30, np.inf], np.float32)
    rng = np.random.default_rng(0)
    scores = values[rng.integers(0, len(values), (30, 40))]
    ordinals = np.stack([rng.permutation(40) for _ in range(30)]).astype(np.int32)
    gone = rng.random((30, 40)) < 0.3
    by_ordinal = np.empty_like(scores)
    np.put_along_axis(by_ordinal, ordinals, scores, 1)
    ordinals[gone], scores[gone] = -1, np.nan
    out = [set(range(40)) - set(row.tolist()) for row in ordinals]
    for k in (1, 7, 40, 55):
        assert rows_of(best(ordinals, scores, k)) == best_by_hand(by_ordinal, k, out)


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_merged_shards_are_the_whole(shards: int) -> None:
    vectors, queries = clustered(3_000, 16, seed=1), clustered(100, 16, seed=2)
    vectors[rng_rows(200)] = vectors[0]
    out = exclusions([set(rng_rows(40, seed=row).tolist()) for row in range(100)])
    whole = find_neighbours(queries, Candidates.of(vectors, "cosine"), 25, excluded=out)
    bounds = np.linspace(0, 3_000, shards + 1).astype(int).tolist()
    parts = []
    for first, last in itertools.pairwise(bounds):
        shard = Candidates.of(vectors[first:last], "cosine")
        part = find_neighbours(queries, shard, 25, excluded=out.within(first, last))
        parts.append(Neighbours(np.where(part.ordinals < 0, -1, part.ordinals + first), part.scores, part.counts))
    assert same_bits(merge(parts), whole)


def test_merging_nothing_or_unequal_parts_is_refused() -> None:
    with pytest.raises(RecbatchError):
        merge([])
    with pytest.raises(RecbatchError):
        merge([Neighbours.empty(2, 3), Neighbours.empty(2, 4)])


def rng_rows(count: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3_000, count)
