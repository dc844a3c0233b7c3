"""`recbatch plan`: a night planned, measured in small and foretold; all that is written is in a temporary folder."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch.config.load import read_config
from recbatch.config.models import Entity
from recbatch.errors import InputError, RecbatchError
from recbatch.launch.documents import document_target, write_document
from recbatch.launch.nightly import vector_settings
from recbatch.launch.prepare import prepare_night
from recbatch.night import Plan
from recbatch.planning import (
    EmptyNight,
    Forecast,
    calibrate,
    count_sizes,
    forecast,
    largest_shards,
    name_ids,
    sampled_ids,
    to_json,
    write_sample,
)

log = logging.getLogger(__name__)

_FEW = 100


def plan(
    config: str,
    overrides: Sequence[str],
    *,
    model: str | None,
    vectors: Mapping[str, str | None],
    ds: str | None,
    hours: float,
    json_uri: str | None = None,
) -> Forecast:
    """Foretell the night that `recommend` or `nightly` would make of the same arguments.

    Args:
        config, overrides, model, vectors: as of :func:`recbatch.launch.nightly.recommend`; without a model and vectors
            the night is one that trains.
        ds: the date; None: today.
        hours: how long a run on Dataflow may take.
        json_uri: a file for all of it; what is there is replaced.

    Raises:
        RecbatchError: the work that is measured failed; exit code 2 for config and input errors.
    """
    if not hours > 0:
        raise InputError(f"--hours: {hours:g} is no time that a night can take; give a number above 0")
    target = None if json_uri is None else document_target(json_uri, "--json")
    settings = [*vector_settings(vectors), *overrides]
    day = ds or datetime.now(read_config(config, settings).config.zone).date().isoformat()
    with tempfile.TemporaryDirectory(prefix="recbatch-plan-") as scratch:
        folder = Path(scratch)
        prepare = functools.partial(prepare_night, config, ds=day, model=model, force=False)
        night = prepare(overrides=settings, output=str(folder / "night"))
        log.info("counting ids")
        sizes = count_sizes(night)
        log.info("measuring a night of a few rows")
        empty = _empty_night(night, config, settings, model, folder)
        log.info("measuring the work on a sample of the inputs")
        small = [*settings, *write_sample(night, folder / "sample"), "run.range_ids=10000"]
        counter = itertools.count()
        calibration = calibrate(
            night,
            lambda: prepare(overrides=small, output=str(folder / f"small-{next(counter)}")),
            empty,
            sizes,
            functools.partial(largest_shards, night.night, sizes),
        )
        found = forecast(night, sizes, calibration, hours)
    if target is not None:
        write_document(target, to_json(found), "--json")
    return found


def _empty_night(plan: Plan, config: str, settings: Sequence[str], model: str | None, folder: Path) -> EmptyNight:
    """A night of a few rows by the command itself, in a process of its own."""
    few = write_sample(plan, folder / "few", events=2 * _FEW, ids=_FEW)
    if plan.training is None:
        name_ids(plan, folder / "few", sampled_ids(plan, folder / "few"))
    else:
        few = [*few, *_stand_in_vectors(plan, folder / "few")]
    words = [sys.executable, "-m", "recbatch", "recommend", config, "--ds", plan.night.ds]
    words += ["--output", str(folder / "few" / "output"), *([] if model is None else ["--model", model])]
    words += [word for setting in [*settings, *few] for word in ("--set", setting)]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            last = (said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            kind = InputError if child.returncode == InputError.exit_code else RecbatchError
            raise kind(f"a night of the first rows of the inputs fails: {last.removeprefix('error: ')}")
    return EmptyNight(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def _stand_in_vectors(plan: Plan, folder: Path) -> list[str]:
    """Settings that give a night vectors in place of the model that it would train."""
    rng = np.random.default_rng(0)
    settings = [f"tables.{job.name}.model=null" for job in plan.night.jobs]
    entities: tuple[tuple[Entity, str], ...] = (("user", "users"), ("item", "items"))
    for entity, source in entities:
        path = folder / f"{source}-vectors.parquet"
        rows = rng.standard_normal((_FEW, plan.night.config.model.dim)).astype(np.float32)
        ids = pa.array([f"{source} {number}" for number in range(_FEW)])
        name_ids(plan, folder, {entity: ids})
        pq.write_table(pa.table({"id": ids, "embedding": list(rows)}), path)
        settings += vector_settings({source: str(path)})
    return [*settings, "inputs.unknown_users=drop", "inputs.unknown_items=drop"]
