"""Whole nights against a plain Python oracle: from the raw rows and the published vectors every row of every table."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import night_oracle as oracle
import numpy as np
import pyarrow.parquet as pq
import pytest
from night_bundles import given_bundle, trained_bundle
from night_oracle import SIDES
from night_planted import (
    BIAS,
    COLD,
    INFINITE,
    ITEMS,
    MIDNIGHT_MS,
    NAN,
    ONLY_BIAS,
    ONLY_LATER,
    TOO_LONG,
    UNLISTED_ITEMS,
    UNLISTED_USERS,
    USERS,
    ZERO,
    ZONE,
    event,
    planted_vectors,
    planted_world,
)
from world import DS, Published, Vectors, World, pairs_world, random_vectors, run

from recbatch.tables.verify import check_output

LOOSE = {"max_invalid_vector_share": 0.5}


@dataclass
class Case:
    """A world, the rules and settings of its night, and what was published."""

    world: World
    rules: oracle.Rules
    tables: dict[str, dict[str, Any]]
    published: Published
    users: Vectors
    items: Vectors
    bias: int | None
    run_folder: Path

    def vectors(self, entity: str) -> Vectors:
        return self.published.vectors(f"{entity}_embeddings")


WITH_TABLES: dict[str, Any] = {
    "time_zone": ZONE,
    "positives": {"min_weight": 3.5, "event_types": ["buy", "view"]},
    "seen": {"event_types": ["buy", "skip"]},
    "inputs": {"unknown_items": "keep", "max_quarantined_share": 0.2},
    "tables": {
        "user2item": {"k": 6},
        "item2item": {"k": 5},
        "user2user": {"k": 500, "exclude_self": False},
        "item2user": {"k": 9},
    },
}
WITHOUT_TABLES: dict[str, Any] = {
    "inputs": {"max_quarantined_share": 0.2},
    "tables": {
        "user2item": {"k": 9, "similarity": "cosine"},
        "item2item": {"k": 7, "similarity": "dot"},
        "user2user": {"k": 7, "similarity": "dot", "exclude_self": False},
        "item2user": {"k": 60, "similarity": "cosine", "exclude_seen": False},
    },
}
CASES: dict[str, dict[str, Any]] = {
    "one range": {"settings": WITH_TABLES | {"run": LOOSE}},
    "many ranges and slices": {
        "settings": WITH_TABLES | {"run": LOOSE | {"range_ids": 9, "range_interactions": 130, "slice_rows": 100}},
        "files": 3,
        "row_group_rows": 45,
    },
    "no tables, no times": {
        "settings": WITHOUT_TABLES | {"run": LOOSE | {"range_ids": 20, "slice_rows": 300}},
        "row_group_rows": 90,
    },
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("oracle")
    settings, written = (
        CASES[request.param]["settings"],
        {k: v for k, v in CASES[request.param].items() if k != "settings"},
    )
    world = planted_world()
    rules = oracle.Rules(
        MIDNIGHT_MS,
        positive_stars=3.5,
        positive_kinds=("buy", "view"),
        seen_kinds=("buy", "skip"),
        unknown_items="keep",
    )
    bias: int | None = BIAS
    if request.param.startswith("no"):
        world.users, world.items, world.timestamps = None, None, False
        rules, bias = oracle.Rules(), None
    users = planted_vectors(USERS, 1) | random_vectors(UNLISTED_USERS, seed=3)
    items = planted_vectors(ITEMS, 2) | random_vectors(UNLISTED_ITEMS[:1], seed=4)  # the other one is cold
    bundle = given_bundle(folder / "bundle", users, items, bias=bias)
    config = world.config(world.write(folder, **written), settings)
    outcome = run(config, folder / "out", model=bundle)
    assert outcome.published
    tables = {name: oracle.DEFAULTS[name] | settings["tables"][name] for name in SIDES}
    return Case(world, rules, tables, Published(folder / "out"), users, items, bias, Path(outcome.night.uri))


def expected_profiles(case: Case, entity: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    events = oracle.clean(case.world, case.rules).events
    return oracle.profiles(case.world, events, case.rules, entity)


@pytest.mark.parametrize("table", list(SIDES))
def test_every_row_of_a_table(case: Case, table: str) -> None:
    oracle.check_table(case.published, table, case.world, case.rules, case.tables[table], case.bias)


@pytest.mark.parametrize("table", list(SIDES))
def test_scores_are_what_the_similarity_says(case: Case, table: str) -> None:
    """To float32's precision, computed in another way than the ranking."""
    left, right = (case.vectors(entity) for entity in SIDES[table])
    rows, scores = case.published.rows(table), case.published.scores(table)
    for (query, _, candidate, _), score in zip(rows, scores, strict=True):
        true = oracle.true_score(left[query], right[candidate], case.tables[table]["similarity"], case.bias)
        assert abs(score - true) <= 1e-6 * max(1, abs(true))


