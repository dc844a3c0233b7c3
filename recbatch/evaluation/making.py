"""From clean tables and a protocol to a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recbatch.errors import InputError
from recbatch.evaluation.assembling import Split, assemble, require_both_sides
from recbatch.evaluation.events import AllEvents, number_events
from recbatch.evaluation.protocols import find_protocol
from recbatch.evaluation.sequences import item_pairs_task, sequential_task
from recbatch.evaluation.task import Task
from recbatch.model import TrainingData
from recbatch.splits import (
    heldout_by_time,
    heldout_per_user,
    last_of_user,
    newest_events,
    random_entities,
    random_events,
)

HELDOUT_SHARE = 0.2
"""Of the events, in the protocols that hold out a share of all."""
_NEW_SHARE = 0.1
_FOLDED_IN = 0.8


def make_task(
    protocol: str,
    data: TrainingData,
    seed: int,
    *,
    per_event: bool = False,
    cut_us: int | None = None,
    share: float = HELDOUT_SHARE,
) -> Task:
    """Split ``data`` by a protocol. The same data (in any order of its rows), seed and protocol give the same task.

    ``make_task(protocol, task.train, seed)`` splits once more: a validation task that has not seen the test (by S with
    another seed, as the same one would draw the same labels).
    (Sequential timelines, and item pairs, keep the input order of what happens at one instant.)

    Args:
        protocol: its letter, see :data:`recbatch.evaluation.PROTOCOLS`.
        data: clean tables; only positives are used.
        seed: of the random choices.
        per_event: one query per held-out event (at its time, in its context, after what is known before it) instead
            of one per user: for models with time or context features, whose vectors differ by event.
        cut_us: protocol D only: hold out the events after this time (microseconds) instead of the newest 20 %.
        share: protocols A, B and D only: hold out this share of all events. A validation task that holds out less is
            nearer to the test in how much is known of a user.

    Raises:
        InputError: the protocol is unknown, needs timestamps that the data does not have, or there are too few
            positives to split.
    """
    chosen = find_protocol(protocol)
    if chosen.needs_times and "timestamp" not in data.interactions.column_names:
        raise InputError(
            f"protocol {chosen.letter} ({chosen.name}) splits by time, but the interactions have no timestamps; map "
            f"inputs.interactions.columns.timestamp, or use protocol B, which needs none"
        )
    if chosen.letter == "S":
        return sequential_task(chosen, number_events(data, input_order=True), seed)
    if chosen.letter == "I":
        return item_pairs_task(chosen, number_events(data, input_order=True), seed)
    events = number_events(data)
    if chosen.letter == "D":
        split = _split_by_time(events, share, cut_us)
    elif chosen.letter in "AB":
        split = _complement(random_events(len(events), share, seed))
    else:
        split = _SPLITS[chosen.letter](events, seed)
    split = replace(split, heldout=split.heldout & events.target)
    require_both_sides(chosen, len(events), split.train, split.heldout)
    return assemble(chosen, events, split, seed, per_event=per_event)


def _complement(heldout: NDArray[np.bool_]) -> Split:
    return Split(~heldout, ~heldout, heldout)


def _last(events: AllEvents, _: int) -> Split:
    assert events.times_us is not None
    return _complement(last_of_user(events.user, events.item, events.times_us))


def _split_by_time(events: AllEvents, share: float, cut_us: int | None) -> Split:
    assert events.times_us is not None
    if cut_us is not None:
        return _complement(newest_events(events.times_us, cut_us + 1))
    return _complement(heldout_by_time(events.times_us, share))


def _new_users(events: AllEvents, seed: int) -> Split:
    active = np.unique(events.user)
    new = np.zeros(events.users.num_rows, bool)
    new[active[random_entities(len(active), _NEW_SHARE, seed)]] = True
    of_new = new[events.user]
    asked_for = of_new.copy()
    asked_for[of_new] = heldout_per_user(_dense(events.user[of_new]), 1.0 - _FOLDED_IN, seed)
    return Split(~of_new, of_new & ~asked_for, asked_for, new_users=new)


def _new_items(events: AllEvents, seed: int) -> Split:
    taken = np.unique(events.item)
    new = np.zeros(events.items.num_rows, bool)
    new[taken[random_entities(len(taken), _NEW_SHARE, seed)]] = True
    of_new = new[events.item]
    return Split(~of_new, ~of_new, of_new, new_items=new)


_SPLITS: dict[str, Callable[[AllEvents, int], Split]] = {
    "C": _last,
    "U": _new_users,
    "N": _new_items,
}


def _dense(values: NDArray[np.int32]) -> NDArray[np.int64]:
    """The same groups as numbers from 0."""
    return np.unique(values, return_inverse=True)[1]
