"""What each protocol holds out, shows and asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_data import DAY_US, START_US, interactions, planted

from recbatch.errors import InputError
from recbatch.evaluation import PROTOCOLS, Task, find_protocol, make_task
from recbatch.model import TrainingData

Pair = tuple[str, str]


def small(events: list[tuple[str, str, int]], **more: Any) -> TrainingData:
    """Events (user, item, day)."""
    users, items, days = zip(*events, strict=True)
    return TrainingData(interactions(list(users), list(items), [START_US + day * DAY_US for day in days]), **more)


def pairs_of(table: pa.Table) -> list[Pair]:
    return list(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))


def targets_of(task: Task) -> list[Pair]:
    """(who asks, target item) of every target that is a candidate."""
    ids, items = task.queries["id"].to_pylist(), task.items.to_pylist()
    return [
        (ids[q], items[i]) for q, i in zip(task.target_query.tolist(), task.target_item.tolist(), strict=True) if i >= 0
    ]


def seen_of(task: Task) -> list[Pair]:
    ids, items = task.queries["id"].to_pylist(), task.items.to_pylist()
    return [(ids[q], items[i]) for q, i in zip(task.seen_query.tolist(), task.seen_item.tolist(), strict=True)]


def history_of(task: Task) -> dict[str, list[str]]:
    return dict(zip(task.queries["id"].to_pylist(), task.queries["history"].to_pylist(), strict=True))


DATA = planted()
EVENTS = sorted(pairs_of(DATA.interactions))


@pytest.mark.parametrize("letter", "ABCDU")
def test_training_and_targets_come_from_the_events_and_do_not_overlap(letter: str) -> None:
    task = make_task(letter, DATA, 3)
    train, targets = pairs_of(task.train.interactions), targets_of(task)
    assert len(train) == task.counts["training_events"]
    assert set(targets) <= set(EVENTS)
    if letter != "A":  # where an event happens twice, A may have one on each side, as the tutorials have
        assert not set(targets) & set(train)
        assert not set(targets) & set(seen_of(task))
        assert len(set(targets)) == len(targets), "a list can hold an item only once"
    if letter in "AC":
        left_out = task.counts.get("heldout_repeats_left_out", 0)
        assert len(train) + len(targets) + left_out == len(EVENTS)


def test_a_and_b_are_one_split() -> None:
    a, b = make_task("A", DATA, 1), make_task("B", DATA, 1)
    assert a.train.interactions.equals(b.train.interactions)
    assert set(targets_of(b)) == set(targets_of(a)) - set(pairs_of(a.train.interactions))
    assert len(a.seen_query) == 0
    train = set(pairs_of(b.train.interactions))
    askers = set(b.queries["id"].to_pylist())
    assert set(seen_of(b)) == {pair for pair in train if pair[0] in askers}
    assert sorted(history_of(b)["user 0"]) == sorted(i for u, i in pairs_of(b.train.interactions) if u == "user 0")


def test_a_held_out_repeat_is_no_target_under_b() -> None:
    events = [("u", "a", day) for day in range(20)] + [("v", f"i{day}", day) for day in range(20)]
    a, b = make_task("A", small(events), 0), make_task("B", small(events), 0)
    repeats = sum(user == "u" for user, _ in targets_of(a))
    assert repeats >= 1
    assert b.counts["heldout_repeats_left_out"] == repeats
    assert "u" not in b.queries["id"].to_pylist()


def test_c_asks_for_the_last_event_after_all_others() -> None:
    events = [("u", "a", 1), ("u", "c", 9), ("u", "b", 5), ("v", "a", 2)]
    task = make_task("C", small(events), 0)
    assert targets_of(task) == [("u", "c")]
    assert history_of(task) == {"u": ["a", "b"]}
    assert sorted(pairs_of(task.train.interactions)) == [("u", "a"), ("u", "b"), ("v", "a")]
    times = task.queries["history_timestamps"][0].as_py()
    assert times == [START_US + DAY_US, START_US + 5 * DAY_US]
    other = make_task("C", small(events), 7)
    assert targets_of(other) == targets_of(task)


def test_d_cuts_time_once_and_asks_for_cold_users_too() -> None:
    events = [("u", "a", 1), ("u", "b", 2), ("w", "a", 3), ("w", "c", 4)] * 2 + [("u", "c", 8), ("new", "a", 9)]
    task = make_task("D", small(events), 0)
    assert targets_of(task) == [("new", "a"), ("u", "c")]
    assert history_of(task)["new"] == []
    assert task.activity.tolist() == [0, 4]
    assert task.counts["cold_queries"] == 1
    assert task.queries["as_of_us"].to_pylist() == [START_US + 4 * DAY_US] * 2
    assert task.first_heldout_us == START_US + 8 * DAY_US


def test_d_can_be_cut_where_a_model_ends() -> None:
    task = make_task("D", DATA, 0, cut_us=START_US + 10 * DAY_US)
    train, times = task.train.interactions, np.array(DATA.interactions["timestamp"])
    assert max(train["timestamp"].to_pylist()) <= START_US + 10 * DAY_US
    assert train.num_rows == (times <= START_US + 10 * DAY_US).sum()


def test_s_asks_for_the_next_item_after_up_to_ten() -> None:
    events = [("u", f"i{n:02d}", n) for n in range(30)] + [("short", "i00", 0), ("short", "i01", 1)]
    task = make_task("S", small(events), 0)
    assert task.counts["events_of_short_timelines_left_out"] == 2
    assert len(task.target_item) == round(29 * 0.1)
    for history, (_, target) in zip(task.queries["history"].to_pylist(), targets_of(task), strict=True):
        place = int(target[1:])
        assert history == [f"i{n:02d}" for n in range(max(0, place - 10), place)]
    train = task.train.interactions
    assert train.num_rows == 30, "a held-out label is still in the history of those after it"
    asked = {item for _, item in targets_of(task)}
    is_target = dict(zip(train["item_id"].to_pylist(), train["target"].to_pylist(), strict=True))
    assert [item for item, target in is_target.items() if not target] == sorted({"i00"} | asked)
    assert len(task.seen_query) == 0


def test_s_keeps_the_order_of_one_instant_for_whoever_trains_on_it() -> None:
    data = TrainingData(interactions(["u"] * 5, ["e", "d", "c", "b", "a"], [START_US] * 5))
    train = make_task("S", data, 0).train.interactions
    assert train.sort_by("timestamp")["item_id"].to_pylist() == ["e", "d", "c", "b", "a"]


def test_u_knows_new_users_by_a_part_of_their_events_only() -> None:
    data = planted(num_items=400)
    task, events = make_task("U", data, 0), sorted(pairs_of(data.interactions))
    new = set(task.queries["id"].to_pylist())
    assert len(new) == 6
    train = task.train
    assert not new & set(train.interactions["user_id"].to_pylist())
    assert train.users is not None
    assert not new & set(train.users["id"].to_pylist()), "nor are their features known in training"
    assert "feature:taste" in task.queries.column_names
    histories, targets = history_of(task), targets_of(task)
    for user in new:
        mine = [item for other, item in targets if other == user]
        everything = [item for other, item in events if other == user]
        assert len(histories[user]) == pytest.approx(0.8 * len(everything), abs=1)
        assert set(mine) == set(everything) - set(histories[user])


def test_n_ranks_new_items_that_training_has_not_heard_of() -> None:
    task = make_task("N", DATA, 0)
    new = set(task.items.to_pylist())
    assert len(new) == 4
    assert task.train.items is not None
    assert not new & set(task.train.items["id"].to_pylist())
    assert not new & set(task.train.interactions["item_id"].to_pylist())
    assert sorted(targets_of(task)) == [pair for pair in EVENTS if pair[1] in new]
    assert {"feature:name", "feature:tags"} <= set(task.candidates.column_names)
    assert (task.popularity == 0).all()


def test_i_asks_an_item_for_the_one_after_it() -> None:
    users = [f"u{n}" for n in range(10)]
    events = [(user, item, day) for user in users for day, item in enumerate("abca")]
    task = make_task("I", small(events), 0)
    assert task.entity == "item"
    assert sorted(set(targets_of(task))) == [("a", "b"), ("b", "c"), ("c", "a")]
    assert len(task.target_item) == 2 * 3, "of two held-out users"
    assert seen_of(task) == [("a", "a"), ("b", "b"), ("c", "c")]
    assert len(set(task.train.interactions["user_id"].to_pylist())) == 8


def test_a_query_per_event_knows_what_was_before_it() -> None:
    task = make_task("A", DATA, 2, per_event=True)
    assert task.num_queries == len(task.target_item) == task.counts["heldout_events"]
    train = task.train.interactions
    for number in range(0, task.num_queries, 17):
        query = task.queries.slice(number, 1).to_pylist()[0]
        before = [
            (time, item)
            for user, item, time in zip(
                *(train[c].to_pylist() for c in ("user_id", "item_id", "timestamp")), strict=True
            )
            if user == query["id"] and time < query["as_of_us"]
        ]
        assert query["history_timestamps"] == [time for time, _ in sorted(before)]
        assert sorted(query["history"]) == sorted(item for _, item in before)
        rows = DATA.interactions.filter(pa.compute.equal(DATA.interactions["timestamp"], query["as_of_us"])).to_pylist()
        assert query["context:device"] in [row["context:device"] for row in rows]


def test_a_user_is_asked_in_the_newest_known_context() -> None:
    table = interactions(
        ["u"] * 4 + ["v"] * 16,
        [*"abcd", *(f"i{n}" for n in range(16))],
        [START_US + n for n in range(20)],
        device=["desk", "phone", None, "car", *[None] * 16],
    )
    task = make_task("D", TrainingData(table), 0, cut_us=START_US + 2)
    assert task.queries.filter(pa.compute.equal(task.queries["id"], "u"))["context:device"].to_pylist() == ["phone"]


def test_only_positives_are_split() -> None:
    users, items = [f"u{n % 5}" for n in range(40)], [f"i{n}" for n in range(40)]
    data = TrainingData(interactions(users, items, positive=[n % 2 == 0 for n in range(40)]))
    task = make_task("B", data, 0)
    assert task.counts["positives"] == 20
    assert {int(item[1:]) % 2 for _, item in [*targets_of(task), *pairs_of(task.train.interactions)]} == {0}


def test_what_may_not_be_a_target_is_never_held_out() -> None:
    flagged = DATA.interactions.append_column("target", pa.array(np.arange(DATA.interactions.num_rows) % 2 == 0))
    task = make_task("A", TrainingData(flagged), 0)
    allowed = {pair for pair, target in zip(pairs_of(flagged), flagged["target"].to_pylist(), strict=True) if target}
    assert set(targets_of(task)) <= allowed
    assert "target" in task.train.interactions.column_names


@pytest.mark.parametrize("letter", list(PROTOCOLS))
def test_a_validation_task_has_not_seen_the_test(letter: str) -> None:
    test = make_task(letter, DATA, 0)
    validation = make_task(letter, test.train, 1)
    # In S a held-out label is history to later examples, so it is among the events; it is a target of neither.
    known = pairs_of(test.train.interactions)
    assert set(pairs_of(validation.train.interactions)) <= set(known)
    assert len(validation.target_item) > 0
    if letter not in "SIN":
        assert set(targets_of(validation)) <= set(known)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from("ABCDUN"), st.integers(0, 3), st.integers(0, 10))
def test_a_task_does_not_depend_on_the_order_of_the_rows(letter: str, seed: int, order: int) -> None:
    shuffled = np.random.default_rng(order).permutation(DATA.interactions.num_rows)
    again = TrainingData(DATA.interactions.take(pa.array(shuffled)), DATA.users, DATA.items)
    first, second = make_task(letter, DATA, seed), make_task(letter, again, seed)
    for name in ("target_query", "target_item", "seen_query", "seen_item", "users", "activity", "popularity"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert first.queries.drop_columns(["context:device"]).equals(second.queries.drop_columns(["context:device"]))
    assert first.counts == second.counts


@pytest.mark.parametrize("letter", "CDSI")
def test_without_times_there_is_no_split_by_time(letter: str) -> None:
    with pytest.raises(InputError, match=r"protocol . \(.*\) splits by time, .* no timestamps; map inputs"):
        make_task(letter, planted(timestamps=False), 0)


@pytest.mark.parametrize("letter", "ABUN")
def test_without_times_everything_else_works(letter: str) -> None:
    task = make_task(letter, planted(timestamps=False), 0)
    assert "as_of_us" not in task.queries.column_names
    assert task.first_heldout_us is None
    assert len(make_task("A", planted(timestamps=False), 0, per_event=True).target_item) == 144


@pytest.mark.parametrize("letter", list(PROTOCOLS))
def test_too_little_to_split(letter: str) -> None:
    with pytest.raises(InputError, match="1 positives are too few to split|there is nothing"):
        make_task(letter, small([("u", "a", 1)]), 0)
    with pytest.raises(InputError, match="none of the 1 interactions is positive"):
        make_task(letter, TrainingData(interactions(["u"], ["i"], [START_US], positive=[False])), 0)


def test_protocols_by_letter_name_or_not_at_all() -> None:
    assert find_protocol("b").letter == "B"
    with pytest.raises(InputError, match=r"no protocol 'leave-last-out'; did you mean C \(leave last out\)\?"):
        find_protocol("leave-last-out")
    with pytest.raises(InputError, match="no protocol 'X'; the protocols are A"):
        find_protocol("X")
