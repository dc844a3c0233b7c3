"""Cut points and what they cut."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbatch.interactions import cut_points, sample_ids, sample_one_in
from recbatch.interactions.coding import distinct_pairs, merge_ids, sorted_codes, stable_order
from recbatch.interactions.ranges import range_offsets, split_by_range

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)
small_ids = st.text("ab😀é", min_size=1, max_size=2)


def by_range(counts: Counter[str], cuts: tuple[str, ...]) -> list[list[int]]:
    """Interactions of each id, range by range."""
    ranges: list[list[int]] = [[] for _ in range(len(cuts) + 1)]
    for name, count in sorted(counts.items()):
        ranges[bisect_right(cuts, name)].append(count)
    return ranges


def shuffled(names: list[str], slices: int) -> list[pa.Array]:
    random.Random(0).shuffle(names)
    return [pa.array(part, pa.string()) for part in np.array_split(np.array(names, object), slices)]


@given(
    st.lists(st.tuples(small_ids, st.integers(1, 9)), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 20)
)
def test_exact_cuts_keep_the_limits(events: list[tuple[str, int]], range_ids: int, range_interactions: int) -> None:
    names = [name for name, count in events for _ in range(count)]
    counts = Counter(names)
    samples = [sample_ids(part, 1, interactions=True) for part in shuffled(names, 3)]
    cuts = cut_points(samples, range_ids, range_interactions)
    assert list(cuts) == sorted(set(cuts))
    assert cuts == cut_points(samples[::-1], range_ids, range_interactions)
    for part in by_range(counts, cuts):
        assert 1 <= len(part) <= range_ids
        assert len(part) == 1 or sum(part) <= range_interactions


def test_ranges_are_even() -> None:
    names = [f"u{number:04d}" for number in range(1000) for _ in range(3)]
    cuts = cut_points([sample_ids(pa.array(names), 1, interactions=True)], 300, 10**6)
    assert [len(part) for part in by_range(Counter(names), cuts)] == [250] * 4


def test_an_id_is_never_split() -> None:
    counts = Counter({f"u{number}": 10 for number in range(100)}) + Counter({"u5": 100_000})
    names = list(counts.elements())
    for one_in in (1, 7):
        samples = [sample_ids(part, one_in, interactions=True) for part in shuffled(names, 5)]
        cuts = cut_points(samples, 50, 200)
        assert len(cuts) > 3
        heavy = by_range(counts, cuts)[bisect_right(cuts, "u5")]
        assert sum(heavy) < 100_010 + 400


def test_tables_of_users_count_as_well() -> None:
    events = sample_ids(pa.array(["a"] * 100), 1, interactions=True)
    users = sample_ids(pa.array([f"u{number:03d}" for number in range(100)] + ["a"]), 1, interactions=False)
    assert cut_points([events, users], 1000, 1000) == ()
    assert len(cut_points([events, users], 10, 1000)) == 10
    assert cut_points([events, users], 1000, 50) == ("u000",)


def test_nothing_to_cut() -> None:
    assert cut_points([], 10, 10) == ()
    assert cut_points([sample_ids(pa.array([], pa.string()), 1, interactions=True)], 10, 10) == ()
    assert cut_points([sample_ids(pa.array([], pa.string()), 5, interactions=True)], 10, 10) == ()
    assert cut_points([sample_ids(pa.array(["a"] * 99), 1, interactions=True)], 1, 1) == ()


def test_sampled_cuts_are_about_right() -> None:
    generator = np.random.default_rng(0)
    draws = generator.zipf(1.3, 400_000)
    names = [f"user{number}" for number in draws[draws < 200_000]]
    counts = Counter(names)
    one_in = 20
    samples = [sample_ids(part, one_in, interactions=True) for part in shuffled(names, 8)]
    assert sum(map(len, samples)) < len(counts)
    parts = by_range(counts, cut_points(samples, 2_000, 30_000))
    assert len(parts) <= 1.3 * max(len(counts) / 2_000, len(names) / 30_000) + 4
    for part in parts:
        assert len(part) <= 3_000
        assert sum(part) - max(part) <= 40_000


def test_the_sample_of_an_id_does_not_depend_on_its_slice() -> None:
    names = [f"user{number}" for number in range(20_000)]
    whole = sample_ids(pa.array(names), 10, interactions=False)
    halves = [sample_ids(pa.array(part), 10, interactions=False) for part in (names[:9_000], names[5_000:])]
    assert set(whole["id"].to_pylist()) == {name for half in halves for name in half["id"].to_pylist()}
    assert 1_600 < len(whole) < 2_400  # 2000 are expected
    assert whole["ids"].to_pylist() == [10] * len(whole)


def test_samples_stand_for_all_interactions() -> None:
    names = pa.array([f"u{number % 377}" for number in range(10_000)]).dictionary_encode()
    for one_in in (1, 50):
        assert sum(sample_ids(names, one_in, interactions=True)["interactions"].to_pylist()) == 10_000


def test_how_much_is_sampled() -> None:
    assert [sample_one_in(rows) for rows in (0, 1, 500_000, 500_001, 10**9)] == [1, 1, 1, 2, 2000]


@given(st.lists(ids, max_size=40), st.lists(ids, max_size=6, unique=True))
def test_split_puts_each_row_where_it_belongs(names: list[str], cuts: list[str]) -> None:
    cuts.sort()
    assert cuts == sorted(cuts, key=str.encode)  # Python's order is the order of UTF-8 bytes
    table = pa.table({"id": pa.array(names, pa.string()), "row": pa.array(range(len(names)), pa.int64())})
    expected: dict[int, list[tuple[str, int]]] = {}
    for row, name in enumerate(names):
        expected.setdefault(bisect_right(cuts, name), []).append((name, row))
    for column in (table["id"], table["id"].dictionary_encode()):
        found = {
            number: list(zip(part["id"].to_pylist(), part["row"].to_pylist(), strict=True))
            for number, part in split_by_range(table.set_column(0, "id", column), "id", cuts)
        }
        assert found == {number: sorted(rows) for number, rows in expected.items()}
        assert list(found) == sorted(found)


def test_range_offsets() -> None:
    offsets = range_offsets(pa.array(["a", "b", "ba", "é", "😀"]), ["a", "b\0", "z", "～", "😀😀"])
    assert offsets.tolist() == [0, 0, 2, 3, 4, 5, 5]


@given(st.lists(st.lists(ids, max_size=20), max_size=4))
def test_merged_ids(parts: list[list[str]]) -> None:
    merged, codes = merge_ids([pa.array(part, pa.string()) for part in parts])
    assert merged.to_pylist() == sorted({name for part in parts for name in part}, key=str.encode)
    assert [[merged[code].as_py() for code in part.tolist()] for part in codes] == parts


def test_sorted_codes_leave_out_unused_dictionary_values() -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array([3, 0, 3], pa.int8()), pa.array(["b", "x", "y", "a"]))
    distinct, codes = sorted_codes(coded)
    assert (distinct.to_pylist(), codes.tolist()) == (["a", "b"], [0, 1, 0])


@pytest.mark.parametrize("limit", [2, 300, 2**20, 2**40, 2**62])
def test_stable_order(limit: int) -> None:
    generator = np.random.default_rng(limit)
    first, second = generator.integers(-limit, limit, 500), generator.integers(0, 3, 500).astype(np.int32)
    assert stable_order(second, first).tolist() == np.lexsort((first, second)).tolist()
    assert stable_order(first).tolist() == np.argsort(first, kind="stable").tolist()
    assert stable_order(np.zeros(0, np.int64)).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 5)), max_size=30))
def test_distinct_pairs(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs, np.int32).reshape(-1, 2)
    first, second = distinct_pairs(table[:, 0], table[:, 1])
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == sorted(set(pairs))
