from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbatch.splits import heldout_by_time, heldout_per_user


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_the_newest_events_are_held_out_and_no_instant_is_cut(times: list[int], share: float) -> None:
    array = np.array(times, np.int64)
    mask = heldout_by_time(array, share)
    assert (~mask).any()
    if mask.any():
        assert array[mask].min() > array[~mask].max()


def test_the_share_is_exact_where_all_times_differ() -> None:
    mask = heldout_by_time(np.random.default_rng(0).permutation(1000), 0.1)
    assert mask.sum() == 100


def test_a_share_inside_of_the_last_instant_holds_that_instant_out() -> None:
    times = np.array([1] * 8 + [2] * 4)
    assert heldout_by_time(times, 0.1).tolist() == [False] * 8 + [True] * 4


@pytest.mark.parametrize("times", [[], [5], [7, 7, 7, 7], [1, 2, 2, 2, 2]])
def test_nothing_is_held_out_by_time_where_it_would_take_most_of_the_events(times: list[int]) -> None:
    assert not heldout_by_time(np.array(times, np.int64), 0.3).any()


@given(st.lists(st.integers(0, 9), max_size=200), st.floats(0.01, 0.99), st.integers(0, 5))
def test_every_user_keeps_an_event_and_the_split_is_repeatable(users: list[int], share: float, seed: int) -> None:
    array = np.array(users, np.int32)
    mask = heldout_per_user(array, share, seed)
    assert set(array[~mask]) == set(array)
    assert (mask == heldout_per_user(array, share, seed)).all()
    for user in set(users):
        of_user = (array == user).sum()
        assert mask[array == user].sum() <= np.ceil(of_user * share)


def test_the_random_share_is_right_in_total_and_differs_by_seed() -> None:
    users = np.repeat(np.arange(4000), 5)  # half an event per user: rounded up for one half of the users
    first, second = heldout_per_user(users, 0.1, 1), heldout_per_user(users, 0.1, 2)
    assert first.sum() == pytest.approx(0.1 * len(users), rel=0.05)
    assert (first != second).any()


def test_one_event_per_user_leaves_nothing_to_hold_out() -> None:
    assert not heldout_per_user(np.arange(50), 0.5, 0).any()
