"""Lists measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recbatch import metrics
from recbatch.evaluation.task import Lists, Task
from recbatch.metrics import Difference, Estimate, UserSums, user_sums

ALL = "all"


@dataclass(frozen=True)
class Result:
    """One system on one or several splits of the same data.

    Attributes:
        groups: group -> metric -> estimate. ``all`` is everything; ``users: ...`` are the queries of users by how much
            training knows of them; ``items: ...`` the targets by how popular they are in training. What cannot be said
            of a group (there is nobody in it) is not there.
        splits: the sums that it was made from, for :func:`pool` and :func:`compare`.
    """

    groups: dict[str, dict[str, Estimate]]
    splits: tuple[UserSums, ...]

    def value(self, metric: str, group: str = ALL) -> float:
        """One value; NaN where there is none."""
        found = self.groups.get(group, {}).get(metric)
        return float("nan") if found is None else found.value

    def as_json(self) -> dict[str, Any]:
        """``{metrics: {name: {value, low, high}}, groups: {group: {name: ...}}}``; no bounds where there are none."""
        shown = {
            group: {
                name: {key: value for key, value in asdict(estimate).items() if value is not None}
                for name, estimate in estimates.items()
            }
            for group, estimates in self.groups.items()
        }
        return {"metrics": shown.pop(ALL, {}), "groups": shown}


def evaluate_lists(
    task: Task, lists: Lists, *, ks: Sequence[int] = (10, 100), repetitions: int = metrics.REPETITIONS
) -> Result:
    """Measure lists by a task's targets; docs/evaluation.md has every metric's formula.

    Args:
        task: whose queries and candidates.
        lists: [q, width] candidate numbers, best first, padded with -1; width at least the largest of ``ks``.
        ks: where hits and recall are cut.
        repetitions: resamples of the bootstrap; 0: no intervals.

    Raises:
        ValueError: the lists do not fit the task.
    """
    if lists.shape[0] != task.num_queries or lists.shape[1] < max(ks):
        raise ValueError(f"lists of shape {lists.shape} for {task.num_queries} queries and k up to {max(ks)}")
    if lists.max(initial=-1) >= task.num_candidates:
        raise ValueError(f"candidate {int(lists.max())} in a list, but there are {task.num_candidates} candidates")
    sums = user_sums(
        np.asarray(lists, np.int32),
        target_query=task.target_query,
        target_item=task.target_item,
        users=task.users,
        activity=task.activity,
        popularity=task.popularity,
        ks=ks,
    )
    return pool_sums([sums], repetitions=repetitions)


def pool_sums(splits: Sequence[UserSums], *, repetitions: int = metrics.REPETITIONS) -> Result:
    """The result of one system over several splits, from the sums of each."""
    return Result(metrics.estimates(splits, repetitions=repetitions), tuple(splits))


def pool(results: Sequence[Result], *, repetitions: int = metrics.REPETITIONS) -> Result:
    """One system's results on several splits of the same data as one: the mean, resampled by user over all of them."""
    return pool_sums([sums for result in results for sums in result.splits], repetitions=repetitions)


def compare(first: Result, second: Result, metric: str, *, group: str = ALL) -> Difference:
    """First less second, by a paired bootstrap over users.

    Raises:
        ValueError: they were not measured on the same splits, or one does not have the metric in that group.
    """
    return compare_all(first, second, [metric], group=group)[metric]


def compare_all(first: Result, second: Result, names: Sequence[str], *, group: str = ALL) -> dict[str, Difference]:
    """The same for several metrics, with the same resamples."""
    return metrics.compare_all(first.splits, second.splits, names, group=group)
