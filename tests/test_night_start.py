"""Nights that start from the indexes of the night before; and how a night builds its indexes."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from night_bundles import given_bundle
from world import Published, pairs_world, random_vectors, run

from recbatch.launch.backfill import backfill
from recbatch.launch.nightly import Outcome
from recbatch.launch.prepare import prepare_night
from recbatch.night import Plan
from recbatch.tables.pointer import require_pointer
from recbatch.tables.verify import check_output
from recbatch.work import indexing

FIRST, SECOND, BETWEEN, THIRD, FOURTH = (f"2024-03-{day:02d}" for day in (9, 11, 10, 12, 13))
SETTINGS: dict[str, Any] = {
    "index": {"kind": "scann"},
    "tables": {name: {"k": 20, "enabled": name in ("user2item", "item2item")} for name in ("user2item", "item2item")}
    | {name: {"enabled": False} for name in ("user2user", "item2user")},
}


@dataclass(frozen=True)
class Nights:
    """A catalog where an index is built, and an output with two nights, the second of which began with the first."""

    config: str
    bundle: Path
    output: Path

    def run(self, ds: str, *sets: str, force: bool = False) -> Outcome:
        return run(self.config, self.output, ds=ds, model=self.bundle, sets=sets, force=force)

    def plan(self, ds: str, *sets: str, backfill: bool = False) -> Plan:
        model = str(self.bundle)
        return prepare_night(self.config, sets, str(self.output), ds, model=model, force=False, backfill=backfill)

    def name(self, ds: str, *sets: str, backfill: bool = False) -> str:
        return self.plan(ds, *sets, backfill=backfill).night.run

    def published(self, ds: str) -> str:
        return require_pointer(str(self.output), ds).run

    def record(self, ds: str, table: str = "user2item") -> dict[str, Any]:
        (record,) = Published(self.output, ds).manifest["tables"][table]["index"]["shards"]
        return dict(record)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    folder = tmp_path_factory.mktemp("nights")
    users, items = [f"u{number}" for number in range(500)], [f"i{number}" for number in range(2_500)]
    rng = np.random.default_rng(3)
    world = pairs_world(
        [(str(rng.choice(users)), str(rng.choice(items))) for _ in range(1_000)], users=users, items=items
    )
    bundle = given_bundle(
        folder / "bundle", random_vectors(users, 12, 8, clusters=40), random_vectors(items, 12, 8, clusters=40)
    )
    nights = Nights(world.config(world.write(folder), SETTINGS), bundle, folder / "out")
    assert nights.run(FIRST).published
    assert nights.run(SECOND).published
    return nights


@pytest.fixture
def nights(made: Nights, tmp_path: Path) -> Nights:
    """A copy, to go on with."""
    shutil.copytree(made.output, tmp_path / "out", symlinks=True)
    return Nights(made.config, made.bundle, tmp_path / "out")


def test_a_night_starts_from_the_one_before(made: Nights) -> None:
    for table in ("user2item", "item2item"):
        first, second = made.record(FIRST, table), made.record(SECOND, table)
        assert (first["kind"], first["start"], first["tuning"]["by"]) == ("scann", None, "tuning")
        tuned = {"ds": FIRST, "run": made.published(FIRST), "candidates": 2_500}
        assert first["tuned"] == tuned | {"recall": first["tuning"]["recall"]["mean"]}
        assert second["start"] == {
            "ds": FIRST,
            "run": made.published(FIRST),
            "search": first["search"],
            "tuned": first["tuned"],
            "misfit": None,
        }
        # The same vectors, so the same sample: the setting is as good as it was.
        assert (second["tuning"]["by"], second["search"], second["tuned"]) == ("start", first["search"], first["tuned"])
        assert (len(first["tuning"]["curve"]) > 5, len(second["tuning"]["curve"])) == (True, 1)
        assert Published(made.output, FIRST).table(table).equals(Published(made.output, SECOND).table(table))
        index = Published(made.output, SECOND).manifest["tables"][table]["index"]
        assert index["audit"]["lower"] >= 0.95, "the audit is on other queries, and as strict as ever"
    assert check_output(str(made.output)) == ([FIRST, SECOND], [])


def test_what_a_night_starts_from_is_in_its_name(made: Nights) -> None:
    assert made.plan(FIRST).identity["last_indexes"] is None
    assert made.plan(SECOND).identity["last_indexes"]["ds"] == FIRST
    assert made.name(SECOND) == made.published(SECOND)
    assert made.name(SECOND, "index.start_from=none") != made.published(SECOND)
    assert made.name(SECOND, backfill=True) != made.published(SECOND)
    assert made.plan(SECOND, "index.start_from=none").identity["last_indexes"] is None
    assert made.plan(SECOND, "index.start_from=none").night.start is None
    # A table that is not made tonight is none to start from.
    assert made.plan(THIRD, "tables.item2item.enabled=false").identity["last_indexes"]["tables"].keys() == {"user2item"}


def test_a_second_run_does_nothing_even_after_later_nights(nights: Nights) -> None:
    assert not nights.run(SECOND).published
    assert nights.run(THIRD).published
    third = nights.record(THIRD)
    assert (third["start"]["ds"], third["start"]["run"]) == (SECOND, nights.published(SECOND))
    assert third["tuned"]["ds"] == FIRST, "when it was tuned is told on"
    for ds in (FIRST, SECOND, THIRD):
        assert not nights.run(ds).published
        assert nights.name(ds) == nights.published(ds)


def test_another_earlier_night_makes_another_run(nights: Nights) -> None:
    before = nights.published(SECOND)
    assert nights.run(BETWEEN).published
    assert nights.plan(SECOND).night.start is not None
    assert nights.plan(SECOND).identity["last_indexes"]["ds"] == BETWEEN
    assert nights.name(SECOND) != before


def test_the_same_night_made_again_is_the_same_start(nights: Nights) -> None:
    assert nights.run(FIRST, force=True).published
    assert nights.published(FIRST).endswith("-2")
    assert nights.name(SECOND) == nights.published(SECOND)
    assert not nights.run(SECOND).published


def test_a_forced_night_starts_from_the_same_and_makes_the_same_rows(nights: Nights) -> None:
    def rows(ds: str) -> list[Any]:
        return [Published(nights.output, ds).table(name) for name in ("user2item", "item2item")]

    tables, record = rows(SECOND), nights.record(SECOND)
    assert nights.run(SECOND, force=True).published
    assert nights.published(SECOND).endswith("-2")
    assert all(ours.equals(theirs) for ours, theirs in zip(rows(SECOND), tables, strict=True))
    assert nights.record(SECOND) == record


def test_a_night_is_made_again_byte_for_byte(nights: Nights) -> None:
    """After its parts were lost, from the same start."""
    parts = sorted((nights.output / "_runs" / SECOND).rglob("[34]_*/**/*"))
    before = {path: path.read_bytes() for path in parts if path.is_file()}
    assert any(path.name == "index.json" for path in before)
    (nights.output / "_published" / f"{SECOND}.json").unlink()
    shutil.rmtree(nights.output / "_runs" / SECOND)
    assert nights.run(SECOND).published
    assert {path: path.read_bytes() for path in before} == before


def test_a_table_that_asks_for_something_else_is_tuned(nights: Nights) -> None:
    assert nights.run(THIRD, "tables.user2item.k=10", "tables.item2item.min_recall=0.9").published
    for table, misfit in (("user2item", "k 20, not 10"), ("item2item", "min_recall 0.95, not 0.9")):
        record = nights.record(THIRD, table)
        assert record["start"]["misfit"] == f"it was tuned for {misfit}"
        assert (record["tuning"]["by"], record["tuned"]["ds"]) == ("tuning", THIRD)
    assert (nights.record(THIRD)["tuning"]["recall"]["k"], nights.record(THIRD)["asked"]["k"]) == (10, 10)


def test_shards_start_from_the_same_shards(nights: Nights) -> None:
    sets = (f"index.memory_gib={480_000 / 2**30}", "run.range_ids=300")
    for ds in (THIRD, FOURTH):
        assert nights.run(ds, *sets).published
    for table in ("user2item", "item2item"):
        third, fourth = (
            Published(nights.output, ds).manifest["tables"][table]["index"]["shards"] for ds in (THIRD, FOURTH)
        )
        assert len(third) == len(fourth) == 2
        assert {record["start"]["misfit"] for record in third} == {"its candidates were cut into 1 shards, not 2"}
        assert {record["tuning"]["by"] for record in third} == {"tuning"}
        assert [record["start"]["search"] for record in fourth] == [record["search"] for record in third]
        assert [(record["tuning"]["by"], record["search"]) for record in fourth] == [
            ("start", record["search"]) for record in third
        ]


def test_a_setting_that_finds_too_little_by_now_is_not_kept(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the vectors had changed: what the last night says is poor tonight."""
    poor = {"leaves": 1, "reorder": 30, "max_excluded": 80}
    plan = prepare_night.__globals__["last_indexes"]

    def with_poor_settings(*arguments: Any) -> Any:
        start = plan(*arguments)
        for records in start.tables.values():
            records[0]["search"] = poor
        return start

    monkeypatch.setitem(prepare_night.__globals__, "last_indexes", with_poor_settings)
    assert nights.run(THIRD).published
    record = nights.record(THIRD)
    assert record["start"]["search"] == poor
    assert (record["tuning"]["by"], record["tuned"]["ds"]) == ("tuning", THIRD)
    assert record["search"] == nights.record(FIRST)["search"], "the cheapest that is enough, as from nothing"
    assert poor in [trial["search"] for trial in record["tuning"]["curve"]]


