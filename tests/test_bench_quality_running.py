"""The quality measurement's runner: making and finding cells, side by side; limits of a process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import __main__ as command
from benchmarks.quality import running
from benchmarks.quality.cells import Cell
from benchmarks.quality.children import Outcome, run_child
from benchmarks.quality.datasets import READING
from benchmarks.quality.plan import Planned
from benchmarks.quality.running import Made, Runner
from benchmarks.quality.sources import Source
from benchmarks.quality.store import Store

PEER = Cell("peer", "ease", "movielens-100k", "B", 0, READING)
SEARCH = Cell("search", "ease", "movielens-100k", "B", 0, READING, trials=3)


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


def test_cells_go_on_side_by_side_each_on_cores_of_its_own(tmp_path: Path, source: Source) -> None:
    meeting, found = threading.Barrier(2, timeout=30), dict[str, set[int]]()

    class Meeting(Child):
        def __call__(self, module: str, task: dict[str, Any], seconds: float) -> Outcome:
            if task["cell"]["kind"] == "search":  # the one that waits for it is not begun meanwhile
                found["search"] = os.sched_getaffinity(0)
            else:
                found[task["cell"]["system"]] = os.sched_getaffinity(0)
                meeting.wait()
            return super().__call__(module, task, seconds)

    before = os.sched_getaffinity(0)
    several = Runner(
        Store(tmp_path / "results"), {source.name: source}, tmp_path / "bundles", 1000.0, Meeting(), jobs=2
    )
    made = several.make_all(PLANNED)
    assert [part.state for part in made] == ["done"] * 3, "in the plan's order"
    assert made[1].result is not None
    if len(before) > 1:
        assert not found["ease"] & found["popularity"]
    assert os.sched_getaffinity(0) == before


def test_an_interrupt_ends_the_processes_that_are_at_work(
    tmp_path: Path, source: Source, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.write_text("import os, time\nopen(f'{__file__}.pid', 'w').write(str(os.getpid()))\ntime.sleep(300)\n")
    monkeypatch.setitem(running._MODULES, "peer", "planted_cell")
    at_work = module.with_name("planted_cell.py.pid")

    def interrupt() -> None:
        while not (at_work.exists() and at_work.read_text()):
            time.sleep(0.1)
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    several = Runner(Store(tmp_path / "results"), {source.name: source}, tmp_path / "bundles", 1000.0, jobs=2)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs without one
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            several.make_all([PLANNED[2]])
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(at_work.read_text()), 0)


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
