"""Nights over tiny, empty and degenerate catalogs, and over ids and vectors that nobody would wish for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import night_oracle as oracle
import numpy as np
import pytest
from night_bundles import given_bundle
from night_oracle import SIDES
from night_planted import ODD_IDS
from world import DS, Published, Vectors, World, pairs_world, random_vectors, run

from recbatch.cli.main import main
from recbatch.errors import RecbatchError
from recbatch.tables.verify import check_output

EMBEDDINGS = ("user_embeddings", "item_embeddings")
RULES = oracle.Rules()


@pytest.fixture
def without_scann(monkeypatch: pytest.MonkeyPatch) -> None:
    """ScaNN is not to be asked anything: it aborts the process where it does not raise."""

    def refuse() -> None:
        raise AssertionError("ScaNN was used")

    for module in ("build", "searcher"):
        monkeypatch.setattr(f"recbatch.index.{module}.scann_module", refuse)


def night(
    folder: Path, world: World, users: Vectors, items: Vectors, settings: dict[str, Any] | None = None
) -> Published:
    """Publish the night of a world by a bundle of given vectors; see that it verifies and can be shown."""
    bundle = given_bundle(folder / "bundle", users, items)
    config = world.config(world.write(folder), {"index": {"kind": "scann"}} | (settings or {}))
    assert run(config, folder / "out", model=bundle).published
    assert check_output(str(folder / "out")) == ([DS], [])
    assert main(["show", str(folder / "out"), "--ds", DS]) == 0
    return Published(folder / "out")


def assert_tables(published: Published, world: World, settings: dict[str, dict[str, Any]] | None = None) -> None:
    for table in SIDES:
        oracle.check_table(published, table, world, RULES, (settings or {}).get(table, {}))


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.usefixtures("without_scann")
@pytest.mark.parametrize(
    ("users", "items", "events"),
    [
        (["u1", "u2"], [], True),  # events name items that the empty table does not have
        ([], ["i1", "i2"], True),
        ([], [], False),
    ],
    ids=["no items", "no users", "nothing at all"],
)
def test_an_empty_side(tmp_path: Path, users: list[str], items: list[str], events: bool) -> None:
    pairs = [("u1", "i1"), ("u2", "i1")] if events else []
    world = pairs_world(pairs, users=users, items=items)
    published = night(tmp_path, world, random_vectors(["u1", "u2"]), random_vectors(["i1", "i2"]))
    assert_tables(published, world)
    assert published.manifest["counts"]["interactions"]["rows"] == len(pairs)
    sizes = {"user": len(users), "item": len(items)}
    for table in (*SIDES, *EMBEDDINGS):
        files = published.manifest["tables"][table]["files"]
        assert published.projected(table) == ["_SUCCESS", "part-00000.parquet"]
        assert len(files) == 1
        if table in SIDES and 0 in (sizes[SIDES[table][0]], sizes[SIDES[table][1]]):
            assert files[0]["rows"] == published.table(table).num_rows == 0
    assert published.table("user_embeddings").num_rows == sizes["user"]
    assert published.table("item_embeddings").num_rows == sizes["item"]


@pytest.mark.usefixtures("without_scann")
@pytest.mark.parametrize("count", [1, 15, 16, 99])
def test_a_small_catalog(tmp_path: Path, count: int) -> None:
    """With a k far larger than the catalog, one of its size, and the ones of everyday."""
    users, items = numbered("u", 7), numbered("i", count)
    pairs = [(user, items[number % count]) for number, user in enumerate(users)]
    world = pairs_world(pairs, items=items)
    settings = {"tables": {"user2item": {"k": 1_000_000}, "item2item": {"k": count}}}
    published = night(tmp_path, world, random_vectors(users), random_vectors(items), settings)
    assert published.table("user2item").num_rows == 7 * (count - 1)
    assert published.table("item2item").num_rows == count * (count - 1)
    assert_tables(published, world, settings["tables"])


@pytest.mark.usefixtures("without_scann")
def test_users_who_have_seen_everything_and_odd_ids(tmp_path: Path) -> None:
    """Twins and parallel vectors, too: ties break by the bytes of the id."""
    users, items = ODD_IDS, [*reversed(ODD_IDS), "one", "two"]
    pairs = [(user, item) for user in users[:3] for item in items] + [(user, "one") for user in users]
    world = pairs_world(pairs, users=users, items=items)
    twins = random_vectors(items, seed=2)
    for number, name in enumerate(items):
        twins[name] = twins[items[number % 3]]
    published = night(tmp_path, world, random_vectors(users, seed=1), twins, {"run": {"range_ids": 5}})
    assert_tables(published, world)
    assert published.manifest["tables"]["user2item"]["not_served"]["nothing_eligible"] == 3
    assert published.manifest["tables"]["item2user"]["not_served"]["nothing_eligible"] == 1
    # The odd ids are in the tables as they are in the inputs, to the last byte.
    assert list(published.vectors("user_embeddings")) == sorted(users, key=str.encode)
    assert list(published.vectors("item_embeddings")) == sorted(items, key=str.encode)


@pytest.mark.usefixtures("without_scann")
def test_all_vectors_are_equal(tmp_path: Path) -> None:
    users, items = numbered("u", 12), numbered("i", 40)
    same = np.array([0.3, -0.1, 0.7], np.float32)
    world = pairs_world([(user, items[0]) for user in users], users=users, items=items)
    published = night(tmp_path, world, dict.fromkeys(users, same), dict.fromkeys(items, same))
    assert_tables(published, world)
    by_bytes = sorted(items, key=str.encode)
    first = [candidate for query, _, candidate, _ in published.rows("item2item") if query == by_bytes[0]]
    assert first == by_bytes[1:]


@pytest.mark.heavy
def test_vectors_that_an_index_must_not_get(tmp_path: Path) -> None:
    """Enough candidates for ScaNN, most of them equal, among them every kind of vector that would break it."""
    users, items = numbered("u", 20), numbered("i", 1_500)
    item_vectors = random_vectors(items, seed=3)
    for name in items[500:]:
        item_vectors[name] = item_vectors[items[0]]
    bad = {"i7": np.nan, "i8": np.inf, "i9": -np.inf, "i10": 0.0, "i11": 3e38}
    item_vectors |= {name: np.full(6, value, np.float32) for name, value in bad.items()}
    world = pairs_world([(user, items[0]) for user in users], items=items)
    tables = {name: {"k": 8, "min_recall": 0.5} for name in SIDES}
    published = night(tmp_path, world, random_vectors(users), item_vectors, {"tables": tables})
    not_served = {name: published.manifest["tables"][name]["not_served"] for name in SIDES}
    assert not_served["item2item"]["not_finite"] == not_served["item2user"]["not_finite"] == 3
    assert not_served["item2item"]["zero_vector"] == not_served["item2user"]["too_long_vector"] == 1
    for table in ("user2item", "item2item"):
        found = {candidate for _, _, candidate, _ in published.rows(table)}
        assert found & set(bad) <= ({"i11"} if table == "item2item" else {"i10"})
        counts = np.unique([query for query, *_ in published.rows(table)], return_counts=True)[1]
        assert set(counts) == {8}
        assert np.isfinite(published.scores(table)).all()


def test_invalid_vectors_fail_the_night_only_above_the_limit(tmp_path: Path) -> None:
    """Nor does it matter that some users have never done anything."""
    users, items = numbered("u", 20), numbered("i", 30)
    world = pairs_world([(user, item) for user in users[5:] for item in items[:3]], users=users, items=items)
    item_vectors = random_vectors(items)
    for name, value in zip(items[4:7], [np.nan, np.inf, 0.0], strict=True):
        item_vectors[name] = np.full(6, value, np.float32)
    bundle = given_bundle(tmp_path / "bundle", random_vectors(users), item_vectors)
    config = world.config(world.write(tmp_path))
    with pytest.raises(RecbatchError, match="item_embeddings: 3 of 30 ids .* run.max_invalid_vector_share") as failure:
        run(config, tmp_path / "out", model=bundle, sets=["run.max_invalid_vector_share=0.0999"])
    assert failure.value.exit_code == 1
    assert not (tmp_path / "out" / "_published").exists()
    assert not (tmp_path / "out" / "user2item").exists()

    run(config, tmp_path / "out", model=bundle, sets=["run.max_invalid_vector_share=0.1"])
    assert_tables(Published(tmp_path / "out"), world)


def test_candidates_without_a_direction_count_for_the_limit(tmp_path: Path) -> None:
    """A zero vector is no candidate under cosine, though it is no query of that table."""
    table, candidates = "user2item", "item"
    ids = {"user": numbered("u", 20), "item": numbered("i", 20)}
    vectors = {entity: random_vectors(names) for entity, names in ids.items()}
    vectors[candidates][ids[candidates][3]] = np.zeros(6, np.float32)
    world = pairs_world(zip(ids["user"], ids["item"], strict=True))
    only: dict[str, Any] = {name: {"enabled": name == table} for name in SIDES}
    only[table]["similarity"] = "cosine"
    bundle = given_bundle(tmp_path / "bundle", vectors["user"], vectors["item"])
    config = world.config(world.write(tmp_path), {"tables": only})
    with pytest.raises(RecbatchError, match=f"{candidates}_embeddings: 1 of 20 ids"):
        run(config, tmp_path / "out", model=bundle)
    run(config, tmp_path / "out", model=bundle, sets=["run.max_invalid_vector_share=0.05"])
    published = Published(tmp_path / "out")
    oracle.check_table(published, table, world, RULES, only[table])
    left_out = published.manifest["tables"][table]["candidates_left_out"]
    assert left_out == {"cold": 0, "not_finite": 0, "zero_vector": 1, "too_long_vector": 0}


def test_nobody_is_known_to_the_model(tmp_path: Path) -> None:
    """All cold: counted, published as empty tables, and no failure, for nothing is wrong with any vector."""
    world = pairs_world([("new user", "new item"), ("other user", "new item")])
    published = night(tmp_path, world, random_vectors(["u"]), random_vectors(["i"]))
    for table in (*SIDES, *EMBEDDINGS):
        entry = published.manifest["tables"][table]
        assert (entry["rows"], entry["queries"]) == (0, 0)
        assert entry["not_served"]["cold"] == (1 if table.startswith("item") else 2)


@pytest.mark.heavy
def test_a_model_trained_on_one_day_with_one_event_per_user(tmp_path: Path) -> None:
    """Nothing can be held out by user, no time differs from another, and ids are odd; still a whole night."""
    users, items = ODD_IDS, [f"{name}!" for name in ODD_IDS]
    world = pairs_world(zip(users, items, strict=True))
    for event in world.interactions:
        event["at"] = world.interactions[0]["at"]
    query = {"features": [{"kind": "id", "dim": 4}, {"kind": "timestamp", "dim": 4}, {"kind": "history", "dim": 4}]}
    training = {"epochs": 2, "heldout": {"split": "random"}}
    settings = {"model": {"dim": 4, "query": query, "training": training}}
    config = world.config(world.write(tmp_path), settings)
    assert main(["nightly", config, "--output", str(tmp_path / "out"), "--ds", DS]) == 0
    published = Published(tmp_path / "out")
    assert_tables(published, world)
    assert published.table("user2item").num_rows == len(users) * (len(items) - 1)
    assert check_output(str(tmp_path / "out")) == ([DS], [])


@pytest.mark.heavy
def test_a_model_trained_on_a_single_event(tmp_path: Path) -> None:
    world = pairs_world([("the user", "the item")])
    config = world.config(world.write(tmp_path), {"model": {"dim": 4}})
    assert main(["nightly", config, "--output", str(tmp_path / "out"), "--ds", DS]) == 0
    published = Published(tmp_path / "out")
    assert {table: published.table(table).num_rows for table in (*SIDES, *EMBEDDINGS)} == {
        **dict.fromkeys(SIDES, 0),
        **dict.fromkeys(EMBEDDINGS, 1),
    }


@pytest.mark.parametrize("reason", ["no events", "no positives"])
def test_training_on_nothing_is_a_clear_error(tmp_path: Path, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    world = pairs_world([] if reason == "no events" else [("u", "i")])
    settings: dict[str, Any] = {"positives": {"min_weight": 6}} if reason == "no positives" else {}
    config = world.config(world.write(tmp_path), settings)
    assert main(["nightly", config, "--output", str(tmp_path / "out"), "--ds", DS]) == 2
    shown = capsys.readouterr().err
    assert "nothing to train on" in shown
    assert ("hold no rows" if reason == "no events" else "positives") in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "out" / "_published").exists()


def test_a_small_catalog_is_fitted_to_the_end(tmp_path: Path) -> None:
    """Recall@100 of 60 items is 1 from the first step on; that must not be taken for the best that can be had."""
    rng = np.random.default_rng(2)
    pairs = {(f"u{user}", f"i{6 * int(item) + user % 6}") for user in range(90) for item in rng.integers(10, size=6)}
    world = pairs_world(sorted(pairs))
    training = {"epochs": 30, "batch_size": 64, "learning_rate": 0.02, "heldout": {"split": "random", "share": 0.15}}
    config = world.config(world.write(tmp_path), {"model": {"dim": 8, "training": training}})
    run(config, tmp_path / "out")
    model = Published(tmp_path / "out").manifest["model"]
    assert model["steps"] >= 4 * (len(pairs) // 64)
    assert model["metrics"]["heldout_recall_at_10"] > 0.6
