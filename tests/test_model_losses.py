"""The softmax over a batch's candidates against sums written out in NumPy, and what its correction does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from model_data import interactions, small_model
from numpy.typing import NDArray

from recbatch.model import TrainingData
from recbatch.model.data import prepare
from recbatch.model.features import Bags
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.losses import in_batch_softmax, sampled_softmax

QUERIES, CANDIDATES = 4, 9
RANDOM = np.random.default_rng(5)
SCORES = RANDOM.normal(size=(QUERIES, CANDIDATES))
LOG_INCLUSION = np.log(RANDOM.uniform(0.1, 1, CANDIDATES))
# Query 0 has three targets, query 2 none; what is shown is never a target.
TARGETS = [(0, 1), (0, 4), (0, 7), (1, 4), (3, 0), (3, 8)]
WEIGHTS = np.array([1.0, 0.5, 2.0, 3.0, 0.25, 1.5])
SHOWN = [(0, 0), (0, 2), (1, 5), (2, 1), (3, 4)]
TEMPERATURE = 0.4

Setting = dict[str, Any]


def written_out(log_inclusion: bool, shown_offset: float | None, hard_negatives: int | None) -> float:
    """The loss, target by target and candidate by candidate."""
    total = 0.0
    for (query, target), weight in zip(TARGETS, WEIGHTS, strict=True):
        scores = {c: SCORES[query, c] / TEMPERATURE - (LOG_INCLUSION[c] if log_inclusion else 0) for c in range(9)}
        own = {c for q, c in TARGETS if q == query}
        counted = {}
        for candidate, score in scores.items():
            if (query, candidate) not in SHOWN:
                counted[candidate] = score
            elif shown_offset is not None:
                counted[candidate] = score + shown_offset
        if hard_negatives is not None:
            best = sorted(counted.keys() - own, key=lambda c: -counted[c])[:hard_negatives]
            counted = {c: counted[c] for c in {*best, *own}}
        total += weight * (np.log(sum(np.exp(score) for score in counted.values())) - scores[target])
    return total / WEIGHTS.sum()


def loss_of(log_inclusion: bool, shown_offset: float | None, hard_negatives: int | None) -> float:
    # Queries are unit vectors, so that the scores are the given ones.
    rows, columns = np.array(TARGETS).T
    loss = sampled_softmax(
        tf.eye(QUERIES) / TEMPERATURE,
        tf.constant(SCORES.T, tf.float32),
        tf.constant(columns, tf.int32),
        tf.constant(rows, tf.int64),
        tf.constant(WEIGHTS, tf.float32),
        tf.constant(SHOWN, tf.int64),
        log_inclusion=tf.constant(LOG_INCLUSION, tf.float32) if log_inclusion else None,
        shown_offset=shown_offset,
        hard_negatives=hard_negatives,
    )
    return float(loss)


@pytest.mark.parametrize("hard_negatives", [None, 1, 3, 100])
@pytest.mark.parametrize("shown_offset", [None, 0.0, 1.5, -2.0])
@pytest.mark.parametrize("log_inclusion", [False, True])
def test_the_softmax_of_several_targets_per_query(
    log_inclusion: bool, shown_offset: float | None, hard_negatives: int | None
) -> None:
    expected = written_out(log_inclusion, shown_offset, hard_negatives)
    assert loss_of(log_inclusion, shown_offset, hard_negatives) == pytest.approx(expected, rel=1e-5)


def test_every_setting_changes_the_loss() -> None:
    settings: list[tuple[bool, float | None, int | None]] = [
        *[(False, None, None), (True, None, None), (False, 0.0, None), (False, 1.5, None), (False, None, 3)]
    ]
    assert len({round(loss_of(*setting), 4) for setting in settings}) == len(settings)


def test_another_target_of_the_same_query_stays_in_the_denominator() -> None:
    """A multinomial's cross entropy: with one score for all, two targets cost what one does, log of all candidates."""
    loss = sampled_softmax(
        tf.zeros([1, 2]),
        tf.zeros([5, 2]),
        tf.constant([0, 1]),
        tf.constant([0, 0], tf.int64),
        tf.ones([2]),
        tf.zeros([0, 2], tf.int64),
    )
    assert float(loss) == pytest.approx(np.log(5))


