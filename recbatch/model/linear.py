"""The linear head: an item-to-item model in closed form, at low rank, beside the trained coordinates of both towers.

``score(user, item) = sum over the user's items j of W[j, item]``, where W minimises ``|X - X W|^2 + lambda |W|^2`` with
a zero diagonal (EASE: Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019). With ``W ~ left right'``
that is a dot product: the user's half is the sum of the items' ``left``, the item's half is its ``right``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recbatch.config.models import EarlyStopping, LinearHead, Model
from recbatch.model.data import Events
from recbatch.model.evaluation import HeldoutEvaluation
from recbatch.model.features import FIRST_OOV, HistoryLayer, LinearLayer
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.ranking import query_slices

_log = logging.getLogger(__name__)

_BLOCK = 1024  # users whose items are counted together at a time
_ASKED = 512  # held-out queries that tell how far scores spread
_OVERSAMPLED, _POWER_STEPS = 16, 3


@dataclass(frozen=True)
class LinearWeights:
    """``left @ right.T`` is about W of the items ``items``.

    Attributes:
        items: int32 [m] item rows, rising; none where no item may have weights.
        left: float32 [m, rank].
        right: float32 [m, rank].
    """

    items: NDArray[np.int32]
    left: NDArray[np.float32]
    right: NDArray[np.float32]


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
    best, kept = LinearChoice(0.0, 0.0, 0.0, fit.state.best_metrics), None
    for regularization in model.linear.regularizations:
        weights = solve_head(model.linear, regularization, fit, events)
        if not len(weights.items):
            _log.warning("the linear head is left out: no item with training events is in both towers' vocabularies")
            return None
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
    numbers, ids = fit.data.history_numbers[weights.items], fit.data.items["id"].numpy()[weights.items]
    root = np.float32(strength**0.5)
    # All history layers of a tower have one vocabulary.
    history = next(layer for layer in fit.query.learnt.layers.values() if isinstance(layer, HistoryLayer))
    fit.query.linear = LinearLayer(history.strings.vocabulary_size(), numbers, weights.left * root, of_ids=False)
    rows = fit.candidate.learnt.layers["id"].embedding.input_dim
    fit.candidate.linear = LinearLayer(rows, ids, weights.right * root, of_ids=True)


def solve_head(settings: LinearHead, regularization: float, fit: TwoTowerFit, events: Events) -> LinearWeights:
    """The head of a fit to ``events``, of the items that both towers know by name."""
    in_histories, ids = fit.data.history_numbers > FIRST_OOV, fit.data.items["id"].numpy()
    return solve_linear(
        settings, regularization, events, in_histories & (ids >= fit.candidate.learnt.layers["id"].known_from)
    )


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


def solve_linear(
    settings: LinearHead, regularization: float, events: Events, eligible: NDArray[np.bool_]
) -> LinearWeights:
    """W of the ``most_items`` most popular items in ``events``, at rank ``rank`` (at most the number of items).

    It takes memory for four matrices of ``most_items`` squared, and time with the cube of it.

    Args:
        settings: of the head.
        regularization: lambda.
        events: the training events.
        eligible: [num_items] items that may have weights.
    """
    counts = np.where(eligible, np.bincount(events.items, minlength=len(eligible)), 0)
    popular = np.argsort(-counts, kind="stable")[: settings.most_items]
    items = np.sort(popular[counts[popular] > 0]).astype(np.int32)
    if not len(items):
        nothing = np.zeros((0, 0), np.float32)
        return LinearWeights(items, nothing, nothing)
    together = _together(events, items, len(eligible))
    weights = _closed_form(together, regularization)
    return LinearWeights(items, *_low_rank(weights, together, min(settings.rank, len(items))))


def _together(events: Events, items: NDArray[np.int32], num_items: int) -> NDArray[np.float32]:
    """[m, m] how many users took both of two of the ``items``."""
    place = np.full(num_items, -1, np.int64)
    place[items] = np.arange(len(items))
    width, known = len(items), place[events.items] >= 0
    pairs = np.unique(events.users[known].astype(np.int64) * width + place[events.items[known]])
    users, places = np.divmod(pairs, width)
    total = tf.zeros([width, width])
    for start in range(0, int(users.max()) + 1, _BLOCK):
        low, high = np.searchsorted(users, [start, start + _BLOCK])
        rows = np.stack([users[low:high] - start, places[low:high]], axis=1)
        taken = tf.SparseTensor(rows, tf.ones(len(rows)), [_BLOCK, width])
        total += tf.sparse.sparse_dense_matmul(taken, tf.sparse.to_dense(taken), adjoint_a=True)
    return total.numpy()


def _closed_form(together: NDArray[np.float32], regularization: float) -> NDArray[np.float32]:
    """W [m, m] (Steck, eq. 8): ``-P / diag(P)`` with a zero diagonal, for ``P = (X'X + lambda I)^-1``."""
    diagonal = np.diag_indices(len(together))
    ridge = together.copy()
    ridge[diagonal] += regularization
    weights: NDArray[np.float32] = np.linalg.inv(ridge)
    weights /= -np.diag(weights).copy()
    weights[diagonal] = 0.0
    return weights


def _low_rank(
    weights: NDArray[np.float32], together: NDArray[np.float32], rank: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(left, right) [m, rank], whose product gives about the best scores ``X W`` that one of that rank can give.

    What is kept of W is not what is large in it but what is large in the scores of the users that there are: reduced-
    rank regression (Izenman, Journal of Multivariate Analysis 1975). ``right`` are the first eigenvectors of ``W' X'X
    W``, found by randomised subspace iteration (Halko, Martinsson and Tropp, SIAM Review 2011, algorithm 4.4), as a
    whole decomposition takes far longer than to solve for W; ``left`` is W times them. A coordinate is scaled to be as
    long in one as in the other, for users and items are compared among themselves, too.
    """
    random = np.random.default_rng(0).normal(size=(len(weights), min(rank + _OVERSAMPLED, len(weights))))
    basis = random.astype(np.float32)
    for _ in range(_POWER_STEPS + 1):
        basis = np.linalg.qr(weights.T @ (together @ (weights @ basis)))[0]
    scored = weights @ basis
    energies, turned = np.linalg.eigh(scored.T @ (together @ scored))
    largest = np.argsort(-energies, kind="stable")[:rank]
    left, right = scored @ turned[:, largest], basis @ turned[:, largest]
    root = np.sqrt(np.maximum(np.linalg.norm(left, axis=0), np.finfo(np.float32).tiny))
    return (left / root).astype(np.float32), (right * root).astype(np.float32)
