"""Profiles against a plain Python oracle, whatever the slices, ranges and order of arrival."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interactions_data import config_of, resolved, spec_of, write
from interactions_oracle import Event, expected_items, expected_users, group, spec

from recbatch.errors import InputError
from recbatch.interactions import group_users, interaction_chunks, plan_slices, profile_schema, read_slice
from recbatch.interactions.coding import lists_of

names = st.sampled_from(["a", "b", "B", "ab", "é", "😀", " ", "'\"/\\", "z" * 1000])
events = st.fixed_dictionaries(
    {
        "user_id": names,
        "item_id": names,
        "timestamp": st.one_of(
            st.integers(0, 3), st.integers(0, 2**51), st.integers(0, 10**9).map(lambda second: second * 10**6)
        ),
        "positive": st.booleans(),
        "seen": st.booleans(),
        "context:c": st.one_of(st.none(), st.sampled_from(["x", "y", ""])),
    }
)


@settings(deadline=None)
@given(
    st.lists(st.lists(events, max_size=25), max_size=4),
    st.booleans(),
    st.lists(names, max_size=3, unique=True).map(sorted),
    st.sampled_from([10, 11, 40]),
)
def test_profiles_are_what_the_oracle_says(
    slices: list[list[Event]], timestamps: bool, cuts: list[str], history: int
) -> None:
    how = spec(timestamps=timestamps, history=history)
    users, items = group(slices, how, cuts=cuts)
    assert users.table.schema == profile_schema("user", how)
    assert items.table.schema == profile_schema("item", how)
    assert users.table.to_pylist() == expected_users(slices, how)
    assert items.table.to_pylist() == expected_items(slices)
    total = sum(map(len, slices))
    assert users.counts == {
        "users": users.table.num_rows,
        "events": total,
        "users_without_events": 0,
        "duplicate_users": 0,
        "unknown_users": 0,
        "unknown_user_events": 0,
    }
    assert (items.counts["items"], items.counts["events"]) == (items.table.num_rows, total)


def random_events(size: int, users: int, items: int) -> list[Event]:
    generator = np.random.default_rng(size)
    columns = {
        "user_id": [f"u{number}" for number in generator.integers(0, users, size)],
        "item_id": [f"i{number}" for number in generator.integers(0, items, size)],
        "timestamp": generator.integers(10**15, 10**15 + 50, size).tolist(),  # many ties
        "positive": (generator.random(size) < 0.7).tolist(),
        "seen": (generator.random(size) < 0.8).tolist(),
        "context:c": [None if number == 0 else str(number) for number in generator.integers(0, 4, size)],
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("timestamps", [True, False])
def test_slices_and_ranges_do_not_matter(timestamps: bool) -> None:
    how, all_events = spec(timestamps=timestamps), random_events(3000, 40, 100)
    expected = expected_users([all_events], how)
    for size, cuts in ((3000, []), (1000, ["u2"]), (170, ["i5", "u11", "u3", "u30"])):
        slices = [all_events[start : start + size] for start in range(0, 3000, size)]
        users, items = group(slices, how, cuts=cuts)
        assert users.table.to_pylist() == expected
        assert items.table.to_pylist() == expected_items([all_events])


def test_a_user_of_very_many_events() -> None:
    size, how = 400_000, spec()
    generator = np.random.default_rng(0)
    times = generator.permutation(size)
    items = generator.integers(0, 5000, size)
    table = pa.table(
        {
            "user_id": pa.array(["u"] * size).dictionary_encode(),
            "item_id": pa.array([f"i{number:04d}" for number in items]).dictionary_encode(),
            "timestamp": times,
            "positive": np.ones(size, bool),
            "seen": np.ones(size, bool),
            "context:c": pa.nulls(size, pa.string()),
        }
    )
    chunks = [
        chunk
        for number, start in enumerate(range(0, size, 100_000))
        for chunk in interaction_chunks(table.slice(start, 100_000), number, [], [], how)
    ]
    profile = group_users([chunk.data for chunk in chunks if chunk.entity == "user"], [], how).table.to_pylist()[0]
    newest = np.argsort(times)[-12:]
    assert profile["history"] == [f"i{items[row]:04d}" for row in newest]
    assert profile["history_timestamps"] == times[newest].tolist()
    assert profile["seen"] == [f"i{number:04d}" for number in range(5000)]
    assert profile["events"] == size


def test_one_event_per_user_and_all_at_one_time() -> None:
    all_events = [
        {"user_id": f"u{n}", "item_id": "i", "timestamp": 5, "positive": True, "seen": True, "context:c": str(n)}
        for n in range(500)
    ]
    users, items = group([all_events[:300], all_events[300:]], spec(), cuts=["u3"])
    assert users.table.to_pylist() == expected_users([all_events], spec())
    assert items.table.to_pylist() == expected_items([all_events])


def test_no_events_at_all() -> None:
    for how in (spec(), spec(timestamps=False), spec(tables=True)):
        users, items = group([[]], how)
        assert users.table.schema == profile_schema("user", how)
        assert items.table.schema == profile_schema("item", how)
        assert (users.table.num_rows, items.table.num_rows) == (0, 0)


EVENTS = [
    {"user_id": user, "item_id": item, "timestamp": time, "positive": True, "seen": True, "context:c": None}
    for user, item, time in (("a", "x", 1), ("b", "x", 2), ("stranger", "y", 3), ("a", "?", 4), ("stranger", "y", 5))
]


def user_rows(*rows: tuple[str, float | None]) -> pa.Table:
    schema = pa.schema([("id", pa.string()), ("feature:age", pa.float32())])
    return pa.table([[name for name, _ in rows], [age for _, age in rows]], schema=schema)


def item_rows(*rows: tuple[str, list[str] | None]) -> pa.Table:
    schema = pa.schema([("id", pa.string()), ("feature:tags", pa.list_(pa.string()))])
    return pa.table([[name for name, _ in rows], [tags for _, tags in rows]], schema=schema)


USERS = [user_rows(("b", 1), ("a", 2), ("b", 3)), user_rows(("quiet", None), ("a", 4))]
ITEMS = [item_rows(("y", ["t"]), ("x", ["t", "s"]), ("unsold", None))]


def test_tables_say_who_is_there_and_the_last_row_of_an_id_wins() -> None:
    users, items = group([EVENTS[:2], EVENTS[2:]], spec(tables=True), users=USERS, items=ITEMS, cuts=["b", "x"])
    assert users.table["id"].to_pylist() == ["a", "b", "quiet"]
    assert users.table["feature:age"].to_pylist() == [4.0, 3.0, None]
    assert users.table["history"].to_pylist() == [["x", "?"], ["x"], []]
    assert users.table["history_timestamps"].to_pylist() == [[1, 4], [2], []]
    assert users.table["events"].to_pylist() == [2, 1, 0]
    assert users.counts == {
        "users": 3,
        "events": 3,
        "users_without_events": 1,
        "duplicate_users": 2,
        "unknown_users": 1,
        "unknown_user_events": 2,
    }
    assert items.table["id"].to_pylist() == ["unsold", "x", "y"]
    assert items.table["feature:tags"].to_pylist() == [None, ["t", "s"], ["t"]]
    assert items.table["seen"].to_pylist() == [[], ["a", "b"], ["stranger"]]
    assert (items.counts["unknown_items"], items.counts["unknown_item_events"]) == (1, 1)


def test_unknown_ids_may_join_the_table() -> None:
    users, items = group([EVENTS], spec(tables=True, unknown="keep"), users=USERS, items=ITEMS)
    assert users.table["id"].to_pylist() == ["a", "b", "quiet", "stranger"]
    assert users.table["feature:age"].to_pylist() == [4.0, 3.0, None, None]
    assert users.table["history"].to_pylist()[3] == ["y", "y"]
    assert items.table["id"].to_pylist() == ["?", "unsold", "x", "y"]
    assert items.table["feature:tags"].to_pylist()[0] is None
    assert (users.counts["unknown_users"], users.counts["unknown_user_events"]) == (1, 2)


def test_unknown_ids_may_be_an_error() -> None:
    with pytest.raises(
        InputError,
        match=r"inputs.users: 2 interactions name 1 users that are not in the table, such as 'stranger'; add them, or "
        r"set inputs.unknown_users to keep or drop",
    ):
        group([EVENTS], spec(tables=True, unknown="fail"), users=USERS, items=ITEMS)
    known = [*USERS, user_rows(("stranger", 9))]
    with pytest.raises(InputError, match=r"inputs.items: 1 interactions name 1 items .* such as '\?'"):
        group([EVENTS], spec(tables=True, unknown="fail"), users=known, items=ITEMS)


def test_a_table_without_interactions() -> None:
    users, items = group([], spec(tables=True), users=USERS, items=ITEMS)
    assert users.table["id"].to_pylist() == ["a", "b", "quiet"]
    assert users.table["seen"].to_pylist() == [[], [], []]
    assert items.counts["items_without_events"] == 3


def test_from_files_to_profiles(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    path = write(
        tmp_path / "e.parquet",
        {
            "who": generator.integers(0, 30, 500),
            "what": [f"title {number}" for number in generator.integers(0, 50, 500)],
            "stars": generator.integers(1, 6, 500),
            "at": generator.integers(1_700_000_000, 1_700_000_300, 500),
        },
        row_group_size=60,
    )
    config = config_of(
        path,
        columns={"user_id": "who", "item_id": "what", "weight": "stars", "timestamp": "at"},
        interactions_options={"timestamp_unit": "s"},
        positives={"min_weight": 4},
    )
    how = spec_of(config, 1_700_000_200_000_000)
    chunks = []
    for work in plan_slices(resolved(config), 100):
        table = read_slice(work, how).table
        chunks += [
            chunk.data for chunk in interaction_chunks(table, work.number, [], [], how) if chunk.entity == "user"
        ]
    found = group_users(chunks[::-1], [], how).table.to_pylist()
    raw = [event for event in pq.read_table(path).to_pylist() if event["at"] < 1_700_000_200]
    raw.sort(key=lambda event: event["at"])
    assert [profile["id"] for profile in found] == sorted({str(event["who"]) for event in raw})
    for profile in found:
        mine = [event for event in raw if str(event["who"]) == profile["id"]]
        assert profile["history"] == [event["what"] for event in mine if event["stars"] >= 4][-10:]
        assert profile["seen"] == sorted({event["what"] for event in mine})
        assert profile["events"] == len(mine)


def test_large_lists_where_offsets_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [["b", "ab"], [], ["b"]]
    parts = (np.array([0, 2, 2, 3]), pa.array(["ab", "b"]), np.array([1, 0, 1], np.int32))
    for limit, kind in (
        (4, pa.list_(pa.string())),
        (3, pa.list_(pa.large_string())),
        (2, pa.large_list(pa.large_string())),
    ):
        monkeypatch.setattr("recbatch.interactions.coding._INT32_MAX", limit)
        lists = lists_of(*parts)
        assert (lists.type, lists.to_pylist()) == (kind, expected)
