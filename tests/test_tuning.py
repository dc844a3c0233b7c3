"""The command on small worlds: a planted better choice, kills, interruptions, and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from robust_nights import command, end, error_of, kill, robust_world, start, wait_for
from world import DS, World

from recbatch.cli.main import main
from recbatch.config.load import load_config

MODEL = {
    "dim": 8,
    "query": {"features": [{"kind": "history", "dim": 8, "train_on": "others"}], "combine": "sum", "projection": False},
    "candidate": {"features": [{"kind": "id", "dim": 8}], "combine": "sum", "projection": False},
    "normalize": True,
    "temperature": 0.2,
    "training": {"epochs": 3, "batch_size": 256, "learning_rate": 0.00001, "early_stopping": {"patience": 1}},
}
RATES = "model.training.learning_rate: [0.00001, 0.000011, 0.03]"


def small_world() -> World:
    return robust_world(users=40, items=30, events=400)


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A config that learns nothing, for its learning rate is too small."""
    return small_world().config(small_world().write(tmp_path), {"model": MODEL})


def words(config: str, *more: str, study: str = "study", output: str = "best.yaml") -> list[str]:
    folder = Path(config).parent
    (folder / "space.yaml").write_text(RATES)
    named = ["--study", str(folder / study), "--output", str(folder / output), "--space", str(folder / "space.yaml")]
    return ["tune", config, *named, *more]


def log_of(config: str, study: str = "study") -> list[dict[str, Any]]:
    path = Path(config).parent / study / "trials.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def without_seconds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.heavy
