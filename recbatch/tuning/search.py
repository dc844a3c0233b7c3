"""The search: trial after trial, until there are enough of them or the time is up."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from recbatch.config.load import LoadedConfig, resolve
from recbatch.config.models import EarlyStopping, Model
from recbatch.config.overrides import override
from recbatch.errors import ConfigError, InputError, RecbatchError
from recbatch.run import fingerprint
from recbatch.tuning.child import Evaluated, Failed, Fit, OutOfTimeError, run_fit
from recbatch.tuning.outcome import Outcome, failed, measure_of, measured, pruned, repeated, twin_of
from recbatch.tuning.progress import SearchProgress
from recbatch.tuning.space import Space, current_values, expressible, name_of, override_words, suggest
from recbatch.tuning.study import StudyFolder

_MOST_STARTS = 2  # of a trial whose search was killed: it may have been the trial that did it
_KILLED = f"the search was killed {_MOST_STARTS} times while it ran"
_COMPLETE = (TrialState.COMPLETE,)
_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Limits:
    """When a search ends: with so many trials, or when they have taken so many seconds (None: no matter), all told."""

    trials: int
    seconds: float | None = None


@dataclass(frozen=True)
class Best:
    """The best trial.

    Attributes:
        number: its number in the log.
        measure: name of the held-out metric.
        score: its value.
        values: by the name of the parameter, what it changed; empty for the configuration as it is.
        heldout: in words how the held-out events were chosen.
        evaluated: how many of them there were to ask for.
    """

    number: int
    measure: str
    score: float
    values: dict[str, Any]
    heldout: str
    evaluated: int


class Search:
    """A search in an open folder.

    The first trial is the configuration as it is, so the best is never worse on what is held out. The others are
    proposed by a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) and ended early when they are below
    the median of the others at the same epoch. What is proposed depends on the seed and the trials before it alone, so
    a search that was stopped and goes on makes the trials that it would have made.

    Args:
        folder: where the trials are kept; their data is in its ``tables``.
        space: what may be changed.
        loaded: the configuration that is changed.
        metric: a key of :data:`recbatch.tuning.outcome.METRICS`.
        data_name: name of the data.
        limits: when it ends.
    """

    def __init__(
        self, folder: StudyFolder, space: Space, loaded: LoadedConfig, metric: str, data_name: str, limits: Limits
    ) -> None:
        self._folder, self._study, self._space, self._loaded = folder, folder.study, space, loaded
        self._metric, self._data_name, self._limits = metric, data_name, limits

    def run(self) -> None:
        """Make the trials that are missing. A trial that comes to nothing is recorded, and the search goes on.

        Raises:
            InputError: the configuration as it is does not fit the data.
            RecbatchError: there is no room to write; the same search goes on with the trial that was running.
            KeyboardInterrupt: the user wants it to stop; the same search goes on with the trial that was running.
        """
        with SearchProgress.shown(self._limits.trials, self._folder.trials()) as progress:
            while not self.is_done:
                trial = self._next()
                try:
                    self._run(trial, progress)
                except OutOfTimeError:
                    return
                finally:
                    self._folder.write_log()
                progress.ended(self._folder.trials(), self._time_left())

    @property
    def is_done(self) -> bool:
        """Whether it is at its limits."""
        return len(self._trials(*_COUNTED)) >= self._limits.trials or self._time_left() == 0

    def best(self) -> Best | None:
        """The best of the trials that were fitted to their end; the first of equals. None: there is none."""
        done = self._trials(*_COMPLETE)
        if not done:
            return None
        best = max(done, key=lambda trial: (trial.value, trial.user_attrs["tie"], -trial.number))
        assert best.value is not None, "complete trials have one"
        facts = best.user_attrs
        values = {} if facts.get("as_configured") else facts["values"]
        return Best(best.number + 1, facts["measure"], best.value, values, facts["heldout"], facts["evaluated"])

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    def _time_left(self) -> float | None:
        """Seconds."""
        if self._limits.seconds is None:
            return None
        spent = sum(trial.user_attrs.get("seconds", 0.0) for trial in self._study.get_trials(deepcopy=False))
        return max(0.0, self._limits.seconds - spent)

    def _next(self) -> optuna.Trial:
        """The trial that was running when the search was stopped, else a new one."""
        if not self._study.get_trials(deepcopy=False):
            as_configured = {"as_configured": True}
            self._study.enqueue_trial(expressible(self._space, self._loaded.config), as_configured)
        running = self._trials(TrialState.RUNNING)
        number = running[0].number if running else len(self._trials(*_COUNTED))
        # One sampler per trial: its random numbers depend on the trial, not on where the search was stopped.
        seed = int(fingerprint([self._loaded.config.model.training.seed, number])[:8], 16)
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)
        return optuna.Trial(self._study, running[0]._trial_id) if running else self._study.ask()

    def _run(self, trial: optuna.Trial, progress: SearchProgress) -> None:
        started, before = time.monotonic(), trial.user_attrs.get("seconds", 0.0)
        starts = trial.user_attrs.get("starts", 0)
        trial.set_user_attr("starts", starts + 1)
        try:
            outcome = self._outcome(trial, progress) if starts < _MOST_STARTS else failed(_KILLED)
        except (RecbatchError, KeyboardInterrupt):  # it is no fault of the trial's
            trial.set_user_attr("starts", starts)
            trial.set_user_attr("seconds", round(before + time.monotonic() - started, 1))
            raise
        for name, value in outcome.facts.items():
            trial.set_user_attr(name, value)
        trial.set_user_attr("seconds", round(before + time.monotonic() - started, 1))
        self._study.tell(trial, outcome.score, outcome.state)
        shutil.rmtree(self._folder.work / _name(trial), ignore_errors=True)  # its checkpoint

    def _outcome(self, trial: optuna.Trial, progress: SearchProgress) -> Outcome:
        values = self._values(trial)
        trial.set_user_attr("values", values)
        progress.begin(trial.number + 1, values)
        twin = twin_of(values, self._trials(TrialState.COMPLETE, TrialState.PRUNED))
        if twin is not None:
            return repeated(twin)
        as_configured = trial.user_attrs.get("as_configured", False)
        try:
            words = [] if as_configured else override_words(values)
            model = resolve(override(self._loaded.document, words, "the values together")).config.model
        except ConfigError as error:
            return failed(str(error))
        return self._fitted(trial, model, progress)

    def _values(self, trial: optuna.Trial) -> dict[str, Any]:
        """By the name of the parameter."""
        if not trial.user_attrs.get("as_configured", False):
            return suggest(self._space, trial)
        inside = expressible(self._space, self._loaded.config)
        suggest(tuple(parameter for parameter in self._space if name_of(parameter) in inside), trial)  # for the sampler
        return current_values(self._space, self._loaded.config)

    def _fitted(self, trial: optuna.Trial, model: Model, progress: SearchProgress) -> Outcome:
        work, log = self._folder.work / _name(trial), self._folder.path / "logs" / f"{_name(trial)}.log"
        stopping = self._loaded.config.model.training.early_stopping or EarlyStopping()
        fit = Fit(model, self._folder.tables, work, log, self._data_name, stopping)
        reported = dict(trial.study.trials[trial.number].intermediate_values)

        def goes_on(evaluated: Evaluated) -> bool:
            score = evaluated.metrics[measure_of(evaluated, self._metric)]
            progress.epoch(evaluated.epoch, score)
            if evaluated.epoch not in reported and math.isfinite(score):
                reported[evaluated.epoch] = score
                trial.report(score, evaluated.epoch)
            return evaluated.last or not trial.should_prune()

        left = self._time_left()
        result = run_fit(fit, goes_on, None if left is None else time.monotonic() + left)
        if result is None:
            return pruned(max(reported, default=0))
        if not isinstance(result, Failed):
            return measured(result, self._metric, self._trials(*_COMPLETE))
        if result.is_input and trial.user_attrs.get("as_configured", False):
            raise InputError(result.message)
        if result.is_full:  # so would all others be
            raise RecbatchError(result.message)
        return failed(result.message)


def _name(trial: optuna.Trial) -> str:
    """As it is numbered in the log."""
    return f"trial-{trial.number + 1:04d}"
