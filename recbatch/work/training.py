"""Training as a work item: the bundle that is there, else one fitted now."""

from __future__ import annotations

import shutil
from pathlib import Path

import filelock
import platformdirs

from recbatch import storage
from recbatch.interactions import load_tables, plan_slices
from recbatch.model import Bundle, TrainingData, load_bundle, train_bundle
from recbatch.model.bundle import MANIFEST
from recbatch.night import BundleRef, Night, TrainingJob
from recbatch.work.items import Cuts


def train_night(night: Night, _: None, __: Cuts) -> BundleRef:
    """The night's default bundle, there and verified. Waits for the cuts, so that bad input fails before a fit."""
    if night.training is not None:
        train_job(night.training)
    load_bundle(night.bundle.uri)
    return night.bundle


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


def work_folder(job: TrainingJob) -> Path:
    """Where a training keeps its checkpoints and TensorBoard logs, on this machine."""
    if storage.is_remote(job.target):
        return Path(platformdirs.user_cache_dir("recbatch")) / "training" / job.name
    return Path(job.state_uri)
