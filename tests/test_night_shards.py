"""Candidates that outgrow a worker: the tables are those of a night whose worker holds all of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from night_bundles import given_bundle
from night_published import flip_a_byte
from robust_nights import contents
from world import DS, Published, pairs_world, random_vectors, run

from recbatch.errors import RecbatchError
from recbatch.launch.nightly import Outcome, recommend
from recbatch.neighbours import mean_recall
from recbatch.tables.pointer import read_pointer
from recbatch.tables.verify import check_output
from recbatch.work import merging
from recbatch.work.search import Search

TABLES = ("user2item", "item2item", "user2user", "item2user")
USERS = [f"Nutzer {number:02d}" for number in range(60)]
ITEMS = [*(f"item {number:02d}" for number in range(85)), "ключ", "物", "ö", "", "zz\u0000z"][:88]
K = 25
SETTINGS: dict[str, Any] = {
    "index": {"kind": "exact"},
    "run": {"range_ids": 7, "max_invalid_vector_share": 0.1},
    "tables": {name: {"k": K} for name in TABLES},
}
BUDGETS = {1: 1.0, 2: 20_000 / 2**30, 7: 5_300 / 2**30}
"""GiB of a worker, by the shards of item candidates that come of it."""


@dataclass(frozen=True)
class Inputs:
    config: str
    bundle: Path

    def run(self, output: Path, *sets: str) -> Outcome:
        return run(self.config, output, model=self.bundle, sets=sets)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Ties over the cuts of shards, vectors that cosine cannot use, users who have seen nearly everything."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(1)
    pairs = [(str(rng.choice(USERS)), str(rng.choice(ITEMS))) for _ in range(400)]
    pairs += [(USERS[0], item) for item in ITEMS[4:]] + [(USERS[33], item) for item in ITEMS]
    users, items = random_vectors(USERS, 6, 1), random_vectors(ITEMS, 6, 2)
    for place in range(3, len(ITEMS), 9):
        items[ITEMS[place]] = items[ITEMS[0]]
    items[ITEMS[20]] = np.zeros(6, np.float32)
    users[USERS[20]] = np.zeros(6, np.float32)
    del items[ITEMS[40]], users[USERS[40]]
    world = pairs_world(pairs, users=USERS, items=ITEMS)
    return Inputs(world.config(world.write(folder), SETTINGS), given_bundle(folder / "bundle", users, items))


@pytest.fixture(scope="module")
def whole(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The night of a worker that holds everything."""
    return Published(_night(inputs, tmp_path_factory.mktemp("whole"), 1))


def _night(inputs: Inputs, output: Path, shards: int, *sets: str) -> Path:
    inputs.run(output, f"index.memory_gib={BUDGETS[shards]}", *sets)
    return output


def _shards(night: Published) -> dict[str, int]:
    return {name: len(night.manifest["tables"][name]["index"]["shards"]) for name in TABLES}


@pytest.mark.parametrize("shards", [2, 7])
def test_exact_search_gives_the_same_tables_for_any_number_of_shards(
    inputs: Inputs, whole: Published, tmp_path: Path, shards: int
) -> None:
    night = Published(_night(inputs, tmp_path, shards))
    assert _shards(whole) == dict.fromkeys(TABLES, 1)
    assert _shards(night)["user2item"] == _shards(night)["item2item"] == shards
    assert _shards(night)["item2user"] > 1
    for table in (*TABLES, "user_embeddings", "item_embeddings"):
        assert night.table(table).equals(whole.table(table)), table
        ours, theirs = night.manifest["tables"][table], whole.manifest["tables"][table]
        kept = ("rows", "queries", "not_served", "candidates_left_out")
        assert {key: ours.get(key) for key in kept} == {key: theirs.get(key) for key in kept}
    assert check_output(str(tmp_path)) == ([DS], [])


def test_shards_are_searched_one_after_the_other(inputs: Inputs, tmp_path: Path) -> None:
    counters = inputs.run(tmp_path, f"index.memory_gib={BUDGETS[7]}").counters
    assert counters["index_loads_user2item"] == counters["index_loads_item2item"] == 7


def test_what_is_there_is_not_searched_again(inputs: Inputs, tmp_path: Path) -> None:
    _night(inputs, tmp_path, 7)
    pointer = read_pointer(str(tmp_path), DS)
    assert pointer is not None
    before = contents(tmp_path)
    folder = tmp_path / "_runs" / DS / pointer.run
    shutil.rmtree(folder / "4_shards" / "user2item" / "shard-00003")
    (folder / "4_tables" / "user2item" / "part-00001.parquet").unlink()
    for name in (f"_published/{DS}.json", f"_runs/{DS}/{pointer.run}/manifest.json"):
        (tmp_path / name).unlink()
    counters = inputs.run(tmp_path, f"index.memory_gib={BUDGETS[7]}").counters
    assert counters["search_parts_made"] == 9  # every range of users, in one shard
    work = Published(tmp_path).manifest["work"]
    assert (work["user2item"], work["user2item_shards"]) == ({"made": 1, "found": 8}, {"made": 9, "found": 54})
    assert contents(tmp_path) == before


