"""One fit: steps, early stopping, checkpoints, and the exact continuation of a fit that was killed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
from numpy.typing import NDArray

from recbatch.config.models import EarlyStopping, Model
from recbatch.errors import RecbatchError
from recbatch.model.batches import Batches, popularity_start, target_weights
from recbatch.model.checkpoint import FitState, load_checkpoint, save_checkpoint
from recbatch.model.data import Events, Prepared
from recbatch.model.encoded import EncodedData
from recbatch.model.evaluation import HeldoutEvaluation
from recbatch.model.features import Bags, stable_seed
from recbatch.model.histories import Histories
from recbatch.model.losses import in_batch_softmax, sampled_softmax
from recbatch.model.negatives import Catalog, resolve_negatives
from recbatch.model.optimizers import densified, make_optimizer
from recbatch.model.progress import FitProgress, fit_progress
from recbatch.model.schedule import Schedule
from recbatch.model.towers import build_towers, trainable_variables

_CHECKPOINT_SECONDS, _CHECKPOINT_TIMES = 30.0, 20.0  # apart: seconds, and times what the last one took
_BATCH = {
    "users": tf.TensorSpec([None], tf.int32),
    "events": tf.TensorSpec([None], tf.int64),
    "items": tf.TensorSpec([None], tf.int32),
    "query_of": tf.TensorSpec([None], tf.int64),
    "weights": tf.TensorSpec([None], tf.float32),
    "history_items": tf.TensorSpec([None], tf.int32),
    "history_rows": tf.TensorSpec([None], tf.int32),
    "history_age": tf.TensorSpec([None], tf.float32),
    "candidates": tf.TensorSpec([None], tf.int32),
    "log_inclusion": tf.TensorSpec([None], tf.float32),
    "columns": tf.TensorSpec([None], tf.int32),
    "shown_rows": tf.TensorSpec([None], tf.int32),
    "shown_columns": tf.TensorSpec([None], tf.int32),
}
"""Types of :meth:`recbatch.model.batches.Batch.arrays`."""


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
        schedule: how far to go; None: as the configuration says.
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
        schedule: Schedule | None = None,
    ) -> None:
        self.name, self._training = name, model.training
        self.query, self.candidate = build_towers(model, prepared, train)
        self.data = EncodedData(prepared, self.query, self.candidate)
        num_users = prepared.users.num_rows
        histories = Histories(train, self.data.history_numbers, self.query.history_feature, num_users)
        self.negatives = resolve_negatives(self._training, prepared.items.num_rows)
        catalog = Catalog(
            self.negatives,
            train,
            prepared.items.num_rows,
            sample=self._training.sampled_negatives,
            logq=self._training.logq,
        )
        weights = target_weights(self._training, train)
        if self.candidate.item_bias is not None:
            # As popularity has it: a step moves a weight by no more than the learning rate, and that is log-scale far.
            rows, bias = self.data.items["id"].numpy(), self.candidate.item_bias
            bias.assign(popularity_start(train, weights, rows, bias.shape[0]))
        self._batches = Batches(
            train,
            histories,
            self.query.history_feature,
            catalog,
            weights,
            per_event=self.query.per_event,
            whole_users=self.negatives != "in_batch",
            item_queries=self.query.entity == "item",
            mask_shown=self._masks_shown,
        )
        self._of_events = self.data.event_arrays(train)
        self.evaluation: HeldoutEvaluation | None = None
        if heldout is not None and len(heldout):
            self.evaluation = HeldoutEvaluation(self.query, self.candidate, self.data, train, heldout, num_users)
        self._task = tfrs.tasks.Retrieval(
            remove_accidental_hits=self._training.remove_accidental_hits,
            num_hard_negatives=self._training.hard_negatives,
        )
        self.steps_per_epoch = self._batches.steps_per_epoch(self._training.batch_size)
        self._variables = trainable_variables(self.query, self.candidate)
        self.schedule = schedule or Schedule.of(model, self.steps_per_epoch, len(np.unique(train.items)))
        self._optimizer = make_optimizer(self._training, self.schedule.steps)
        self._optimizer.build(self._variables)
        self._seed = stable_seed(self._training.seed, name)
        self._checkpoint = work_folder / "checkpoints" / f"{name}.npz"
        self._logs = work_folder / "logs"
        self._save_at = time.monotonic() + _CHECKPOINT_SECONDS
        self._best: list[NDArray] = []
        self.on_evaluation: Callable[[int, dict[str, float]], None] | None = None
        """Called with (epochs that are done, held-out metrics) when the checkpoint holds both; may end the fit by
        raising."""
        self.state = FitState(identity)
        self._resume()

    @property
    def _masks_shown(self) -> bool:
        """Whether the loss is told what a query is shown: to leave it out or, not within a batch, to add a margin."""
        margin = self._training.shown_margin
        counts = margin is None if self.negatives == "in_batch" else margin != 0
        return self.query.entity == "item" or (counts and self.query.history_feature is not None)

    @property
    def result_step(self) -> int:
        """The step whose towers are the result: that of the best evaluation, or the last one."""
        return self.state.best_step or self.state.step

    def run(self) -> FitState:
        """Fit until the steps are done, or the held-out measure has fallen.

        Afterwards the towers are those of the best evaluation, or of the last step without any.
        """
        if not self.state.done:
            with fit_progress(self.name, self.schedule.steps, self._logs) as progress:
                batches = self._stream()
                while not self.state.done:
                    self._epoch(batches, progress)
                progress.close(self.state.step)
        if self._best:
            _assign(self._variables, self._best)
        self._cool(self.result_step)
        return self.state

    def _cool(self, step: int) -> None:
        """Give the towers the temperature that they have after ``step`` steps."""
        self.candidate.temperature.assign(self.schedule.temperature(step))

    def _epoch(self, batches: Iterator[dict[str, tf.Tensor]], progress: FitProgress) -> None:
        state = self.state
        for batch in itertools.islice(batches, self.steps_per_epoch - state.step_in_epoch):
            loss = self._step(batch)
            if not np.isfinite(loss):
                raise RecbatchError(
                    f"training diverged: the loss is {loss} at step {state.step + 1}; lower "
                    f"model.training.learning_rate ({self._training.learning_rate}) or raise model.temperature "
                    "(and model.training.final_temperature)"
                )
            state.step, state.step_in_epoch = state.step + 1, state.step_in_epoch + 1
            state.loss_sum += loss
            progress.step(state.step)
            if state.step >= self.schedule.steps:
                break
            if time.monotonic() > self._save_at:
                self._save()
        values = {"loss": state.loss_sum / max(1, state.step_in_epoch)}
        state.epoch, state.step_in_epoch, state.loss_sum = state.epoch + 1, 0, 0.0
        state.done = state.step >= self.schedule.steps
        metrics = self._evaluate()
        progress.epoch(state.epoch, state.step, values | metrics)
        if metrics or state.done:
            self._save()
        if metrics and self.on_evaluation is not None:
            self.on_evaluation(state.epoch, metrics)

    def _evaluate(self) -> dict[str, float]:
        """Measure, and remember what is as good as the best; ends the fit when that was too long ago."""
        stopping, state = self._training.early_stopping, self.state
        self._cool(state.step)  # as the result would have it
        since = state.step - state.evaluated_step
        due = state.done or (
            stopping is not None and state.epoch % stopping.every_epochs == 0 and since >= stopping.every_steps
        )
        metrics = self.evaluation.metrics() if self.evaluation is not None and due else {}
        if self.evaluation is None or not metrics:
            return {}
        state.evaluations_since_best, state.evaluated_step = state.evaluations_since_best + 1, state.step
        rule = stopping or EarlyStopping()
        quality = self.evaluation.quality(metrics, rule)
        state.best_quality = max(state.best_quality, quality)
        if stopping is None or quality >= state.best_quality * (1 - rule.tolerance):
            state.best_step, state.best_metrics, state.evaluations_since_best = state.step, metrics, 0
            self._best = [variable.numpy() for variable in self._variables]
        elif state.evaluations_since_best >= stopping.patience:
            state.done = True
        return metrics

    def _stream(self) -> Iterator[dict[str, tf.Tensor]]:
        """The batches from the fit's state on, without end; the next ones are drawn while one is fitted."""
        epoch, start = self.state.epoch, self.state.step_in_epoch

        def draw() -> Iterator[dict[str, NDArray]]:
            for number in itertools.count(epoch):
                first = start if number == epoch else 0
                for batch in self._batches.epoch(self._seed, number, self._training.batch_size, first):
                    yield batch.arrays()

        return iter(tf.data.Dataset.from_generator(draw, output_signature=_BATCH).prefetch(2))

    def _step(self, batch: dict[str, tf.Tensor]) -> float:
        self._cool(self.state.step)
        return float(self._train_step(batch, np.array([self._seed, self.state.step], np.int32)))

    @tf.function(input_signature=[_BATCH, tf.TensorSpec([2], tf.int32)])  # one graph for batches of all sizes
    def _train_step(self, batch: dict[str, tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            history = Bags(batch["history_items"], batch["history_rows"], tf.size(batch["users"]), batch["history_age"])
            inputs = self.data.query_inputs(batch["users"], batch["events"], self._of_events, history)
            queries = self.query(inputs, seed=seed) / self.candidate.temperature
            candidates = self.candidate(self.data.candidate_inputs(batch["candidates"]), seed=seed)
            loss = self._loss(batch, queries, candidates)
        gradients = densified(tape.gradient(loss, self._variables), self._variables)
        self._optimizer.apply_gradients(zip(gradients, self._variables, strict=True))
        return loss / tf.cast(tf.size(batch["items"]), tf.float32) if self.negatives == "in_batch" else loss

    def _loss(self, batch: dict[str, tf.Tensor], queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        shown = tf.cast(tf.stack([batch["shown_rows"], batch["shown_columns"]], axis=1), tf.int64)
        inclusion = batch["log_inclusion"] if self._training.logq and self.negatives != "full" else None
        if self.negatives != "in_batch":
            return sampled_softmax(
                queries,
                candidates,
                batch["columns"],
                batch["query_of"],
                batch["weights"],
                shown,
                log_inclusion=inclusion,
                shown_offset=self._training.shown_margin,
                hard_negatives=self._training.hard_negatives,
            )
        return in_batch_softmax(
            self._task,
            tf.gather(queries, batch["query_of"]),
            candidates,
            batch["items"],
            batch["query_of"],
            batch["weights"],
            shown if self._masks_shown else None,
            log_inclusion=inclusion,
        )

    def _save(self) -> None:
        started = time.monotonic()
        arrays = {f"variable-{i}": variable.numpy() for i, variable in enumerate(self._variables)}
        arrays |= {f"optimizer-{i}": variable.numpy() for i, variable in enumerate(self._optimizer.variables)}
        arrays |= {f"best-{i}": array for i, array in enumerate(self._best)}
        save_checkpoint(self._checkpoint, self.state, arrays)
        now = time.monotonic()
        self._save_at = now + max(_CHECKPOINT_SECONDS, _CHECKPOINT_TIMES * (now - started))

    def _resume(self) -> None:
        loaded = load_checkpoint(self._checkpoint)
        if loaded is None or loaded[0].identity != self.state.identity:
            return
        self.state, arrays = loaded
        _assign(self._variables, [arrays[f"variable-{i}"] for i in range(len(self._variables))])
        _assign(self._optimizer.variables, [arrays[f"optimizer-{i}"] for i in range(len(self._optimizer.variables))])
        self._best = [arrays[f"best-{i}"] for i in range(len(self._variables)) if f"best-{i}" in arrays]


def _assign(variables: list, arrays: list[NDArray]) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
