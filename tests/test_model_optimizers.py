"""Rules by which weights move: Adam on rows, schedules, and fits whose embeddings are too big to be touched whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from model_data import history_model, planted, small_model
from numpy.typing import NDArray

from recbatch.config.models import Model, Training
from recbatch.model.data import prepare
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.heldout import split_events
from recbatch.model.layers import base
from recbatch.model.optimizers import SparseAdam, densified, make_optimizer

ROWS, WIDTH, RATE = 6, 3, 0.05


def start() -> tf.Variable:
    return tf.Variable(np.random.default_rng(0).normal(size=(ROWS, WIDTH)), dtype=tf.float32)


def gradients(steps: int, rows: int = ROWS) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(1)
    return [random.normal(size=(rows, WIDTH)).astype(np.float32) for _ in range(steps)]


def test_where_every_row_has_a_gradient_it_is_adam() -> None:
    ours, theirs, dense = start(), start(), start()
    sparse = SparseAdam(RATE, jit_compile=False)
    whole, adam = SparseAdam(RATE, jit_compile=False), keras.optimizers.Adam(RATE, jit_compile=False)
    order = np.array([3, 0, 5, 1, 4, 2])
    for gradient in gradients(8):
        slices = tf.IndexedSlices(tf.constant(gradient[order]), tf.constant(order), [ROWS, WIDTH])
        sparse.apply_gradients([(slices, ours)])
        whole.apply_gradients([(tf.constant(gradient), dense)])
        adam.apply_gradients([(tf.constant(gradient), theirs)])
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(dense.numpy(), theirs.numpy())


def test_rows_without_a_gradient_stay_as_they_are() -> None:
    """Kingma and Ba's algorithm 1, row by row; what is drawn twice in a batch has the sum of its gradients."""
    variable, optimizer = start(), SparseAdam(RATE, jit_compile=False)
    weights = variable.numpy().astype(np.float64)
    moments, squares = np.zeros((2, ROWS, WIDTH))
    batches = [[0, 2], [2, 3, 2], [0], [3, 3, 3], [0, 2, 3]]
    for step, (rows, gradient) in enumerate(zip(batches, gradients(5, rows=3), strict=True), start=1):
        values = gradient[: len(rows)]
        before = variable.numpy()
        slices = tf.IndexedSlices(tf.constant(values), tf.constant(rows), [ROWS, WIDTH])
        optimizer.apply_gradients([(slices, variable)])
        for row in set(rows):
            summed = values[np.array(rows) == row].sum(axis=0)
            moments[row] = 0.9 * moments[row] + 0.1 * summed
            squares[row] = 0.999 * squares[row] + 0.001 * summed**2
            corrected = moments[row] / (1 - 0.9**step), squares[row] / (1 - 0.999**step)
            weights[row] -= RATE * corrected[0] / (np.sqrt(corrected[1]) + 1e-7)
        others = [row for row in range(ROWS) if row not in rows]
        np.testing.assert_array_equal(variable.numpy()[others], before[others])
        np.testing.assert_allclose(variable.numpy(), weights, rtol=1e-4, atol=1e-5)


def test_only_small_embeddings_are_moved_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SPARSE_ROWS", 5)
    small, big = tf.Variable(tf.zeros([5, 2])), tf.Variable(tf.zeros([6, 2]))
    slices = [tf.IndexedSlices(tf.ones([2, 2]), tf.constant([1, 1]), [rows, 2]) for rows in (5, 6)]
    first, second, third = densified([*slices, tf.ones([6, 2])], [small, big, big])
    np.testing.assert_array_equal(first.numpy(), [[0, 0], [2, 2], [0, 0], [0, 0], [0, 0]])
    assert second is slices[1]
    np.testing.assert_array_equal(third.numpy(), np.ones([6, 2]))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_falls_to_zero_along_a_cosine_or_stays(schedule: str, sparse: bool) -> None:
    # With a gradient of one everywhere, Adam moves a weight by just the learning rate.
    steps = 20
    training = Training.model_validate({"learning_rate": RATE, "schedule": schedule})
    optimizer, variable, places = make_optimizer(training, steps), tf.Variable(tf.zeros([2, 1])), [0.0]
    for _ in range(steps):
        gradient = tf.ones([2, 1])
        optimizer.apply_gradients([(tf.IndexedSlices(gradient, tf.range(2)) if sparse else gradient, variable)])
        places.append(float(variable[1, 0]))
    share = np.arange(steps) / steps
    expected = RATE * (0.5 * (1 + np.cos(np.pi * share)) if schedule == "cosine" else np.ones(steps))
    np.testing.assert_allclose(-np.diff(places), expected, rtol=1e-3, atol=1e-6)
    assert schedule == "constant" or expected[-1] < 0.01 * RATE