def test_the_planted_choice_is_found_after_a_kill_and_an_interruption(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Killed in its first trial, interrupted in a later one: the same trials as without, and a config with the best."""
    # The one good choice is in none of the first trials, or this would be no search.
    killed = start(words(config, "--trials", "9"), tmp_path / "killed.log")
    wait_for(lambda: any((tmp_path / "study" / "work").glob("trial-0001/checkpoints/*.npz")), killed)
    kill(killed)
    wait_until(
        lambda: not open_by_somebody(tmp_path / "study" / "logs" / "trial-0001.log"), "the fit outlived the search"
    )
    assert log_of(config) == []

    interrupted = start(words(config, "--trials", "9"), tmp_path / "interrupted.log")
    wait_for(lambda: len(log_of(config)) >= 1, interrupted)
    assert interrupted.pid is not None
    os.kill(interrupted.pid, signal.SIGINT)
    assert end(interrupted) == 130
    said = (tmp_path / "interrupted.log").read_text()
    assert "interrupted; what is done is kept" in said
    assert "Traceback" not in said
    assert not (tmp_path / "best.yaml").exists()
    done = log_of(config)
    assert [row["as_configured"] for row in done][:1] == [True]

    capsys.readouterr()
    with caplog.at_level("INFO"):
        code, said = command(words(config, "--trials", "9"))
    assert code == 0, said
    assert re.search(r"\d of 9 trials are there; best so far 0\.\d+ by trial 1\n", caplog.text)
    assert re.search(r"trial 9 of 9: .*; best so far 0\.\d+ by trial \d; less than a minute left\n", caplog.text)
    rows = log_of(config)
    assert rows[: len(done) - 1] == done[:-1]
    assert len(rows) == 9
    best = max(rows, key=lambda row: (row["score"] or 0, row["metrics"].get("heldout_ndcg_at_10", 0)))
    assert best["parameters"] == {"model.training.learning_rate": 0.03}
    assert best["score"] > rows[0]["score"] + 0.2
    assert {row["state"] for row in rows} <= {"complete", "pruned"}

    tuned = load_config(str(tmp_path / "best.yaml"))
    assert tuned == load_config(config, ["model.training.learning_rate=0.03"])
    header = (tmp_path / "best.yaml").read_text()
    assert header.startswith("# Written by `recbatch tune`.\n# Trial ")
    assert "Changed: model.training.learning_rate 1e-05 -> 0.03." in header
    shown = capsys.readouterr().out
    assert f"trial {best['trial']}: training.learning_rate 0.03\n" in shown
    assert "trial 1: the configuration as it is\n" in shown
    assert not (tmp_path / "study" / "work").exists(), "checkpoints and tables are removed"

    caplog.clear()
    with caplog.at_level("INFO"):
        assert command(words(config, "--trials", "9"))[0] == 0
    assert "nothing to do" in caplog.text
    assert (tmp_path / "best.yaml").read_text() == header
    # What is measured at night is what the search has measured.
    assert (
        main(
            [
                "train",
                str(tmp_path / "best.yaml"),
                "--model",
                str(tmp_path / "bundle"),
                "--set=model.training.refit=false",
            ]
        )
        == 0
    )
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    for name, value in best["metrics"].items():
        assert manifest["metrics"][name] == pytest.approx(value)


def wait_until(there: Any, otherwise: str, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until, otherwise
        time.sleep(0.05)


def open_by_somebody(path: Path) -> bool:
    """Whether a process has the file open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(path):
                return True
        except OSError:
            continue
    return False


@pytest.mark.heavy
def test_a_fit_that_dies_or_diverges_is_one_failed_trial(config: str, tmp_path: Path) -> None:
    named = words(config, "--trials", "3", "--set", "model.normalize=false", "--set=model.training.learning_rate=0.01")
    (tmp_path / "space.yaml").write_text("model.training.learning_rate: [1.0e30, 1.0e31, 1.0e32]")
    code, said = command(named)
    assert code == 0, said
    rows = log_of(config)
    assert [row["state"] for row in rows] == ["complete", "failed", "failed"]
    assert "training diverged" in rows[1]["reason"]
    assert load_config(str(tmp_path / "best.yaml")).model.training.learning_rate == 0.01
    assert "Changed: nothing, for no trial was better" in (tmp_path / "best.yaml").read_text()


# --- what is refused, before anything is begun ------------------------------------------------------------------------

WRONG = [
    ("tune {config} --output {out}", "Missing option '--study'"),
    ("tune {config} --study {study}", "Missing option '--output'"),
    (
        "tune {config} --study {study} --output {config}",
        "--output: {config} is the configuration that the search starts",
    ),
    ("tune {config} --study {study} --output {other}", "--output: {other} is there, and not as a search wrote it"),
    ("tune {config} --study {folder} --output {out}", "holds something else than a search|read what nights write"),
    ("tune {config} --study gs://b/s --output {out}", "--study: gs://b/s is not on this machine"),
    ("tune {config} --study {study} --output {out} --trials 0", "--trials: 0 is too few"),
    ("tune {config} --study {study} --output {out} --minutes 0", "--minutes: 0.0 is no time"),
    (
        "tune {config} --study {study} --output {out} --metric ndgc_at_10",
        "--metric: 'ndgc_at_10' .*did you mean ndcg_at_10",
    ),
    ("tune {config} --study {study} --output {out} --ds 2024-13-01", "--ds: '2024-13-01' is not a date"),
    ("tune {config} --study {study} --output {out} --space {out}", "best.yaml: there is no such file"),
    ("tune {config} --study {study} --output {out} --space {wrong}", "wrong.yaml:1:1: unknown key model.dimm"),
    ("tune {config} --study {study} --output {out} --set model.dimm=3", "--set model.dimm=3: unknown key model.dimm"),
    (
        "tune {config} --study {study} --output {out} --set model.temperature=x",
        "model.temperature is .x., but has to be",
    ),
]


@pytest.mark.parametrize(("line", "says"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_command_says_what_is_wrong(config: str, tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "other.yaml").write_text("mine: true")
    (tmp_path / "wrong.yaml").write_text("model.dimm: [3]")
    names = {
        "config": config,
        "folder": str(tmp_path),
        "study": str(tmp_path / "s"),
        "out": str(tmp_path / "best.yaml"),
    }
    names |= {"other": str(tmp_path / "other.yaml"), "wrong": str(tmp_path / "wrong.yaml")}
    code, said = command(line.format(**names).split())
    assert code == 2
    plain = " ".join(said.replace("│", " ").split())
    assert re.search(says.format(**names), plain)
    assert "Traceback" not in said
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "best.yaml").exists()


def test_nothing_to_train_on_is_said(config: str, tmp_path: Path) -> None:
    code, said = command(words(config, "--ds", "2001-01-01"))
    assert code == 2
    assert "there is nothing to train on" in error_of(said)


def test_dates_and_data_belong_to_the_search(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recbatch.tuning import search

    monkeypatch.setattr(search, "run_fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert command(words(config, "--ds", DS))[0] == 130
    code, said = command(words(config))
    assert (code, "holds a search with as_of_us" in said) == (2, True)
    small_world().write(tmp_path, files=2)
    code, said = command(words(config, "--ds", DS))
    assert (code, "holds a search with inputs" in said) == (2, True)
