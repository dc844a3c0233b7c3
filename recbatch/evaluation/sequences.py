"""Tasks about what follows what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from recbatch.evaluation.assembling import counted, first_time, popularity, require_both_sides
from recbatch.evaluation.events import AllEvents
from recbatch.evaluation.protocols import Protocol
from recbatch.evaluation.queries import Asked, offsets_of, query_table
from recbatch.evaluation.task import Task
from recbatch.model.ranges import ranges
from recbatch.splits import consecutive_pairs, distinct_instants, random_entities, sequential_examples

_HELDOUT_USERS = 0.2


def sequential_task(protocol: Protocol, events: AllEvents, seed: int) -> Task:
    """Next-item examples; a held-out label stays in the training data as history, as in the tutorial."""
    assert events.times_us is not None
    moved = distinct_instants(events.user, events.times_us)
    place = events.table.column_names.index("timestamp")
    events = replace(
        events, times_us=moved, table=events.table.set_column(place, "timestamp", pa.array(moved))
    )  # so that whoever trains on it has the same timelines
    examples = sequential_examples(events.user, moved, seed)
    labels = examples.order[examples.labels]
    askable = events.target[labels]
    chosen = np.flatnonzero(examples.heldout & askable)
    train_target = np.zeros(len(events), bool)
    train_target[labels[~examples.heldout & askable]] = True
    in_timeline = np.zeros(len(events), bool)
    in_timeline[examples.order] = True
    heldout = np.zeros(len(events), bool)
    heldout[labels[chosen]] = True
    require_both_sides(protocol, len(events), train_target, heldout)

    lengths = examples.labels[chosen] - examples.starts[chosen]
    _, steps = ranges(examples.starts[chosen], lengths)
    previous = examples.order[examples.labels[chosen] - 1]
    history = examples.order[steps]
    asked = Asked(events.user[labels[chosen]], history, offsets_of(lengths), moved[previous], previous)
    known = np.bincount(events.user[in_timeline], minlength=events.users.num_rows)
    candidates = np.arange(events.items.num_rows, dtype=np.int32)
    task = Task(
        protocol=protocol.letter,
        seed=seed,
        train=events.training(in_timeline, target=train_target),
        candidates=events.items,
        queries=query_table(events, asked),
        entity="user",
        target_query=np.arange(len(chosen), dtype=np.int32),
        target_item=events.item[labels[chosen]],
        seen_query=np.zeros(0, np.int32),
        seen_item=np.zeros(0, np.int32),
        users=asked.user,
        activity=known[asked.user].astype(np.int32),
        popularity=popularity(events, train_target, candidates, len(candidates)),
        counts={
            "positives": len(events),
            "events_of_short_timelines_left_out": int((~in_timeline).sum()),
            "training_events": int(train_target.sum()),
            "heldout_events": len(chosen),
        },
        first_heldout_us=first_time(events, heldout),
    )
    return counted(task)


def item_pairs_task(protocol: Protocol, events: AllEvents, seed: int) -> Task:
    """Consecutive items of held-out users; each distinct first item asks once, each pair is a target."""
    assert events.times_us is not None
    active = np.unique(events.user)
    held = np.zeros(events.users.num_rows, bool)
    held[active[random_entities(len(active), _HELDOUT_USERS, seed)]] = True
    train = ~held[events.user]
    places = np.flatnonzero(~train)
    pairs = consecutive_pairs(events.user[places], events.times_us[places])
    first, second = events.item[places[pairs.first]], events.item[places[pairs.second]]
    other = (first != second) & events.target[places[pairs.second]]
    require_both_sides(protocol, len(events), train, other)
    asking, target_query = np.unique(first[other], return_inverse=True)
    trained = np.bincount(events.item[train], minlength=events.items.num_rows)
    queries = events.items.take(pa.array(asking))
    one_each = pa.array(np.arange(len(asking) + 1, dtype=np.int32))
    queries = queries.append_column("history", pa.ListArray.from_arrays(one_each, queries["id"].combine_chunks()))
    task = Task(
        protocol=protocol.letter,
        seed=seed,
        train=events.training(train, users=~held),
        candidates=events.items,
        queries=queries,
        entity="item",
        target_query=target_query.astype(np.int32),
        target_item=second[other],
        seen_query=np.arange(len(asking), dtype=np.int32),
        seen_item=asking.astype(np.int32),
        users=asking.astype(np.int32),
        activity=trained[asking].astype(np.int32),
        popularity=trained,
        counts={
            "positives": len(events),
            "training_events": int(train.sum()),
            "heldout_events": len(places),
            "pairs_of_an_item_with_itself_left_out": int((first == second).sum()),
        },
        first_heldout_us=first_time(events, ~train),
    )
    return counted(task)
