"""Pairs of items out of users' sequences: what an item-to-item model is fitted to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.config.models import Pairs
from recbatch.errors import InputError
from recbatch.model.data import Events, Prepared
from recbatch.model.heldout import id_hashes
from recbatch.model.layers.base import stable_seed


def item_pairs(prepared: Prepared, pairs: Pairs, seed: int) -> Prepared:
    """The items as queries and as candidates, and as events the pairs of :func:`pair_events`.

    Raises:
        InputError: no user has two different positives.
    """
    names = id_hashes(prepared.users["id"])
    events = pair_events(prepared.events, names, pairs.window, stable_seed(seed, "pairs"))
    if not len(events):
        raise InputError(
            "there is nothing to train on: model.pairs makes pairs of items that one user took, but no user has two "
            "different positives up to as-of"
        )
    return Prepared(users=prepared.items, items=prepared.items, events=events)


def pair_events(events: Events, names: NDArray[np.uint64], window: int, seed: int) -> Events:
    """(query item, candidate item) pairs: each positive with each of the user's next ``window`` positives.

    Without times each positive is paired with ``window`` random others of the user (all, where there are no more). A
    pair of an item with itself is left out, as is one whose candidate is not to be predicted. Queries are in
    :attr:`Events.users`, the user's name in :attr:`Events.owners`, the time is that of the candidate; the pairs are
    sorted by query, time and candidate.

    Args:
        events: positives, sorted by user and time.
        names: [num_users] a number that names each user.
        window: how far a candidate may be from its query, in positives of the user.
        seed: for the random others.
    """
    order = np.arange(len(events))
    if events.times_us is None:
        # In a random order of a user's positives, those that follow one round the circle are a random choice.
        order = np.lexsort((np.random.default_rng(seed).random(len(events)), events.users))
    first, second = _neighbours(events.users[order], window, round_the_circle=events.times_us is None)
    first, second = order[first], order[second]
    kept = events.items[first] != events.items[second]
    if events.targets is not None:
        kept &= events.targets[second]
    first, second = first[kept], second[kept]
    queries, candidates = events.items[first], events.items[second]
    times = None if events.times_us is None else events.times_us[second]
    keys = (events.users[first], candidates, *(() if times is None else (times,)), queries)
    rows = np.lexsort(keys)
    return Events(
        users=queries[rows],
        items=candidates[rows],
        times_us=None if times is None else times[rows],
        context=pa.table({"row": rows}).select([]),
        owners=names[events.users[first]][rows],
    )


def _neighbours(
    users: NDArray[np.int32], window: int, *, round_the_circle: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places (first, second) of the events of one user (``users`` sorted) that are at most ``window`` apart."""
    counts = np.bincount(users)
    ends = np.cumsum(counts)[users]
    here = np.arange(len(users))
    firsts, seconds = [], []
    for distance in range(1, min(window, int(counts.max(initial=1)) - 1) + 1):
        second = here + distance
        if round_the_circle:
            kept = counts[users] > distance
            second = np.where(second >= ends, second - counts[users], second)
        else:
            kept = second < ends
        firsts.append(here[kept])
        seconds.append(second[kept])
    none = [np.zeros(0, np.int64)]
    return np.concatenate(firsts or none), np.concatenate(seconds or none)
