"""Beam's options and runners, as this program means them."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, SetupOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner

from recbatch.errors import InputError

_LOCAL = ("DirectRunner", "FnApiRunner", "BundleBasedDirectRunner")
_CLOUD = "DataflowRunner"
_WORKER_THREADS = 2
_WORKER_MEMORY = "min_ram=16GB"


def beam_options(arguments: Sequence[str], own: Sequence[str] = ()) -> PipelineOptions:
    """Beam's options from command-line words.

    Args:
        arguments: the words.
        own: options of the command itself; the nearest of all is named when a word is no option.

    Raises:
        InputError: a word is no option of Beam's, or a value does not fit; names the nearest option.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for kind in _all_option_classes(PipelineOptions):
        kind._add_argparse_args(parser)  # type: ignore[arg-type]
    _, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        names = [*own, *(name for action in parser._actions for name in action.option_strings)]
        near = difflib.get_close_matches(unknown[0].split("=")[0], names, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else "; see the options of Apache Beam and of your runner"
        raise InputError(f"{unknown[0]!r} is not an option of recbatch or of Apache Beam{hint}")
    options = PipelineOptions(list(arguments))
    # DoFns live in the package, so no worker needs the launcher's main session.
    options.view_as(SetupOptions).save_main_session = False
    if options.view_as(StandardOptions).runner == _CLOUD:
        _suit_workers(options)
    return options


def _suit_workers(options: PipelineOptions) -> None:
    """What our work items want of a worker, where the options do not say otherwise.

    TensorFlow, NumPy and ScaNN use all cores from one process, and every process would hold towers and indexes of its
    own: so one process per machine, few work items at a time, and memory for both.
    """
    debug, standard = options.view_as(DebugOptions), options.view_as(StandardOptions)
    if not debug.lookup_experiment("use_multiple_sdk_containers"):
        debug.add_experiment("no_use_multiple_sdk_containers")
    if debug.number_of_worker_harness_threads is None:
        debug.number_of_worker_harness_threads = _WORKER_THREADS
    if not any(hint.startswith(("min_ram", "minRam")) for hint in standard.resource_hints):
        standard.resource_hints = [*standard.resource_hints, _WORKER_MEMORY]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise InputError(f"Beam option: {message}")


def _all_option_classes(kind: type[PipelineOptions]) -> list[type[PipelineOptions]]:
    found: list[type[PipelineOptions]] = []
    for child in kind.__subclasses__():
        if child.__module__.startswith("apache_beam.") and child.__dict__.get("_add_argparse_args"):
            found.append(child)
        found.extend(_all_option_classes(child))
    return sorted(set(found), key=lambda child: child.__qualname__)


def runner_for(options: PipelineOptions) -> PipelineRunner:
    """The runner that the options name.

    DirectRunner (the default) is the in-process FnApiRunner, always: by itself Beam would first try another runner
    and download a binary for it.

    Raises:
        InputError: there is no such runner.
    """
    name = options.view_as(StandardOptions).runner or "DirectRunner"
    if name in _LOCAL:
        return FnApiRunner()
    try:
        return create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"--runner={name}: {error}") from None