def fit_of(model: Model, folder: Path, *, heldout: bool = False) -> TwoTowerFit:
    prepared = prepare(planted())
    mask = split_events(model, prepared).heldout & heldout
    train, rest = prepared.events.select(~mask), prepared.events.select(mask)
    return TwoTowerFit("test", model, prepared, train, rest if heldout else None, folder, "x")


@pytest.mark.parametrize(("min_steps", "epochs", "steps"), [(1, 3, 6), (7, 3, 7), (5, 3, 6), (6, 1, 6)])
def test_min_steps_are_taken_where_epochs_are_fewer(tmp_path: Path, min_steps: int, epochs: int, steps: int) -> None:
    # 60 users, 30 in a batch: two steps in an epoch.
    training: dict[str, Any] = {"batch_size": 30, "epochs": epochs, "min_steps": min_steps, "learning_rate": 0.1}
    fit = fit_of(small_model(training={**training, "schedule": "cosine"}), tmp_path)
    assert fit.steps_per_epoch == 2
    moved, step = [], fit._step

    def measured(batch: dict[str, tf.Tensor]) -> float:
        before = [variable.numpy() for variable in fit._variables]
        loss = step(batch)
        pairs = zip(before, fit._variables, strict=True)
        moved.append(max(np.abs(variable.numpy() - old).max() for old, variable in pairs))
        return loss

    fit._step = measured  # type: ignore[method-assign]
    assert fit.run().step == fit.schedule.steps == len(moved) == steps
    # The schedule ends with the steps that are taken, not with those of the epochs.
    rates = 0.1 * 0.5 * (1 + np.cos(np.pi * np.arange(steps) / steps))
    assert moved[0] == pytest.approx(rates[0], rel=0.01)
    assert moved[-1] < 2 * rates[-1] < 0.3 * rates[0]


@pytest.mark.heavy
@pytest.mark.parametrize("negatives", ["mixed", "in_batch"])
def test_a_fit_of_embeddings_that_are_moved_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, negatives: str
) -> None:
    monkeypatch.setattr(base, "SPARSE_ROWS", 10)
    by_row, update_step = set(), SparseAdam.update_step

    def recorded(self: SparseAdam, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        if isinstance(gradient, tf.IndexedSlices):
            by_row.add(variable.shape[0])
        update_step(self, gradient, variable)

    monkeypatch.setattr(SparseAdam, "update_step", recorded)
    training = {"negatives": negatives, "sampled_negatives": 10, "learning_rate": 0.03, "min_steps": 100}
    training["schedule"] = "cosine"
    fit = fit_of(history_model(normalize=True, temperature=0.2, training=training), tmp_path, heldout=True)
    before = [variable.numpy() for variable in fit._variables]
    fit.run()
    assert by_row == {variable.shape[0] for variable in fit._variables if variable.shape[0] >= 40}
    for variable, old in zip(fit._variables, before, strict=True):
        if variable.shape[0] >= 40:
            np.testing.assert_array_equal(variable.numpy()[0], old[0], "the row of missing values is never in a batch")
    assert fit.state.best_metrics["heldout_recall_at_10"] > 0.75
