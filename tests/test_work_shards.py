"""How candidates are cut into shards, and how queries meet them."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recbatch.night import Shard, Shards
from recbatch.run import Part
from recbatch.work.items import IndexRef, RangePart
from recbatch.work.shards import Need, lanes, largest_first, plan_shards

RANGES = st.lists(st.lists(st.integers(1, 100), min_size=1, max_size=30), min_size=1, max_size=4)


def needs(ranges: list[list[int]]) -> list[Need]:
    return [Need(str(number), tuple(sizes)) for number, sizes in enumerate(ranges)]


@given(RANGES, st.integers(1, 5_000))
def test_shards_cover_all_ranges_in_order_and_keep_the_budget(ranges: list[list[int]], budget: int) -> None:
    shards = plan_shards(needs(ranges), budget)
    held, cut = 0, False
    for table, sizes in enumerate(ranges):
        own = shards.of(str(table))
        assert [number for shard in own for number in range(shard.first, shard.stop)] == list(range(len(sizes)))
        assert [shard.number for shard in own] == list(range(len(own)))
        assert {shard.count for shard in own} == {len(own)}
        several = [sum(sizes[shard.first : shard.stop]) for shard in own if shard.stop - shard.first > 1]
        held += max(several, default=0)
        cut |= len(own) > 1
    assert held <= budget
    if sum(map(sum, ranges)) <= budget:
        assert not cut


@given(RANGES)
def test_what_fits_together_is_not_cut(ranges: list[list[int]]) -> None:
    assert all(shards.alone for need in needs(ranges) for shards in plan_shards(needs(ranges), 12_000).of(need.table))


def test_what_a_small_table_leaves_is_the_large_ones() -> None:
    shards = plan_shards([Need("large", (100,) * 12), Need("small", (30,)), Need("other", (100,) * 12)], 1_030)
    assert shards.stops == {"large": (4, 8, 12), "small": (1,), "other": (4, 8, 12)}


def test_shards_are_as_even_as_their_ranges_allow() -> None:
    assert plan_shards([Need("table", (10,) * 9)], 78).stops == {"table": (3, 6, 9)}
    assert plan_shards([Need("table", (10,) * 10)], 90).stops == {"table": (4, 8, 10)}
    assert plan_shards([Need("table", (10, 20, 10, 20))], 59).stops == {"table": (1, 2, 3, 4)}


def test_a_range_that_is_too_large_is_a_shard_of_its_own() -> None:
    assert plan_shards([Need("table", (10, 500, 10, 10))], 100).stops == {"table": (1, 2, 4)}


def test_large_indexes_are_built_before_small_ones() -> None:
    jobs: Any = [
        SimpleNamespace(name=name, candidates=SimpleNamespace(name=of))
        for name, of in (("to items", "items"), ("to users", "users"), ("again to items", "items"))
    ]
    rows = {"users": (10, 500, 20), "items": (100, 100)}
    parts = [
        RangePart(of, number, Part("", "", count, 0, counts={"width": 4}))
        for of, counts in rows.items()
        for number, count in enumerate(counts)
    ]
    shards = Shards({"to items": (2,), "to users": (1, 2, 3), "again to items": (2,)})
    works = largest_first(shards, jobs, parts[::-1])
    assert [(work.job.name, work.shard.number) for work in works] == [
        ("to users", 1),
        ("to items", 0),
        ("again to items", 0),
        ("to users", 2),
        ("to users", 0),
    ]


def test_one_worker_takes_some_ranges_through_a_shard() -> None:
    """But each range goes to a worker of its own where there is nothing to load again, or there are few."""
    parts = [RangePart("users", number, Part("", "", 0, 0)) for number in (*range(200, 400), *range(200))]
    for ranges, count, most in ((400, 1, 1), (400, 2, 12), (400, 3, 16), (40, 3, 1)):
        index = IndexRef("table", Shard(0, 0, 1, count), {})
        made = list(lanes(index, [part for part in parts if part.number < ranges]))
        assert max(map(len, made)) == most
        assert [each.queries.number for each in itertools.chain(*made)] == list(range(ranges))


def test_they_are_stored_once(tmp_path: Path) -> None:
    first = Shards({"table": (2, 5)}).save(f"{tmp_path}/shards.json")
    assert Shards({"table": (1, 5)}).save(f"{tmp_path}/shards.json") == first
    assert first.of("table") == (Shard(0, 0, 2, 2), Shard(1, 2, 5, 2))
    assert 4 in first.of("table")[1]
    assert 4 not in first.of("table")[0]
