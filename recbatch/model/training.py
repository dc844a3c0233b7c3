"""Training from clean tables to a published bundle: split, measure, refit, export."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recbatch import storage
from recbatch.config.models import Model
from recbatch.errors import RecbatchError
from recbatch.model.bundle import MANIFEST, read_manifest
from recbatch.model.data import Events, Prepared, TrainingData, prepare
from recbatch.model.features import stable_seed
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.manifest import bundle_manifest, tower_description
from recbatch.model.serving import export_retriever, export_tower
from recbatch.model.tower import Tower
from recbatch.run import canonical_json
from recbatch.splits import heldout_by_time, heldout_per_user

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Held-out events [n] bool, and in words how they were chosen (or why there are none)."""

    heldout: np.ndarray
    method: str


def train_bundle(
    model: Model,
    data: TrainingData,
    target_uri: str,
    *,
    work_folder: str,
    as_of_us: int | None,
    fingerprint: str,
) -> dict[str, Any]:
    """Fit, export and publish a bundle; a bundle that is there already is left as it is.

    The held-out metrics and the number of steps come from a fit that has not seen the held-out events; with ``refit``
    the exported towers are fitted for that many steps to all positives.

    Args:
        model: the towers and how to fit them.
        data: clean tables up to as-of.
        target_uri: where the bundle's folder appears, whole.
        work_folder: a local folder for checkpoints and TensorBoard's logs. A killed training that is called again with
            the same folder, model, data and fingerprint goes on and gives the same weights, bit for bit.
        as_of_us: end of the training data, microseconds since the epoch; goes into the manifest.
        fingerprint: name of the bundle's inputs; goes into the manifest.

    Returns:
        The manifest.

    Raises:
        InputError: there are no positives, or the features do not fit the data.
        RecbatchError: the training diverged.
    """
    if storage.exists(storage.join(target_uri, MANIFEST)):
        return read_manifest(target_uri)
    started = time.monotonic()
    _make_reproducible(model.training.seed)
    prepared = prepare(data)
    split = split_events(model, prepared.events)
    work = Path(work_folder)
    identity = identity_of(model, prepared, fingerprint)

    first, metrics, counts = _measured_fit(model, prepared, split, work, identity)
    final = first
    if model.training.refit and split.heldout.any():
        final = TwoTowerFit("refit", model, prepared, prepared.events, None, work, identity)
        final.run(max_steps=first.result_step)
    _log.info("exporting the towers")
    folder = work / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    retriever = _export(model, final, prepared, folder)
    manifest = bundle_manifest(
        folder,
        model=model,
        query=final.query,
        candidate=final.candidate,
        events=prepared.events,
        facts={
            "fingerprint": fingerprint,
            "as_of_us": as_of_us,
            "steps": final.state.step if final is not first else first.result_step,
            "heldout": split.method,
            "refit": final is not first,
            "metrics": metrics,
            "counts": {**counts, "heldout_events": int(split.heldout.sum())},
            "retriever": retriever,
            "seconds": round(time.monotonic() - started, 1),
        },
    )
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    if not storage.put_folder_if_absent(folder, target_uri, MANIFEST):
        return read_manifest(target_uri)
    shutil.rmtree(folder, ignore_errors=True)  # a local bundle is this very folder, moved
    return manifest


def split_events(model: Model, events: Events) -> Split:
    """Which positives the first fit does not see."""
    settings = model.training.heldout
    if settings.split == "time" and events.times_us is not None:
        mask, method = heldout_by_time(events.times_us, settings.share), "newest"
    else:
        mask, method = heldout_per_user(events.users, settings.share, model.training.seed), "random per user"
        if settings.split == "time":
            method += ", for the interactions have no timestamps"
    if not mask.any():
        method = f"nothing ({method}: {len(events)} positives cannot be split so that some of each side remain)"
        _log.warning("nothing is held out, so there are no held-out metrics and every epoch is run: %s", method)
    return Split(mask, method)


def _measured_fit(
    model: Model, prepared: Prepared, split: Split, work: Path, identity: str
) -> tuple[TwoTowerFit, dict[str, float], dict[str, int]]:
    """(fit without the held-out events, its metrics, counts)."""
    train, heldout = prepared.events.select(~split.heldout), prepared.events.select(split.heldout)
    fit = TwoTowerFit("measured", model, prepared, train, heldout, work, identity)
    fit.run()
    if fit.evaluation is None:
        return fit, {}, {}
    metrics = {**fit.state.best_metrics, **fit.evaluation.factorized_top_k()}
    _log.info("held out: %s", ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "nothing to ask")
    return fit, metrics, fit.evaluation.counts


def _export(model: Model, fit: TwoTowerFit, prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Save both towers and the retriever; returns what the retriever is."""
    export_tower(fit.query, folder / "query")
    export_tower(fit.candidate, folder / "candidate")
    # The exported tower's own vectors, so that the retriever ranks by exactly those that a night publishes.
    tower = Tower(folder / "candidate", tower_description(fit.candidate, model))
    vectors, known = tower.embed(prepared.items)
    valid = known & np.isfinite(vectors).all(axis=1)
    if not valid.any():
        raise RecbatchError("the candidate tower gives no item a finite vector; lower model.training.learning_rate")
    ids = prepared.items["id"].filter(pa.array(valid)).combine_chunks()
    return export_retriever(fit.query, ids, vectors[valid], model.retriever, folder / "retriever")


def _make_reproducible(seed: int) -> None:
    """Every random choice of ours has its own seed; this makes TensorFlow choose kernels whose bits are repeatable."""
    tf.random.set_seed(stable_seed(seed))
    tf.config.experimental.enable_op_determinism()


def identity_of(model: Model, prepared: Prepared, fingerprint: str) -> str:
    """Names what the weights depend on: a checkpoint of anything else is not continued."""
    digest = hashlib.sha256(canonical_json([fingerprint, model.model_dump(mode="json")]))
    events = prepared.events
    arrays = [events.users, events.items] + ([] if events.times_us is None else [events.times_us])
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    for table in (prepared.users, prepared.items, events.context):
        digest.update(_bytes_of(table))
    return digest.hexdigest()


def _bytes_of(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue()
