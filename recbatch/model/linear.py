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
from recbatch.model.features import FIRST_OOV
from recbatch.model.fitting import TwoTowerFit

_log = logging.getLogger(__name__)

_BLOCK = 1024  # users whose items are counted together at a time
_ASKED = 512  # held-out queries that tell how far scores spread
_OVERSAMPLED, _POWER_STEPS = 16, 3


@dataclass(frozen=True)
class LinearWeights:
    """``left @ right.T`` is about W of the items ``items``.

    Attributes:
        items: int32 [m] item rows, rising.
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
        share: its scores' spread as a share of that of the towers' scores; 0: it does not count.
        strength: what its scores are multiplied with for that.
        metrics: held-out metrics with it.
    """

    share: float
    strength: float
    metrics: dict[str, float]


def solve_linear(settings: LinearHead, events: Events, eligible: NDArray[np.bool_], rank: int) -> LinearWeights:
    """W of the ``most_items`` most popular items in ``events``, at rank ``rank``.

    It takes memory for three matrices of ``most_items`` squared, and time with the cube of it.

    Args:
        settings: of the head.
        events: the training events.
        eligible: [num_items] items that may have weights.
        rank: width of the weights; beyond the number of items they are zeros.
    """
    counts = np.where(eligible, np.bincount(events.items, minlength=len(eligible)), 0)
    popular = np.argsort(-counts, kind="stable")[: settings.most_items]
    items = np.sort(popular[counts[popular] > 0]).astype(np.int32)
    weights = _closed_form(_together(events, items, len(eligible)), settings.regularization)
    left, right = _low_rank(weights, min(rank, len(items)))
    missing = ((0, 0), (0, rank - left.shape[1]))
    return LinearWeights(items, np.pad(left, missing), np.pad(right, missing))


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
    together[diagonal] += regularization
    inverse = np.linalg.inv(together)
    weights = -inverse / np.diag(inverse)
    weights[diagonal] = 0.0
    return weights.astype(np.float32)


def _low_rank(matrix: NDArray[np.float32], rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(left, right) [m, rank], whose product is about the best one of that rank.

    By randomised subspace iteration (Halko, Martinsson and Tropp, SIAM Review 2011, algorithm 4.4), as a whole singular
    value decomposition takes far longer than to solve for the matrix.
    """
    random = np.random.default_rng(0).normal(size=(len(matrix), min(rank + _OVERSAMPLED, len(matrix))))
    basis = np.linalg.qr(matrix @ random.astype(np.float32))[0]
    for _ in range(_POWER_STEPS):
        basis = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ basis)[0])[0]
    left, values, right = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    root = np.sqrt(values[:rank])
    return (basis @ left[:, :rank] * root).astype(np.float32), (right[:rank].T * root).astype(np.float32)


def add_linear(model: Model, fit: TwoTowerFit, events: Events, strength: float | None = None) -> LinearChoice | None:
    """Solve the linear head of a fit's towers and give it to them.

    Args:
        model: the configuration.
        fit: a fit that is done.
        events: what it was fitted to.
        strength: how much the head counts; None: what ranks the fit's held-out events best.

    Returns:
        What was chosen; None where the towers have no such head, or nothing was held out to choose by.
    """
    query, candidate = fit.query.linear, fit.candidate.linear
    if model.linear is None or query is None or candidate is None:
        return None
    if strength is None and (fit.evaluation is None or not fit.evaluation.can_ask):
        return None
    in_histories, ids = fit.data.history_numbers, fit.data.items["id"].numpy()
    eligible = (in_histories > FIRST_OOV) & (ids >= fit.candidate.learnt.layers["id"].known_from)
    weights = solve_linear(model.linear, events, eligible, query.width)

    def attach(strength: float) -> None:
        query.assign(in_histories[weights.items], weights.left * strength**0.5)
        candidate.assign(ids[weights.items], weights.right * strength**0.5)

    if strength is not None:
        attach(strength)
        return LinearChoice(0.0, strength, {})
    assert fit.evaluation is not None
    attach(1.0)
    unit, stopping = _spread(fit, model.dim, query.width), model.training.early_stopping or EarlyStopping()
    best: LinearChoice | None = None
    for share in (0.0, *model.linear.shares):
        attach(share * unit)
        metrics = fit.evaluation.metrics()
        _log.debug("linear head, share %g: %s", share, metrics)
        if best is None or fit.evaluation.quality(metrics, stopping) > fit.evaluation.quality(best.metrics, stopping):
            best = LinearChoice(share, share * unit, metrics)
    assert best is not None
    attach(best.strength)
    return best


def _spread(fit: TwoTowerFit, dim: int, rank: int) -> float:
    """How many times farther the towers' scores spread than the linear head's, over the items of a query."""
    assert fit.evaluation is not None
    queries, candidates = fit.evaluation.vectors()
    queries = queries[:_ASKED]
    trained = tf.matmul(queries[:, :dim], candidates[:, :dim], transpose_b=True)
    solved = tf.matmul(queries[:, dim : dim + rank], candidates[:, dim : dim + rank], transpose_b=True)
    spreads = [float(tf.reduce_mean(tf.math.reduce_std(scores, axis=1))) for scores in (trained, solved)]
    return spreads[0] / spreads[1] if spreads[1] > 0 else 0.0
