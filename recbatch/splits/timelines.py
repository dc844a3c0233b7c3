"""Splits of what users did one after the other. Events of one instant keep the order in which they are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EXAMPLES = 0x5E9E8


@dataclass(frozen=True)
class Examples:
    """Next-item examples out of timelines.

    Attributes:
        order: [m] places of the events in timelines that are long enough: user by user, oldest first.
        labels: [e] place in ``order`` of the event that each example asks for.
        starts: [e] place in ``order`` where its context begins; the context is ``order[starts[i]:labels[i]]``.
        heldout: [e] bool.
    """

    order: NDArray[np.int64]
    labels: NDArray[np.int64]
    starts: NDArray[np.int64]
    heldout: NDArray[np.bool_]


def sequential_examples(
    users: NDArray[np.integer],
    times_us: NDArray[np.int64],
    seed: int,
    *,
    context: int = 10,
    shortest: int = 3,
    share: float = 0.1,
) -> Examples:
    """The examples of TensorFlow Recommenders' sequential retrieval tutorial.

    Timelines of fewer than ``shortest`` events are left out. Every event with a predecessor is the label of one
    example, whose context are the up to ``context`` events before it; the examples are shuffled and a ``share`` of them
    is held out. So a held-out label may stand in the context of a training example: that is how the tutorial measures.
    """
    order = _timelines(users, times_us)
    if len(order):
        order = order[np.bincount(users)[users[order]] >= shortest]
    first = _first_of_run(users[order])
    labels = np.flatnonzero(np.arange(len(order)) > first)
    starts = np.maximum(first[labels], labels - context)
    heldout = np.zeros(len(labels), bool)
    shuffled = np.random.default_rng([seed, _EXAMPLES]).permutation(len(labels))
    wanted = min(max(round(len(labels) * share), 1), len(labels) - 1)
    if wanted > 0:
        heldout[shuffled[len(labels) - wanted :]] = True
    return Examples(order, labels, starts, heldout)


@dataclass(frozen=True)
class Pairs:
    """Consecutive events of one user: ``first`` [p] and ``second`` [p] are places of events."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]


def consecutive_pairs(users: NDArray[np.integer], times_us: NDArray[np.int64]) -> Pairs:
    """Each event with the next one of the same user in time."""
    order = _timelines(users, times_us)
    same = np.diff(users[order]) == 0
    return Pairs(order[:-1][same], order[1:][same])


def distinct_instants(users: NDArray[np.integer], times_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Times [n] that rise strictly along each user's timeline: events of one instant are moved on by microseconds.

    Whoever sorts by these times gets the timelines of this module, whatever it does with equal times.
    """
    order = _timelines(users, times_us)
    first = _first_of_run(users[order])
    step = np.arange(len(order)) - first
    distinct, rank = np.unique(times_us[order] - step, return_inverse=True)
    # A running maximum within each user: of ranks, lifted so that every user's are above those of the one before.
    lift = users[order].astype(np.int64) * len(distinct)
    highest = np.maximum.accumulate(rank + lift) - lift
    moved = np.empty(len(order), np.int64)
    moved[order] = distinct[highest] + step
    return moved


def _timelines(users: NDArray[np.integer], times_us: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.lexsort((times_us, users)).astype(np.int64)


def _first_of_run(values: NDArray[np.integer]) -> NDArray[np.int64]:
    """[n] place where the run of equal values that each place belongs to begins."""
    begins = np.ones(len(values), bool)
    begins[1:] = np.diff(values) != 0
    return np.maximum.accumulate(np.where(begins, np.arange(len(values)), 0))
