"""What the audit finds is not published: readers keep the night that they have."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from night_oracle import Rules, check_table
from night_published import BIAS, SmallNight, flip_a_byte, small_night, small_world, snapshot

from recbatch.errors import RecbatchError
from recbatch.neighbours import Exclusions
from recbatch.schemas import arrow_schema
from recbatch.tables.audit import TopKAudit, VectorsAudit
from recbatch.tables.stored import StoredFile
from recbatch.work import publish
from recbatch.work.search import Search


@pytest.fixture
def night(tmp_path_factory: pytest.TempPathFactory) -> SmallNight:
    return small_night(tmp_path_factory.getbasetemp())


@pytest.fixture
def copy(night: SmallNight, tmp_path: Path) -> SmallNight:
    return night.copied(tmp_path / "copy" / "of out")


QUERIES, CANDIDATES = pa.array(["a", "b", "c", "d"]), pa.array(["a", "v", "w", "x", "y"])
EXCLUDED = {"a": [0], "b": [], "c": [1, 2], "d": [0, 1, 2, 3, 4]}
"""Ordinals of the candidates that each query must not get."""
SCHEMA = arrow_schema("user2user")
GOOD = [
    ("a", 1, "y", 0.9),
    ("a", 2, "v", 0.5),
    ("a", 3, "w", 0.5),
    ("b", 1, "a", -0.1),
    ("b", 2, "y", -0.2),
    ("b", 3, "v", -0.3),
    ("c", 1, "a", 2.0),
    ("c", 2, "x", 1.0),
    ("c", 3, "y", 0.0),
]


def audited(rows: list[tuple[str, int, str, float]], group: int = 100) -> list[str]:
    query, rank, candidate, score = (list(column) for column in zip(*rows, strict=True))
    table = pa.table([query, rank, candidate, score, ["model"] * len(rows)], SCHEMA.names).cast(SCHEMA)
    offsets = np.cumsum([0, *(len(ordinals) for ordinals in EXCLUDED.values())])
    ordinals = np.concatenate([np.array(ordinals, np.int32) for ordinals in EXCLUDED.values()])
    wanted = np.minimum(3, len(CANDIDATES) - np.diff(offsets))
    return TopKAudit("user2user", QUERIES, CANDIDATES, Exclusions(offsets, ordinals), wanted)(stored(table, group))


def stored(table: pa.Table, group: int = 100) -> StoredFile:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group)
    return StoredFile.of(sink.getvalue())


def changed(row: int, column: int, value: Any) -> list[tuple[str, int, str, float]]:
    rows: list[Any] = [list(each) for each in GOOD]
    rows[row][column] = value
    return [tuple(each) for each in rows]


def test_a_good_part_has_no_problems() -> None:
    assert audited(GOOD) == []
    assert audited(GOOD, group=3) == []


def test_it_keeps_what_the_part_holds() -> None:
    """Whatever the row groups' dictionaries are."""
    table = pa.table([list(column) for column in zip(*[(*row, "model") for row in GOOD], strict=True)], SCHEMA.names)
    none = Exclusions.none(4)
    for group in (3, 6, 100):
        audit = TopKAudit("user2user", QUERIES, CANDIDATES, none, np.array([3, 3, 3, 0]))
        assert audit(stored(table.cast(SCHEMA), group)) == []
        assert audit.found.ordinals.tolist() == [[4, 1, 2], [0, 4, 1], [0, 3, 4], [-1, -1, -1]]
        assert audit.found.counts.tolist() == [3, 3, 3, 0]
        assert np.array_equal(audit.found.scores[1], np.array([-0.1, -0.2, -0.3], np.float32))


@pytest.mark.parametrize("group", [1, 3, 4, 7, 10, 11])
def test_a_last_row_group_may_be_small(group: int) -> None:
    names = pa.array([f"q{number}" for number in range(10)])
    rows = pa.table([names, [1] * 10, ["a"] * 10, [0.5] * 10, ["model"] * 10], SCHEMA.names).cast(SCHEMA)
    audit = TopKAudit("user2user", names, CANDIDATES, Exclusions.none(10), np.ones(10, np.int64))
    assert audit(stored(rows, group)) == []
    assert audit.found.ordinals[:, 0].tolist() == [0] * 10


