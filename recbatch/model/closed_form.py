"""The linear item-to-item model in closed form: from events to weights at low rank.

The time for it grows with the cube of the items, so it is solved for the most popular ones. The others are given scores
by a regression on what it makes of a user.

``score(user, item) = sum over the user's items j of W[j, item]``, where W minimises ``|X - X W|^2 + lambda |W|^2`` with
a zero diagonal (EASE: Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019). X [users, items] is 1
where a user took an item. With ``P = (X'X + lambda I)^-1`` it is ``W = I - P diag(1 / diag(P))`` (his equation 8).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recbatch.errors import ConfigError
from recbatch.model.data import Events

_COUNTED, _SCORED = 4096, 65_536  # users whose items are counted, or scored, together at a time
_TRIANGLE = 512  # rows of a triangular matrix that are inverted at once
_OVERSAMPLED, _POWER_STEPS = 16, 3
_TINY = 1e-12
_RIDGE = 0.01  # of the regression for the other items, as a share of a coordinate's mean energy


@dataclass(frozen=True)
class ItemPairs:
    """How often items were taken by the same users: X'X.

    Attributes:
        items: int32 [m] item rows, rising.
        together: float32 [m, m] users who took both; on the diagonal, who took the item.
    """

    items: NDArray[np.int32]
    together: NDArray[np.float32]


@dataclass(frozen=True)
class LinearWeights:
    """Halves of a score: the sum of the ``left`` of what a user took, times the ``right`` of an item.

    Attributes:
        items: int32 [m] item rows, rising.
        left: float32 [m, rank].
        scored: int32 [n] item rows, the first m of them ``items``.
        right: float32 [n, rank].
    """

    items: NDArray[np.int32]
    left: NDArray[np.float32]
    scored: NDArray[np.int32]
    right: NDArray[np.float32]


def count_pairs(events: Events, eligible: NDArray[np.bool_], most_items: int) -> ItemPairs:
    """X'X of the ``most_items`` most popular items in ``events``.

    Args:
        events: the training events; taking an item twice is taking it.
        eligible: [num_items] items that may have weights.
        most_items: at most so many of them, and none without an event.
    """
    counts = np.where(eligible, np.bincount(events.items, minlength=len(eligible)), 0)
    popular = np.argsort(-counts, kind="stable")[:most_items]
    items = np.sort(popular[counts[popular] > 0]).astype(np.int32)
    together = np.zeros((len(items), len(items)), np.float32)
    for taken in _taken(events, items, len(eligible), _COUNTED):
        together += tf.sparse.sparse_dense_matmul(taken, tf.sparse.to_dense(taken), adjoint_a=True).numpy()
    return ItemPairs(items, together)


def _taken(events: Events, items: NDArray[np.int32], num_items: int, users: int) -> Iterator[tf.SparseTensor]:
    """[users, len(items)] which of the items each of the next so many users took: 1."""
    place, width = np.full(num_items, -1, np.int64), max(1, len(items))
    place[items] = np.arange(len(items))
    known = place[events.items] >= 0
    pairs = np.unique(events.users[known].astype(np.int64) * width + place[events.items[known]])
    rows, places = np.divmod(pairs, width)
    for start in range(0, int(events.users.max(initial=-1)) + 1, users):
        low, high = np.searchsorted(rows, [start, start + users])
        where = np.stack([rows[low:high] - start, places[low:high]], axis=1)
        yield tf.SparseTensor(where, tf.ones(len(where)), [users, len(items)])


def solve_linear(pairs: ItemPairs, regularization: float, rank: int) -> LinearWeights:
    """W at low rank, so that ``left @ right.T`` gives about the best scores ``X W`` that one of that rank can give.

    What is kept of W is not what is large in it but what is large in the scores of the users that there are: reduced-
    rank regression (Izenman, Journal of Multivariate Analysis 1975). ``right`` are the first eigenvectors of ``W' X'X
    W``, found by randomised subspace iteration (Halko, Martinsson and Tropp, SIAM Review 2011, algorithm 4.4), as a
    whole decomposition takes far longer than to solve for W; ``left`` is W times them. A coordinate is scaled to be as
    long in one as in the other, for users and items are compared among themselves, too.

    Args:
        pairs: of m > 0 items. Memory for three more matrices of that size is needed, and time with the cube of m.
        regularization: lambda.
        rank: at most m is used.

    Raises:
        ConfigError: lambda is too small for numbers of 32 bits.
    """
    together, count = pairs.together, len(pairs.items)
    root = _inverse_root(together, regularization)
    diagonal = np.einsum("ij,ij->j", root, root)[:, None]  # of P = root' root
    random = np.random.default_rng(0).normal(size=(count, min(rank + _OVERSAMPLED, count)))
    basis = random.astype(np.float32)
    for _ in range(_POWER_STEPS + 1):
        seen = together @ _weighted(root, diagonal, basis)
        basis = np.linalg.qr(seen - _inverted(root, seen) / diagonal)[0]  # W' seen
    scored = _weighted(root, diagonal, basis)
    energies, turned = np.linalg.eigh(scored.T @ (together @ scored))
    largest = np.argsort(-energies, kind="stable")[:rank]
    left, right = scored @ turned[:, largest], basis @ turned[:, largest]
    scale = np.sqrt(np.maximum(np.linalg.norm(left, axis=0), _TINY))
    left, right = (left / scale).astype(np.float32), (right * scale).astype(np.float32)
    return LinearWeights(pairs.items, left, pairs.items, right)


def score_others(weights: LinearWeights, events: Events, eligible: NDArray[np.bool_]) -> LinearWeights:
    """Give the other items a ``right``, too: of the ridge regression of who took them on the users' halves.

    Without it they score 0 where those that the model is solved for score more, and a catalog's tail is never seen.
    They stay without a ``left``: what a user took of them says nothing here.

    Args:
        weights: of the most popular items.
        events: the training events.
        eligible: [num_items] items that may be scored; those without an event are not.
    """
    scored = eligible & (np.bincount(events.items, minlength=len(eligible)) > 0)
    scored[weights.items] = False
    others = np.flatnonzero(scored).astype(np.int32)
    if not len(others):
        return weights
    rank = weights.left.shape[1]
    energy, seen = np.zeros((rank, rank), np.float32), np.zeros((len(others), rank), np.float32)
    blocks = (_taken(events, items, len(eligible), _SCORED) for items in (weights.items, others))
    for taken, asked in zip(*blocks, strict=True):
        queries = tf.sparse.sparse_dense_matmul(taken, weights.left)
        energy += tf.matmul(queries, queries, transpose_a=True).numpy()
        seen += tf.sparse.sparse_dense_matmul(asked, queries, adjoint_a=True).numpy()
    energy[np.diag_indices(rank)] += _RIDGE * np.trace(energy) / rank + _TINY  # which is all where no items go together
    right = np.linalg.solve(energy, seen.T).T.astype(np.float32)
    return LinearWeights(
        weights.items,
        weights.left,
        np.concatenate([weights.items, others]),
        np.concatenate([weights.right, right]),
    )


def _weighted(
    root: NDArray[np.float32], diagonal: NDArray[np.float32], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``W @ vectors``: W itself is never made."""
    return vectors - _inverted(root, vectors / diagonal)


def _inverted(root: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``P @ vectors``, of the inverse's root."""
    return root.T @ (root @ vectors)


def _inverse_root(together: NDArray[np.float32], regularization: float) -> NDArray[np.float32]:
    """Lower triangular R with ``R' R = P``: the inverse of a Cholesky factor, in a quarter of the time of P itself."""
    ridge = together.copy()
    ridge[np.diag_indices(len(ridge))] += regularization
    try:
        factor = np.linalg.cholesky(ridge)
    except np.linalg.LinAlgError:
        raise ConfigError(
            f"model.linear.regularizations: {regularization:g} is too small to solve the linear head with; "
            "use a greater one"
        ) from None
    _invert_lower(factor)
    return factor


def _invert_lower(factor: NDArray[np.float32]) -> None:
    """Put the inverse of a lower triangular matrix in its place, by halves."""
    count = len(factor)
    if count <= _TRIANGLE:
        factor[:] = np.tril(np.linalg.inv(factor))
        return
    half = count // 2
    upper, lower, corner = factor[:half, :half], factor[half:, half:], factor[half:, :half]
    _invert_lower(upper)
    _invert_lower(lower)
    corner[:] = -(lower @ (corner @ upper))
