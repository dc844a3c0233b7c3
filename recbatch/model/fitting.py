"""One fit: steps, early stopping, checkpoints, and the exact continuation of a fit that was killed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras
from numpy.typing import NDArray

from recbatch.config.models import Model, Training
from recbatch.errors import RecbatchError
from recbatch.model.batches import Batch, Batches, Histories
from recbatch.model.checkpoint import load_checkpoint, save_checkpoint
from recbatch.model.data import Events, Prepared
from recbatch.model.encoded import EncodedData
from recbatch.model.evaluation import HeldoutEvaluation
from recbatch.model.features import stable_seed
from recbatch.model.progress import FitProgress, fit_progress
from recbatch.model.towers import build_towers

_CHECKPOINT_SECONDS = 30.0


@dataclass
class FitState:
    """Where a fit is; with the arrays of the checkpoint, all that a continuation needs."""

    identity: str
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    best_step: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    evaluations_since_best: int = 0
    done: bool = False


class TwoTowerFit:
    """A fit of two towers to events.

    Args:
        name: names the checkpoint and the logs, and draws other shuffles than the other fits.
        model: the configuration.
        prepared: users and items.
        train: the events to fit to.
        heldout: the events to evaluate on, or None.
        work_folder: for ``checkpoints/`` and ``logs/``.
        identity: what the fit's result depends on; a checkpoint of another identity is not continued.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        prepared: Prepared,
        train: Events,
        heldout: Events | None,
        work_folder: Path,
        identity: str,
    ) -> None:
        self.name, self._training = name, model.training
        self.query, self.candidate = build_towers(model, prepared, train)
        self._data = EncodedData(prepared, self.query, self.candidate)
        num_users = prepared.users.num_rows
        histories = Histories(train, self._data.history_numbers, self.query.history_feature, num_users)
        self._batches = Batches(train, histories, self.query.history_feature, per_event=self.query.per_event)
        self._of_events = self._data.event_arrays(train)
        self.evaluation: HeldoutEvaluation | None = None
        if heldout is not None and len(heldout):
            self.evaluation = HeldoutEvaluation(self.query, self.candidate, self._data, train, heldout, num_users)
        counts = np.bincount(train.items, minlength=prepared.items.num_rows)
        self._sampling_probability = tf.constant(counts / len(train), tf.float32)
        self._task = tfrs.tasks.Retrieval(
            temperature=model.temperature, remove_accidental_hits=self._training.remove_accidental_hits
        )
        self.steps_per_epoch = self._batches.steps_per_epoch(self._training.batch_size)
        self._variables = [*self.query.trainable_variables, *self.candidate.trainable_variables]
        self._optimizer = make_optimizer(self._training)
        self._optimizer.build(self._variables)
        self._seed = stable_seed(self._training.seed, name)
        self._checkpoint = work_folder / "checkpoints" / f"{name}.npz"
        self._logs = work_folder / "logs"
        self._best: list[NDArray] = []
        self.state = FitState(identity)
        self._resume()

    @property
    def result_step(self) -> int:
        """The step whose towers are the result: that of the best evaluation, or the last one."""
        return self.state.best_step or self.state.step

    def run(self, max_steps: int | None = None) -> FitState:
        """Fit until the epochs are over, the held-out recall stops to rise, or ``max_steps`` are done.

        Afterwards the towers are those of the best evaluation, or of the last step without any.
        """
        most = self.steps_per_epoch * self._training.epochs if max_steps is None else max_steps
        if not self.state.done:
            with fit_progress(self.name, most, self._logs) as progress:
                while not self.state.done:
                    self._epoch(most, progress)
                progress.close(self.state.step)
        if self._best:
            _assign(self._variables, self._best)
        return self.state

    def _epoch(self, most: int, progress: FitProgress) -> None:
        state, saved = self.state, time.monotonic()
        for batch in self._batches.epoch(self._seed, state.epoch, self._training.batch_size, state.step_in_epoch):
            loss = float(self._step(batch))
            if not np.isfinite(loss):
                raise RecbatchError(
                    f"training diverged: the loss is {loss} at step {state.step + 1}; lower "
                    f"model.training.learning_rate ({self._training.learning_rate}) or raise model.temperature"
                )
            state.step, state.step_in_epoch, state.loss_sum = (
                state.step + 1,
                state.step_in_epoch + 1,
                state.loss_sum + loss,
            )
            progress.step(state.step)
            if state.step >= most:
                break
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                self._save()
                saved = time.monotonic()
        values = {"loss": state.loss_sum / max(1, state.step_in_epoch)}
        state.epoch, state.step_in_epoch, state.loss_sum = state.epoch + 1, 0, 0.0
        state.done = state.step >= most
        values |= self._evaluate()
        progress.epoch(state.epoch, state.step, values)
        self._save()

    def _evaluate(self) -> dict[str, float]:
        """Measure, and remember the best; ends the fit when it was too long ago."""
        stopping, state = self._training.early_stopping, self.state
        due = state.done or (stopping is not None and state.epoch % stopping.every_epochs == 0)
        metrics = self.evaluation.metrics() if self.evaluation is not None and due else {}
        if self.evaluation is None or not metrics:
            return {}
        state.evaluations_since_best += 1
        quality, best = self.evaluation.quality, state.best_metrics
        if stopping is None or not best or quality(metrics) > quality(best):
            state.best_step, state.best_metrics, state.evaluations_since_best = state.step, metrics, 0
            self._best = [variable.numpy() for variable in self._variables]
        elif state.evaluations_since_best >= stopping.patience:
            state.done = True
        return metrics

    def _step(self, batch: Batch) -> tf.Tensor:
        seed = np.array([self._seed, self.state.step], np.int32)
        arrays = (batch.users, batch.events, batch.items, batch.query_of, batch.history_values, batch.history_rows)
        return self._train_step(*map(tf.constant, (*arrays, batch.negative, seed)))

    # One graph for batches of all sizes.
    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32, "users"),
            tf.TensorSpec([None], tf.int64, "events"),
            tf.TensorSpec([None], tf.int32, "items"),
            tf.TensorSpec([None], tf.int64, "query_of"),
            tf.TensorSpec([None], tf.int32, "history_values"),
            tf.TensorSpec([None], tf.int32, "history_rows"),
            tf.TensorSpec([None, None], tf.bool, "negative"),
            tf.TensorSpec([2], tf.int32, "seed"),
        ]
    )
    def _train_step(
        self,
        users: tf.Tensor,
        events: tf.Tensor,
        items: tf.Tensor,
        query_of: tf.Tensor,
        history_values: tf.Tensor,
        history_rows: tf.Tensor,
        negative: tf.Tensor,
        seed: tf.Tensor,
    ) -> tf.Tensor:
        with tf.GradientTape() as tape:
            inputs = self._data.query_inputs(users, events, self._of_events, history_values, history_rows)
            queries = tf.gather(self.query(inputs, seed=seed), query_of)
            candidates = self.candidate(self._data.candidate_inputs(items), seed=seed)
            probability = tf.gather(self._sampling_probability, items) if self._training.logq else None
            mask = None
            if self.query.history_feature is not None:
                # A row's own item stays wherever it occurs: whether it counts there is remove_accidental_hits' matter.
                mask = tf.gather(negative, query_of) | (items[:, None] == items[None, :])
            loss = self._task(
                queries,
                candidates,
                candidate_sampling_probability=probability,
                candidate_ids=items,
                score_mask=mask,
                compute_metrics=False,
            )
        self._optimizer.apply_gradients(zip(tape.gradient(loss, self._variables), self._variables, strict=True))
        return loss / tf.cast(tf.size(items), tf.float32)

    def _save(self) -> None:
        arrays = {f"variable-{i}": variable.numpy() for i, variable in enumerate(self._variables)}
        arrays |= {f"optimizer-{i}": variable.numpy() for i, variable in enumerate(self._optimizer.variables)}
        arrays |= {f"best-{i}": array for i, array in enumerate(self._best)}
        save_checkpoint(self._checkpoint, vars(self.state), arrays)

    def _resume(self) -> None:
        loaded = load_checkpoint(self._checkpoint)
        if loaded is None or loaded[0]["identity"] != self.state.identity:
            return
        state, arrays = loaded
        self.state = FitState(**state)
        _assign(self._variables, [arrays[f"variable-{i}"] for i in range(len(self._variables))])
        _assign(self._optimizer.variables, [arrays[f"optimizer-{i}"] for i in range(len(self._optimizer.variables))])
        self._best = [arrays[f"best-{i}"] for i in range(len(self._variables)) if f"best-{i}" in arrays]


def make_optimizer(training: Training) -> keras.optimizers.Optimizer:
    """The configured optimizer; not compiled by XLA, which would take longer than a small fit."""
    kinds: dict[str, Any] = {"adam": keras.optimizers.Adam, "adagrad": keras.optimizers.Adagrad}
    return kinds[training.optimizer](training.learning_rate, jit_compile=False)


def _assign(variables: list, arrays: list[NDArray]) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