@pytest.mark.parametrize("entity", ["user", "item"])
def test_published_vectors_are_the_towers_valid_ones(case: Case, entity: str) -> None:
    given = case.users if entity == "user" else case.items
    profiles, _ = expected_profiles(case, entity)
    ids = [profile["id"] for profile in profiles]
    valid = [name for name in ids if name in given and np.isfinite(given[name]).all()]
    found = case.vectors(entity)
    assert list(found) == valid  # sorted by the bytes of the id, each once
    for name in valid:
        assert found[name].tobytes() == given[name].tobytes()
    not_served = case.published.manifest["tables"][f"{entity}_embeddings"]["not_served"]
    cold = [name for name in ids if name not in given]
    assert not_served == {"cold": len(cold), "not_finite": len(ids) - len(valid) - len(cold)}
    planted = USERS if entity == "user" else ITEMS
    assert not {planted[COLD], planted[NAN], planted[INFINITE]} & set(found)
    assert {planted[ZERO], planted[ONLY_BIAS], planted[TOO_LONG]} <= set(found)


@pytest.mark.parametrize("entity", ["user", "item"])
def test_profiles(case: Case, entity: str) -> None:
    expected, counts = expected_profiles(case, entity)
    assert case.published.profiles(entity) == expected
    assert case.published.manifest["counts"][f"{entity}_profiles"] == counts


def test_the_future_is_not_known(case: Case) -> None:
    if not case.world.timestamps:
        return
    everybody = {profile["id"] for profile in case.published.profiles("user")}
    everything = {profile["id"] for profile in case.published.profiles("item")}
    assert ONLY_LATER not in everything
    assert "user of the future" not in everybody
    (third,) = (profile for profile in case.published.profiles("user") if profile["id"] == USERS[2])
    assert third["history_timestamps"][-1] == 1_000 * (MIDNIGHT_MS - 1)  # the last instant that counts
    assert event(USERS[2], ITEMS[3], 0)["at"] == MIDNIGHT_MS  # and the first that does not


def test_counts_of_the_rows(case: Case) -> None:
    expected = oracle.clean(case.world, case.rules).counts
    counts = case.published.manifest["counts"]
    assert expected.items() <= counts["interactions"].items()
    for name, table, key in (("users", case.world.users, "uid"), ("items", case.world.items, "code")):
        if table is None:
            assert name not in counts
        else:
            aside = sum(not oracle.is_id(row[key]) for row in table)
            assert (counts[name]["rows"], counts[name]["quarantined"]) == (len(table), aside)


def test_quarantine_names_file_row_and_column(case: Case) -> None:
    expected = oracle.clean(case.world, case.rules).aside
    parts = sorted((case.run_folder / "0_slices" / "quarantine").glob("interactions-*.parquet"))
    found = [row for part in parts for row in pq.read_table(part).to_pylist()]
    files = sorted({row["file"] for row in found})
    cut = {
        file: pq.read_table(file, columns=["who"]).num_rows for file in sorted(Path(files[0]).parent.glob("*.parquet"))
    }
    first_row = dict(zip(map(str, cut), np.cumsum([0, *cut.values()]).tolist(), strict=False))
    assert sorted((first_row[row["file"]] + row["row"], row["column"]) for row in found) == expected
    assert all(row["reason"] for row in found)
    reasons = Counter(f"quarantined/{row['column']} {row['reason']}" for row in found)
    assert reasons.items() <= case.published.manifest["counts"]["interactions"].items()


def test_manifest_says_what_it_must(case: Case) -> None:
    manifest = case.published.manifest
    assert manifest["bias_coordinate"] == case.bias
    assert manifest["ds"] == DS
    audit = json.loads((case.run_folder / "audit.json").read_bytes())
    assert audit["problems"] == []
    for name, entry in manifest["tables"].items():
        assert audit["tables"][name] == {
            "rows": entry["rows"],
            "queries": entry["queries"],
            "files": len(entry["files"]),
        }
        assert sum(file["rows"] for file in entry["files"]) == entry["rows"]


