from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbatch.splits import (
    consecutive_pairs,
    distinct_instants,
    last_of_user,
    newest_events,
    random_entities,
    random_events,
    sequential_examples,
)

EVENTS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 6)), min_size=1, max_size=60
)  # user, item, time


@settings(deadline=None)
@given(st.integers(0, 300), st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_random_split_has_its_share_and_both_sides(count: int, share: float, seed: int) -> None:
    heldout = random_events(count, share, seed)
    assert heldout.sum() == (min(max(round(count * share), 1), count - 1) if count > 1 else 0)
    assert np.array_equal(heldout, random_events(count, share, seed))


def test_another_seed_splits_otherwise() -> None:
    assert not np.array_equal(random_events(100, 0.2, 0), random_events(100, 0.2, 1))
    assert not np.array_equal(random_entities(100, 0.1, 0), random_entities(100, 0.1, 1))
    assert random_entities(100, 0.1, 0).sum() == 10
    assert random_entities(3, 0.1, 0).sum() == 1, "one at least"
    assert random_entities(1, 0.9, 0).sum() == 0, "never all"


def test_the_last_event_in_time_is_held_out_and_a_single_one_is_kept() -> None:
    users = np.array([0, 0, 0, 1, 2, 2])
    items = np.array([1, 2, 3, 1, 1, 2])
    times = np.array([5, 9, 7, 1, 4, 3])
    assert last_of_user(users, items, times).tolist() == [False, True, False, False, True, False]


@settings(deadline=None)
@given(EVENTS)
def test_of_equal_times_the_same_event_is_last_whatever_the_order(events: list[tuple[int, int, int]]) -> None:
    users, items, times = np.array(sorted(set(events))).T
    order = np.random.default_rng(0).permutation(len(users))
    heldout = last_of_user(users, items, times)
    assert np.array_equal(heldout[order], last_of_user(users[order], items[order], times[order]))
    for user in np.unique(users):
        mine = users == user
        assert heldout[mine].sum() == (mine.sum() > 1)
        assert times[mine & heldout].max(initial=times[mine].max()) == times[mine].max()


def test_ties_are_not_broken_by_item_number() -> None:
    users = np.repeat(np.arange(200), 5)
    items = np.tile(np.arange(5), 200)
    heldout = last_of_user(users, items, np.zeros(1000, np.int64))
    assert np.bincount(items[heldout], minlength=5).min() > 20, "every item is last for some users"


def test_the_newest_events_are_those_from_an_instant_on() -> None:
    assert newest_events(np.array([3, 5, 4]), 4).tolist() == [False, True, True]


def test_sequential_examples_have_up_to_ten_before_the_label() -> None:
    users = np.array([1] * 13 + [0] * 2 + [2] * 3)
    times = np.concatenate([np.arange(13)[::-1], [0, 1], [7, 7, 7]])
    examples = sequential_examples(users, times, seed=0, share=0.2)
    assert len(examples.order) == 16, "a timeline of two is too short"
    assert len(examples.labels) == 12 + 2
    assert examples.heldout.sum() == round(14 * 0.2)
    for label, start in zip(examples.labels, examples.starts, strict=True):
        context, asked = examples.order[start:label], examples.order[label]
        assert 1 <= len(context) <= 10
        assert set(users[context]) == {users[asked]}
        assert (times[context] <= times[asked]).all()
    longest = examples.order[examples.starts[11] : examples.labels[11]]
    assert times[longest].tolist() == list(range(2, 12)), "the ten before the last, oldest first"
    assert examples.order[-3:].tolist() == [15, 16, 17], "events of one instant stay in order"


@settings(deadline=None)
@given(EVENTS)
def test_distinct_instants_rise_and_move_as_little_as_need_be(events: list[tuple[int, int, int]]) -> None:
    users, _, times = np.array(events).T
    moved = distinct_instants(users, times)
    for user in np.unique(users):
        mine = np.flatnonzero(users == user)
        order = mine[np.argsort(times[mine], kind="stable")]
        expected, last = [], None
        for time in times[order]:
            last = time if last is None else max(int(time), last + 1)
            expected.append(last)
        assert moved[order].tolist() == expected


def test_distinct_instants_bear_real_times() -> None:
    times = np.array([978_300_760_000_000] * 3 + [4_102_444_800_000_000])
    assert (distinct_instants(np.array([5, 5, 2_000_000, 5]), times) - times).tolist() == [0, 1, 0, 0]


def test_pairs_are_neighbours_of_one_user() -> None:
    pairs = consecutive_pairs(np.array([1, 0, 1, 1]), np.array([3, 9, 1, 2]))
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(2, 3), (3, 0)]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_split(count: int) -> None:
    nobody = np.zeros(count, np.int64)
    assert not random_events(count, 0.5, 0).any()
    assert not last_of_user(nobody, nobody, nobody).any()
    assert len(sequential_examples(nobody, nobody, 0).labels) == 0
    assert len(consecutive_pairs(nobody, nobody).first) == 0
    assert len(distinct_instants(nobody, nobody)) == count


@settings(max_examples=30, deadline=None)
@given(EVENTS, st.integers(0, 3))
def test_every_event_with_a_predecessor_is_one_example(events: list[tuple[int, int, int]], seed: int) -> None:
    users, _, times = np.array(events).T
    examples = sequential_examples(users, times, seed, shortest=2)
    labels = examples.order[examples.labels]
    assert len(set(labels.tolist())) == len(labels)
    assert len(labels) == sum(count - 1 for count in np.bincount(users) if count > 1)
