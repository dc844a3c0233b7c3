from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recbatch.metrics import (
    UserSums,
    compare,
    compare_all,
    coverage,
    estimates,
    gini,
    places_of_targets,
    query_metrics,
    self_information,
    thirds_by_count,
    thirds_by_share,
    user_sums,
)

L2, L3 = 1 / np.log2(3), 0.5  # discounts of the second and third place


def lists_of(*rows: list[int], width: int = 100) -> np.ndarray:
    return np.array([row + [-1] * (width - len(row)) for row in rows], np.int32)


def sums(lists: np.ndarray, targets: list[tuple[int, int]], **changes: Any) -> UserSums:
    query, item = np.array(targets, np.int32).reshape(-1, 2).T
    settings: dict[str, Any] = {
        "users": np.arange(len(lists)),
        "activity": np.ones(len(lists), int),
        "popularity": np.full(1000, 2),
        **changes,
    }
    return user_sums(lists, target_query=query, target_item=item, **settings)


def test_places() -> None:
    lists = lists_of([4, 7, 7], [5])
    places = places_of_targets(lists, np.array([0, 0, 1, 1, 0]), np.array([7, 4, 5, 4, -1]))
    assert places.tolist() == [1, 0, 0, 100, 100], "the best of two places; padding is no hit for a missing target"


def test_metrics_by_hand() -> None:
    lists = lists_of([1, 2, 3], [9, 8], [5])
    # Query 0 finds 1 and 3 of three targets, query 1 finds 8 of one, query 2 finds none of two.
    targets = [(0, 1), (0, 3), (0, 50), (1, 8), (2, 6), (2, -1)]
    found = {name: value.value for name, value in estimates([sums(lists, targets)], repetitions=0)["all"].items()}
    ideal_2, ideal_3 = 1 + L2, 1 + L2 + L3
    assert found["hit@10"] == pytest.approx(3 / 6)
    assert found["recall@10"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["capped_recall@10"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["ndcg@10"] == pytest.approx(((1 + L3) / ideal_3 + L2 / 1 + 0 / ideal_2) / 3)
    assert found["map@100"] == pytest.approx(((1 + 2 / 3) / 3 + 1 / 2 + 0) / 3)


def test_the_denominators_differ_where_there_are_more_targets_than_places() -> None:
    metrics = query_metrics(np.arange(20, dtype=np.int32), np.zeros(20, int), 2, 100, ks=(10,))
    assert metrics["recall@10"][0] == 10 / 20
    assert metrics["capped_recall@10"][0] == 1
    assert metrics["ndcg@10"][0] == pytest.approx(1), "the ideal list is cut at ten as well"
    assert metrics["map@100"][0] == pytest.approx(1)
    assert np.isnan(metrics["recall@10"][1]), "a query without a target says nothing"


def test_hits_count_repeats_and_everything_else_counts_a_pair_once() -> None:
    found = estimates([sums(lists_of([1]), [(0, 1), (0, 1), (0, 2)])], repetitions=0)["all"]
    assert found["hit@10"].value == pytest.approx(2 / 3)
    assert found["recall@10"].value == pytest.approx(1 / 2)


def test_more_cuts_on_demand() -> None:
    found = estimates([sums(lists_of([1, 2, 3]), [(0, 3)], ks=(1, 3, 50))], repetitions=0)["all"]
    assert [found[f"hit@{k}"].value for k in (1, 3, 50)] == [0, 1, 1]


def test_coverage_gini_and_novelty_by_hand() -> None:
    lists = lists_of([0, 1], [0, 2], width=10)
    assert coverage(lists, 6) == 3 / 6
    counts = np.array([2, 1, 1, 0, 0, 0])
    assert gini(lists, 6) == pytest.approx(np.abs(counts[:, None] - counts).mean() / (2 * counts.mean()))
    assert gini(lists_of([0, 1, 2], [2, 1, 0]), 3) == pytest.approx(0), "all equally often"
    assert gini(lists_of(*[[0]] * 50), 1000) == pytest.approx(0.999)
    novelty = self_information(lists_of([0, 1], [2], []), np.array([8, 4, 0, 4]))
    assert novelty[:2].tolist() == [pytest.approx((1 + 2) / 2), pytest.approx(4)]
    assert np.isnan(novelty[2])


def test_groups_of_users_and_items() -> None:
    assert thirds_by_count(np.array([0, 1, 2, 3, 4, 5, 6, 0])).tolist() == [0, 1, 1, 2, 2, 3, 3, 0]
    assert thirds_by_count(np.array([7, 7, 7])).tolist() == [1, 1, 1]
    # 30 events: one item with ten, two with five, ten with one.
    assert thirds_by_share(np.array([10, 5, 5, *[1] * 10, 0])).tolist() == [3, 2, 2, *[1] * 10, 0]
    assert thirds_by_share(np.zeros(2, int)).tolist() == [0, 0]


def test_metrics_of_groups() -> None:
    lists = lists_of([0], [1], [2])
    popularity = np.array([10, 0, 10, 0])
    found = estimates(
        [sums(lists, [(0, 0), (1, 1), (2, 3)], activity=np.array([5, 5, 0]), popularity=popularity)], repetitions=0
    )
    assert found["users: warm"]["hit@10"].value == 1
    assert found["users: cold"]["hit@10"].value == 0
    assert found["items: cold"]["hit@10"].value == pytest.approx(1 / 2)
    assert "items: head" not in found or found["items: head"]["hit@10"].value == 1
    assert found["users: cold"]["coverage@10"].value == 1 / 4


def test_what_is_shown_of_a_group_of_items() -> None:
    """Its coverage, Gini and novelty are those of lists that hold nothing else, over a catalog that does not either."""
    popularity = np.array([10, 5, 5, *[1] * 10, 0, 0])
    random = np.random.default_rng(3)
    lists = np.stack([random.permutation(len(popularity))[:6] for _ in range(4)]).astype(np.int32)
    found = estimates([sums(lists, [(0, 0)], popularity=popularity)], repetitions=0)
    for group, members in {"cold": [13, 14], "tail": list(range(3, 13)), "middle": [1, 2], "head": [0]}.items():
        shown = [[members.index(item) for item in row if item in members] for row in lists.tolist()]
        alone = lists_of(*shown)
        metrics = found[f"items: {group}"]
        assert metrics["coverage@10"].value == pytest.approx(coverage(alone, len(members)))
        assert metrics["gini@10"].value == pytest.approx(gini(alone, len(members)))
        bits = [np.mean([np.log2(30 / max(popularity[members[item]], 1)) for item in row]) for row in shown if row]
        assert metrics["novelty@10"].value == pytest.approx(np.mean(bits), rel=1e-5)


def planted(seed: int, quality: float, users: int = 300) -> UserSums:
    random = np.random.default_rng(seed)
    hit = random.random(users) < quality
    lists = lists_of(*[[1] if found else [2] for found in hit])
    return sums(lists, [(user, 1) for user in range(users)])


def test_the_interval_is_that_of_a_proportion() -> None:
    found = estimates([planted(0, 0.3)])["all"]["hit@10"]
    error = np.sqrt(found.value * (1 - found.value) / 300)
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.01)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.01)
    assert found == estimates([planted(0, 0.3)])["all"]["hit@10"], "a fixed seed"


