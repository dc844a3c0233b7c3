"""The task of a split, and what all tasks share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.errors import InputError
from recbatch.evaluation.events import AllEvents
from recbatch.evaluation.protocols import Protocol
from recbatch.evaluation.queries import Asked, ask_events, ask_users, query_table
from recbatch.evaluation.task import Task


@dataclass(frozen=True)
class Split:
    """A split of ``n`` events: what is learnt from, what is known when is asked, what is asked for (each bool [n])."""

    train: NDArray[np.bool_]
    known: NDArray[np.bool_]
    heldout: NDArray[np.bool_]
    new_users: NDArray[np.bool_] | None = None
    new_items: NDArray[np.bool_] | None = None


def require_both_sides(protocol: Protocol, count: int, train: NDArray[np.bool_], heldout: NDArray[np.bool_]) -> None:
    if train.any() and heldout.any():
        return
    side = "nothing can be held out" if train.any() else "nothing is left to train on"
    raise InputError(
        f"protocol {protocol.letter} ({protocol.name}): {count} positives are too few to split, {side}; give more "
        f"interactions, or check the config's positives"
    )


def assemble(protocol: Protocol, events: AllEvents, split: Split, seed: int, *, per_event: bool) -> Task:
    """The task of a split in which users ask."""
    places = np.flatnonzero(split.heldout)
    removes_seen = protocol.letter in ("B", "C", "D", "U")
    counts = {"positives": len(events), "training_events": int(split.train.sum()), "heldout_events": len(places)}
    if removes_seen:
        fresh = _fresh_pairs(events, places, split.known)
        counts["heldout_repeats_left_out"] = int((~fresh).sum())
        places = places[fresh]
        if not len(places):
            raise InputError(
                f"protocol {protocol.letter} ({protocol.name}): every held-out event repeats a pair of user and item "
                f"that training has seen, so there is nothing to find; use protocol A, which removes nothing"
            )
    if per_event:
        asked, target_query = ask_events(events, places, split.known), np.arange(len(places))
    else:
        users, target_query = np.unique(events.user[places], return_inverse=True)
        asked = ask_users(events, users.astype(np.int32), split.known)
    candidate_of = np.arange(events.items.num_rows, dtype=np.int32)
    candidates = events.items
    if split.new_items is not None:
        candidates = candidates.filter(pa.array(split.new_items))
        candidate_of = np.where(split.new_items, np.cumsum(split.new_items) - 1, -1).astype(np.int32)
    seen_query, seen_item = np.zeros(0, np.int32), np.zeros(0, np.int32)
    if removes_seen:
        seen_query, seen_item = _seen(events, asked, split.known, candidate_of)
    known = np.bincount(events.user[split.known], minlength=events.users.num_rows)
    task = Task(
        protocol=protocol.letter,
        seed=seed,
        train=events.training(
            split.train,
            users=None if split.new_users is None else ~split.new_users,
            items=None if split.new_items is None else ~split.new_items,
        ),
        candidates=candidates,
        queries=query_table(events, asked),
        entity="user",
        target_query=target_query.astype(np.int32),
        target_item=candidate_of[events.item[places]],
        seen_query=seen_query,
        seen_item=seen_item,
        users=asked.user,
        activity=known[asked.user].astype(np.int32),
        popularity=popularity(events, split.train, candidate_of, candidates.num_rows),
        counts=counts,
        first_heldout_us=first_time(events, split.heldout),
    )
    return counted(task)


def _fresh_pairs(events: AllEvents, places: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mask [len(places)] of the held-out events whose pair is neither known nor held out a second time."""
    pair = events.user.astype(np.int64) * events.items.num_rows + events.item
    first = np.zeros(len(places), bool)
    first[np.unique(pair[places], return_index=True)[1]] = True
    return first & ~np.isin(pair[places], pair[known])


def _seen(
    events: AllEvents, asked: Asked, known: NDArray[np.bool_], candidate_of: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(query, candidate) of everything that the asking users are known to have taken, each pair once."""
    everything = ask_users(events, asked.user, known)
    candidate = candidate_of[events.item[everything.history]].astype(np.int64)
    width = events.items.num_rows
    pairs = np.unique(everything.query_of_history.astype(np.int64) * width + candidate)
    return (pairs // width).astype(np.int32), (pairs % width).astype(np.int32)


def popularity(
    events: AllEvents, train: NDArray[np.bool_], candidate_of: NDArray[np.int32], count: int
) -> NDArray[np.int64]:
    candidate = candidate_of[events.item[train]]
    return np.bincount(candidate[candidate >= 0], minlength=count)


def first_time(events: AllEvents, heldout: NDArray[np.bool_]) -> int | None:
    return None if events.times_us is None else int(events.times_us[heldout].min())


def counted(task: Task) -> Task:
    """With the sizes that every protocol has."""
    unlearnt = task.popularity == 0
    found = np.maximum(task.target_item, 0)
    return replace(
        task,
        counts={
            **task.counts,
            "targets": len(task.target_item),
            "targets_without_training_events": int((unlearnt[found] | (task.target_item < 0)).sum()),
            "queries": task.num_queries,
            "cold_queries": int((task.activity == 0).sum()),
            "candidates": task.num_candidates,
            "candidates_without_training_events": int(unlearnt.sum()),
        },
    )
