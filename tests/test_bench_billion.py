"""The largest measurement at toy size: it goes on where it was, and looks for room before it begins."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed import billion
from benchmarks.speed.attempts import attempt
from benchmarks.speed.billion import Sizes, measure, require_room, taken_bytes
from benchmarks.speed.children import exit_code
from recbatch.errors import RecbatchError

TOY = {"users": 2_000, "items": 1_500, "k": 10, "dim": 16}


@pytest.mark.heavy
def test_a_side_that_is_done_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = argparse.Namespace(work=str(tmp_path), **TOY)

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(billion, "run_loop", killed)
        with pytest.raises(KeyboardInterrupt):
            measure(arguments)
    monkeypatch.setattr(billion, "run_night", killed)
    result = measure(arguments)
    assert result["figures"]["rows"] == 20_000
    assert result["figures"]["index_recall_at_k"] >= 0.95
    assert result["figures"]["ratio"] == result["night"]["seconds"] / result["loop"]["seconds"]
    assert result["reached"]["rows"]
    assert result["night"]["attempts"] == [result["night"]["seconds"]]
    monkeypatch.setattr(billion, "run_loop", killed)
    assert measure(arguments)["figures"] == result["figures"]


def test_no_room_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecbatchError, match=r"needs [\d.]+ GB more .* but its disk has [\d.]+ GB free; make room or"):
        require_room(tmp_path, Sizes(10**12, 10**6, 100, 64))


def test_a_command_without_room_ends_with_that_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(billion.main, ["--work", str(tmp_path), "--users", str(10**12)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_hard_links_take_room_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(100_000))
    before = taken_bytes(tmp_path)
    (tmp_path / "other").hardlink_to(tmp_path / "one")
    assert taken_bytes(tmp_path) == before >= 100_000


def test_the_seconds_of_all_attempts_are_known(tmp_path: Path) -> None:
    path = tmp_path / "attempts.json"
    with attempt(path, new=True) as earlier:
        assert earlier == []
    with contextlib.suppress(KeyboardInterrupt), attempt(path, new=False) as earlier:
        assert len(earlier) == 1
        raise KeyboardInterrupt
    assert len(json.loads(path.read_text())) == 2
    with attempt(path, new=True) as earlier:
        assert earlier == []
