"""The linear item-to-item model in closed form: from events to weights at low rank.

``score(user, item) = sum over the user's items j of W[j, item]``, where W minimises ``|X - X W|^2 + lambda |W|^2`` with
a zero diagonal (EASE: Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019). X [users, items] is 1
where a user took an item. With ``P = (X'X + lambda I)^-1`` it is ``W = I - P diag(1 / diag(P))`` (his equation 8).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recbatch.errors import ConfigError
from recbatch.model.data import Events

_BLOCK = 1024  # users whose items are counted together at a time
_TRIANGLE = 512  # rows of a triangular matrix that are inverted at once
_OVERSAMPLED, _POWER_STEPS = 16, 3


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
    """``left @ right.T`` is about W of the items ``items``.

    Attributes:
        items: int32 [m] item rows, rising.
        left: float32 [m, rank].
        right: float32 [m, rank].
    """

    items: NDArray[np.int32]
    left: NDArray[np.float32]
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
    place = np.full(len(eligible), -1, np.int64)
    place[items] = np.arange(len(items))
    width, known = len(items), place[events.items] >= 0
    pairs = np.unique(events.users[known].astype(np.int64) * max(1, width) + place[events.items[known]])
    users, places = np.divmod(pairs, max(1, width))
    total = tf.zeros([width, width])
    for start in range(0, int(users.max(initial=-1)) + 1, _BLOCK):
        low, high = np.searchsorted(users, [start, start + _BLOCK])
        rows = np.stack([users[low:high] - start, places[low:high]], axis=1)
        taken = tf.SparseTensor(rows, tf.ones(len(rows)), [_BLOCK, width])
        total += tf.sparse.sparse_dense_matmul(taken, tf.sparse.to_dense(taken), adjoint_a=True)
    return ItemPairs(items, total.numpy())


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
        basis = np.linalg.qr(seen - root.T @ (root @ seen) / diagonal)[0]  # W' seen
    scored = _weighted(root, diagonal, basis)
    energies, turned = np.linalg.eigh(scored.T @ (together @ scored))
    largest = np.argsort(-energies, kind="stable")[:rank]
    left, right = scored @ turned[:, largest], basis @ turned[:, largest]
    scale = np.sqrt(np.maximum(np.linalg.norm(left, axis=0), np.finfo(np.float32).tiny))
    return LinearWeights(pairs.items, (left / scale).astype(np.float32), (right * scale).astype(np.float32))


def _weighted(
    root: NDArray[np.float32], diagonal: NDArray[np.float32], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``W @ vectors``: W itself is never made."""
    return vectors - root.T @ (root @ (vectors / diagonal))


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
