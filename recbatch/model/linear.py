"""The linear head: the item-to-item model of :mod:`.closed_form` beside the trained coordinates of both towers.

A score of it is a dot product, too: the user's half is the sum of their items' ``left``, the item's is its ``right``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recbatch.config.models import EarlyStopping, LinearHead, Model
from recbatch.model.closed_form import LinearWeights, count_pairs, score_others, solve_linear
from recbatch.model.data import Events
from recbatch.model.evaluation import HeldoutEvaluation
from recbatch.model.features import FIRST_OOV, HistoryLayer, LinearLayer
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.ranking import query_slices

_log = logging.getLogger(__name__)

_ASKED = 512  # held-out queries that tell how far scores spread


@dataclass(frozen=True)
class LinearChoice:
    """How much the linear head counts.

    Attributes:
        regularization: lambda of what was chosen.
        share: its scores' spread as a share of that of the towers' scores; 0: it is left out.
        strength: what its scores are multiplied with for that.
        metrics: held-out metrics of the towers with it, or without where it is left out.
    """

    regularization: float
    share: float
    strength: float
    metrics: dict[str, float]

    @property
    def facts(self) -> dict[str, float]:
        """What a manifest says of it."""
        return {"regularization": self.regularization, "share": self.share, "strength": self.strength}


def choose_linear(model: Model, fit: TwoTowerFit, events: Events) -> LinearChoice | None:
    """Solve linear heads for a fit's towers, and attach the one that ranks the held-out events best, or none.

    Args:
        model: the configuration.
        fit: a fit that is done.
        events: what it was fitted to.

    Returns:
        What was chosen; None where there is no such head, or nothing to choose by: then it is left out, too.
    """
    evaluation, stopping = fit.evaluation, model.training.early_stopping or EarlyStopping()
    if model.linear is None:
        return None
    if evaluation is None or not evaluation.can_ask:
        _log.warning("the linear head is left out: no held-out event can say how much it should count")
        return None
    eligible = _eligible(fit)
    pairs = count_pairs(events, eligible, model.linear.most_items)
    if not len(pairs.items):
        _log.warning("the linear head is left out: no item with training events is in both towers' vocabularies")
        return None
    best, kept = LinearChoice(0.0, 0.0, 0.0, fit.state.best_metrics), None
    for regularization in model.linear.regularizations:
        weights = score_others(solve_linear(pairs, regularization, model.linear.rank), events, eligible)
        attach_linear(fit, weights, 1.0)
        unit = _spread(evaluation, model.dim, weights.left.shape[1])
        for share in model.linear.shares:
            attach_linear(fit, weights, share * unit)
            metrics = evaluation.metrics()
            _log.debug("linear head, regularization %g, share %g: %s", regularization, share, metrics)
            if evaluation.quality(metrics, stopping) > evaluation.quality(best.metrics, stopping):
                best, kept = LinearChoice(regularization, share, share * unit, metrics), weights
    attach_linear(fit, kept, best.strength)
    if kept is None:
        _log.info("the linear head is left out: the towers rank the held-out events better alone")
    return best


def attach_linear(fit: TwoTowerFit, weights: LinearWeights | None, strength: float) -> None:
    """Give a fit's towers a solved head in place of the one that they have.

    Args:
        fit: a fit that is done.
        weights: solved for it; None: they have none.
        strength: what the head's scores are multiplied with.
    """
    fit.query.linear = fit.candidate.linear = None
    if weights is None:
        return
    numbers, ids = fit.data.history_numbers[weights.items], fit.data.items["id"].numpy()[weights.scored]
    root = np.float32(strength**0.5)
    # All history layers of a tower have one vocabulary.
    history = next(layer for layer in fit.query.learnt.layers.values() if isinstance(layer, HistoryLayer))
    fit.query.linear = LinearLayer(history.strings.vocabulary_size(), numbers, weights.left * root, of_ids=False)
    rows = fit.candidate.learnt.layers["id"].embedding.input_dim
    fit.candidate.linear = LinearLayer(rows, ids, weights.right * root, of_ids=True)


def solve_head(settings: LinearHead, regularization: float, fit: TwoTowerFit, events: Events) -> LinearWeights:
    """The head of a fit to ``events``, of the items that both towers know by name."""
    eligible = _eligible(fit)
    pairs = count_pairs(events, eligible, settings.most_items)
    return score_others(solve_linear(pairs, regularization, settings.rank), events, eligible)


def _eligible(fit: TwoTowerFit) -> NDArray[np.bool_]:
    """[num_items] items that both towers know by name."""
    in_histories, ids = fit.data.history_numbers > FIRST_OOV, fit.data.items["id"].numpy()
    return in_histories & (ids >= fit.candidate.learnt.layers["id"].known_from)


def _spread(evaluation: HeldoutEvaluation, dim: int, rank: int) -> float:
    """How many times farther the towers' scores spread than those of the attached head, over the items of a query."""
    queries, candidates = evaluation.vectors()
    trained, solved = (
        _mean_deviation(queries[:_ASKED, part], candidates[:, part]) for part in (slice(dim), slice(dim, dim + rank))
    )
    return trained / solved if solved > 0 else 0.0


def _mean_deviation(queries: tf.Tensor, candidates: tf.Tensor) -> float:
    """Mean over the queries of the standard deviation of their scores."""
    deviations = [
        tf.math.reduce_std(tf.matmul(queries[part], candidates, transpose_b=True), axis=1)
        for part in query_slices(len(queries), len(candidates))
    ]
    return float(tf.reduce_mean(tf.concat(deviations, axis=0)))
