"""What becomes of a trial, and what is kept of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from recbatch.tuning.child import Evaluated, Measured

METRICS: Mapping[str, str | None] = {
    "early_stopping": None,
    "ndcg_at_10": "heldout_ndcg_at_10",
    "recall_at_10": "heldout_recall_at_10",
    "recall_at_100": "heldout_recall_at_100",
}
"""What a search may go by: its name, and that of the held-out metric; None: the same as early stopping."""

_KEPT = ("measure", "metrics", "tie", "evaluated", "heldout", "best_epoch", "epochs", "steps", "reason")


@dataclass(frozen=True)
class Outcome:
    """The end of a trial.

    Attributes:
        state: complete, pruned or failed.
        score: of a complete one.
        facts: JSON-able attributes, by name.
    """

    state: TrialState
    score: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def measure_of(evaluated: Evaluated, metric: str) -> str:
    """Name of the held-out metric that the search goes by, which ``metric`` of :data:`METRICS` stands for."""
    return METRICS[metric] or evaluated.measure


def failed(reason: str) -> Outcome:
    """The trial came to nothing."""
    return Outcome(TrialState.FAIL, None, {"reason": reason})


def pruned(epochs: int) -> Outcome:
    """The trial was ended for not being good enough."""
    reason = f"below the median of the others after epoch {epochs}"
    return Outcome(TrialState.PRUNED, None, {"epochs": epochs, "reason": reason})


def measured(result: Measured, metric: str, others: Sequence[FrozenTrial]) -> Outcome:
    """The trial has a score; if it was measured on the same events as ``others``, the complete ones, it counts."""
    measure = measure_of(result.best, metric)
    score, evaluated = result.best.metrics[measure], result.counts["heldout_events_evaluated"]
    usual = others[0].user_attrs if others else {"evaluated": evaluated, "measure": measure}
    if evaluated != usual["evaluated"]:
        return failed(
            f"it could be asked for {evaluated} held-out events, the others for {usual['evaluated']}: with these "
            f"values the query tower knows other users, so its score does not compare"
        )
    if measure != usual["measure"]:
        return failed(
            f"its score is {measure}, that of the others {usual['measure']}: with these values the candidate tower "
            f"knows so many other items that the measure is another one (say which with --metric)"
        )
    if not math.isfinite(score):
        return failed(f"its score is {score}")
    facts = {
        "metrics": dict(result.best.metrics),
        "measure": measure,
        "tie": result.best.metrics["heldout_ndcg_at_10"],
        "evaluated": evaluated,
        "heldout": result.heldout,
        "best_epoch": result.best.epoch,
        "epochs": result.epochs,
        "steps": result.steps,
    }
    return Outcome(TrialState.COMPLETE, score, facts)


def twin_of(values: Mapping[str, Any], others: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """One of ``others`` with the same values: fits are deterministic, so it has the result already."""
    text = json.dumps(values, sort_keys=True)
    return next((other for other in others if json.dumps(other.user_attrs["values"], sort_keys=True) == text), None)


def repeated(twin: FrozenTrial) -> Outcome:
    """The trial is what its twin was."""
    facts = {name: twin.user_attrs[name] for name in _KEPT if name in twin.user_attrs}
    return Outcome(twin.state, twin.value, {**facts, "same_as": twin.number + 1})
