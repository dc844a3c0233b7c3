"""Metrics as sums over users, from which means, groups and bootstrap intervals all follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbatch.metrics.diversity import coverage, gini, self_information
from recbatch.metrics.found import places_of_targets, query_metrics
from recbatch.metrics.groups import thirds_by_count, thirds_by_share

ALL = "all"
ITEM_GROUPS = ("items: cold", "items: tail", "items: middle", "items: head")
USER_GROUPS = {
    "users: warm": (1, 2, 3),
    "users: cold": (0,),
    "users: few events": (1,),
    "users: some events": (2,),
    "users: many events": (3,),
}


@dataclass(frozen=True)
class UserSums:
    """One system on one split. The value of a column over some users is their numerators' sum / denominators' sum.

    Attributes:
        users: [u] user numbers, rising.
        activity: [u] group of each (see :func:`recbatch.metrics.thirds_by_count`).
        columns: [m] (group of targets, metric); the group is ``all`` or one of :data:`ITEM_GROUPS`.
        numerators: float32 [u, m].
        denominators: float32 [u, m].
        of_lists: (group of users or items, metric) -> value of what is no mean over users: coverage and Gini.
    """

    users: NDArray[np.int32]
    activity: NDArray[np.int8]
    columns: tuple[tuple[str, str], ...]
    numerators: NDArray[np.float32]
    denominators: NDArray[np.float32]
    of_lists: dict[tuple[str, str], float]


def user_sums(
    lists: NDArray[np.int32],
    *,
    target_query: NDArray[np.integer],
    target_item: NDArray[np.integer],
    users: NDArray[np.integer],
    activity: NDArray[np.integer],
    popularity: NDArray[np.integer],
    ks: Sequence[int] = (10, 100),
) -> UserSums:
    """Measure the lists of one split.

    Args:
        lists: [q, width] candidate numbers, best first, padded with -1; width is at least the largest of ``ks``.
        target_query: [t], with ``target_item`` [t]: what each query should have found; an item of -1 counts as missed.
        users: [q] the user who asks. Several queries of one user are one unit of the bootstrap.
        activity: [q] training events of that user.
        popularity: [c] training events of each candidate.
        ks: where lists are cut for hits and recall.

    ``hit@<k>`` counts every target, equal ones too, as the tutorials do; all other metrics are means over queries,
    in which equal targets count once.
    """
    asking, user = np.unique(users, return_inverse=True)
    places = places_of_targets(lists, target_query, target_item)
    distinct = _distinct(target_query, target_item)
    groups = thirds_by_share(popularity)
    group_of_target = np.where(target_item >= 0, groups[np.maximum(target_item, 0)] if len(groups) else 0, 0)
    sums = _Columns(user, len(asking))
    for number, name in enumerate((ALL, *ITEM_GROUPS)):
        chosen = np.ones(len(places), bool) if name == ALL else group_of_target == number - 1
        for k in ks:
            hits = np.bincount(target_query[chosen & (places < k)], minlength=len(lists))
            sums.add(name, f"hit@{k}", hits, np.bincount(target_query[chosen], minlength=len(lists)))
        chosen &= distinct
        found = query_metrics(places[chosen], target_query[chosen], len(lists), lists.shape[1], ks)
        for metric, values in found.items():
            sums.add(name, metric, np.nan_to_num(values), ~np.isnan(values))
    of_lists = {}
    for number, name in enumerate((ALL, *ITEM_GROUPS)):
        members = np.ones(len(groups), bool) if name == ALL else groups == number - 1
        shown = _only(lists[:, :10], members)
        novelty = self_information(shown, popularity)
        sums.add(name, "novelty@10", np.nan_to_num(novelty), ~np.isnan(novelty))
        of_lists.update(_spread(name, _only(shown, members, np.cumsum(members) - 1), int(members.sum())))

    events = np.zeros(len(asking), np.int64)
    np.maximum.at(events, user, activity)
    group_of_user = thirds_by_count(events)
    for name, codes in USER_GROUPS.items():
        of_lists.update(_spread(name, lists[np.isin(group_of_user, codes)[user], :10], len(popularity)))
    return UserSums(asking.astype(np.int32), group_of_user, *sums.stacked(), of_lists)


def _only(
    lists: NDArray[np.int32], members: NDArray[np.bool_], numbers: NDArray[np.int64] | None = None
) -> NDArray[np.int32]:
    """The lists without those who are no ``members`` [c] of a group; ``numbers`` [c] gives the others new numbers."""
    names = np.arange(len(members)) if numbers is None else numbers
    return np.append(np.where(members, names, -1), -1)[lists].astype(np.int32)  # the last one answers for the padding


def _spread(name: str, lists: NDArray[np.int32], num_candidates: int) -> dict[tuple[str, str], float]:
    """Coverage and Gini of the lists of a group."""
    covered = coverage(lists, num_candidates) if len(lists) else float("nan")
    return {(name, "coverage@10"): covered, (name, "gini@10"): gini(lists, num_candidates)}


class _Columns:
    """Collects per-query values as sums per user."""

    def __init__(self, user: NDArray[np.integer], count: int) -> None:
        self._user, self._count = user, count
        self._names: list[tuple[str, str]] = []
        self._numerators: list[NDArray[np.float32]] = []
        self._denominators: list[NDArray[np.float32]] = []

    def add(self, group: str, metric: str, numerator: NDArray, denominator: NDArray) -> None:
        self._names.append((group, metric))
        for sums, values in ((self._numerators, numerator), (self._denominators, denominator)):
            sums.append(np.bincount(self._user, weights=values, minlength=self._count).astype(np.float32))

    def stacked(self) -> tuple[tuple[tuple[str, str], ...], NDArray[np.float32], NDArray[np.float32]]:
        return tuple(self._names), np.stack(self._numerators, axis=1), np.stack(self._denominators, axis=1)


def _distinct(target_query: NDArray[np.integer], target_item: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Mask [t] without the repeats of a (query, item); targets without a candidate are each their own."""
    none = target_item < 0
    key = target_query.astype(np.int64) * (int(target_item.max(initial=0)) + 1) + target_item
    key[none] = -1 - np.arange(none.sum())
    first = np.zeros(len(key), bool)
    first[np.unique(key, return_index=True)[1]] = True
    return first
