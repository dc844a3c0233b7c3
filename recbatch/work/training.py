"""Training as a work item: the bundle that is there, else one fitted now."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import filelock
import platformdirs
import pyarrow.parquet as pq

from recbatch import storage
from recbatch.interactions import CleanTables, load_tables, plan_slices
from recbatch.model import Bundle, TrainingData, load_bundle, train_bundle
from recbatch.model.bundle import MANIFEST
from recbatch.night import BundleRef, Plan, TrainingJob
from recbatch.work.items import Cuts

log = logging.getLogger(__name__)


def train_night(plan: Plan, _: Cuts) -> BundleRef:
    """The night's default bundle, there and verified. Waits for the cuts, so that bad input fails before a fit."""
    if plan.training is not None:
        train_job(plan.training)
    load_bundle(plan.night.bundle.uri)
    return plan.night.bundle


def train_job(job: TrainingJob) -> Bundle:
    """Make the bundle of a training unless it is there.

    Checkpoints lie beside a local bundle (for a remote one in this machine's cache), so a killed training goes on where
    it was; a second process with the same training waits, then finds the bundle.
    """
    work = work_folder(job)
    work.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(work / ".lock"):
        if not storage.exists(storage.join(job.target, MANIFEST)):
            clean = load_tables(plan_slices(job.inputs, job.slice_rows), job.spec)
            _report(clean, work)
            train_bundle(
                job.model,
                TrainingData(clean.interactions, clean.users, clean.items),
                job.target,
                work_folder=str(work),
                as_of_us=job.as_of_us,
                fingerprint=job.name,
            )
            shutil.rmtree(work / "checkpoints", ignore_errors=True)
    return load_bundle(job.target)


def _report(clean: CleanTables, work: Path) -> None:
    """Say what was read, and keep the rows that were put aside (a night keeps them in its run directory, too)."""
    for source, counts in clean.counts.items():
        if counts:
            log.info("%s: %s", source, ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    if clean.quarantined.num_rows:
        pq.write_table(clean.quarantined, work / "quarantine.parquet")
        log.warning("%d rows were put aside, with the reasons, in %s", clean.quarantined.num_rows, work)


def work_folder(job: TrainingJob) -> Path:
    """Where a training keeps its checkpoints and TensorBoard logs, on this machine."""
    if storage.is_remote(job.target):
        return Path(platformdirs.user_cache_dir("recbatch")) / "training" / job.name
    return Path(job.state_uri)