def test_a_backfill_starts_from_nothing(nights: Nights) -> None:
    model = str(nights.bundle)
    backfill(
        nights.config,
        ["run.allow_future_model=true"],
        str(nights.output),
        BETWEEN,
        BETWEEN,
        model=model,
        force=False,
        beam_arguments=[],
    )
    record = nights.record(BETWEEN)
    assert (record["start"], record["tuning"]["by"]) == (None, "tuning")
    assert Published(nights.output, BETWEEN).manifest["identity"]["last_indexes"] is None


def test_a_last_night_that_cannot_be_read_is_left_aside(nights: Nights, caplog: pytest.LogCaptureFixture) -> None:
    (nights.output / "_runs" / SECOND / nights.published(SECOND) / "manifest.json").unlink()
    assert nights.plan(THIRD).night.start is None
    assert f"{THIRD}: the last night ({SECOND}) is left aside: " in caplog.text


def test_two_indexes_are_built_at_a_time_within_the_budget(
    nights: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, both = indexing.build_index, threading.Barrier(2, timeout=60)

    def meet(*arguments: Any) -> Any:
        both.wait()  # breaks if nobody else comes
        return build(*arguments)

    monkeypatch.setattr(indexing, "build_index", meet)
    outcome = run(nights.config, tmp_path / "both", ds=FIRST, model=nights.bundle)
    assert outcome.counters["index_items"] == 2
