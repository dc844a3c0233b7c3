"""The tutorial's own program, and how the page uses it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.quality.cells import Cell
from benchmarks.quality.datasets import READING
from benchmarks.quality.figures import Figures
from benchmarks.quality.plan import plan
from benchmarks.quality.reproducing import reproductions
from benchmarks.quality.running import Made
from benchmarks.quality.tutorial import train_and_rank
from recbatch.evaluation import make_task
from recbatch.model import TrainingData


@pytest.fixture
def two_tastes() -> TrainingData:
    """100 users of whom each likes one half of 300 titles; in the second half of the time all like the other half."""
    random = np.random.default_rng(3)
    users = np.repeat(np.arange(100), 60)
    late = random.random(len(users)) < 0.5
    half = (users + late) % 2
    items = random.integers(0, 150, len(users)) + 150 * half
    return TrainingData(
        pa.table(
            {
                "user_id": [f"u{user}" for user in users],
                "item_id": [f"film {item} of {'love' if item < 150 else 'war'}" for item in items],
                "positive": np.ones(len(users), bool),
                "timestamp": (np.where(late, 1000, 0) + random.integers(0, 100, len(users))) * 1_000_000,
            }
        )
    )


@pytest.mark.parametrize("use_times", [False, True])
def test_the_program_ranks_every_title_for_every_query(two_tastes: TrainingData, use_times: bool) -> None:
    task = make_task("A", two_tastes, 0, per_event=use_times)
    lists = train_and_rank(task, 0, use_times=use_times)
    assert lists.shape == (task.num_queries, 100)
    assert all(len(set(row)) == 100 for row in lists.tolist()), "titles, each once"
    assert lists.min() >= 0
    assert (train_and_rank(task, 0, use_times=use_times) == lists).all(), "by its seed alone"


def cells(ours: float, program: float) -> list[Made]:
    def made(kind: str, system: str, value: float) -> Made:
        cell = Cell(kind, system, "movielens-100k", "A", 0, READING)  # type: ignore[arg-type]
        return Made(cell, "done", {"figures": {"hit@100": value}, "wall_seconds": 1.0, "peak_bytes": 1})

    return [made("two-tower", "context", ours), made("program", "context-program", program)]


@pytest.mark.parametrize(
    ("ours", "program", "verdict"),
    [
        (0.2570, 0.2550, "yes, better: so is the tutorial's own program on these splits"),
        (0.2770, 0.2550, "yes, better: same model; the reason is not known"),
        (0.2500, 0.2100, "yes"),
        (0.2300, 0.2310, "no"),
    ],
)
def test_the_program_tells_whether_the_splits_are_the_reason(ours: float, program: float, verdict: str) -> None:
    rows = {row.line.system: row for row in reproductions(Figures(cells(ours, program)))}
    assert rows["context"].verdict == verdict
    assert rows["context"].program is not None
    assert rows["context"].program.means["hit@100"].value == program
    assert rows["basic"].program is None


@pytest.mark.parametrize("quick", [False, True])
def test_the_program_is_measured_on_the_splits_of_the_model(quick: bool) -> None:
    found = [part.cell for part in plan(quick=quick, seed=0)]
    ours = [cell for cell in found if cell.system == "context"]
    theirs = [cell for cell in found if cell.system == "context-program"]
    assert [(cell.seed, cell.protocol, cell.overrides) for cell in ours] == [
        (cell.seed, cell.protocol, cell.overrides) for cell in theirs
    ]
    assert {cell.kind for cell in theirs} == {"program"}
