"""One split of one protocol: what a model may learn from, who asks, what is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.model import TrainingData

WIDTH = 100
"""Candidates in a list."""

Lists = NDArray[np.int32]
"""Top-k lists [q, :data:`WIDTH`] of candidate numbers, best first, padded with -1."""


@dataclass(frozen=True)
class Task:
    """A task. Everything that ranks gives :data:`Lists` for its queries, and is measured by them alone.

    Attributes:
        protocol: letter of the protocol.
        seed: of the split.
        train: all that a model may learn from; its interactions are positives.
        candidates: id (sorted by UTF-8 bytes) and ``feature:*`` of what is ranked; a candidate's number is its row.
        queries: profiles as a night makes them, one per query: id, history (list<string>, oldest first),
            history_timestamps (list<int64>, microseconds) and as_of_us (int64) where there are times, ``feature:*``,
            ``context:*``.
        entity: what asks: a user, or in item pairs an item.
        target_query: int32 [t] row in ``queries``, with
        target_item: int32 [t] candidate number; -1: no candidate stands for it, so it is missed.
        seen_query: int32 [s] rows in ``queries``, rising, with
        seen_item: int32 [s] candidates that are removed from the list.
        users: int32 [q] who asks: number among the sorted distinct user ids of the whole data (in item pairs the
            number of the item). The bootstrap resamples these.
        activity: int32 [q] how many events are known of who asks.
        popularity: int64 [c] training events of each candidate.
        counts: what was split, and what was left out.
        first_heldout_us: time of the earliest held-out event; None without timestamps.
    """

    protocol: str
    seed: int
    train: TrainingData
    candidates: pa.Table
    queries: pa.Table
    entity: Literal["user", "item"]
    target_query: NDArray[np.int32]
    target_item: NDArray[np.int32]
    seen_query: NDArray[np.int32]
    seen_item: NDArray[np.int32]
    users: NDArray[np.int32]
    activity: NDArray[np.int32]
    popularity: NDArray[np.int64]
    counts: dict[str, int]
    first_heldout_us: int | None

    @property
    def items(self) -> pa.Array:
        """Candidate ids [c], sorted by UTF-8 bytes."""
        return self.candidates["id"].combine_chunks()

    @property
    def num_queries(self) -> int:
        """Number of queries."""
        return self.queries.num_rows

    @property
    def num_candidates(self) -> int:
        """Number of candidates."""
        return self.candidates.num_rows
