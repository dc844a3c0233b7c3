"""Exclusions as compressed rows, and their making from lists of ids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neighbours_oracle import exclusions

from recbatch.errors import RecbatchError
from recbatch.neighbours import Exclusions, exclusions_of, ordinals_of, places_of

CANDIDATES = 50
rows_of_ordinals = st.lists(st.sets(st.integers(0, CANDIDATES - 1)), max_size=12)


def as_sets(rows: Exclusions) -> list[set[int]]:
    rows.check(len(rows), CANDIDATES)
    return [set(part.tolist()) for part in np.split(rows.ordinals, rows.offsets[1:-1])][: len(rows)]


@settings(max_examples=100, deadline=None)
@given(rows_of_ordinals, st.data())
def test_rows_are_sets(sets: list[set[int]], data: st.DataObject) -> None:
    rows = exclusions(sets)
    assert as_sets(rows) == sets
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(sets))] * 2)))
    assert as_sets(rows.rows(first, last)) == sets[first:last]
    chosen = data.draw(st.lists(st.integers(0, len(sets) - 1), max_size=6)) if sets else []
    assert as_sets(rows.take(np.array(chosen, np.int64))) == [sets[i] for i in chosen]
    low, high = sorted(data.draw(st.tuples(*[st.integers(0, CANDIDATES)] * 2)))
    assert as_sets(rows.within(low, high)) == [{v - low for v in row if low <= v < high} for row in sets]
    own = np.array([data.draw(st.integers(-1, CANDIDATES - 1)) for _ in sets], np.int32)
    assert as_sets(rows.with_own(own)) == [row | ({int(v)} - {-1}) for row, v in zip(sets, own, strict=True)]
    asked = np.tile(np.arange(-1, CANDIDATES, dtype=np.int32), (len(sets), 1))
    assert rows.contains(asked).tolist() == [[v in row for v in range(-1, CANDIDATES)] for row in sets]


@pytest.mark.parametrize(
    ("offsets", "ordinals", "message"),
    [
        ([0, 2], [3, 3], "ascending and distinct"),
        ([0, 2, 2], [4, 3], "ascending and distinct"),
        ([0, 1], [50], "not among the 50"),
        ([0, 1], [-1], "not among the 50"),
        ([0, 3], [1], "do not fit"),
    ],
)
def test_malformed_rows_are_refused(offsets: list[int], ordinals: list[int], message: str) -> None:
    rows = Exclusions(np.array(offsets, np.int64), np.array(ordinals, np.int32))
    with pytest.raises(RecbatchError, match=message):
        rows.check(len(offsets) - 1, CANDIDATES)


IDS = sorted(["", "a", "a b", "b/c", "d'e", "é", "😀", "zz" * 500], key=lambda text: text.encode())


def encodings(lists: list[list[str | None] | None]) -> list[pa.Array | pa.ChunkedArray]:
    plain = pa.array(lists, pa.list_(pa.string()))
    coded = pa.array(lists, pa.list_(pa.dictionary(pa.int32(), pa.string())))
    half = len(lists) // 2
    return [
        plain,
        pa.array(lists, pa.large_list(pa.large_string())),
        coded,
        pa.chunked_array([plain[:half], plain[half:]]),
        pa.chunked_array([coded[:half], coded[half:]]),
        pa.concat_arrays([plain, plain])[len(lists) :],
        pa.array([["zz"], *lists], pa.list_(pa.string()))[1:],
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.lists(st.none() | st.sampled_from([*IDS, "unknown", "a "]), max_size=9), max_size=7))
def test_lists_of_ids_become_ordinals(lists: list[list[str | None] | None]) -> None:
    expected = [{IDS.index(value) for value in row or [] if value in IDS} for row in lists]
    for column in encodings(lists):
        rows = exclusions_of(column, pa.array(IDS))
        rows.check(len(lists), len(IDS))
        assert as_sets(rows) == expected
        assert as_sets(exclusions_of(column, pa.chunked_array([IDS[:3], IDS[3:]]))) == expected


def test_no_candidates_and_no_lists() -> None:
    lists = pa.array([["a"], []], pa.list_(pa.string()))
    assert exclusions_of(lists, pa.array([], pa.string())).counts.tolist() == [0, 0]
    assert len(exclusions_of(lists[:0], pa.array(IDS))) == 0
    assert len(exclusions_of(pa.chunked_array([], pa.list_(pa.string())), pa.array(IDS))) == 0


def test_ids_of_queries_among_the_candidates() -> None:
    own = ordinals_of(pa.array(["😀", "unknown", None, "a"]), pa.array(IDS))
    assert own.tolist() == [IDS.index("😀"), -1, -1, IDS.index("a")]
    assert own.dtype == np.int32


@pytest.mark.parametrize(
    ("ids", "among", "places"),
    [
        (["b", "c"], ["a", "b", "c", "d"], [1, 2]),  # some that follow each other
        (["c", "b"], ["a", "b", "c", "d"], [2, 1]),
        (["b", "d"], ["a", "b", "c", "d"], [1, 3]),
        (["d", "e"], ["a", "b", "c", "d"], [3, -1]),
        (["b", None], ["a", "b", "c"], [1, -1]),
        ([None, "b"], ["a", "b", "c"], [-1, 1]),
        (["a", "b"], ["b", "a"], [1, 0]),  # not sorted
        (["b", "a"], ["b", "a"], [0, 1]),
        (["x"], [], [-1]),
        ([], ["a"], []),
        (["é", "漢"], ["a", "é", "漢", "😀"], [1, 2]),
    ],
)
def test_places_of_ids(ids: list[str | None], among: list[str], places: list[int]) -> None:
    found = places_of(pa.array(ids, pa.string()), pa.array(among, pa.string()))
    assert found.tolist() == places
    assert found.dtype == np.int32
