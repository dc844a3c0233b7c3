"""What a plan is made of: sizes, schedules, machines, and formulas that grow with what there is to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from night_bundles import given_bundle
from world import DS, World, pairs_world, random_vectors

from benchmarks.speed.worlds import World as Towers
from recbatch.config.models import Entity
from recbatch.errors import InputError
from recbatch.index import Candidates, IndexParameters, build_index, load_index
from recbatch.launch.prepare import prepare_night
from recbatch.neighbours import plan_index, tune
from recbatch.night import Plan
from recbatch.planning import (
    Calibration,
    EmptyNight,
    Forecast,
    Sizes,
    count_sizes,
    forecast,
    name_ids,
    sampled_ids,
    write_sample,
)
from recbatch.planning.dataflow import MACHINES, fleet, machine_for
from recbatch.planning.meter import Meter, Spent
from recbatch.planning.prediction import StageTime
from recbatch.planning.preparing import Bytes, Prepared
from recbatch.planning.schedule import Item, Step, run_stage
from recbatch.planning.searching import TableRates
from recbatch.planning.sizes import EntitySize
from recbatch.planning.thinned import Thinned, ThinnedTuner

USERS = [f"user {number:02d}" for number in range(30)]
ITEMS = [f"item {number:02d}" for number in range(20)]
TABLES = ("user2item", "item2item", "user2user", "item2user")


def planned(folder: Path, world: World, **settings: Any) -> Plan:
    """A night by a bundle that is there."""
    bundle = folder / "bundle"
    if not bundle.exists():
        given_bundle(bundle, random_vectors(USERS), random_vectors(ITEMS))
    config = world.config(world.write(folder, files=2, row_group_rows=10), settings)
    return prepare_night(config, [], str(folder / "output"), DS, model=str(bundle), force=False)


def pairs(users: int, items: int) -> list[tuple[str, str]]:
    return [(USERS[number % users], ITEMS[number * 7 % items]) for number in range(90)]


def test_ids_of_interactions_are_counted_in_ranges(tmp_path: Path) -> None:
    sizes = count_sizes(planned(tmp_path, pairs_world(pairs(25, 17)), run={"range_ids": 4}))
    assert sizes.rows == {"interactions": 90}
    assert (sizes.entities["user"].ids, sizes.entities["item"].ids) == (25, 17)
    assert sizes.entities["user"].exact
    assert sizes.entities["user"].source == "all ids of the interactions"
    assert sum(sizes.entities["user"].ranges) == 25
    assert max(sizes.entities["user"].ranges) <= 4
    assert len(sizes.entities["user"].ranges) == len(sizes.cuts.users) + 1 == 7


@pytest.mark.parametrize(("policy", "expected"), [("drop", 12), ("keep", 25)])
def test_a_table_says_who_there_is_unless_unknown_ids_are_kept(tmp_path: Path, policy: str, expected: int) -> None:
    """A row that occurs twice is one user."""
    world = pairs_world(pairs(25, 17), users=[*USERS[:12], USERS[3]])
    sizes = count_sizes(planned(tmp_path, world, inputs={"unknown_users": policy}))
    assert sizes.entities["user"].ids == expected
    assert sizes.rows["users"] == 13


def test_of_large_inputs_some_slices_are_read(tmp_path: Path) -> None:
    world = pairs_world(pairs(25, 17), users=USERS)
    plan = planned(tmp_path, world, run={"slice_rows": 10})
    sizes = count_sizes(plan, read_rows=30)
    users, items = sizes.entities["user"], sizes.entities["item"]
    assert users.ids == 30  # the users' table is small enough to be read whole
    assert users.exact
    assert not items.exact
    assert "one slice in 3" in items.source
    assert 10 <= items.ids <= 40


def test_work_items_share_the_cores() -> None:
    alone = run_stage([Step("a", [Item(4.0, threads=2)])], cores=2)
    assert (alone.wall, alone.seconds) == (2.0, {"a": 2.0})
    serial = run_stage([Step("a", [Item(4.0)])], cores=2)
    assert serial.wall == 4.0
    stored = run_stage([Step("a", [Item(1.0, wait=2.0)] * 2)], cores=1)
    assert (stored.wall, stored.seconds["a"]) == (4.0, 8.0)  # while one is stored, the other is
    two = run_stage([Step("a", [Item(4.0, 2)] * 2)], cores=2)
    assert (two.wall, two.seconds["a"]) == (4.0, 8.0)  # each takes twice as long beside the other
    one_by_one = run_stage([Step("a", [Item(4.0, 2)] * 2, at_once=1)], cores=2)
    assert (one_by_one.wall, one_by_one.seconds["a"]) == (4.0, 4.0)
    assert run_stage([Step("a", [])], cores=2).wall == 0
    assert run_stage([Step("a", [Item(0.0)] * 3), Step("b", [Item(0.0)] * 3)], cores=2).wall == 0


def test_a_stage_is_never_faster_than_its_cores_and_never_slower_than_one() -> None:
    rng = np.random.default_rng(3)
    steps = [Step(name, [Item(float(cpu), 2) for cpu in rng.uniform(0, 2, 12)]) for name in "abc"]
    cpu = sum(item.cpu for step in steps for item in step.items)
    stage = run_stage(steps, cores=2)
    assert cpu / 2 - 1e-6 <= stage.wall <= cpu
    assert sum(stage.seconds.values()) >= stage.wall


def test_the_smallest_machine_that_holds_a_worker() -> None:
    assert machine_for(2 * 2**30).name == "n2-highmem-2"  # type: ignore[union-attr]
    assert machine_for(14 * 2**30).name == "n2-highmem-4"  # type: ignore[union-attr]
    assert machine_for(2000 * 2**30) is None
    for machine in MACHINES:
        assert machine.memory_gb in (4 * machine.vcpus, 8 * machine.vcpus)


def test_more_workers_for_less_time_and_never_more_than_there_is_work_for() -> None:
    stages = [StageTime("search", 0.0, {}, cpu_seconds=100_000.0, serial_seconds=100.0, items=40)]
    slow, fast, hopeless = (fleet(stages, 4e9, hours) for hours in (8.0, 2.0, 0.01))
    assert slow is not None
    assert fast is not None
    assert hopeless is not None
    assert slow.workers < fast.workers <= hopeless.workers == 20
    assert slow.in_time
    assert fast.in_time
    assert not hopeless.in_time
    assert "more workers would not help" in hopeless.remark
    assert fast.vcpu_hours == pytest.approx(fast.workers * fast.hours * fast.machine.vcpus)
    assert fast.gb_hours == pytest.approx(fast.workers * fast.hours * fast.machine.memory_gb)
    assert fleet(stages, 1e13, 1.0) is None


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return planned(tmp_path_factory.mktemp("plan"), pairs_world(pairs(25, 17)))


def foretold(plan: Plan, users: int, items: int, events: int) -> Forecast:
    """By rates that are made up."""
    entities: dict[Entity, EntitySize] = {}
    for entity, ids in (("user", users), ("item", items)):
        ranges = -(-ids // 1_000)
        entities[entity] = EntitySize(ids, tuple(ids // ranges for _ in range(ranges)), "", True)  # type: ignore[index]
    sizes = Sizes({"interactions": events}, {"interactions": (events,)}, entities, count_sizes(plan).cuts)
    names = ["clean/interactions", "sample/interactions", "split/interactions", "cut/all", "group/user", "group/item"]
    names += [f"{step}/{entity}_embeddings" for step in ("embed", "audit", "read") for entity in ("user", "item")]
    prepared = Prepared(meter=Meter({name: Spent(1e-6, 1e-6, 1.0) for name in names}))
    prepared.stored = {"slices/interactions": Bytes(1, 20)}
    rates = TableRates("index", "", 4e-5, 7e-8, 6e-8, 5e-8, 1e-3, 1.0, 1.0, 5.0, 1e6, True)
    sets = [vectors.name for vectors in plan.night.sets]
    calibration = Calibration(
        2.0,
        EmptyNight(5.0, 4.0, 300_000_000),
        prepared,
        dict.fromkeys(TABLES, rates),
        dict.fromkeys(sets, 64),
        dict.fromkeys(sets, 1.0),
    )
    return forecast(plan, sizes, calibration, hours=1.0)


def figures(found: Forecast) -> list[float]:
    return [found.seconds, found.cpu_seconds, sum(found.output.values()), found.memory["peak"]]


def test_more_to_do_is_never_foretold_to_be_less(plan: Plan) -> None:
    before = foretold(plan, 3_000, 2_000, 10_000)
    assert before.seconds > 5.0
    for more in ((9_000, 2_000, 10_000), (3_000, 6_000, 10_000), (3_000, 2_000, 10_000_000)):
        after = foretold(plan, *more)
        assert all(new >= old for new, old in zip(figures(after), figures(before), strict=True))
        assert after.seconds > before.seconds


def test_shards_cost_time_and_space(plan: Plan) -> None:
    night = dataclasses.replace(
        plan.night,
        config=plan.night.config.model_copy(
            update={"index": plan.night.config.index.model_copy(update={"memory_gib": 0.001})}
        ),
    )
    whole = foretold(plan, 5_000, 5_000, 10_000)
    cut = foretold(dataclasses.replace(plan, night=night), 5_000, 5_000, 10_000)
    assert all(len(cut.work.shards.of(table)) == 5 for table in TABLES)
    assert cut.seconds > whole.seconds
    assert cut.output["shards"] > 4 * whole.output["user2item"]
    assert cut.memory["candidates"] < whole.memory["candidates"]


def test_some_candidates_tell_what_all_of_them_cost(tmp_path: Path) -> None:
    """The setting that a quarter of the candidates leads to costs what the night's own tuner finds with all of them."""
    world = Towers(dim=32, clusters=40, rank=8)
    queries, items = world.matrix("users", 600), world.matrix("items", 12_000)
    everything = Candidates.of(items, "dot")
    parameters = plan_index(len(items), 32, 50, 100_000, 0.95, "scann").parameters
    assert parameters is not None
    files = build_index(everything, parameters, tmp_path / "all")
    real = tune(queries, everything, load_index(tmp_path / "all", files), 50, 0.95, kind="scann")
    some = Candidates.of(np.ascontiguousarray(items[::4]), "dot")
    fewer = build_index(some, IndexParameters(parameters.leaves), tmp_path / "some")
    thinned = Thinned(some, load_index(tmp_path / "some", fewer), len(items), parameters)
    found = ThinnedTuner(thinned, queries, None, 50, 0.95, "scann").tune()
    assert found.cost == pytest.approx(real.cost, rel=0.3)