def in_batch_loss(folder: Path, scores: NDArray[np.float64], items: list[int], **settings: Any) -> float:
    """The loss of targets that score ``scores[query, target]`` with each query, by the task of a fit."""
    prepared = prepare(TrainingData(interactions(["u", "v"], ["i", "j"])))
    model = small_model(training={"negatives": "in_batch", **settings})
    fit = TwoTowerFit("test", model, prepared, prepared.events, None, folder, "x")
    size = len(items)
    loss = in_batch_softmax(
        fit._task,
        tf.constant(scores, tf.float32),
        tf.eye(size),
        tf.constant(items, tf.int64),
        tf.range(size, dtype=tf.int64),
        tf.ones([size]),
        tf.zeros([0, 2], tf.int64),
    )
    return float(loss)


@pytest.mark.parametrize(("removed", "expected"), [(True, 2 * np.log(2) + np.log(3)), (False, 3 * np.log(3))])
def test_the_same_item_again_is_no_negative(removed: bool, expected: float, tmp_path: Path) -> None:
    """Two of three targets are one item: an accidental hit to each other."""
    scores = np.zeros((3, 3))
    assert in_batch_loss(tmp_path, scores, [7, 7, 8], remove_accidental_hits=removed) == pytest.approx(expected)


def test_hard_negatives_in_a_batch_are_those_that_score_highest(tmp_path: Path) -> None:
    scores = np.array([[1.0, 0.5, 2.0], [0.0, 0.0, 3.0], [1.0, -1.0, 0.5]])
    hardest = [2.0, 3.0, 1.0]
    expected = sum(np.log(np.exp(own) + np.exp(hard)) - own for own, hard in zip(np.diag(scores), hardest, strict=True))
    assert in_batch_loss(tmp_path, scores, [1, 2, 3], hard_negatives=1) == pytest.approx(expected, rel=1e-5)
    assert in_batch_loss(tmp_path, scores, [1, 2, 3]) > expected


def scores_of_one_query(fit: TwoTowerFit, num_items: int) -> NDArray[np.float64]:
    """[num_items] of a user who is as all the others."""
    vectors = fit.candidate(fit.data.candidate_inputs(tf.range(num_items)))
    first, nothing = tf.constant([0]), Bags(tf.constant([]), tf.constant([]), tf.constant(1))
    query = fit.query(fit.data.query_inputs(first, first, fit._of_events, nothing))
    scores: NDArray[np.float64] = tf.matmul(query, vectors, transpose_b=True)[0].numpy().astype(np.float64)
    return scores


@pytest.mark.heavy
def test_mixed_negatives_learn_popularity_only_with_the_correction(tmp_path: Path) -> None:
    # Every user looks the same, so the best scores of a softmax over all items are log P(item) + constant. Eighty items
    # are three times as popular as the other eighty. A batch of 32 users has a popular one as a candidate with
    # probability 1 - (1 - 3/320)^32 (1 - 16/160), an unpopular one with 1 - (1 - 1/320)^32 (1 - 16/160); without the
    # correction the scores lack what these are apart.
    items = [f"{kind} {n:02d}" for n in range(80) for kind in ["often"] * 3 + ["seldom"]] * 5
    data = TrainingData(interactions([f"u{n}" for n in range(1600)], items, all=["same"] * 1600))
    query = {"features": [{"kind": "category", "column": "all", "dim": 2}]}
    lacking = np.log((1 - (1 - 3 / 320) ** 32 * 0.9) / (1 - (1 - 1 / 320) ** 32 * 0.9))
    for logq, expected in ((True, np.log(3)), (False, np.log(3) - lacking)):
        training = {"negatives": "mixed", "sampled_negatives": 16, "batch_size": 32, "logq": logq}
        training |= {"epochs": 7, "learning_rate": 0.05, "schedule": "cosine"}
        prepared = prepare(data)
        model = small_model(query=query, training=training)
        fit = TwoTowerFit("test", model, prepared, prepared.events, None, tmp_path / str(logq), "x")
        fit.run()
        scores = scores_of_one_query(fit, 160)  # items sorted by id: those that come often first
        assert scores[:80].mean() - scores[80:].mean() == pytest.approx(expected, abs=0.15), logq
    assert lacking > 0.5, "the two are not to be confused"
