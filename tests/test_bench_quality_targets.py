"""What the quality page promises to reach, and in what time: numbers that nobody loosens unseen."""

from __future__ import annotations

from benchmarks.quality.datasets import DATASETS, LARGE, SMALL, SPARSE
from benchmarks.quality.plan import plan
from benchmarks.quality.protocols import BUDGET_SECONDS, QUICK_BUDGET_SECONDS
from benchmarks.quality.systems import SYSTEMS
from benchmarks.quality.targets import BEST_PEER, TARGETS
from recbatch.config.load import read_config


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


def test_all_rows_of_a_table_are_of_the_same_events() -> None:
    """Peers read what counts as positive as our models do."""
    minimum: dict[tuple[str, str], set[float | None]] = {}
    for planned in plan(quick=False, seed=0):
        cell = planned.cell
        if cell.protocol in "IUN" or cell.kind == "program":
            continue  # the tutorials' programs read files of their own
        config = cell.config if cell.kind == "two-tower" else DATASETS[cell.dataset].reading
        loaded = read_config(config, [word for word in cell.overrides if word.startswith("positives.")])
        minimum.setdefault((cell.dataset, cell.protocol), set()).add(loaded.config.positives.min_weight)
    assert {key: values for key, values in minimum.items() if len(values) > 1} == {}
    assert minimum[LARGE, "S"] == {2}
    assert SYSTEMS["sequence"].dataset == LARGE
