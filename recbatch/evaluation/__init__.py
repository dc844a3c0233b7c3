"""Models measured: a split of the data by a protocol, lists for those who ask, and what the lists are worth.

:func:`make_task` splits, :func:`rank_bundle` and the :data:`BASELINES` rank, :func:`evaluate_lists` measures, and
:func:`write_task` and :func:`read_lists` do the same with systems in other environments. docs/evaluation.md explains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recbatch.evaluation.baselines import BASELINES, popularity, random_order, recent_popularity
from recbatch.evaluation.exchange import read_lists, write_task
from recbatch.evaluation.making import HELDOUT_SHARE, make_task
from recbatch.evaluation.protocols import PROTOCOLS, Protocol, find_protocol, require_askers
from recbatch.evaluation.ranking import best_of, rank_order, rank_scores, rank_vectors
from recbatch.evaluation.results import Result, compare, compare_all, evaluate_lists, pool, pool_sums
from recbatch.evaluation.task import WIDTH, Lists, Task

if TYPE_CHECKING:
    from recbatch.evaluation.two_towers import Embedded, embed_task, rank_bundle, rank_embedded, varies_by_event

__all__ = [
    "BASELINES",
    "HELDOUT_SHARE",
    "PROTOCOLS",
    "WIDTH",
    "Embedded",
    "Lists",
    "Protocol",
    "Result",
    "Task",
    "best_of",
    "compare",
    "compare_all",
    "embed_task",
    "evaluate_lists",
    "find_protocol",
    "make_task",
    "pool",
    "pool_sums",
    "popularity",
    "random_order",
    "rank_bundle",
    "rank_embedded",
    "rank_order",
    "rank_scores",
    "rank_vectors",
    "read_lists",
    "recent_popularity",
    "require_askers",
    "varies_by_event",
    "write_task",
]

_NEED_TENSORFLOW = ("Embedded", "embed_task", "rank_bundle", "rank_embedded", "varies_by_event")


def __getattr__(name: str) -> Any:
    if name in _NEED_TENSORFLOW:
        from recbatch.evaluation import two_towers

        return getattr(two_towers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
