"""What schedulers and Flex Templates launch: every job through its ``main``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from robust_nights import SETTINGS, Inputs, command, make_inputs
from world import DS, Published

from jobs import backfill, nightly, recommend, train
from recbatch.model.bundle import read_manifest
from recbatch.tables.pointer import published_dates

JOBS = pytest.mark.parametrize("job", [train, recommend, nightly, backfill], ids=lambda job: job.__name__)
QUICK = ["--set=model.training.epochs=1", "--set=model.training.refit=false"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return make_inputs(tmp_path_factory.mktemp("jobs"), settings=SETTINGS | {"run": {"range_ids": 1000}})


def test_train_then_recommend(inputs: Inputs, tmp_path: Path) -> None:
    """``--name=value`` for the one, as a Flex Template passes it, ``--name value`` for the other."""
    model, output = tmp_path / "model", tmp_path / "out"
    words = [f"--config={inputs.config}", f"--model={model}", f"--ds={DS}", "--runner=DirectRunner", *QUICK]
    assert train.main(words) == 0
    assert read_manifest(str(model))["as_of_us"] is not None
    words = ["--runner", "DirectRunner", "--config", inputs.config, "--model", str(model), "--direct_num_workers", "1"]
    assert recommend.main([*words, "--output", str(output), "--ds", DS]) == 0
    assert Published(output).manifest["model"]["bundle"] == str(model)


def test_nightly(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the process's own arguments; the second time there is nothing to do."""
    output = tmp_path / "out"
    words = [f"--output={output}", "--runner=DirectRunner", f"--ds={DS}", *QUICK, f"--config={inputs.config}"]
    monkeypatch.setattr(sys, "argv", ["jobs/nightly.py", *words])
    assert nightly.main() == 0
    assert Published(output).table("user2item").num_rows > 0
    assert nightly.main(words) == 0
    assert nightly.main([*words, "--force=false"]) == 0
    assert nightly.main([*words, "--force=true"]) == 0
    assert len(list((output / "_runs" / DS).iterdir())) == 2


def test_backfill(inputs: Inputs, tmp_path: Path) -> None:
    words = [f"--config={inputs.config}", f"--output={tmp_path}", f"--model={inputs.bundle}", "--no_auth"]
    words += ["--set=run.allow_future_model=true", "--from=2024-03-08", f"--to={DS}"]
    assert backfill.main(words) == 0
    assert published_dates(str(tmp_path)) == ["2024-03-08", DS]


@JOBS
@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("--sett=run.range_ids=5", "--set"),
        ("--runer=DirectRunner", "--runner"),
        ("--temp_locations=gs://x", "--temp_location"),
        ("--autoscale=NONE", "--autoscaling_algorithm"),
    ],
)
def test_an_unknown_option(
    inputs: Inputs,
    tmp_path: Path,
    job: Any,
    word: str,
    nearest: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither ours nor Beam's: nothing is begun, and the nearest of all is named."""
    assert job.main([f"--config={inputs.config}", word]) == 2
    error = capsys.readouterr().err
    assert f"{word!r} is not an option of recbatch or of Apache Beam; did you mean {nearest}?" in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_job_without_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nightly.main([f"--output={tmp_path}", f"--ds={DS}", "--runner=DirectRunner"]) == 2
    assert "CONFIG is missing; name the configuration file, in a job as --config=URI" in capsys.readouterr().err


def test_the_command_line_takes_beams_options_with_or_without_dashes(inputs: Inputs, tmp_path: Path) -> None:
    words = inputs.words(tmp_path / "out")
    assert command([words[0], "--runner", "DirectRunner", *words[1:], "--", "--direct_num_workers=1"])[0] == 0
    assert Published(tmp_path / "out").table("user2item").num_rows > 0


@JOBS
def test_help(job: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert job.main(["--help"]) == 0
    assert "--set" in capsys.readouterr().out


def test_a_flag_with_another_value(inputs: Inputs, capsys: pytest.CaptureFixture[str]) -> None:
    assert nightly.main([f"--config={inputs.config}", "--force=yes"]) == 2
    assert "--force=yes: write --force, --force=true or --force=false" in capsys.readouterr().err
