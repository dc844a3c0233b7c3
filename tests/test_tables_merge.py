"""What shards found is merged into what the whole candidate set holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbatch.errors import RecbatchError
from recbatch.index import Candidates
from recbatch.neighbours import Exclusions, Neighbours, find_neighbours
from recbatch.run import make_part
from recbatch.tables import merge as merging
from recbatch.tables.merge import merge_rows
from recbatch.tables.rows import top_k_layout, top_k_rows

LAYOUT = top_k_layout("user2item")


def ids(prefix: str, count: int) -> pa.Array:
    return pa.array(sorted((f"{prefix}{number}{'ü' * (number % 3)}" for number in range(count)), key=str.encode))


def write(path: Path, queries: pa.Array, candidates: pa.Array, found: Neighbours, step: int) -> str:
    """A part of a table as a search writes it, ``step`` queries in a row group."""
    blocks = [slice(first, first + step) for first in range(0, len(queries), step)]
    rows = [
        top_k_rows(
            LAYOUT,
            queries[block],
            candidates,
            Neighbours(found.ordinals[block], found.scores[block], found.counts[block]),
        )
        for block in blocks
    ]
    make_part(str(path), path.name, "", LAYOUT, lambda _: rows)
    return str(path)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    queries=st.integers(1, 12),
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    k=st.integers(1, 12),
    step=st.integers(1, 5),
    excluded=st.floats(0, 1),
)
def test_it_is_what_the_whole_set_gives(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    queries: int,
    sizes: list[int],
    k: int,
    step: int,
    excluded: float,
) -> None:
    """With ties, shards without candidates, and queries that get nothing from some shard or from all."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("shards")
    users, items = ids("user", queries), ids("item", sum(sizes))
    vectors = rng.integers(-2, 3, (sum(sizes), 2)).astype(np.float32)
    asked = rng.integers(-2, 3, (queries, 2)).astype(np.float32)
    out = rng.random((queries, sum(sizes))) < excluded
    rows, ordinals = np.nonzero(out)
    offsets = np.searchsorted(rows, np.arange(queries + 1))
    exclusions = Exclusions(offsets.astype(np.int64), ordinals.astype(np.int32))

    def search(first: int, last: int) -> Neighbours:
        within = exclusions.within(first, last)
        return find_neighbours(asked, Candidates.of(vectors[first:last], "dot"), k, excluded=within)

    stops = np.cumsum(sizes)
    parts = [
        write(folder / f"{number}.parquet", users, items[last - size : last], search(last - size, last), step)
        for number, (size, last) in enumerate(zip(sizes, stops.tolist(), strict=True))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "queries_per_row_group", lambda _: step)
        merged = list(merge_rows(LAYOUT, users, parts, k))
    expected = top_k_rows(LAYOUT, users, items, search(0, sum(sizes)))
    assert _plain(pa.concat_tables([rows for rows, _ in merged])) == _plain(expected)
    assert sum(int((found.counts == 0).sum()) for _, found in merged) == int((~out).sum(axis=1).tolist().count(0))


def _plain(rows: pa.Table) -> list[dict[str, object]]:
    return rows.cast(LAYOUT.schema).to_pylist()


def test_a_part_of_other_queries_is_refused(tmp_path: Path) -> None:
    users, items = ids("user", 3), ids("item", 4)
    found = find_neighbours(np.ones((3, 2), np.float32), Candidates.of(np.ones((4, 2), np.float32), "dot"), 2)
    part = write(tmp_path / "part.parquet", users, items, found, 3)
    with pytest.raises(RecbatchError, match="part.parquet holds other queries"):
        list(merge_rows(LAYOUT, pc.binary_join_element_wise(users, "x", "-"), [part], 2))
