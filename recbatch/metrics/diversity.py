"""What is recommended, whether or not it is right: how much of the catalog, how evenly, how well known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def coverage(lists: NDArray[np.int32], num_candidates: int) -> float:
    """Share of the candidates that are in at least one of the ``lists`` [q, k] (padding -1 does not count)."""
    return float(np.count_nonzero(_counts(lists, num_candidates)) / num_candidates) if num_candidates else float("nan")


def gini(lists: NDArray[np.int32], num_candidates: int) -> float:
    """Gini index of how often each candidate is recommended: 0 all equally, towards 1 all lists the same.

    Over all candidates, those never recommended too: sum over the candidates by rising count c of
    (2 i - n - 1) c_i / (n sum c), i from 1 to n.
    """
    counts = np.sort(_counts(lists, num_candidates))
    total, count = counts.sum(), len(counts)
    if not total:
        return float("nan")
    return float(np.dot(2.0 * np.arange(1, count + 1) - count - 1, counts) / (count * total))


def self_information(lists: NDArray[np.int32], events: NDArray[np.integer]) -> NDArray[np.float64]:
    """Novelty [q]: mean of -log2 p over what each list recommends, p the item's share of the training ``events`` [c].

    An item that nobody has taken counts as if one had (Zhou et al., PNAS 2010). NaN for an empty list.
    """
    total = max(int(events.sum()), 1)
    information = np.append(np.log2(total / np.maximum(events, 1)), 0.0)  # the last one answers for the padding, -1
    length = (lists >= 0).sum(axis=1)
    return information[lists].sum(axis=1) / np.where(length, length, np.nan)


def _counts(lists: NDArray[np.int32], num_candidates: int) -> NDArray[np.int64]:
    return np.bincount(lists[lists >= 0], minlength=num_candidates)
