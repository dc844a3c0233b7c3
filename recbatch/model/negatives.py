"""Against which candidates a batch's targets have to win."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbatch.config.models import Training
from recbatch.model.data import Events

Negatives = Literal["full", "mixed", "in_batch"]


MOST_ITEMS_FOR_FULL = 50_000
"""With more items a softmax over all of them costs more than a sample's noise."""


def resolve_negatives(training: Training, num_items: int) -> Negatives:
    """What ``negatives: auto`` means for so many items."""
    if training.negatives != "auto":
        return training.negatives
    return "full" if num_items <= MOST_ITEMS_FOR_FULL else "mixed"


class Pairs(NamedTuple):
    """Items of queries, flat: ``items`` [m] belong to the queries ``rows`` [m]."""

    rows: NDArray[np.integer]
    items: NDArray[np.integer]


@dataclass(frozen=True)
class Drawn:
    """The candidates of a batch.

    Attributes:
        candidates: [c] item rows; with in-batch negatives [e], those of the targets.
        log_inclusion: [c] logarithm of the probability that a batch has this candidate; zeros without correction.
        columns: [e] the place of each target in ``candidates``.
        shown_rows: [s], with ``shown_columns`` [s]: pairs of a query and a candidate that is shown to it.
        shown_columns: [s].
    """

    candidates: NDArray[np.int32]
    log_inclusion: NDArray[np.float32]
    columns: NDArray[np.int32]
    shown_rows: NDArray[np.int32]
    shown_columns: NDArray[np.int32]


class Catalog:
    """Draws the candidates of a batch.

    * ``full``: every item. Those that nobody took yet share the vector of the unknown ids, which so learns how seldom
      they are taken; without it their features alone would rank them as high as the most popular items of their kind.
    * ``mixed``: the batch's targets and a uniform sample (mixed negative sampling: Yang et al., WWW 2020 companion).
    * ``in_batch``: the batch's targets, each as often as it is one.

    ``mixed`` and ``in_batch`` see popular items more often; scores are corrected by the logarithm of how likely an item
    is to be among a batch's candidates (Yi et al., RecSys 2019), from the targets' frequencies alone.

    Args:
        kind: one of these.
        events: the training events.
        num_items: number of item rows.
        sample: number of uniformly drawn items (``mixed``).
        logq: whether to correct.
    """

    def __init__(self, kind: Negatives, events: Events, num_items: int, *, sample: int, logq: bool) -> None:
        self.kind, self._logq = kind, logq
        counts = np.bincount(events.items, events.targets, minlength=num_items)
        self._probability = counts / max(1, counts.sum())
        self._all = np.arange(num_items, dtype=np.int32)
        self._sample = min(sample, num_items)

    def draw(self, targets: Pairs, shown: Pairs, num_queries: int, random: np.random.Generator) -> Drawn:
        """Candidates for ``targets``; ``shown`` are pairs that must not count as negatives as others do."""
        if self.kind == "in_batch":
            candidates = targets.items.astype(np.int32)
            log_inclusion = np.log(self._probability[candidates]) if self._logq else np.zeros(len(candidates))
            columns = np.arange(len(candidates), dtype=np.int32)
            rows, places = _occurrences(shown, targets, num_queries)
            return Drawn(candidates, log_inclusion.astype(np.float32), columns, rows, places)
        candidates = self._all
        if self.kind == "mixed":
            sample = random.choice(self._all, self._sample, replace=False)
            candidates = np.union1d(targets.items, sample).astype(np.int32)
        log_inclusion = np.zeros(len(candidates))
        if self.kind == "mixed" and self._logq:
            log_inclusion = self._log_inclusion(candidates, len(targets.items))
        place = np.minimum(np.searchsorted(candidates, shown.items), len(candidates) - 1)
        there = candidates[place] == shown.items
        return Drawn(
            candidates,
            log_inclusion.astype(np.float32),
            np.searchsorted(candidates, targets.items).astype(np.int32),
            shown.rows[there].astype(np.int32),
            place[there].astype(np.int32),
        )

    def _log_inclusion(self, candidates: NDArray[np.int32], num_targets: int) -> NDArray[np.float64]:
        """An item is missing where neither one of the targets nor the sample has drawn it."""
        missed = num_targets * np.log1p(-np.minimum(self._probability[candidates], 1 - 1e-12))
        share = self._sample / len(self._all)
        return np.log(-np.expm1(missed + np.log1p(-share))) if share < 1 else np.zeros(len(candidates))


def _occurrences(shown: Pairs, targets: Pairs, num_queries: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(query, column) wherever a batch's targets hold an item that is shown to a query or is another target of it."""
    rows = np.concatenate([shown.rows, targets.rows])
    items = np.concatenate([shown.items, targets.items])
    distinct, column_of = np.unique(targets.items, return_inverse=True)
    found = np.minimum(np.searchsorted(distinct, items), len(distinct) - 1)
    there = distinct[found] == items
    table = np.zeros((num_queries, len(distinct)), bool)
    table[rows[there], found[there]] = True
    row, column = np.nonzero(table[:, column_of])
    return row.astype(np.int32), column.astype(np.int32)
