"""Our training and the tutorial's fit are compared on the same events, at toy size."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.speed import train
from benchmarks.speed.facts import rate, require_rates
from recbatch.errors import RecbatchError


@pytest.mark.heavy
def test_ours_and_the_tutorials_fit_are_compared(tmp_path: Path) -> None:
    sizes = {"rows": 3_000, "printed_rows": 500, "epochs": [1, 2]}
    result = train.measure(argparse.Namespace(work=str(tmp_path), ml1m=None, runs=1, **sizes))
    assert result["data"] == {"name": "synthetic", "rows": 3_000}
    assert result["batch_size"] == 8_192
    (ours,), (theirs,), (printed,) = result["runs"].values()
    one, two = (fit["examples"] for fit in ours["fits"])
    assert two == 2 * one
    # A fifth is held out, by either side in its own way.
    assert one == pytest.approx(2_400, rel=0.1)
    assert theirs["examples"] == 2_400
    assert printed["examples"] == 400
    assert len(theirs["epoch_seconds"]) == 2
    assert result["speed_ratio"] == ours["examples_per_second"] / theirs["examples_per_second"]


@pytest.mark.parametrize("slope", [0.0, -0.5])
def test_a_rate_that_noise_has_made_is_not_stored(slope: float) -> None:
    with pytest.raises(RecbatchError, match="recbatch: the larger size took no longer than the smaller one"):
        require_rates({"tutorial": 3.0, "recbatch": rate(slope)})


@pytest.mark.parametrize("epochs", [("2", "2"), ("0", "2"), ("0", "1")])
def test_a_rate_needs_two_numbers_of_epochs(epochs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["--work", "nowhere", "--epochs", *epochs])
    assert "give two different numbers" in capsys.readouterr().err
