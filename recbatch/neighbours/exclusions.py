"""The candidates that must not be recommended to a query: what it has seen, and itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recbatch.errors import RecbatchError

Ordinals = npt.NDArray[np.int32]
Positions = npt.NDArray[np.int64]

_TABLE_BITS = 24
"""Size of a look-up table, at most about, as a power of two: 16 MB."""


@dataclass(frozen=True)
class Exclusions:
    """Excluded candidates of m queries, in compressed sparse rows."""

    offsets: Positions
    """[m + 1]; row i is ``ordinals[offsets[i]:offsets[i + 1]]``."""
    ordinals: Ordinals
    """Ascending and distinct within a row."""

    @classmethod
    def none(cls, queries: int) -> Exclusions:
        """Nothing is excluded for any of ``queries`` queries."""
        return cls(np.zeros(queries + 1, np.int64), np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Positions:
        """Excluded candidates of each query [m]."""
        return np.diff(self.offsets)

    def check(self, queries: int, candidates: int) -> None:
        """Raise RecbatchError unless this is of ``queries`` rows of ascending ordinals below ``candidates``."""
        if len(self) != queries:
            raise RecbatchError(f"exclusions are of {len(self)} queries, but there are {queries}")
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.ordinals) or (self.counts < 0).any():
            raise RecbatchError("the offsets of the exclusions do not fit their ordinals")
        if not len(self.ordinals):
            return
        if self.ordinals.min() < 0 or self.ordinals.max() >= candidates:
            raise RecbatchError(f"an excluded ordinal is not among the {candidates} candidates")
        rising = np.diff(self.ordinals) > 0
        starts = self.offsets[1:-1]
        rising[starts[(starts > 0) & (starts < len(self.ordinals))] - 1] = True
        if not rising.all():
            raise RecbatchError("excluded ordinals must be ascending and distinct within a query")

    def rows(self, first: int, last: int) -> Exclusions:
        """Those of the queries [first, last), without a copy of the ordinals."""
        offsets = self.offsets[first : last + 1]
        return Exclusions(offsets - offsets[0], self.ordinals[offsets[0] : offsets[-1]])

    def take(self, rows: Positions) -> Exclusions:
        """Those of the queries ``rows``, in that order."""
        if not len(self.ordinals):
            return Exclusions.none(len(rows))
        starts, counts = self.offsets[rows], self.counts[rows]
        return Exclusions(_offsets(counts), self.ordinals[slices(starts, counts)])

    def within(self, first: int, last: int) -> Exclusions:
        """Cut to the candidate shard [first, last), whose ordinals then count from 0."""
        low = lower_bound(self.ordinals, self.offsets[:-1], self.offsets[1:], np.int64(first))
        high = lower_bound(self.ordinals, low, self.offsets[1:], np.int64(last))
        return Exclusions(_offsets(high - low), self.ordinals[slices(low, high - low)] - np.int32(first))

    def contains(self, ordinals: Ordinals) -> npt.NDArray[np.bool_]:
        """Whether ``ordinals[i, j]`` is excluded for query i; bool like ``ordinals`` [m, any], never for -1.

        A table of a few bits per exclusion tells for nearly all that they are not; only the others are looked up.
        """
        result = np.zeros(ordinals.shape, np.bool_)
        if not len(self.ordinals):
            return result
        everyone = np.arange(len(self))
        rows = np.repeat(everyone, self.counts)
        slots = 1 << min((16 * len(rows) // len(self) + 16).bit_length(), max(4, _TABLE_BITS - len(self).bit_length()))
        marked = np.zeros((len(self), slots), np.bool_)
        marked[rows, self.ordinals & (slots - 1)] = True
        at = np.nonzero(marked[everyone[:, None], ordinals & (slots - 1)])
        keys = (rows << 32) | self.ordinals
        wanted = (at[0] << 32) | ordinals[at]
        result[at] = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
        return result

    def with_own(self, own: Ordinals) -> Exclusions:
        """Exclude candidate ``own[i]`` for query i as well; -1: the query is no candidate.

        Args:
            own: int32 [m].
        """
        at = lower_bound(self.ordinals, self.offsets[:-1], self.offsets[1:], own)
        new = (own >= 0) & ~self.contains(own[:, None])[:, 0]
        return Exclusions(_offsets(self.counts + new), np.insert(self.ordinals, at[new], own[new]))


def lower_bound(
    ordinals: Ordinals, low: Positions, high: Positions, values: npt.NDArray[np.integer] | np.integer
) -> Positions:
    """First position in ``ordinals[low:high]`` whose value is not below ``values``, or ``high``.

    ``low``, ``high`` and ``values`` are broadcast against each other; every slice is ascending. One binary search in
    as many slices at once as there are elements.
    """
    low, high, values = np.broadcast_arrays(low, high, values)
    longest = int((high - low).max(initial=0))
    if longest == 0:
        return low.copy()
    last = len(ordinals) - 1
    for _ in range(longest.bit_length()):
        middle = (low + high) >> 1
        below = (ordinals[np.minimum(middle, last)] < values) & (low < high)
        low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
    return low


def slices(starts: Positions, counts: Positions) -> Positions:
    """The positions of all ``range(start, start + count)``, one after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)


def _offsets(counts: Positions) -> Positions:
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