def test_it_verifies(case: Case) -> None:
    assert check_output(str(case.published.output)) == ([DS], [])


def test_parts_are_ranges_that_do_not_overlap(case: Case) -> None:
    for table, entry in case.published.manifest["tables"].items():
        last = b""
        for file in entry["files"]:
            ids = pq.read_table(case.published.output / file["path"]).column(0).to_pylist()
            if ids:
                assert last < min(map(str.encode, ids)), table
                last = max(map(str.encode, ids))


@pytest.mark.heavy
def test_a_trained_night(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A fitted model: its own vectors give every row, and what it recommends is what users of each cluster like."""
    world, folder, bundle = trained_bundle(tmp_path_factory.getbasetemp())
    settings = {"tables": {"user2item": {"k": 6}}, "run": {"range_ids": 25}}
    run(world.config(folder, settings, "night.yaml"), tmp_path / "out", model=bundle)
    published = Published(tmp_path / "out")
    oracle.check_table(published, "user2item", world, oracle.Rules(), {"k": 6})
    oracle.check_table(published, "item2item", world, oracle.Rules(), {})
    same = [int(user.split()[1]) % 4 == int(item.split()[1]) % 4 for user, _, item, _ in published.rows("user2item")]
    assert np.mean(same) > 0.7  # by chance .15


@pytest.mark.heavy
def test_a_night_through_an_index(tmp_path: Path) -> None:
    """Forced ScaNN: enough of the exact result, every score right, min(k, eligible) rows for everybody."""
    k, least = 10, 0.8
    users, items = [f"u{n}" for n in range(300)], [f"i{n}" for n in range(2_500)]
    rng = np.random.default_rng(3)
    pairs = [(str(rng.choice(users)), str(rng.choice(items))) for _ in range(3_000)]
    pairs += [("u0", item) for item in items[5:]]  # one who has seen all but five
    world = pairs_world(pairs, users=users, items=items)
    user_vectors, item_vectors = random_vectors(users, 12, 8, clusters=40), random_vectors(items, 12, 8, clusters=40)
    bundle = given_bundle(tmp_path / "bundle", user_vectors, item_vectors)
    tables = {name: {"k": k, "min_recall": least} for name in SIDES}
    settings = {"index": {"kind": "scann"}, "tables": tables, "run": {"range_ids": 900}}
    run(world.config(world.write(tmp_path), settings), tmp_path / "out", model=bundle)
    published = Published(tmp_path / "out")
    seen: dict[str, set[str]] = {name: {item for user, item in pairs if user == name} for name in users}

    indexes = {name: published.manifest["tables"][name]["index"] for name in SIDES}
    # Users are too few for an index, whatever is asked for.
    assert {name: index["kind"] for name, index in indexes.items()} == {
        "user2item": "scann",
        "item2item": "scann",
        "user2user": "exact",
        "item2user": "exact",
    }
    for table, queries in (("user2item", user_vectors), ("item2item", item_vectors)):
        cosine = table == "item2item"
        found: dict[str, list[tuple[str, float]]] = {name: [] for name in queries}
        for (query, _, candidate, _), score in zip(published.rows(table), published.scores(table), strict=True):
            found[query].append((candidate, float(score)))
        units = {name: v / np.linalg.norm(v) if cosine else v for name, v in item_vectors.items()}
        matrix = np.stack([units[name] for name in items]).astype(float)
        place = {name: number for number, name in enumerate(items)}
        recalls = []
        for query, vector in queries.items():
            scores = matrix @ (units[query] if cosine else vector).astype(float)
            barred = [place[name] for name in ({query} if cosine else seen[query])]
            for candidate, score in found[query]:
                assert abs(scores[place[candidate]] - score) < 1e-5
            scores[barred] = -np.inf
            eligible = int(np.isfinite(scores).sum())
            assert len(found[query]) == min(k, eligible)
            assert len({name for name, _ in found[query]} - {items[n] for n in barred}) == len(found[query])
            assert [score for _, score in found[query]] == sorted((s for _, s in found[query]), reverse=True)
            kth = np.sort(scores)[-len(found[query])]
            recalls.append(np.mean([score >= kth - 1e-6 for _, score in found[query]]))
        assert np.mean(recalls) >= least
        index = indexes[table]
        assert index["searched_again_exactly"] or index["audit"]["lower"] >= least
        assert abs(index["index_recall_at_k"] - np.mean(recalls)) < 0.1
