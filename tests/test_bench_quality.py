"""The quality measurement without its hours: cells and their keys, resuming, the plan, limits of a process."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import __main__ as command
from benchmarks.quality import cells, running
from benchmarks.quality.cells import Cell, cell_key, code_checksum
from benchmarks.quality.children import Outcome, run_child
from benchmarks.quality.peers import PEERS
from benchmarks.quality.plan import Planned, plan
from benchmarks.quality.running import Made, Runner
from benchmarks.quality.sources import Source
from benchmarks.quality.store import Store
from benchmarks.quality.systems import READING, SYSTEMS, TABLES

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


# --- making and finding -------------------------------------------------------------------------------------------


class Child:
    """Stands in for the processes; counts what was asked of it."""

    def __init__(self, **outcomes: Outcome) -> None:
        self.asked: list[Cell] = []
        self._outcomes = outcomes

    def __call__(self, module: str, task: dict[str, Any], seconds: float) -> Outcome:
        cell = Cell(**{**task["cell"], "overrides": tuple(task["cell"]["overrides"])})
        self.asked.append(cell)
        if cell.system in self._outcomes:
            return self._outcomes[cell.system]
        if cell.kind == "search":
            log = [{"trial": 0, "parameters": {"regularization": 7}, "score": 0.5}]
            found = {"log": log, "best": {"regularization": 7}, "score": 0.5, "objective": "ndcg@10", "validations": 1}
            return Outcome("done", found, "", 1.0)
        return Outcome("done", {"figures": {"ndcg@10": 0.4}}, "", 1.0)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr(running, "python_of", lambda name: Path(sys.executable))
    for table in ("interactions", "users", "items"):
        (tmp_path / f"{table}.parquet").write_bytes(table.encode())
    return Source("movielens-100k", tmp_path)


def runner(tmp_path: Path, source: Source, child: Child, budget: float | None = 1000.0) -> Runner:
    return Runner(Store(tmp_path / "results"), {source.name: source}, tmp_path / "bundles", budget, child)


PLANNED = [
    Planned(SEARCH),
    Planned(PEER, SEARCH),
    Planned(Cell("peer", "popularity", "movielens-100k", "B", 0, READING)),
]


def test_a_peer_runs_with_what_its_search_has_found_and_nothing_is_made_twice(tmp_path: Path, source: Source) -> None:
    child = Child()
    made = runner(tmp_path, source, child).make_all(PLANNED)
    assert [part.state for part in made] == ["done"] * 3
    assert child.asked[1].parameters == {"regularization": 7}
    log = (tmp_path / "results" / "search" / f"{SEARCH.stem}.jsonl").read_text()
    assert '"score": 0.5' in log
    assert '"system": "ease"' in log

    again = Child()
    assert runner(tmp_path, source, again).make_all(PLANNED) == made
    assert again.asked == []


def test_other_data_are_other_cells_and_a_report_says_that_it_has_old_ones(tmp_path: Path, source: Source) -> None:
    runner(tmp_path, source, Child()).make_all(PLANNED)
    (source.folder / "items.parquet").write_bytes(b"changed")
    found = runner(tmp_path, source, Child(), None).make_all(PLANNED)
    assert [part.state for part in found] == ["older code"] * 3
    child = Child()
    assert [part.state for part in runner(tmp_path, source, child).make_all(PLANNED)] == ["done"] * 3
    assert len(child.asked) == 3


def test_a_cell_that_fails_or_lacks_its_data_does_not_stop_the_others(tmp_path: Path, source: Source) -> None:
    child = Child(ease=Outcome("failed", None, "no such matrix", 1.0))
    large = Planned(Cell("peer", "popularity", "movielens-1m", "B", 0, READING))
    unknown = Planned(Cell("two-tower", "next", "movielens-100k", "C", 0, "configs/not-there.yaml"))
    made = runner(tmp_path, source, child).make_all([*PLANNED, large, unknown])
    assert [part.state for part in made] == ["failed", "no parameters", "done", "no data", "no configuration"]
    assert made[0].message == "no such matrix"


def test_when_the_time_is_up_the_rest_is_not_begun(tmp_path: Path, source: Source) -> None:
    child = Child()
    assert {part.state for part in runner(tmp_path, source, child, 1.0).make_all(PLANNED)} == {"time"}
    assert child.asked == []
    assert {part.state for part in runner(tmp_path, source, child, None).make_all(PLANNED)} == {"missing"}


STATES: tuple[running.State, ...] = ("done", "failed", "time")


def test_exit_codes() -> None:
    done, failed, late = (Made(PEER, state) for state in STATES)
    assert command.exit_code([done], has_1m=True) == 0
    assert command.exit_code([done, failed], has_1m=False) == 1
    assert command.exit_code([done, late], has_1m=False) == 3
    assert command.exit_code([done, late], has_1m=True) == 4


# --- the process of a cell ----------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "planted_cell.py"


def test_a_process_hands_back_its_result_and_what_it_took(module: Path) -> None:
    module.write_text(
        "import json, sys\nfrom benchmarks.quality.exchange import peak_bytes\nblock = bytearray(200 << 20)\n"
        "made = {'got': json.load(open(sys.argv[1])), 'peak_bytes': peak_bytes()}\n"
        "open(sys.argv[2], 'w').write(json.dumps(made))\n"
    )
    here = np.ones(400 << 17)  # 400 MB of this process, which the other one is forked from
    outcome = run_child("planted_cell", {"a": 1}, 60)
    assert here[-1] == 1
    assert outcome.status == "done"
    assert outcome.result is not None
    assert outcome.result["got"] == {"a": 1}
    assert 200 << 20 < outcome.result["peak_bytes"] < 400 << 20
    assert outcome.wall_seconds > 0


def test_a_process_that_fails_says_why_and_one_that_hangs_is_stopped(module: Path) -> None:
    module.write_text("raise SystemExit('the matrix is singular')\n")
    failed = run_child("planted_cell", {}, 60)
    assert (failed.status, failed.message) == ("failed", "the matrix is singular")
    module.write_text("import time\ntime.sleep(60)\n")
    stopped = run_child("planted_cell", {}, 0.5)
    assert stopped.status == "time"
    assert stopped.wall_seconds < 10


def test_the_memory_of_a_process_is_bounded(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.quality.children.MEMORY_BYTES", 100 << 20)
    module.write_text("block = bytearray(300 << 20)\n")
    outcome = run_child("planted_cell", {}, 60)
    assert (outcome.status, outcome.message.splitlines()[-1]) == ("failed", "MemoryError")


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


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_page_from_what_is_there(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "movielens_100k", lambda: source)
    page = tmp_path / "quality.md"
    words = ["--report-only", "--quick", "--results", str(tmp_path / "none"), "--page", str(page), "--ml1m", ""]
    assert command.main(words) in (1, 3)  # 1 while a configuration is not there
    assert page.read_text().startswith("# How well the models retrieve")
    assert "not run (QUICK=1)" in page.read_text()
    assert f"wrote {page}; 0 of " in capsys.readouterr().out
    assert command.main([*words[:-1], str(tmp_path / "nowhere")]) == 2
    assert "nowhere holds neither interactions.parquet nor" in capsys.readouterr().err


# --- locks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["implicit", "rectools"])
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