def test_no_query_is_in_two_row_groups() -> None:
    assert audited(GOOD, group=4) == [
        "the ranks are not dense from 1",
        "the queries are not in order, or one is in two row groups",
    ]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (changed(3, 0, "z"), "1 rows name an unknown query"),
        (changed(3, 2, "z"), "1 rows name an unknown candidate"),
        ([*GOOD[3:6], *GOOD[:3], *GOOD[6:]], "queries are not in order"),
        (changed(4, 1, 3), "ranks are not dense"),
        (changed(0, 1, 0), "ranks are not dense"),
        (changed(1, 3, 0.95), "scores increase"),
        (changed(1, 3, float("nan")), "1 scores are not finite"),
        (changed(0, 3, float("inf")), "1 scores are not finite"),
        (changed(1, 2, "y"), "1 pairs occur twice"),
        (changed(8, 2, "v"), "1 excluded pairs"),
        (changed(0, 2, "a"), "1 excluded pairs"),  # the query itself
        (GOOD[:-1], "1 queries do not have min(k, eligible) rows; c has 2 of 3"),
        (GOOD[:3] + GOOD[6:], "b has 0 of 3"),
        ([*GOOD, ("d", 1, "y", 0.1)], "d has 1 of 0"),
        ([*GOOD[:6], *GOOD[6:], ("c", 4, "x", -1.0)], "c has 4 of 3"),
    ],
)
def test_the_audit_of_a_table_finds(rows: list[tuple[str, int, str, float]], problem: str) -> None:
    assert any(problem in found for found in audited(rows))


def test_the_audit_of_a_table_finds_other_columns() -> None:
    audit = TopKAudit("user2user", QUERIES, CANDIDATES, Exclusions.none(4), np.zeros(4, np.int64))
    assert "are not those of schema user2user" in "".join(audit(stored(pa.table({"user_id": ["a"]}))))


@pytest.mark.parametrize(
    ("ids", "values", "problem"),
    [
        (["a", "b"], [[1.0, 2.0], [3.0, 4.0]], None),
        ([], [], None),
        (["b", "a"], [[1.0, 2.0], [3.0, 4.0]], "not sorted"),
        (["a", "a"], [[1.0, 2.0], [3.0, 4.0]], "not unique"),
        (["a", "b"], [[1.0, float("nan")], [float("inf"), 4.0]], "2 values are not finite"),
    ],
)
def test_the_audit_of_vectors(ids: list[str], values: list[list[float]], problem: str | None) -> None:
    schema = arrow_schema("user_embeddings")
    rows = pa.Table.from_arrays([pa.array(ids, pa.string()), pa.array(values, schema.field(1).type)], schema=schema)
    found = VectorsAudit("user_embeddings")(stored(rows, 1))
    assert found == [] if problem is None else problem in found[0]


def swap_two_candidates(path: Path) -> None:
    """The part with other rows and the same footer, as if its work item had made it so."""
    metadata, rows = pq.read_metadata(path).metadata, pq.read_table(path)
    swapped = rows.column(2).take(pa.array([1, 0, *range(2, rows.num_rows)]))
    with pq.ParquetWriter(path, rows.schema) as writer:
        writer.write_table(rows.set_column(2, rows.schema.field(2), swapped))
        writer.add_key_value_metadata({b"recbatch": metadata[b"recbatch"]})


CORRUPTIONS: dict[str, tuple[Callable[[Path], None], str]] = {
    "item2item": (flip_a_byte, "cannot be read back"),
    "user2user": (swap_two_candidates, "scores of sampled queries are not those of the published vectors"),
}
"""What happens to the second part of a table, and what is said about it."""


def test_what_goes_bad_after_the_search_is_not_published(copy: SmallNight, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers keep the night that they have; with the bad parts removed a rerun makes these alone."""
    search = Search.__call__
    bad: dict[str, Path] = {}

    def search_and_corrupt(self: Search, *arguments: Any) -> Any:
        result = search(self, *arguments)
        if self.job.name in CORRUPTIONS and result.number == 1:
            bad[self.job.name] = Path(result.part.uri)
            CORRUPTIONS[self.job.name][0](bad[self.job.name])
        return result

    before, files = copy.pointer, snapshot(copy.output / "item2item")
    with monkeypatch.context() as patch:
        patch.setattr(Search, "__call__", search_and_corrupt)
        with pytest.raises(RecbatchError, match="not published, readers keep what they have") as failure:
            copy.run("tables.item2item.k=3")
    for table, (_, message) in CORRUPTIONS.items():
        assert f"{bad[table]}: " in str(failure.value)
        assert message in str(failure.value)
    assert copy.pointer == before
    assert snapshot(copy.output / "item2item") == files
    assert copy.problems == []

    for path in bad.values():
        path.unlink()
    assert copy.run("tables.item2item.k=3").published
    work = copy.published.manifest["work"]
    assert (work["item2item"], work["user2user"]) == ({"made": 1, "found": 2}, {"made": 1, "found": 1})
    check_table(copy.published, "item2item", small_world(), Rules(), {"k": 3}, bias=BIAS)
    check_table(copy.published, "user2user", small_world(), Rules(), {}, bias=BIAS)


def test_a_part_that_never_arrived_is_not_published(copy: SmallNight, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step counts what arrived against the plan, not against itself."""
    before, results = copy.pointer, cast(Any, publish.Results)

    def lossy(*arguments: Any) -> Any:
        *others, audits = arguments
        return results(*others, [audit for audit in audits if (audit.table, audit.number) != ("user2user", 1)])

    monkeypatch.setattr(publish, "Results", lossy)
    with pytest.raises(RecbatchError, match="user2user: range 1 is missing"):
        copy.run("tables.user2user.k=2")
    assert copy.pointer == before
