"""A tuner that starts from an earlier setting keeps it, widens it a little, or tries all others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from neighbours_world import clustered, indexed_world

from recbatch.index import SearchParameters
from recbatch.neighbours import Start, Tuning, tune

K = 10
MIN_RECALL = 0.95


def tuned(queries: np.ndarray, start: Start | None = None, threads: int | None = None) -> Tuning:
    candidates, searcher = indexed_world("dot", 20_000)
    return tune(queries, candidates, searcher, K, MIN_RECALL, start=start, threads=threads)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return clustered(1_500, seed=2)


@pytest.fixture(scope="module")
def nothing(queries: np.ndarray) -> Tuning:
    """What is tuned from nothing."""
    return tuned(queries)


def start_of(search: SearchParameters | None, recall: float) -> Start:
    assert search is not None
    return Start(search, recall)


def test_a_setting_that_still_finds_enough_is_kept_after_one_trial(queries: np.ndarray, nothing: Tuning) -> None:
    assert nothing.recall is not None
    kept = tuned(queries, start_of(nothing.search, nothing.recall.mean))
    assert (kept.method, kept.by, kept.search) == ("index", "start", nothing.search)
    assert len(kept.curve) == 1
    assert kept.recall == nothing.recall
    assert "still reaches the recall with a margin" in kept.reason


def test_the_margin_is_that_of_the_tuner(queries: np.ndarray, nothing: Tuning) -> None:
    """Settings whose recall on the sample is enough, but not surely: they are refused, and a little more is taken."""
    unsure = [trial for trial in nothing.curve if not trial.enough and trial.recall.lower > MIN_RECALL]
    assert unsure, "the curve has settings just below the margin"
    for trial in unsure:
        found = tuned(queries, start_of(trial.search, trial.recall.mean))
        assert found.by in ("widened", "tuning")
        assert found.search is not None
        assert found.recall is not None
        assert found.recall.lower > MIN_RECALL + 4 * 2**0.5 * found.recall.standard_error
        assert trial.search in [each.search for each in found.curve]
    assert "widened" in {tuned(queries, start_of(trial.search, trial.recall.mean)).by for trial in unsure}


def test_a_widened_setting_looks_at_a_few_leaves_more(queries: np.ndarray, nothing: Tuning) -> None:
    assert nothing.search is not None
    less = dataclasses.replace(nothing.search, leaves=nothing.search.leaves - 1)
    found = tuned(queries, start_of(less, 0.96))
    assert found.by == "widened"
    assert found.search is not None
    assert (found.search.leaves, found.search.reorder) == (nothing.search.leaves, nothing.search.reorder)
    assert len(found.curve) == 2
    assert found == tuned(queries, start_of(less, 0.96), threads=1), "threads change nothing"


def test_a_setting_that_finds_far_too_little_is_tuned_anew(queries: np.ndarray, nothing: Tuning) -> None:
    poor = tuned(queries, Start(SearchParameters(1, 20, 40), 0.96))
    assert (poor.by, poor.search) == ("tuning", nothing.search)
    assert len(poor.curve) > len(nothing.curve), "what was tried first is on the curve"


def test_a_setting_that_has_become_too_good_is_tuned_anew(queries: np.ndarray, nothing: Tuning) -> None:
    """Else it would only ever grow: kept where it finds more than it must, widened where it finds less."""
    assert nothing.search is not None
    rich = dataclasses.replace(nothing.search, leaves=4 * nothing.search.leaves, reorder=4 * nothing.search.reorder)
    found = tuned(queries, Start(rich, 0.96))
    assert (found.by, found.search) == ("tuning", nothing.search)
    assert found.cost == min(trial.cost for trial in found.curve if trial.enough)
    (mean,) = [trial.recall.mean for trial in found.curve if trial.search == rich]
    assert tuned(queries, Start(rich, mean)).by == "start", "as good as it was when it was tuned"


def test_a_setting_that_costs_more_than_exact_search_is_not_kept(queries: np.ndarray) -> None:
    candidates, searcher = indexed_world("dot", 1_200)
    start = Start(SearchParameters(30, 1_000, 40), 0.99)
    assert tune(queries, candidates, searcher, K, 0.9, start=start).method == "exact"
    assert tune(queries, candidates, searcher, K, 0.9, start=start, kind="scann").method == "index"
