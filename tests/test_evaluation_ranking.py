"""Lists out of scores, orders and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from model_data import DAY_US, START_US, interactions, planted

from recbatch.errors import InputError
from recbatch.evaluation import (
    BASELINES,
    WIDTH,
    best_of,
    compare,
    evaluate_lists,
    make_task,
    pool,
    popularity,
    rank_vectors,
    read_lists,
    recent_popularity,
    write_task,
)
from recbatch.evaluation import ranking as ranking_module
from recbatch.model import TrainingData

DATA = planted(num_items=300)
SCORES = st.sampled_from([0.0, 1.0, 2.0, -1.0, np.nan, -np.inf, np.inf])


@settings(deadline=None)
@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=SCORES), st.integers(1, 15))
def test_the_best_are_those_of_a_full_sort(scores: np.ndarray, k: int) -> None:
    for row, found in zip(scores, best_of(scores, k), strict=True):
        ranked = [i for i in range(len(row)) if row[i] > -np.inf]
        expected = sorted(ranked, key=lambda i: (-row[i], i))[:k]
        assert found.tolist() == expected + [-1] * (k - len(expected))


@pytest.mark.parametrize("block", [1, 1000, 1 << 24])
def test_vectors_are_ranked_by_dot_product_without_seen_or_unknown(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_module, "_BLOCK_SCORES", block)
    task, random = make_task("B", DATA, 0), np.random.default_rng(0)
    queries = random.normal(size=(task.num_queries, 4)).astype(np.float32)
    candidates = random.normal(size=(task.num_candidates, 4)).astype(np.float32)
    queries[3], candidates[5, 1] = np.nan, np.inf
    known = random.random(task.num_candidates) < 0.8
    lists = rank_vectors(task, queries, candidates, known)
    assert (lists[3] == -1).all()
    for query in (0, 1, task.num_queries - 1):
        seen = set(task.seen_item[task.seen_query == query].tolist())
        allowed = [i for i in np.flatnonzero(known) if i != 5 and i not in seen]
        scores = candidates @ queries[query]
        expected = sorted(allowed, key=lambda i: -scores[i])[:WIDTH]
        assert lists[query].tolist() == expected + [-1] * (WIDTH - len(expected))


def test_popularity_is_the_order_of_training_without_seen() -> None:
    task = make_task("B", DATA, 0)
    lists = popularity(task)
    for query in range(0, task.num_queries, 9):
        seen = task.seen_item[task.seen_query == query]
        assert not np.isin(lists[query], seen).any()
        counts = task.popularity[lists[query]]
        assert (np.diff(counts) <= 0).all()
        left = np.setdiff1d(np.arange(task.num_candidates), np.concatenate([seen, lists[query]]))
        assert counts.min() >= task.popularity[left].max()
    assert np.array_equal(lists, popularity(task))


def test_recent_popularity_forgets_what_is_older_than_a_month() -> None:
    events = [("a", 0)] * 50 + [("b", 40)] * 10 + [("c", 41)] * 5 + [("d", 60)] * 20
    items, days = [item for item, _ in events], [day for _, day in events]
    users = [f"u{n}" for n in range(len(events))]
    task = make_task("D", TrainingData(interactions(users, items, [START_US + d * DAY_US for d in days])), 0)
    lists = recent_popularity(task)
    assert lists is not None
    assert task.items.take(lists[0, :3].tolist()).to_pylist() == ["b", "c", "a"]
    assert recent_popularity(make_task("A", planted(timestamps=False), 0)) is None


def test_in_new_items_popularity_is_chance() -> None:
    task = make_task("N", DATA, 0)
    chance = BASELINES["random order"](task)
    assert chance is not None
    assert np.array_equal(popularity(task), chance)


def test_a_perfect_list_is_perfect_and_its_shuffle_worse() -> None:
    task = make_task("B", DATA, 0)
    perfect = np.full((task.num_queries, WIDTH), -1, np.int32)
    for query in range(task.num_queries):
        mine = task.target_item[task.target_query == query]
        perfect[query, : len(mine)] = mine
    result = evaluate_lists(task, perfect)
    for metric in ("hit@10", "recall@10", "ndcg@10", "map@100"):
        assert result.value(metric) == pytest.approx(1)
    assert result.value("hit@10", "users: warm") == pytest.approx(1)
    worse = evaluate_lists(task, np.roll(perfect, 5, axis=1))
    assert compare(result, worse, "ndcg@10").p < 0.01
    assert pool([result, worse]).value("ndcg@10") == pytest.approx((1 + worse.value("ndcg@10")) / 2)
    assert set(result.as_json()["metrics"]["hit@10"]) == {"value", "low", "high"}
    assert set(result.as_json()["metrics"]["gini@10"]) == {"value"}


def test_lists_that_do_not_fit_are_refused() -> None:
    task = make_task("B", DATA, 0)
    with pytest.raises(ValueError, match="lists of shape"):
        evaluate_lists(task, np.zeros((3, WIDTH), np.int32))
    with pytest.raises(ValueError, match="candidate 100000 in a list"):
        evaluate_lists(task, np.full((task.num_queries, WIDTH), 100_000, np.int32))


@pytest.mark.parametrize("letter", "ABDSUNI")
def test_the_exchanged_files_say_what_the_task_says(letter: str, tmp_path: Path) -> None:
    task = make_task(letter, DATA, 0)
    write_task(task, tmp_path / "task")
    train, queries = (dict(np.load(tmp_path / "task" / f"{name}.npz")) for name in ("train", "queries"))
    assert len(train["users"]) == task.train.interactions.num_rows
    assert (np.diff(train["users"]) >= 0).all()
    same = np.diff(train["users"]) == 0
    assert (np.diff(train["times"])[same] >= 0).all()
    assert train["users"].max() + 1 == train["num_users"]
    assert train["items"].max() < train["num_items"]
    assert train["num_candidates"] == task.num_candidates
    wanted = task.train.interactions
    if "target" in wanted.column_names:
        wanted = wanted.filter(wanted["target"])
    counts = np.bincount(train["items"][train["target"]], minlength=task.num_candidates)
    assert np.array_equal(counts[: task.num_candidates], task.popularity)
    assert train["target"].sum() == wanted.num_rows

    items = task.items.to_pylist()
    for query, history in enumerate(task.queries["history"].to_pylist()):
        part = slice(*queries["history_offsets"][query : query + 2])
        numbers = queries["history_items"][part]
        if letter != "N":
            assert [items[number] for number in numbers] == history
        part = slice(*queries["seen_offsets"][query : query + 2])
        assert queries["seen_items"][part].tolist() == task.seen_item[task.seen_query == query].tolist()
    assert (queries["user"] == -1).all() == (letter in "UI")
    known = queries["user"] >= 0
    if letter in "AB":
        assert np.array_equal(np.bincount(train["users"])[queries["user"][known]], task.activity[known])


def test_lists_are_read_back_or_refused(tmp_path: Path) -> None:
    task = make_task("A", DATA, 0)
    lists = popularity(task)
    np.save(tmp_path / "lists.npy", lists)
    assert np.array_equal(read_lists(tmp_path, task), lists)
    for wrong, message in (
        (lists[:5], "lists are int32"),
        (lists.astype(np.int64), "these are int64"),
        (lists + np.int32(10_000), "candidates are -1 to"),
    ):
        np.save(tmp_path / "lists.npy", wrong)
        with pytest.raises(InputError, match=message):
            read_lists(tmp_path, task)
    with pytest.raises(InputError, match="holds no lists"):
        read_lists(tmp_path / "nowhere", task)
