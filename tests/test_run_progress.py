"""Progress: one set of bars on a terminal however many ask for it, a line a minute in a log."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable

import pytest

from recbatch.run import display, progress, watch

STEPS = {"inputs": (3, 3), "profiles": (0, 7), "user_embeddings": (0, 4), "user2item": (0, 4)}


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """To be called in the test itself: pytest sets standard error when a test begins."""

    def begin() -> None:
        monkeypatch.setattr(sys, "stderr", Terminal())
        monkeypatch.setenv("TERM", "xterm")

    return begin


def test_all_share_the_bars_of_the_first(on_terminal: Callable[[], None]) -> None:
    on_terminal()
    with display() as first, display() as second:
        assert first is not None
        assert first is second
        threads: list[object] = []
        thread = threading.Thread(target=lambda: threads.append(display().__enter__()))
        thread.start()
        thread.join()
        assert threads == [first]
    with display() as again:
        assert again is not first


def test_no_terminal_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with display() as bars:
        assert bars is None


def test_a_step_has_its_bar_from_when_it_begins(on_terminal: Callable[[], None]) -> None:
    on_terminal()
    steps = dict(STEPS)
    with display() as bars:
        assert bars is not None
        show = progress._Bars(bars)
        show(steps)
        assert [task.description for task in bars.tasks] == ["inputs", "profiles"]
        steps |= {"profiles": (7, 7), "user2item": (1, 4)}
        show(steps)
        assert {task.description: (task.completed, task.total) for task in bars.tasks} == {
            "inputs": (3, 3),
            "profiles": (7, 7),
            "user_embeddings": (0, 4),
            "user2item": (1, 4),
        }


def test_the_last_look_is_at_the_end(on_terminal: Callable[[], None]) -> None:
    """However short the work was, its bars end full; an error while looking costs nothing but the display."""
    on_terminal()
    failed = threading.Event()

    def look() -> dict[str, tuple[int, int]]:
        if not failed.is_set():
            failed.set()
            raise ValueError("not there yet")
        return {"inputs": (3, 3)}

    with display() as bars:
        assert bars is not None
        with watch(look, poll_seconds=0.001):
            assert failed.wait(10)
        assert [(task.completed, task.total) for task in bars.tasks] == [(3, 3)]


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.001)
    looked = threading.Event()

    def look() -> dict[str, tuple[int, int]]:
        looked.set()
        return {**STEPS, "profiles": (2, 7)}

    with caplog.at_level(logging.INFO), watch(look):
        assert looked.wait(10)
        while not caplog.messages:
            pass
    assert caplog.messages[0] == "parts there: profiles 2 of 7"
