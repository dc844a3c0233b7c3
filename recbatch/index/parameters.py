"""How an index is built and how it is searched, as plain values that go into plans, parts and manifests."""

from __future__ import annotations

import math
from dataclasses import dataclass

MIN_CANDIDATES = 1_000
"""Fewer candidates than this are always searched exactly; far above the sizes that ScaNN refuses (under 16)."""

_ID_BYTES = 32


def candidate_bytes(width: int) -> int:
    """Memory of one candidate of so many columns, about, while its index is being built: when it takes the most.

    The id; the prepared row and ScaNN's copy of it; and of the index the bfloat16 row and half a byte for each code.
    """
    return _ID_BYTES + 2 * 4 * width + 2 * width + width // 4


@dataclass(frozen=True)
class IndexParameters:
    """A ScaNN tree with asymmetric hashing and reordering. All values are part of the index's identity."""

    leaves: int
    """Partitions of the tree."""
    dims_per_block: int = 2
    """Coordinates per 4-bit code."""
    training_sample: int = 100_000
    """Candidates that the tree is fitted on, at most. With so many it is as good as with all of them at 100,000
    candidates; a third of them makes every query cost a sixth more."""
    training_iterations: int = 8
    """Of the tree. Twelve gain less than .001 of recall: the first centres are chosen far from each other."""
    codes_sample: int = 10_000
    """Candidates that the codes are fitted on, at most: 16 centres of ``dims_per_block`` numbers each need no more."""

    @classmethod
    def for_candidates(cls, candidates: int) -> IndexParameters:
        """About as many leaves as there are candidates in a leaf, the least work for one query."""
        return cls(leaves=max(1, math.isqrt(candidates)))


@dataclass(frozen=True)
class SearchParameters:
    """How much of the index one query looks at."""

    leaves: int
    """Leaves searched."""
    reorder: int
    """Candidates, best by their codes, whose exact score is computed."""
    max_excluded: int | None = None
    """Queries with more exclusions are searched exactly; None: with more than max(4 k, 2 % of the candidates)."""

    def wider(self) -> SearchParameters:
        """For queries that found too few: four times the leaves and twice the exact scores."""
        return SearchParameters(4 * self.leaves, 2 * self.reorder, self.max_excluded)
