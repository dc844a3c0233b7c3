"""What the quality page promises to reach, and in what time: numbers that nobody loosens unseen."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from movielens_world import write_movielens

from benchmarks.quality.cells import ROOT, Cell
from benchmarks.quality.datasets import LARGE, SMALL, SPARSE
from benchmarks.quality.plan import plan
from benchmarks.quality.protocols import BUDGET_SECONDS, QUICK_BUDGET_SECONDS
from benchmarks.quality.sources import Source
from benchmarks.quality.systems import TABLES, Table
from benchmarks.quality.targets import BEST_PEER, TARGETS
from benchmarks.quality.tasks import two_tower_task
from recbatch.config.load import load_config
from recbatch.evaluation import Task, make_task
from recbatch.launch.evaluating import read_training_data


def test_the_targets() -> None:
    wanted = {
        (target.system, target.dataset, target.protocol, target.column): (
            target.at_least if target.at_least is not None else target.than,
            target.slack,
            target.significant,
        )
        for target in TARGETS
        if target.dataset != SPARSE
    }
    assert wanted == {
        ("margin", SMALL, "A", "hit@100"): (0.418, 0, False),
        ("default", SMALL, "B", "ndcg@10"): (BEST_PEER, 0, True),
        ("default", SMALL, "B", "hit@10"): (BEST_PEER, 0, True),
        ("default", SMALL, "B", "hit@100"): (BEST_PEER, 0.005, False),
        ("next", SMALL, "C", "hit@10"): (0.225, 0, False),
        ("next", SMALL, "C", "ndcg@10"): (0.125, 0, False),
        ("next", SMALL, "C", "hit@100"): (0.69, 0, False),
        ("future", SMALL, "D", "hit@100"): (0.325, 0, False),
        ("future", SMALL, "D", "hit@100 (users: warm)"): (BEST_PEER, 0, False),
        ("sequence", LARGE, "S", "hit@10"): (0.24, 0, False),
        ("sequence", LARGE, "S", "hit@100"): (0.69, 0, False),
        ("features", SMALL, "U", "ndcg@10"): ("popularity", 0, True),
        ("features", SMALL, "N", "hit@10"): ("popularity", 0, True),
    }


def test_a_run_ends_within_three_hours_and_a_quick_one_within_twenty_minutes() -> None:
    assert BUDGET_SECONDS <= 3 * 3600 - 300
    assert QUICK_BUDGET_SECONDS <= 20 * 60 - 60


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    """Every dataset of the page, small."""
    made = write_movielens(tmp_path_factory.mktemp("movielens"))
    return {SMALL: made, LARGE: made, SPARSE: replace(made, unit=None)}


def task_of(cell: Cell, source: Source) -> Task:
    """What a cell's process asks."""
    config = load_config(str(ROOT / cell.config), [*cell.overrides, *source.pointing(str(ROOT / cell.config))])
    data, _ = read_training_data(config, [config.model])
    if cell.kind == "peer":
        return make_task(cell.protocol, data, cell.seed)
    return two_tower_task(cell.protocol, config, data, cell.seed)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.dataset}-{table.protocol}")
def test_all_rows_of_a_table_have_the_same_targets(table: Table, sources: dict[str, Source]) -> None:
    rows: dict[str, list[tuple[str, str]]] = {}
    for cell in (planned.cell for planned in plan(quick=False, seed=0)):
        if (cell.dataset, cell.protocol, cell.seed) == (table.dataset, table.protocol, 0) and cell.kind != "search":
            task = task_of(cell, sources[table.dataset])
            askers, items = task.queries["id"].to_pylist(), task.items.to_pylist()
            asked = zip(task.target_query.tolist(), task.target_item.tolist(), strict=True)
            rows[cell.system] = sorted((askers[query], items[item]) for query, item in asked)
    assert len(rows) >= 2
    first = next(iter(rows.values()))
    assert len(first) > 10
    assert [name for name, targets in rows.items() if targets != first] == []


def test_ratings_of_one_star_are_in_no_row_of_s(sources: dict[str, Source]) -> None:
    stars = pq.read_table(sources[LARGE].folder / "interactions.parquet")["rating"].to_pylist()
    cells = {part.cell.system: part.cell for part in plan(quick=False, seed=0) if part.cell.protocol == "S"}
    counts = {name: task_of(cell, sources[LARGE]).counts["positives"] for name, cell in cells.items()}
    assert counts == dict.fromkeys(("sequence", "gru", "popularity"), sum(star >= 2 for star in stars))
    assert 1 in stars
