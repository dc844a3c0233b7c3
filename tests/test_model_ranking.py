"""Ranges and ranks against plain loops, and which queries are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_data import planted, small_model

from recbatch.model import ranking
from recbatch.model.data import prepare
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.gate import Questions
from recbatch.model.heldout import split_events
from recbatch.model.ranges import ranges
from recbatch.model.ranking import heldout_metrics, heldout_ranks, sample_queries


@pytest.mark.parametrize("lengths", [[2, 0, 3, 1], [0, 0], []])
def test_ranges_one_after_the_other(lengths: list[int]) -> None:
    starts = np.array([5, 9, 0, 7][: len(lengths)], np.int64)
    rows, places = ranges(starts, np.array(lengths, np.int64))
    wanted = [(row, starts[row] + step) for row, length in enumerate(lengths) for step in range(length)]
    assert list(zip(rows.tolist(), places.tolist(), strict=True)) == wanted


@pytest.mark.parametrize("block", [1024, 2])
def test_ranks_are_those_of_a_loop(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(ranking, "_BLOCK", block)
    random = np.random.default_rng(1)
    scores = random.normal(size=(7, 30)).astype(np.float32)
    query_of = np.array([0, 0, 2, 3, 6, 6])  # nothing is asked of some
    targets = np.array([4, 9, 0, -1, 29, 3])
    seen = {0: [1, 2], 2: [], 3: [4], 6: [0, 1, 2, 28]}

    def left_out(part: slice) -> tuple[np.ndarray, np.ndarray]:
        found = [(query - part.start, item) for query in range(part.start, part.stop) for item in seen.get(query, [])]
        rows, items = zip(*found, strict=True) if found else ((), ())
        return np.array(rows, np.int64), np.array(items, np.int64)

    found = heldout_ranks(lambda part: scores[part], scores.shape, query_of, targets, left_out)
    for query, target, rank in zip(query_of, targets, found, strict=True):
        others = [item for item in range(30) if item not in seen[query]]
        wanted = sum(scores[query, item] > scores[query, target] for item in others)
        assert rank == (wanted if target >= 0 else np.iinfo(np.int64).max)
    assert heldout_metrics(found, query_of)["heldout_recall_at_10"] == pytest.approx(np.mean(found < 10))


def test_above_the_limit_some_queries_are_asked_for_with_all_their_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sample_queries(ranking.MOST_QUERIES).tolist() == list(range(ranking.MOST_QUERIES))
    model, prepared = small_model({"heldout": {"split": "random", "share": 0.3}}), prepare(planted())
    split = split_events(model, prepared)
    train, heldout = prepared.events.select(~split.heldout), prepared.events.select(split.heldout)

    def fit(name: str) -> TwoTowerFit:
        return TwoTowerFit("test", model, prepared, train, heldout, tmp_path / name, "x")

    everything, all_questions = fit("all").evaluation, Questions(model, prepared, split)
    monkeypatch.setattr(ranking, "MOST_QUERIES", 7)
    kept = sample_queries(len(all_questions.users))
    assert len(kept) == len(set(kept.tolist())) == 7
    assert kept.tolist() == sorted(kept.tolist()) == sample_queries(len(all_questions.users)).tolist()

    questions, sampled = Questions(model, prepared, split), fit("some").evaluation
    np.testing.assert_array_equal(questions.users, all_questions.users[kept])
    asked = np.isin(prepared.events.users[all_questions.places], questions.users)
    np.testing.assert_array_equal(questions.places, all_questions.places[asked])
    assert everything is not None
    assert sampled is not None
    np.testing.assert_array_equal(sampled._users, everything._users[kept])
    assert sampled.counts["heldout_events_evaluated"] == np.isin(everything._query_of, kept).sum()
