"""How this measurement uses the protocols of docs/evaluation.md, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A figure: a metric of a group of users or items, see :class:`recbatch.metrics.UserSums`."""

    metric: str
    group: str = "all"

    @property
    def name(self) -> str:
        """``hit@100`` or ``hit@100 (users: warm)``; the name of the figure in a cell."""
        return self.metric if self.group == "all" else f"{self.metric} ({self.group})"


@dataclass(frozen=True)
class Use:
    """How a protocol is used here.

    Attributes:
        columns: the figures of its table.
        objective: the figure that peers are tuned for on validation data.
        repeats: splits (where the split is not random: seeds) of a full run.
        quick_repeats: the same with QUICK=1.
        reading: ``key=value`` for the configuration that the peers' data is read with, beside the dataset's.
        validations: inner splits that a peer's trial is scored on (of MovieLens 1M, which is larger: one); one alone
            leaves the choice of a parameter to chance.
    """

    columns: tuple[Column, ...]
    objective: str
    repeats: int = 3
    quick_repeats: int = 1
    validations: int = 1
    reading: tuple[str, ...] = ()


_HITS = (Column("hit@10"), Column("hit@100"))
_RANKING = (*_HITS, Column("ndcg@10"))
_SPREAD = (Column("coverage@10"), Column("novelty@10"))

USES: dict[str, Use] = {
    "A": Use(_HITS, "hit@100", repeats=5, validations=3),
    "B": Use((*_RANKING, *_SPREAD), "ndcg@10", repeats=5, quick_repeats=2, validations=3),
    "C": Use(_RANKING, "ndcg@10"),
    "D": Use((*_HITS, Column("hit@100", "users: warm"), Column("hit@100", "users: cold")), "hit@100"),
    "S": Use(_HITS, "hit@100", reading=("positives.min_weight=2",)),  # as the tutorial's examples are made
    "I": Use(_HITS, "hit@100"),
    "U": Use(_RANKING, "ndcg@10"),
    "N": Use(_RANKING, "ndcg@10"),
}

TRIALS, QUICK_TRIALS = 20, 4
"""Points of each peer's search space that are tried on validation data, the same number for every peer."""

BUDGET_SECONDS, QUICK_BUDGET_SECONDS = 10_500, 1_140
"""When no further cell is begun and the running one is stopped: 3 hours (QUICK=1: 20 minutes) less start and end."""

MEMORY_BYTES = 16 << 30
"""What the process of a cell may allocate."""
