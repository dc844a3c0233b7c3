"""The page of the quality measurement from fake cells: targets, reproductions, tables."""

from __future__ import annotations

import datetime
import re
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.quality.cells import Cell
from benchmarks.quality.datasets import READING
from benchmarks.quality.figures import Figures, verdict
from benchmarks.quality.peers import PEERS
from benchmarks.quality.report import Run, render
from benchmarks.quality.reproducing import reproductions
from benchmarks.quality.running import Made
from benchmarks.quality.systems import TABLES
from benchmarks.quality.targets import BEST_PEER, Target

SEARCH = Cell("search", "ease", "movielens-100k", "B", 0, READING, trials=3)


def figures(**values: float) -> dict[str, Any]:
    """The result of a cell that nobody has measured."""
    named = {name.replace("_", "@"): value for name, value in values.items()}
    return {"figures": named, "wall_seconds": 1.0, "peak_bytes": 10**9}


def sums(hits: list[float]) -> dict[str, Any]:
    """Sums over users with the same hits in every compared metric, one target each."""
    count = len(hits)
    return {
        "users": list(range(count)),
        "activity": [1] * count,
        "numerators": [[hit] * 3 for hit in hits],
        "denominators": [[1] * 3] * count,
    }


def made_by_a_test() -> list[Made]:
    """Fake cells: the default beats EASE on every other user of B, the basic tutorial is reproduced."""
    cells = []
    for seed in range(2):
        ours = Cell("two-tower", "default", "movielens-100k", "B", seed, READING)
        theirs = Cell("peer", "ease", "movielens-100k", "B", seed, READING)
        better, worse = sums([0.5, 0.9] * 200), sums([0.5, 0.4] * 200)
        shown = figures(hit_10=0.7, hit_100=0.7, ndcg_10=0.7)
        cells.append(Made(ours, "done", {**shown, "sums": better}))
        cells.append(Made(theirs, "done", {**figures(hit_10=0.45, hit_100=0.8, ndcg_10=0.45), "sums": worse}))
    basic = Cell("two-tower", "basic", "movielens-100k", "A", 0, READING)
    cells.append(Made(basic, "older code", figures(hit_10=0.0211, hit_100=0.2601)))
    search = {
        "log": [{}, {"failed": "singular"}],
        "best": {"regularization": 7},
        "score": 0.5,
        "objective": "ndcg@10",
        "validations": 3,
        "wall_seconds": 90.0,
    }
    cells.append(Made(SEARCH, "done", search))
    cells.append(Made(Cell("peer", "ials", "movielens-1m", "B", 0, READING), "no data"))
    cells.append(Made(Cell("peer", "markov", "movielens-100k", "C", 0, READING), "failed", message="Boom"))
    return cells


def with_all_peers_of_b() -> list[Made]:
    """The same, and every other peer of B on MovieLens 100K, far behind."""
    cells = made_by_a_test()
    for name, peer in PEERS.items():
        if name != "ease" and "B" in peer.protocols:
            shown = {**figures(hit_10=0.1, hit_100=0.1, ndcg_10=0.1), "sums": sums([0.1] * 400)}
            cells += [
                Made(Cell("peer", name, "movielens-100k", "B", seed, READING), "done", shown) for seed in range(2)
            ]
    return cells


def test_no_target_is_met_while_a_rival_did_not_run_or_ran_on_other_splits() -> None:
    target = Target("default", "movielens-100k", "B", "ndcg@10", than=BEST_PEER, significant=True)
    cells = with_all_peers_of_b()

    def of_ials(made: Made) -> bool:
        return made.cell.system == "ials" and made.cell.dataset == "movielens-100k"

    assert verdict(Figures(cells), target).met
    without = verdict(Figures([made for made in cells if not of_ials(made)], "not run (QUICK=1)"), target)
    assert (without.met, without.unknown) == (None, "iALS (implicit): not run (QUICK=1)")
    late = [Made(made.cell, "time") if of_ials(made) and made.cell.seed == 1 else made for made in cells]
    assert verdict(Figures(late), target).unknown == "iALS (implicit): 1 of 2 not run (time)"
    elsewhere = [
        Made(replace(made.cell, seed=made.cell.seed + 7), "done", made.result) if of_ials(made) else made
        for made in cells
    ]
    assert verdict(Figures(elsewhere), target).unknown == "iALS (implicit): measured on other splits"
    ours = [
        Made(made.cell, "failed") if made.cell.system == "default" and made.cell.seed == 1 else made for made in cells
    ]
    half = verdict(Figures(ours), target)
    assert (half.met, half.unknown) == (None, "1 of 2 failed")
    page = render(Run("a test", False, 0, None, datetime.date(2024, 5, 1)), late)
    assert "| cannot be said: iALS (implicit): 1 of 2 not run (time) |" in page


