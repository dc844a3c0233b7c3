from __future__ import annotations

import numpy as np
import pytest

from recbatch.metrics import ndcg_at_k, recall_at_k, target_ranks


def test_ranks_count_the_better_candidates_and_break_ties_by_number() -> None:
    scores = np.array([[0.1, 0.9, 0.5, 0.5], [1.0, 1.0, 1.0, 1.0]], np.float32)
    ranks = target_ranks(scores, np.array([0, 0, 0, 1, 1]), np.array([1, 2, 3, 0, 3]))
    assert ranks.tolist() == [0, 1, 2, 0, 3]


def test_excluded_candidates_do_not_compete() -> None:
    scores = np.array([[4.0, 3.0, 2.0, 1.0]], np.float32)
    ranks = target_ranks(scores, np.array([0, 0]), np.array([2, 3]), np.array([0, 0]), np.array([0, 1]))
    assert ranks.tolist() == [0, 1]
    assert scores[0, 0] == 4.0


def test_ranks_equal_a_sort() -> None:
    random = np.random.default_rng(1)
    scores = random.integers(0, 20, (30, 50)).astype(np.float32)
    rows, targets = random.integers(0, 30, 200), random.integers(0, 50, 200)
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = [int(np.flatnonzero(order[row] == target)[0]) for row, target in zip(rows, targets, strict=True)]
    assert target_ranks(scores, rows, targets).tolist() == expected


def test_recall_divides_by_all_targets() -> None:
    assert recall_at_k(np.array([0, 4, 5, 100]), 5) == 2 / 4
    assert np.isnan(recall_at_k(np.zeros(0, np.int64), 5))


def test_ndcg_is_per_query_with_an_ideal_cut_at_k() -> None:
    # First query: hits at ranks 0 and 2 of three targets. Second: its only target is missed.
    ranks, queries = np.array([0, 2, 9, 50]), np.array([7, 7, 7, 3])
    first = (1 + 1 / 2) / (1 + 1 / np.log2(3) + 1 / 2)
    assert ndcg_at_k(ranks, queries, 3) == pytest.approx((first + 0) / 2)
    # With k = 2 the ideal has two hits only.
    assert ndcg_at_k(ranks, queries, 2) == pytest.approx((1 / (1 + 1 / np.log2(3)) + 0) / 2)
