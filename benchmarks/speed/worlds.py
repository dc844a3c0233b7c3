"""Synthetic embeddings that look like those of trained towers.

* Items lie in clusters of skewed sizes, in few dimensions: a position is the centre of a cluster and some spread, of
  ``rank`` coordinates, turned into ``dim`` by one random rotation, and a little noise in all of them.
* An item's length grows with the logarithm of its popularity, which is drawn from a power law: with a dot product a
  popular item is nearer to everybody.
* A user is between two clusters, and of unit length.

Block by block from seeds of their own, so that any part of a world can be made without the rest, always the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Side = Literal["users", "items"]

BLOCK = 65_536
"""Rows that are made from one seed."""

_SIDES = {"users": 1, "items": 2}
_SPREAD = 0.5  # of a row about its centre, as a share of the centre's length
_NOISE = 0.1  # in all coordinates together, as a share of the row's length
_POPULARITY = 0.8  # exponent of the power law
_LONGER = 0.1  # longer by so much for each e-fold of popularity


@dataclass(frozen=True)
class World:
    """Users and items of one seed.

    Attributes:
        dim: width of the vectors.
        clusters: how many there are.
        rank: dimensions that the clusters lie in.
        seed: another one is another world.
    """

    dim: int = 64
    clusters: int = 500
    rank: int = 16
    seed: int = 0

    def blocks(self, side: Side, count: int) -> Iterator[Matrix]:
        """``count`` rows in blocks of at most :data:`BLOCK`, each float32 ``[rows, dim]``."""
        for number, first in enumerate(range(0, count, BLOCK)):
            yield self._block(side, number)[: count - first]

    def matrix(self, side: Side, count: int) -> Matrix:
        """``count`` rows, float32 ``[count, dim]``."""
        result = np.empty((count, self.dim), np.float32)
        first = 0
        for block in self.blocks(side, count):
            result[first : first + len(block)] = block
            first += len(block)
        return result

    def _block(self, side: Side, number: int) -> Matrix:
        rng = np.random.default_rng([self.seed, _SIDES[side], number])
        centres, shares = self._centres
        own = centres[rng.choice(self.clusters, BLOCK, p=shares)]
        if side == "users":
            other = centres[rng.choice(self.clusters, BLOCK, p=shares)]
            weight = rng.uniform(0.5, 1, (BLOCK, 1)).astype(np.float32)
            own = weight * own + (1 - weight) * other
        rows = own + _normal(rng, BLOCK, self.rank) * np.float32(_SPREAD / self.rank**0.5)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows @ self._rotation + _normal(rng, BLOCK, self.dim) * np.float32(_NOISE / self.dim**0.5)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        if side == "items":
            # The logarithm of a power law is exponential.
            rows *= 1 + _LONGER * rng.exponential(_POPULARITY, (BLOCK, 1)).astype(np.float32)
        return rows

    @cached_property
    def _centres(self) -> tuple[Matrix, npt.NDArray[np.float64]]:
        """(unit centres [clusters, rank], the share of rows in each)."""
        rng = np.random.default_rng([self.seed, 0])
        centres = _normal(rng, self.clusters, self.rank)
        sizes = rng.pareto(1.5, self.clusters) + 0.2
        return centres / np.linalg.norm(centres, axis=1, keepdims=True), sizes / sizes.sum()

    @cached_property
    def _rotation(self) -> Matrix:
        """Orthonormal rows [rank, dim]."""
        rng = np.random.default_rng([self.seed, 3])
        return np.ascontiguousarray(np.linalg.qr(_normal(rng, self.dim, self.rank))[0].T)


def _normal(rng: np.random.Generator, rows: int, columns: int) -> Matrix:
    return rng.standard_normal((rows, columns), np.float32)
