"""Which vectors can be searched, and the matrix that they are searched and scored in.

``dot`` is the inner product of the published float32 vectors. ``cosine`` is the inner product of unit vectors, made
from the published ones without the bias coordinate. From here on both are inner products of prepared rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from recbatch.errors import RecbatchError

Similarity = Literal["dot", "cosine"]
FloatMatrix = npt.NDArray[np.float32]

MAX_NORM = 1e18
"""Longest vector that ``dot`` accepts: no inner product of two such vectors, nor a part of its sum, leaves float32."""

_BLOCK = 262_144
"""Values looked at together: few enough to stay in a core's cache."""


_PIVOTS = 512
"""Directions that queries are sorted by, at most."""
_PER_PIVOT = 64
"""Candidates that each of them stands for, at least."""


class Validity(IntEnum):
    """Why a vector can be searched, or cannot."""

    VALID = 0
    NOT_FINITE = 1
    """A NaN or an infinity among the values."""
    TOO_LONG = 2
    """``dot`` only: finite, but longer than :data:`MAX_NORM`, so that a score could overflow float32."""
    ZERO = 3
    """``cosine`` only: no direction (all values are zero, the bias coordinate aside)."""


def classify(
    vectors: npt.NDArray[np.float32], similarity: Similarity, bias_coordinate: int | None = None
) -> npt.NDArray[np.uint8]:
    """The :class:`Validity` of every row of ``vectors`` [n, dim], as uint8 [n].

    Norms are taken in float64, where no sum of squares of finite float32 values overflows or vanishes: under
    ``cosine`` a vector of 1e30s or of 1e-40s is as good as any other.
    """
    _check_matrix(vectors)
    result = np.full(len(vectors), Validity.VALID, np.uint8)
    for rows in _blocks(vectors):
        with np.errstate(invalid="ignore", over="ignore"):
            lengths = _norms(vectors[rows])
            used = _without_bias(vectors[rows], similarity, bias_coordinate)
            norms = lengths if used.shape == vectors[rows].shape else _norms(used)
        if similarity == "cosine":
            result[rows][norms == 0] = Validity.ZERO
        else:
            result[rows][norms > MAX_NORM] = Validity.TOO_LONG
        result[rows][~np.isfinite(lengths)] = Validity.NOT_FINITE  # of finite values no sum of squares overflows
    return result


def prepare(
    vectors: npt.NDArray[np.float32], similarity: Similarity, bias_coordinate: int | None = None
) -> FloatMatrix:
    """The matrix [n, width] whose inner products are the scores; all rows must be valid (see :func:`classify`).

    ``dot`` returns the vectors themselves (copied only if they are not C-contiguous float32), ``cosine`` unit vectors,
    one column narrower if there is a bias coordinate.

    Raises:
        RecbatchError: a row is not valid; the caller has to leave such rows out and count them.
    """
    validity = classify(vectors, similarity, bias_coordinate)
    invalid = np.flatnonzero(validity)
    if len(invalid):
        reason = Validity(validity[invalid[0]]).name.lower().replace("_", " ")
        raise RecbatchError(
            f"{len(invalid)} of {len(vectors)} vectors cannot be searched by {similarity} (the first, row "
            f"{invalid[0]}, is {reason}); they must be left out beforehand"
        )
    if similarity == "dot":
        return np.ascontiguousarray(vectors, np.float32)
    used = _without_bias(vectors, similarity, bias_coordinate)
    result = np.empty(used.shape, np.float32)
    for rows in _blocks(used):
        result[rows] = used[rows] / _norms(used[rows])[:, None]
    return result


@dataclass(frozen=True)
class Candidates:
    """What is searched: the prepared rows of all valid candidates, in the order of their ordinals.

    Make it with :meth:`of`, once per worker and table: everything that follows shares the matrix.
    """

    vectors: FloatMatrix
    """[n, width], C-contiguous; row = ordinal = position of the id in UTF-8 byte order."""
    similarity: Similarity
    bias_coordinate: int | None
    max_norm: float
    """Length of the longest row; it bounds the rounding error of a matrix product."""

    @classmethod
    def of(
        cls, vectors: npt.NDArray[np.float32], similarity: Similarity, bias_coordinate: int | None = None
    ) -> Candidates:
        """Prepare the published vectors [n, dim] of the candidates.

        Raises:
            RecbatchError: a vector is not valid under the similarity (see :func:`classify`).
        """
        prepared = prepare(vectors, similarity, bias_coordinate)
        longest = max((float(_norms(prepared[rows]).max()) for rows in _blocks(prepared)), default=0.0)
        return cls(prepared, similarity, bias_coordinate, longest)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def width(self) -> int:
        """Columns of the prepared matrix: the model's width, less the bias coordinate under ``cosine``."""
        return self.vectors.shape[1]

    @cached_property
    def pivots(self) -> FloatMatrix:
        """Some candidates as directions, unit rows [p, width]: evenly spaced ones, each followed by one near to it."""
        count = min(_PIVOTS, len(self) // _PER_PIVOT)
        chosen = self.vectors[np.arange(count) * len(self) // max(count, 1)]
        lengths = _norms(chosen)
        rows = (chosen[lengths > 0] / lengths[lengths > 0, None]).astype(np.float32)
        return rows[_chain(rows @ rows.T)]

    def prepare_queries(self, vectors: npt.NDArray[np.float32]) -> FloatMatrix:
        """Queries [m, dim] as published -> [m, width], to be multiplied with :attr:`vectors`.

        Raises:
            RecbatchError: a query is not valid under the similarity, or has another width than the candidates.
        """
        prepared = prepare(vectors, self.similarity, self.bias_coordinate)
        if prepared.shape[1] != self.width:
            raise RecbatchError(f"queries are {prepared.shape[1]} wide, but the candidates {self.width}")
        return prepared


def _chain(nearness: FloatMatrix) -> list[int]:
    """An order of rows: from the first on, always the nearest of those that are left; ``nearness`` is [n, n]."""
    left = np.ones(len(nearness), bool)
    chain = [0] if len(nearness) else []
    for _ in range(1, len(nearness)):
        left[chain[-1]] = False
        chain.append(int(np.where(left, nearness[chain[-1]], -np.inf).argmax()))
    return chain


def _check_matrix(vectors: npt.NDArray[np.float32]) -> None:
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise RecbatchError(f"vectors must be a float32 matrix, not {vectors.dtype} of shape {vectors.shape}")


def _without_bias(
    vectors: npt.NDArray[np.float32], similarity: Similarity, bias_coordinate: int | None
) -> npt.NDArray[np.float32]:
    if similarity == "dot" or bias_coordinate is None:
        return vectors
    return np.delete(vectors, bias_coordinate, axis=1)


def _norms(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    return np.sqrt(np.einsum("nd,nd->n", wide, wide))


def _blocks(vectors: FloatMatrix) -> Iterator[slice]:
    rows, width = vectors.shape
    step = max(1, _BLOCK // max(1, width))
    return (slice(first, first + step) for first in range(0, rows, step))
