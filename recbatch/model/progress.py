"""How far a fit is: a log line now and then, a bar where there is a terminal, TensorBoard."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
from rich.progress import Progress

from recbatch.run import display

_log = logging.getLogger(__name__)

_QUIET_SECONDS = 10.0
"""An epoch that is over sooner after the last line, and was not evaluated, gets no line of its own."""


class FitProgress:
    """Told about every step and every epoch of one fit."""

    def __init__(self, name: str, bars: Progress | None, total_steps: int, logs: Path) -> None:
        self._name, self._bars, self._total = name, bars, total_steps
        self._task = bars.add_task(f"fit ({name})", total=total_steps) if bars else None
        self._said = time.monotonic()
        self._summaries = tf.summary.create_file_writer(str(logs / name))

    def step(self, step: int) -> None:
        """``step`` steps are done."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=step)

    def epoch(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """``epoch`` epochs are done; ``values`` (loss, and metrics if it was evaluated) are the newest."""
        if len(values) < 2 and step < self._total and time.monotonic() - self._said < _QUIET_SECONDS:
            return
        self._said = time.monotonic()
        text = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        _log.info("fit (%s): epoch %d, step %d of at most %d: %s", self._name, epoch, step, self._total, text)
        with self._summaries.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._summaries.flush()

    def close(self, step: int) -> None:
        """The fit is over after ``step`` steps."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=step, total=step)
        self._summaries.close()


@contextmanager
def fit_progress(name: str, total_steps: int, logs: Path) -> Iterator[FitProgress]:
    """Show a fit of at most ``total_steps`` steps; TensorBoard's files go to ``logs``/``name``."""
    with display() as bars:
        yield FitProgress(name, bars, total_steps, logs)
