"""The quality measurement without its hours: cells and their keys, the plan, the command, locks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import cells
from benchmarks.quality.cells import Cell, cell_key, code_checksum
from benchmarks.quality.datasets import READING
from benchmarks.quality.peers import PEERS
from benchmarks.quality.plan import Planned, plan
from benchmarks.quality.systems import SYSTEMS, TABLES

ROOT = Path(__file__).resolve().parent.parent
PEER = Cell("peer", "ease", "movielens-100k", "B", 0, READING)
SEARCH = Cell("search", "ease", "movielens-100k", "B", 0, READING, trials=3)


# --- keys ---------------------------------------------------------------------------------------------------------


def test_a_key_changes_with_everything_that_a_figure_depends_on() -> None:
    keys = {
        cell_key(PEER, {"a": 1}, "data", None),
        cell_key(PEER, {"a": 2}, "data", None),
        cell_key(PEER, {"a": 1}, "other data", None),
        cell_key(PEER, {"a": 1}, "data", "rectools"),
        cell_key(Planned(PEER).with_parameters({"regularization": 5}), {"a": 1}, "data", None),
    }
    assert len(keys) == 5


def test_code_is_known_by_what_it_says_not_by_its_comments(tmp_path: Path) -> None:
    folder = tmp_path / "recbatch" / "evaluation"
    folder.mkdir(parents=True)
    (tmp_path / "benchmarks" / "quality").mkdir(parents=True)
    file = folder / "protocols.py"

    def checksum(text: str) -> str:
        file.write_text(text)
        code_checksum.cache_clear()
        return code_checksum("two-tower", None, tmp_path)

    plain = checksum("def f():\n    return 1\n")
    assert checksum('"""Words."""\n\n\ndef f():  # why\n    """More words."""\n    return (1)\n') == plain
    assert checksum("def f():\n    return 2\n") != plain
    code_checksum.cache_clear()


# --- the plan -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [True, False])
def test_a_plan_searches_first_and_names_no_cell_twice(quick: bool) -> None:
    planned = plan(quick=quick, seed=5)
    stems = [part.cell.stem for part in planned]
    assert len(set(stems)) == len(stems)
    for place, part in enumerate(planned):
        assert part.cell.seed >= 5
        if part.search is not None:
            assert part.search.stem in stems[:place]
    trials = {part.cell.trials for part in planned if part.cell.kind == "search"}
    assert len(trials) == 1, "every peer has the same number of trials"


def test_quick_is_movielens_100k_and_a_full_plan_has_every_row_of_the_page() -> None:
    quick, full = plan(quick=True, seed=0), plan(quick=False, seed=0)
    assert {part.cell.dataset for part in quick} == {"movielens-100k"}
    assert {part.cell.protocol for part in quick} == set("ABCD")
    rows = {(part.cell.system, part.cell.dataset, part.cell.protocol) for part in full}
    assert {(name, table.dataset, table.protocol) for table in TABLES for name in table.systems} <= rows
    splits = [part.cell.seed for part in full if (part.cell.system, part.cell.protocol) == ("default", "B")]
    assert splits == [0, 1, 2, 3, 4]
    large = {(part.cell.system, part.cell.protocol, part.cell.seed) for part in full if part.cell.dataset[-2:] == "1m"}
    assert {seed for system, protocol, seed in large if (system, protocol) == ("default-1m", "B")} == {0, 1, 2, 3, 4}
    assert {seed for system, protocol, seed in large if (system, protocol) == ("ease", "B")} == {0, 1, 2, 3, 4}
    assert {seed for system, _, seed in large if system == "next-1m"} == {0, 1, 2}
    assert {(part.cell.dataset, part.cell.protocol, part.cell.seed) for part in full[-8:]} == {
        ("movielens-1m", "B", 3),
        ("movielens-1m", "B", 4),
    }
    margins = [(part.cell.protocol, part.cell.seed) for part in full if part.cell.system == "larger-margin"]
    assert sorted(margins) == [("A", 0), ("B", 0)]


def test_the_same_seed_searches_the_same_points() -> None:
    peer = PEERS["ials"]
    assert peer.trials(20, 1) == peer.trials(20, 1) != peer.trials(20, 2)
    assert len(peer.trials(20, 1)) == 20
    assert peer.trials(2, 1) == [dict(start) for start in peer.starts[:2]]


# --- locks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["implicit", "rectools", "metrics"])
def test_the_locks_of_the_peers_are_pinned_by_hash_and_name_no_host(name: str) -> None:
    text = (ROOT / "benchmarks" / "quality" / name / "requirements.txt").read_text()
    assert "://" not in text
    assert "--index" not in text
    entries = [part for part in re.split(r"\n(?=[a-z])", text.replace("\\\n", " ")) if re.match("[a-z]", part)]
    assert len(entries) >= 5
    assert all(re.match(r"[a-z0-9._-]+==\S+ +(--hash=sha256:[0-9a-f]{64}\s*)+", part) for part in entries)


def test_the_systems_of_the_page_are_known() -> None:
    assert {name for table in TABLES for name in table.systems} <= SYSTEMS.keys()
    assert not SYSTEMS.keys() & PEERS.keys(), "a name of a system is the name of a cell"
    assert np.all([len(peer.starts) >= 1 for peer in PEERS.values()])
    assert cells.ROOT == ROOT