def test_a_column_that_holds_no_ids_is_an_input_error(tmp_path: Path) -> None:
    plan = planned(tmp_path, pairs_world(pairs(25, 17)))
    broken = Path(plan.inputs.interactions.files[0].uri)
    rows = pq.read_table(broken)
    pq.write_table(rows.set_column(0, "who", pa.array([0.5] * len(rows))), broken)
    again = planned_again(tmp_path)
    with pytest.raises(InputError, match="who"):
        count_sizes(again)


def test_a_sample_keeps_rows_as_they_are_and_names_who_there_is(tmp_path: Path) -> None:
    plan = planned(tmp_path, pairs_world(pairs(25, 17), users=USERS))
    settings = write_sample(plan, tmp_path / "sample", events=12, ids=6)
    events, users = (pq.read_table(tmp_path / "sample" / f"{name}.parquet") for name in ("interactions", "users"))
    assert len(users) == 6
    assert set(users["uid"].to_pylist()) < set(USERS)
    assert set(zip(events["who"].to_pylist(), events["what"].to_pylist(), strict=True)) < set(pairs(25, 17))
    name_ids(plan, tmp_path / "sample", sampled_ids(plan, tmp_path / "sample"))
    named = pq.read_table(tmp_path / "sample" / "interactions.parquet")
    assert set(named["who"].to_pylist()) == set(users["uid"].to_pylist())
    assert named["what"].equals(events["what"])
    assert any(setting.startswith("inputs.users.path=") for setting in settings)


def test_an_input_without_rows_has_a_sample_without_rows(tmp_path: Path) -> None:
    plan = planned(tmp_path, pairs_world([], users=USERS, items=ITEMS))
    write_sample(plan, tmp_path / "sample")
    assert len(pq.read_table(tmp_path / "sample" / "interactions.parquet")) == 0
    assert count_sizes(plan).entities["item"].ids == len(ITEMS)


def planned_again(folder: Path) -> Plan:
    bundle = str(folder / "bundle")
    return prepare_night(str(folder / "config.yaml"), [], str(folder / "output"), DS, model=bundle, force=False)