def test_means_are_compared_over_the_splits_that_both_have() -> None:
    cells = with_all_peers_of_b()
    ours = Cell("two-tower", "default", "movielens-100k", "B", 2, READING)
    cells.append(Made(ours, "done", {**figures(hit_10=0.1, hit_100=0.1, ndcg_10=0.1), "sums": sums([0.1] * 400)}))
    found = verdict(Figures(cells), Target("default", "movielens-100k", "B", "ndcg@10", than=BEST_PEER))
    assert found.margin == pytest.approx(0.7 - 0.45)


def test_targets_are_met_by_more_than_chance_or_missed_by_so_much() -> None:
    found = Figures(with_all_peers_of_b())
    small = "movielens-100k"
    won = verdict(found, Target("default", small, "B", "ndcg@10", than=BEST_PEER, significant=True))
    assert won.met
    assert won.rival is not None
    assert won.rival.system == "ease"
    assert won.test is not None
    assert won.test.p < 0.01
    assert won.test.value == pytest.approx(0.25)
    lost = verdict(found, Target("default", small, "B", "hit@100", than=BEST_PEER, slack=0.005))
    assert lost.met is False
    assert lost.margin == pytest.approx(0.7 - 0.795)
    assert verdict(found, Target("default", small, "B", "hit@10", at_least=0.7)).met
    assert verdict(found, Target("next", small, "C", "hit@10", at_least=0.7)).met is None


def test_a_bound_is_shown_and_is_no_rival() -> None:
    ours = Cell("two-tower", "future", "movielens-100k", "D", 0, READING)
    bound = Cell("peer", "heldout-popularity", "movielens-100k", "D", 0, READING)
    cells = [Made(cell, "done", figures(hit_10=value)) for cell, value in ((ours, 0.4), (bound, 0.9))]
    found = Figures(cells)
    assert "heldout-popularity" not in {line.system for line in found.peers("movielens-100k", "D")}
    assert verdict(found, Target("future", "movielens-100k", "D", "hit@10", than=BEST_PEER)).rival is None
    page = render(Run("a test", False, 0, None, datetime.date(2024, 5, 1)), cells)
    assert "| recbatch, D's own configuration | **.4000** |" in page, "the bound takes no part in what is best"
    assert "| _one order for all, by the held-out events themselves_ | .9000 |" in page


def test_reproduced_is_within_the_tolerance_or_better() -> None:
    rows = {(row.line.system, row.figure): row for row in reproductions(Figures(made_by_a_test()))}
    assert rows["basic", "hit@10"].verdict == "yes"
    assert rows["basic", "hit@100"].verdict == "yes, better: same model; the reason is not known"
    assert rows["basic", "hit@100"].difference == pytest.approx(0.0271)
    assert rows["context", "hit@100"].verdict == "not run"
    assert rows["article", ""].difference is None


def test_the_page_shows_every_table_and_says_what_is_missing() -> None:
    run = Run("a test with fake cells", False, 0, 90.0, datetime.date(2024, 5, 1))
    page = render(run, made_by_a_test())
    assert "`a test with fake cells`" in page
    assert "their processes took 2 minutes together" in page
    for table in TABLES:
        assert f"\n## {table.protocol}, " in page
    default = next(line for line in page.splitlines() if line.startswith("| recbatch, the shipped default | **.7"))
    assert "**.7000 ± .0000**" in default
    assert "| .8000" not in default
    assert "basic retrieval tutorial" in page
    assert "1 of the cells were made by an earlier state of the code" in page
    assert "not run (no ML1M folder)" in page
    assert "| popularity (new items have none: a random order) |" in page
    assert (
        "| basic retrieval tutorial | A | hit@100 | .2330 (TFRS, basic retrieval) | .2601 | +.0271 | yes, better: "
        in page
    )
    assert "movielens-100k-C-markov-0: failed (Boom)" in page
    assert "| B | MovieLens 100K | EASE (RecTools) | 2 × 3, 1 failed | ndcg@10 | .5000 | regularization 7 |" in page
    for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, f"a table with rows of different widths:\n{block}"
    assert "This is a `QUICK=1` run" not in page
    assert "This is a `QUICK=1` run" in render(Run("a test", True, 0, None, datetime.date(2024, 5, 1)), [])
