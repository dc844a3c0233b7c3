"""Which setting of the last night is a start for tonight's index."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from recbatch.launch.last import Published, last_indexes
from recbatch.night import LastIndexes, Shard
from recbatch.work.starting import EarlierSetting

ASKED = {"k": 20, "min_recall": 0.95, "width": 64, "similarity": "dot", "kind": "auto"}
BUILT = {"leaves": 100, "dims_per_block": 2, "training_sample": 100_000}
SEARCH = {"leaves": 7, "reorder": 60, "max_excluded": 80}
TUNED = {"ds": "2024-03-01", "run": "aa", "candidates": 10_000, "recall": 0.96}
RECORD: dict[str, Any] = {"asked": ASKED, "built": BUILT, "search": SEARCH, "tuned": TUNED}
ALONE = Shard(0, 0, 3, 1)


def earlier(
    records: list[dict[str, Any] | None] | None,
    shard: Shard = ALONE,
    asked: dict[str, Any] = ASKED,
    built: dict[str, Any] = BUILT,
    candidates: int = 10_000,
) -> EarlierSetting | None:
    start = None if records is None else LastIndexes("2024-03-08", "bb", {"user2item": records})
    night: Any = SimpleNamespace(start=start)
    job: Any = SimpleNamespace(name="user2item")
    return EarlierSetting.of(night, job, shard, asked, built, candidates)


def test_the_same_table_starts_from_its_last_setting() -> None:
    found = earlier([RECORD], built=BUILT | {"leaves": 104}, candidates=10_900)
    assert found is not None
    assert found.misfit is None
    assert found.start is not None
    assert (found.start.search.leaves, found.start.search.max_excluded, found.start.recall) == (7, 80, 0.96)
    assert found.to_json() == {
        "ds": "2024-03-08",
        "run": "bb",
        "search": SEARCH,
        "tuned": TUNED,
        "misfit": None,
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"asked": ASKED | {"k": 21}}, "it was tuned for k 20, not 21"),
        ({"asked": ASKED | {"min_recall": 0.9}}, "it was tuned for min_recall 0.95, not 0.9"),
        ({"asked": ASKED | {"width": 32}}, "it was tuned for width 64, not 32"),
        ({"asked": ASKED | {"similarity": "cosine"}}, "it was tuned for similarity dot, not cosine"),
        ({"asked": ASKED | {"kind": "scann"}}, "it was tuned for kind auto, not scann"),
        ({"built": BUILT | {"dims_per_block": 4}}, "its index was built with dims_per_block 2, not 4"),
        ({"built": BUILT | {"something": 1}}, "its index was built with something None, not 1"),
        ({"candidates": 11_001}, "it was tuned for 10000 candidates, not 11001"),
        ({"candidates": 8_999}, "it was tuned for 10000 candidates, not 8999"),
        ({"shard": Shard(1, 2, 3, 2)}, "its candidates were cut into 1 shards, not 2"),
    ],
)
def test_what_asks_for_something_else_is_tuned(change: dict[str, Any], sentence: str) -> None:
    found = earlier([RECORD], **change)
    assert found is not None
    assert (found.misfit, found.start) == (sentence, None)


def test_a_shard_starts_from_the_same_shard() -> None:
    other = RECORD | {"search": SEARCH | {"leaves": 9}}
    found = earlier([RECORD, other], shard=Shard(1, 2, 3, 2))
    assert found is not None
    assert found.search["leaves"] == 9
    assert earlier([RECORD, None], shard=Shard(1, 2, 3, 2)) is None, "that one was searched exactly"
    assert earlier([None, RECORD]) is not None
    assert earlier([]) is None
    assert earlier(None) is None


def last(**tables: dict[str, Any]) -> Published:
    return Published("2024-03-08", "bb", {"tables": tables})


def test_what_a_manifest_tells() -> None:
    index = {"searched_again_exactly": False, "shards": [RECORD | {"files": {}}, {"kind": "exact", "asked": ASKED}]}
    exact = {"searched_again_exactly": False, "shards": [{"kind": "exact", "asked": ASKED}]}
    older = {"searched_again_exactly": False, "shards": [{"kind": "scann", "search": SEARCH, "built": BUILT}]}
    missed = {"searched_again_exactly": True, "shards": [RECORD]}
    night = last(
        user2item={"index": index},
        item2item={"index": exact},
        user2user={"index": older},
        item2user={"index": missed},
        user_embeddings={},
    )
    tables = ("user2item", "item2item", "user2user", "item2user")
    assert last_indexes(night, tables) == LastIndexes("2024-03-08", "bb", {"user2item": [RECORD, None]})
    assert last_indexes(night, tables[1:]) is None, "nothing to start from is nothing to depend on"
    assert last_indexes(None, tables) is None
    assert last_indexes(last(user2item={"index": {"kind": "scann"}}, item2item={}), tables) is None


def test_a_start_is_known_by_its_settings_and_not_by_the_run_they_are_from() -> None:
    def identity(run: str, **change: Any) -> dict[str, Any]:
        return LastIndexes("2024-03-08", run, {"user2item": [RECORD | change, None]}).identity

    assert identity("bb") == identity("bb-2") == identity("bb", tuned=TUNED | {"run": "another"})
    assert identity("bb") != identity("bb", search=SEARCH | {"leaves": 8})
    assert identity("bb") != identity("bb", tuned=TUNED | {"recall": 0.97})