def test_a_bad_part_of_a_shard_is_not_merged(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search.__call__
    bad: list[Path] = []

    def search_and_corrupt(self: Search, *arguments: Any) -> Any:
        result = search(self, *arguments)
        if self.job.name == "item2item" and (result.number, result.index.shard.number) == (2, 4):
            bad.append(Path(result.part.uri))
            flip_a_byte(bad[0])
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Search, "__call__", search_and_corrupt)
        with pytest.raises(RecbatchError, match="not published.*cannot be read back") as failure:
            _night(inputs, tmp_path, 7)
    assert f"{bad[0]}: " in str(failure.value)
    bad[0].unlink()
    assert _shards(Published(_night(inputs, tmp_path, 7)))["item2item"] == 7


def test_a_lost_shard_is_not_published(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merge = merging.Merge.__call__

    def lossy(self: merging.Merge, night: Any, element: Any) -> Any:
        number, audits = element
        return merge(self, night, (number, [audit for audit in audits if audit.shard.number != 1]))

    monkeypatch.setattr(merging.Merge, "__call__", lossy)
    with pytest.raises(RecbatchError, match="not published.*1 of 2 shards were searched"):
        _night(inputs, tmp_path, 2)


def test_a_merged_part_that_goes_bad_is_not_published(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = merging.make_part

    def make_and_corrupt(uri: str, *arguments: Any) -> Any:
        part = make(uri, *arguments)
        if uri.endswith("user2user/part-00003.parquet"):
            flip_a_byte(Path(uri))
        return part

    monkeypatch.setattr(merging, "make_part", make_and_corrupt)
    with pytest.raises(RecbatchError, match=r"not published.*user2user/part-00003.parquet: cannot be read back"):
        _night(inputs, tmp_path, 2)


def test_a_merged_part_that_is_not_the_best_is_not_published(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = merging.merge_rows

    def first_shard_twice(layout: Any, queries: Any, parts: list[str], k: int) -> Any:
        return rows(layout, queries, parts[:1], k)

    monkeypatch.setattr(merging, "merge_rows", first_shard_twice)
    with pytest.raises(RecbatchError, match="not published") as failure:
        _night(inputs, tmp_path, 2)
    assert "are not the best of what they found in the shards" in str(failure.value) or "min(k" in str(failure.value)


@pytest.mark.heavy
def test_worker_processes_make_the_same_tables(inputs: Inputs, whole: Published, tmp_path: Path) -> None:
    beam = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    sets = [f"index.memory_gib={BUDGETS[2]}"]
    recommend(inputs.config, sets, str(tmp_path), DS, model=str(inputs.bundle), force=False, beam_arguments=beam)
    for table in TABLES:
        assert Published(tmp_path).table(table).equals(whole.table(table)), table


INDEXED = (
    "index.kind=scann",
    "run.range_ids=300",
    "tables.user2user.enabled=false",
    "tables.item2user.enabled=false",
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Large enough for three shards with an index each."""
    folder = tmp_path_factory.mktemp("catalog")
    users, items = [f"u{number}" for number in range(900)], [f"i{number}" for number in range(4_500)]
    rng = np.random.default_rng(3)
    world = pairs_world(
        [(str(rng.choice(users)), str(rng.choice(items))) for _ in range(2_000)], users=users, items=items
    )
    bundle = given_bundle(
        folder / "bundle", random_vectors(users, 12, 8, clusters=40), random_vectors(items, 12, 8, clusters=40)
    )
    return Inputs(world.config(world.write(folder), {"tables": {name: {"k": 20} for name in TABLES}}), bundle)


def test_indexes_of_shards_keep_the_recall(catalog: Inputs, tmp_path: Path) -> None:
    catalog.run(tmp_path / "exact", *INDEXED[1:], "index.kind=exact")
    catalog.run(tmp_path / "out", *INDEXED, f"index.memory_gib={640_000 / 2**30}")
    exact, night = Published(tmp_path / "exact"), Published(tmp_path / "out")
    for table in ("user2item", "item2item"):
        index = night.manifest["tables"][table]["index"]
        assert (index["kind"], len(index["shards"])) == ("scann", 3)
        assert not index["searched_again_exactly"]
        assert index["audit"]["lower"] >= 0.95
        found, true = (
            set(zip(*(t.table(table).column(c).to_pylist() for c in (0, 2)), strict=True)) for t in (night, exact)
        )
        assert len(found) == len(true)
        assert abs(len(found & true) / len(true) - index["index_recall_at_k"]) < 0.02
    assert check_output(str(tmp_path / "out")) == ([DS], [])


def test_a_table_whose_indexes_find_too_little_is_searched_again_exactly(
    catalog: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "audited_recall", lambda job, audits: mean_recall(np.zeros(9), job.settings.k))
    catalog.run(tmp_path / "exact", *INDEXED[1:], "index.kind=exact", "tables.item2item.enabled=false")
    sets = (*INDEXED, f"index.memory_gib={640_000 / 2**30}", "tables.item2item.enabled=false")
    counters = catalog.run(tmp_path / "out", *sets).counters
    assert counters["index_loads_user2item"] <= 6  # each of three shards twice at most, never for every range
    night = Published(tmp_path / "out")
    index = night.manifest["tables"]["user2item"]["index"]
    assert (index["searched_again_exactly"], index["index_recall_at_k"], len(index["shards"])) == (True, 1.0, 3)
    assert night.table("user2item").equals(Published(tmp_path / "exact").table("user2item"))
    assert check_output(str(tmp_path / "out")) == ([DS], [])
    paths = [file["path"] for file in night.manifest["tables"]["user2item"]["files"]]
    assert all("user2item-exact" in path and pq.read_metadata(tmp_path / "out" / path).num_rows for path in paths)
