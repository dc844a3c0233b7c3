"""Beam's options and runners as this program means them."""

from __future__ import annotations

import pytest
from apache_beam.options.pipeline_options import DirectOptions, GoogleCloudOptions, SetupOptions
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from recbatch.errors import InputError
from recbatch.launch.beam import beam_options, runner_for


@pytest.mark.parametrize("words", [[], ["--runner=DirectRunner"], ["--runner", "DirectRunner"]])
def test_direct_runner_is_the_in_process_runner(words: list[str]) -> None:
    """By itself Beam would try another runner first and download a binary for it."""
    assert type(runner_for(beam_options(words))) is FnApiRunner


def test_dataflow_is_dataflow() -> None:
    assert type(runner_for(beam_options(["--runner=DataflowRunner"]))) is DataflowRunner


def test_options_arrive() -> None:
    options = beam_options(
        ["--direct_num_workers=2", "--direct_running_mode=multi_processing", "--region=europe-west1"]
    )
    assert options.view_as(DirectOptions).direct_num_workers == 2
    assert options.view_as(GoogleCloudOptions).region == "europe-west1"
    assert options.view_as(SetupOptions).save_main_session is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--direct_num_worker=2"], "'--direct_num_worker=2' is not an option .* did you mean --direct_num_workers"),
        (["stray"], "'stray' is not an option"),
        (["--direct_num_workers=two"], "invalid int value: 'two'"),
    ],
)
def test_a_wrong_option_is_a_sentence(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        beam_options(words)


def test_an_unknown_runner_is_a_sentence() -> None:
    with pytest.raises(InputError, match="--runner=Direkt: .*DataflowRunner"):
        runner_for(beam_options(["--runner=Direkt"]))
