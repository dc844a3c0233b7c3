"""Training as a work item: the bundle that is there, else one fitted now."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import filelock
import platformdirs
import pyarrow.parquet as pq

from recbatch import storage
from recbatch.errors import InputError
from recbatch.interactions import CleanTables, ReadSpec, load_tables, plan_slices
from recbatch.model import Bundle, TrainingData, load_bundle, train_bundle
from recbatch.model.bundle import MANIFEST, switched_off
from recbatch.night import BundleRef, Plan, TrainingJob
from recbatch.run import writing_in
from recbatch.work.gate import pass_gate, verified
from recbatch.work.items import Cuts

log = logging.getLogger(__name__)


def train_night(plan: Plan, _: Cuts) -> BundleRef:
    """The night's default bundle, there and verified. Waits for the cuts, so that bad input fails before a fit.

    One that was trained for the night has to pass the model gate, which may put the last night's in its place.
    """
    night = plan.night
    if plan.training is None:
        load_bundle(night.bundle.uri)
        return night.bundle
    tables = InputTables(plan.training)
    train_job(plan.training, tables)
    return pass_gate(night, lambda: as_data(tables.load(night.read_spec)))


@dataclass
class InputTables:
    """The clean inputs of a training, read when they are first wanted, and again only if they are wanted otherwise."""

    job: TrainingJob
    _loaded: tuple[ReadSpec, CleanTables] | None = None

    def load(self, spec: ReadSpec) -> CleanTables:
        """The inputs as ``spec`` reads them."""
        if self._loaded is None or self._loaded[0] != spec:
            self._loaded = spec, load_tables(plan_slices(self.job.inputs, self.job.slice_rows), spec)
        return self._loaded[1]


def as_data(clean: CleanTables) -> TrainingData:
    """What a model is fitted to and measured on."""
    return TrainingData(clean.interactions, clean.users, clean.items)


def train_job(job: TrainingJob, tables: InputTables | None = None) -> Bundle:
    """Make the bundle of a training unless it is there.

    Checkpoints lie beside a local bundle (for a remote one in this machine's cache), so a killed training goes on where
    it was; a second process with the same training waits, then finds the bundle.
    """
    work = work_folder(job)
    work.mkdir(parents=True, exist_ok=True)
    with writing_in(work), filelock.FileLock(work / ".lock"):
        if not storage.exists(storage.join(job.target, MANIFEST)):
            train_bundle(
                job.model,
                training_data(job, work, tables),
                job.target,
                work_folder=str(work),
                as_of_us=job.as_of_us,
                fingerprint=job.name,
                warm_start=None if job.warm_start is None else verified(job.warm_start),
            )
        shutil.rmtree(work / "checkpoints", ignore_errors=True)  # also those of one who was killed just before this
    bundle = load_bundle(job.target)
    log.info("the model was measured on what was held out (%s)", bundle.manifest["heldout"])
    for sentence in switched_off(bundle.manifest):
        log.warning(sentence)
    return bundle


def training_data(job: TrainingJob, work: Path, tables: InputTables | None = None) -> TrainingData:
    """The clean tables of a training; what had to be put aside is kept in the folder ``work``.

    Raises:
        InputError: an input is wrong, or no event is left.
    """
    clean = (tables or InputTables(job)).load(job.spec)
    _report(clean, work)
    require_events(clean)
    return as_data(clean)


def _report(clean: CleanTables, work: Path) -> None:
    """Say what was read, and keep the rows that were put aside (a night keeps them in its run directory, too)."""
    for source, counts in clean.counts.items():
        if counts:
            log.info("%s: %s", source, ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    if clean.quarantined.num_rows:
        kept = work / "quarantine.parquet"
        pq.write_table(clean.quarantined, kept)
        log.warning("%d rows were put aside, with the reasons, in %s", clean.quarantined.num_rows, kept)


def require_events(clean: CleanTables) -> None:
    """Say where the events went if none is left."""
    if clean.interactions.num_rows:
        return
    found = clean.counts["interactions"]
    if not found.get("rows"):
        why = "the files of inputs.interactions hold no rows"
    elif found.get("accepted"):
        strangers = [source for source in ("users", "items") if clean.counts[source].get(f"unknown_{source}")]
        why = (
            f"all {found['accepted']} interactions name ids that are not in {' or '.join(strangers)}; check "
            + " and ".join(f"inputs.{source}.id" for source in strangers)
        )
    else:
        why = (
            f"of {found['rows']} interactions {found.get('after_as_of', 0)} are after the date and "
            f"{found.get('quarantined', 0)} had to be put aside; check --ds"
        )
    raise InputError(f"there is nothing to train on: {why}")


def work_folder(job: TrainingJob) -> Path:
    """Where a training keeps its checkpoints and TensorBoard logs, on this machine."""
    if storage.is_remote(job.target):
        return Path(platformdirs.user_cache_dir("recbatch")) / "training" / job.name
    return Path(job.state_uri)