def test_pooled_splits_are_the_mean_of_splits_and_a_user_is_drawn_with_all_of_them() -> None:
    one, other = planted(0, 0.3), planted(1, 0.5)
    both = estimates([one, other])["all"]["hit@10"]
    single = estimates([one])["all"]["hit@10"]
    assert both.value == pytest.approx((single.value + estimates([other])["all"]["hit@10"].value) / 2)
    # Two splits in which every user fares alike are one measurement, not two.
    same = estimates([one, one])["all"]["hit@10"]
    assert (same.low, same.high) == (single.low, single.high)


def test_a_difference_is_seen_and_no_difference_is_not() -> None:
    better, worse, alike = planted(0, 0.6), planted(1, 0.4), planted(2, 0.6)
    found = compare([better], [worse], "ndcg@10")
    assert found.value > 0.1
    assert found.low < found.value < found.high
    assert found.p < 0.01
    assert compare([worse], [better], "ndcg@10").value == pytest.approx(-found.value)
    assert compare([better], [alike], "hit@10").p > 0.05
    assert compare([better], [better], "hit@10").p == 1
    both = compare_all([better], [worse], ["ndcg@10", "hit@10"])
    assert both["ndcg@10"] == found


def test_only_what_was_measured_on_the_same_users_is_compared() -> None:
    with pytest.raises(ValueError, match="same splits"):
        compare([planted(0, 0.5)], [planted(0, 0.5, users=200)], "hit@10")
    with pytest.raises(ValueError, match="no gini@10 of all"):
        compare([planted(0, 0.5)], [planted(1, 0.5)], "gini@10")


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, list[tuple[int, int]], np.ndarray, np.ndarray]:
    queries, candidates = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    rows = [draw(st.permutations(range(candidates)))[: draw(st.integers(0, candidates))] for _ in range(queries)]
    targets = draw(
        st.lists(st.tuples(st.integers(0, queries - 1), st.integers(-1, candidates - 1)), min_size=1, max_size=20)
    )
    events = st.integers(0, 9)
    return (
        lists_of(*map(list, rows)),
        targets,
        draw(arrays(np.int64, queries, elements=events)),
        draw(arrays(np.int64, candidates, elements=events)),
    )


@settings(max_examples=60, deadline=None)
@given(cases())
def test_shares_are_shares(case: tuple[np.ndarray, list[tuple[int, int]], np.ndarray, np.ndarray]) -> None:
    lists, targets, activity, popularity = case
    for metrics in estimates([sums(lists, targets, activity=activity, popularity=popularity)], repetitions=20).values():
        for name, found in metrics.items():
            assert found.value >= 0
            if not name.startswith("novelty"):
                assert found.value <= 1 + 1e-6
            assert found.low is None or found.high is None or found.low <= found.high


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(0, 100))
def test_the_order_of_queries_and_targets_does_not_matter(
    case: tuple[np.ndarray, list[tuple[int, int]], np.ndarray, np.ndarray], seed: int
) -> None:
    lists, targets, activity, popularity = case
    random = np.random.default_rng(seed)
    order = random.permutation(len(lists))
    place = np.argsort(order)
    moved = [(int(place[query]), item) for query, item in targets]
    random.shuffle(moved)
    before = sums(lists, targets, activity=activity, popularity=popularity)
    after = sums(lists[order], moved, users=order, activity=activity[order], popularity=popularity)
    np.testing.assert_allclose(before.numerators, after.numerators, rtol=1e-6)
    np.testing.assert_allclose(before.denominators, after.denominators)
    assert before.of_lists == pytest.approx(after.of_lists, nan_ok=True)
