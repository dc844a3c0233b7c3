"""What the quality measurement computes by itself: the Markov window, lists, the order of MovieLens 1M."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.quality.bounds import heldout_popularity
from benchmarks.quality.cells import Cell
from benchmarks.quality.datasets import READING
from benchmarks.quality.exchange import Exchange, read_exchange, top_lists
from benchmarks.quality.genres import genre_popularity
from benchmarks.quality.markov import markov
from benchmarks.quality.measuring import measure_peer, packed_sums, run_peer, unpacked_sums
from benchmarks.quality.peers import PEERS
from benchmarks.quality.searching import search
from benchmarks.quality.sources import movielens_1m, ordered_times
from benchmarks.quality.tasks import validation_tasks
from recbatch.errors import InputError, RecbatchError
from recbatch.evaluation import evaluate_lists, make_task, popularity, write_task
from recbatch.metrics import compare
from recbatch.model import TrainingData

WINDOW = {"window": 1, "fading": 0.0, "damping": 0.0, "length": 1, "decay": 1.0}


def exchange(
    events: list[tuple[int, int]],
    histories: list[list[int]],
    *,
    num_items: int = 5,
    num_candidates: int | None = None,
    seen: list[list[int]] | None = None,
) -> Exchange:
    users, items = np.array(events, np.int32).T
    seen = [[] for _ in histories] if seen is None else seen

    def flat(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in lists])]).astype(np.int64)
        return np.array([value for part in lists for value in part], np.int32), offsets

    return Exchange(
        int(users.max()) + 1,
        num_items,
        num_items if num_candidates is None else num_candidates,
        users,
        items,
        np.arange(len(users)),
        np.arange(len(histories), dtype=np.int32),
        *flat(histories),
        *flat(seen),
        np.full(len(histories), -1),
    )


def test_markov_window_answers_with_what_followed() -> None:
    # 0 is followed by 3 twice and by 1 once; 4 is the most popular item and follows nothing.
    task = exchange([(0, 0), (0, 3), (1, 0), (1, 3), (2, 0), (2, 1), (3, 4), (4, 4), (5, 4), (6, 4)], [[2, 0], [0, 3]])
    lists = markov(task, WINDOW, 0)
    assert lists[0, :4].tolist() == [3, 1, 4, 0]  # then by popularity
    assert lists[0, 4] == 2  # without a training event
    assert lists[1, 0] == 4  # nothing followed 3, so popularity decides
    wide = markov(task, {**WINDOW, "length": 2}, 0)
    assert wide[1, 0] == 3  # the item before it speaks as well


def test_markov_window_counts_what_comes_later_and_damps_the_popular() -> None:
    events = [(0, 0), (0, 2), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 1), (4, 1), (5, 1)]
    task = exchange(events, [[0]])
    assert markov(task, WINDOW, 0)[0, 0] == 1  # twice, and 2 once
    assert markov(task, {**WINDOW, "damping": 1.0}, 0)[0, 0] == 2  # 1 / 1 against 2 / 6
    assert markov(task, {**WINDOW, "window": 2, "damping": 0.0}, 0)[0, :2].tolist() == [1, 2]


def test_lists_leave_out_the_seen_and_serve_those_without_history_with_the_popular() -> None:
    events = [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]
    task = exchange(events, [[0], [], [2]], seen=[[1], [], [2, 1, 0]])
    scores = np.array([[5, 9, 1, 7, 0]] * 3, np.float32)
    lists = top_lists(task, lambda rows: scores[rows])
    assert lists.shape == (3, 100)
    assert lists[0, :5].tolist() == [0, 2, 3, 4, -1]  # 1 is seen; 3 and 4 have no training event
    assert lists[1, :5].tolist() == [2, 1, 0, 3, 4]
    assert lists[2, :3].tolist() == [3, 4, -1]
    few = exchange(events, [[0]], num_candidates=2)
    assert top_lists(few, lambda rows: scores[rows])[0, :3].tolist() == [1, 0, -1]


def test_histories_are_sets_or_fade_with_age() -> None:
    task = exchange([(0, 0)], [[1, 2, 1], [], [4]])
    assert task.histories(slice(0, 3)).tolist() == [[0, 1, 1, 0, 0], [0] * 5, [0, 0, 0, 0, 1]]
    assert task.histories(slice(0, 1), 0.5).tolist() == [[0, 1, 0.5, 0, 0]]
    assert task.histories(slice(2, 3)).tolist() == [[0, 0, 0, 0, 1]]
    assert task.with_history.tolist() == [True, False, True]


@pytest.fixture(scope="module")
def chains() -> TrainingData:
    """300 users walk round a ring of 30 items, each from somewhere: what comes next is certain."""
    users, steps = np.repeat(np.arange(300), 12), np.tile(np.arange(12), 300)
    items = (users * 7 + steps) % 30
    return TrainingData(
        pa.table(
            {
                "user_id": [f"u{user:03}" for user in users],
                "item_id": [f"i{item:02}" for item in items],
                "positive": np.ones(len(users), bool),
                "timestamp": (users + 1000 * steps) * 1_000_000,
            }
        )
    )


def test_validation_in_s_asks_for_labels_that_the_split_has_left_to_training(chains: TrainingData) -> None:
    outer = make_task("S", chains, 500)
    (task,) = validation_tasks("S", chains, 500, [1000])
    assert len(task.target_item) > 0
    assert task.train.interactions.num_rows == outer.train.interactions.num_rows, "the timelines stay whole"
    left, further = (pc.sum(made.train.interactions["target"]).as_py() for made in (outer, task))
    assert left - further == len(task.target_item)


def test_a_peer_in_its_own_process_finds_the_planted_next_item(chains: TrainingData, tmp_path: Path) -> None:
    task = make_task("C", chains, 0)
    made = run_peer(PEERS["markov"], task, tmp_path, [dict(WINDOW), {**WINDOW, "window": 2}], 0)
    assert all(part is not None for part in made)
    assert made[0] is not None
    found = evaluate_lists(task, made[0]["lists"])
    assert found.value("hit@10") == 1.0
    assert made[0]["lists"][:, 0].tolist() == task.target_item.tolist()
    popular = evaluate_lists(task, popularity(task))
    assert popular.value("ndcg@10") < 0.6

    packed = json.loads(json.dumps(packed_sums(found.splits[0])))
    other = unpacked_sums(packed_sums(popular.splits[0]))
    difference = compare([unpacked_sums(packed)], [other], "ndcg@10")
    assert difference.value == pytest.approx(1.0 - popular.value("ndcg@10"), abs=1e-4)
    assert difference.p < 0.01


def test_a_point_that_fails_is_kept_as_failed_and_the_others_are_tried(
    chains: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = {**WINDOW, "damping": "much"}
    monkeypatch.setitem(PEERS, "markov", replace(PEERS["markov"], starts=(broken, WINDOW)))
    cell = Cell("search", "markov", "movielens-100k", "C", 0, READING, trials=2, validations=1)
    found = search(cell, validation_tasks("C", chains, 0, [1]), tmp_path / "search", 60)
    assert found["best"] == WINDOW
    assert found["log"][0]["parameters"] == broken
    assert found["log"][0]["failed"].startswith("ValueError: ")
    assert "score" not in found["log"][0]
    assert "failed: ValueError: could not convert" in capfd.readouterr().err
    assert not (tmp_path / "search" / "0" / "lists-0.npy.json").exists()

    task = make_task("C", chains, 0)
    with pytest.raises(RecbatchError, match=r"Markov window with .*'much'.*: ValueError: "):
        measure_peer(replace(cell, kind="peer", parameters=broken), task, tmp_path / "cell")
    with pytest.raises(RecbatchError, match=r"no trial was done .*; the first that failed: ValueError: "):
        search(replace(cell, trials=1), validation_tasks("C", chains, 0, [1]), tmp_path / "none", 60)


def test_no_other_order_for_all_hits_more_held_out_events(chains: TrainingData) -> None:
    task = make_task("A", chains, 0)
    order = [int(place) for place in heldout_popularity(task)[0] if place >= 0]
    held = np.bincount(task.target_item[task.target_item >= 0], minlength=task.num_candidates)
    counts = held[order]
    assert held.max() > held[order[-1]], "nothing is told apart here"
    assert (np.diff(counts) <= 0).all()


def test_new_items_are_ranked_by_the_popularity_of_their_genres(chains: TrainingData) -> None:
    table = chains.interactions
    often = pa.array([item < "i15" for item in table["item_id"].to_pylist()])
    events = pa.concat_tables([table, *[table.filter(often)] * 2])
    names = [f"i{item:02}" for item in range(30)]
    genres = pa.array([["often"] if name < "i15" else ["seldom"] for name in names])
    items = pa.table({"id": names, "feature:genres": genres})
    task = make_task("N", TrainingData(events, None, items), 0)
    listed = [task.items[place].as_py() for place in genre_popularity(task)[0] if place >= 0]
    assert len(listed) == task.num_candidates
    assert {name < "i15" for name in listed} == {True, False}
    assert listed == sorted(listed, key=lambda name: name >= "i15")
    with pytest.raises(RecbatchError, match="genre popularity needs the item column genres"):
        genre_popularity(make_task("N", chains, 0))


def test_exchange_reads_what_an_evaluation_writes(chains: TrainingData, tmp_path: Path) -> None:
    task = make_task("N", chains, 0)
    write_task(task, tmp_path)
    read = read_exchange(tmp_path)
    assert len(read) == task.num_queries
    assert read.num_candidates == task.num_candidates < read.num_items
    assert len(read.users) == task.train.interactions.num_rows
    assert read.counts[: read.num_candidates].sum() == 0  # new items: training has not seen them


def test_validation_looks_at_training_events_only(chains: TrainingData) -> None:
    outer, (inner, other) = make_task("B", chains, 3), validation_tasks("B", chains, 3, [10, 11])

    def pairs(table: pa.Table) -> set[tuple[str, str]]:
        return set(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))

    users, items = inner.queries["id"].to_pylist(), inner.items.to_pylist()
    asked = {(users[query], items[item]) for query, item in zip(inner.target_query, inner.target_item, strict=True)}
    assert asked <= pairs(outer.train.interactions)
    assert not asked & pairs(inner.train.interactions)
    assert pairs(other.train.interactions) != pairs(inner.train.interactions)


def test_a_search_takes_the_point_that_is_best_on_validation(chains: TrainingData, tmp_path: Path) -> None:
    cell = Cell("search", "markov", "movielens-100k", "C", 0, READING, trials=5, validations=1)
    found = search(cell, validation_tasks("C", chains, 0, [1]), tmp_path, 60)
    assert [row["trial"] for row in found["log"]] == [0, 1, 2, 3, 4]
    assert found["score"] == max(row["score"] for row in found["log"])
    assert found["best"] in [row["parameters"] for row in found["log"] if row["score"] == found["score"]]
    with pytest.raises(RecbatchError, match="Markov window: no trial was done in 0 seconds"):
        search(cell, validation_tasks("C", chains, 0, [1]), tmp_path / "late", 0.01)


# --- MovieLens 1M -------------------------------------------------------------------------------------------------


def test_times_keep_the_order_of_the_rows_within_a_second() -> None:
    users = np.array([0, 1, 0, 0, 1, 0])
    seconds = np.array([10, 5, 10, 9, 5, 10])
    times = ordered_times(users, seconds)
    assert (times // 1_000_000).tolist() == seconds.tolist()
    assert times[3] < times[0] < times[2] < times[5]
    assert times[1] < times[4]


def write_dat(folder: Path) -> None:
    folder.mkdir()
    (folder / "ratings.dat").write_bytes(b"1::20::5::978300760\n1::30::3::978300700\n2::20::4::978300001\n")
    (folder / "movies.dat").write_bytes(
        "20::Señorita: a tale (1999)::Action|Drama\n30::Other, The (1950)::Comedy\n".encode("latin-1")
    )
    (folder / "users.dat").write_bytes(b"1::F::1::10::48067\n2::M::56::16::01002-1234\n")


def test_movielens_1m_from_the_published_files_and_from_parquet_has_the_same_columns(tmp_path: Path) -> None:
    write_dat(tmp_path / "dat")
    source = movielens_1m(tmp_path / "dat", tmp_path / "cache")
    events = pq.read_table(source.folder / "interactions.parquet")
    items = pq.read_table(source.folder / "items.parquet")
    assert events["title"].to_pylist() == ["Señorita: a tale (1999)", "Other, The (1950)", "Señorita: a tale (1999)"]
    assert events["timestamp"].to_pylist() == [978300760_000000, 978300700_000000, 978300001_000000]
    assert items["year"].to_pylist() == [1999, 1950]
    assert items["genres"].to_pylist() == ["Action|Drama", "Comedy"]
    assert pq.read_table(source.folder / "users.parquet")["zip_code"].to_pylist() == ["48067", "01002-1234"]
    pointing = source.pointing(READING)
    assert f"inputs.items.path={source.folder / 'items.parquet'}" in pointing
    assert "inputs.interactions.timestamp_unit=us" in pointing
    bare = tmp_path / "bare.yaml"
    bare.write_text("inputs: {interactions: {path: a.parquet, columns: {user_id: u, item_id: i, timestamp: t}}}")
    assert [word.split("=")[0] for word in source.pointing(str(bare))] == [
        "inputs.interactions.path",
        "inputs.interactions.timestamp_unit",
    ]

    parquet = tmp_path / "parquet"
    parquet.mkdir()
    for name in ("interactions", "users", "items"):
        pq.write_table(pq.read_table(source.folder / f"{name}.parquet"), parquet / f"{name}.parquet")
    seconds = events.set_column(4, "timestamp", pa.array([978300760, 978300700, 978300001]))
    pq.write_table(seconds, parquet / "interactions.parquet")
    again = movielens_1m(parquet, tmp_path / "cache2")
    assert pq.read_table(again.folder / "interactions.parquet").equals(events)
    assert again.checksum == source.checksum


def test_a_folder_without_movielens_1m_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds neither interactions\.parquet nor ratings\.dat; ML1M names"):
        movielens_1m(tmp_path)
    pq.write_table(pa.table({"user_id": ["1"]}), tmp_path / "interactions.parquet")
    pq.write_table(pa.table({"user_id": ["1"]}), tmp_path / "users.parquet")
    pq.write_table(pa.table({"item_id": ["1"], "title": ["a"], "genres": ["b"]}), tmp_path / "items.parquet")
    with pytest.raises(
        InputError, match=r"interactions\.parquet has no column item_id, rating, timestamp; it has user_id"
    ):
        movielens_1m(tmp_path, tmp_path / "cache")
