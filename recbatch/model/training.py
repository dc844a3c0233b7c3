"""Training from clean tables to a published bundle: split, measure, refit, export."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recbatch import storage
from recbatch.config.models import Model
from recbatch.errors import InputError, RecbatchError
from recbatch.model.bundle import EXPORTED_WEIGHTS, MANIFEST, MEASURED_WEIGHTS, Bundle, read_manifest
from recbatch.model.data import Prepared, TrainingData, prepare
from recbatch.model.features import stable_seed
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.heldout import Split, split_events
from recbatch.model.linear import LinearChoice, attach_linear, choose_linear, solve_head
from recbatch.model.manifest import bundle_manifest, tower_description
from recbatch.model.pairs import item_pairs
from recbatch.model.serving import export_retriever, export_tower
from recbatch.model.tower import Tower
from recbatch.model.warm_start import WarmStart, Weights, begin, save_weights, warm_start_of
from recbatch.model.writing import writing_errors
from recbatch.run import canonical_json, peak_rss_bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Effort:
    """What this process did for one fit; a resumed one did less than all of it.

    Attributes:
        examples: positives that were gone through.
        seconds: that it took, evaluations included.
        begun: what the fit began with, where it did not start cold (see :func:`recbatch.model.warm_start.begin`).
    """

    examples: int
    seconds: float
    begun: dict[str, Any] | None


@dataclass(frozen=True)
class MeasuredFit:
    """The fit without the held-out events, and what they say of it.

    Attributes:
        fit: done, its linear head attached if it has one.
        metrics: held-out metrics by name; empty where nothing can be asked for.
        counts: on how many held-out events, see :attr:`recbatch.model.evaluation.HeldoutEvaluation.counts`.
        linear: how much its linear head counts; None: there is none to choose.
        effort: what it took.
    """

    fit: TwoTowerFit
    metrics: dict[str, float]
    counts: dict[str, int]
    linear: LinearChoice | None
    effort: Effort


@writing_errors()
def train_bundle(
    model: Model,
    data: TrainingData,
    target_uri: str,
    *,
    work_folder: str,
    as_of_us: int | None,
    fingerprint: str,
    retriever: bool = True,
    warm_start: Bundle | None = None,
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
        retriever: export ``retriever/`` too; a bundle that is only measured does without.
        warm_start: a bundle whose weights the fits begin with, as far as they know the same ids and values. One that
            does not allow it (see :func:`recbatch.model.warm_start.warm_start_of`) is left aside with a warning.

    Returns:
        The manifest.

    Raises:
        InputError: there are no positives, or the features do not fit the data.
        RecbatchError: the training diverged.
        OSError: a file cannot be written, whoever tried.
    """
    if storage.exists(storage.join(target_uri, MANIFEST)):
        return read_manifest(target_uri)
    started = time.monotonic()
    prepared, split = prepare_fits(model, data)
    work = Path(work_folder)
    start, warm = _start(warm_start, prepared, split)
    identity = identity_of(model, prepared, fingerprint, "" if warm_start is None else warm_start.name)

    measured = _measured_fit(model, prepared, split, work, identity, start)
    final, efforts = measured.fit, [measured.effort]
    refit = model.training.refit and bool(split.heldout.any())
    if refit:
        final, effort = _refit(model, prepared, measured, work, identity, start)
        efforts.append(effort)
    _log.info("exporting the towers")
    folder = work / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    exported = _export(model, final, prepared, folder, retriever=retriever)
    kept = _export_measured(model, measured.fit, folder) if refit else None
    manifest = bundle_manifest(
        folder,
        model=model,
        query=final.query,
        candidate=final.candidate,
        events=prepared.events,
        facts={
            "fingerprint": fingerprint,
            "as_of_us": as_of_us,
            "steps": final.result_step,
            "heldout": split.method,
            "heldout_rule": split.rule,
            "measured": kept,
            "refit": refit,
            "metrics": measured.metrics,
            "linear": measured.linear and measured.linear.facts,
            "counts": {**measured.counts, "heldout_events": int(split.heldout.sum())},
            "retriever": exported,
            "warm_started": warm and {**warm, **(efforts[-1].begun or {})},
            "training": _training_facts(efforts),
            "seconds": round(time.monotonic() - started, 1),
        },
    )
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    if not storage.put_folder_if_absent(folder, target_uri, MANIFEST):
        return read_manifest(target_uri)
    shutil.rmtree(folder, ignore_errors=True)  # a local bundle is this very folder, moved
    return manifest


def prepare_fits(model: Model, data: TrainingData) -> tuple[Prepared, Split]:
    """What the fits of a model are made from: its positives (or pairs of items), and which of them are held out.

    From here on TensorFlow computes reproducibly in this process.

    Raises:
        InputError: there are no positives.
    """
    _make_reproducible(model.training.seed)
    prepared = prepare(data)
    if model.pairs is not None:
        prepared = item_pairs(prepared, model.pairs, model.training.seed)
    return prepared, split_events(model, prepared)


def _start(bundle: Bundle | None, prepared: Prepared, split: Split) -> tuple[WarmStart | None, dict[str, Any] | None]:
    """What the fits begin with, and what the manifest says of it: both None for a cold start that was meant so."""
    if bundle is None:
        return None, None
    try:
        start = warm_start_of(bundle, prepared, split)
    except InputError as error:
        _log.warning("the fit starts cold: %s", error)
        return None, {"from": None, "reason": str(error)}
    return start, start.facts


def _run(fit: TwoTowerFit, weights: Weights | None, events: int) -> Effort:
    """Run a fit to ``events`` positives, from ``weights`` on unless it goes on from its checkpoint."""
    begun, done = None, fit.state.step
    if weights is not None:
        begun = begin(weights, fit.query, fit.candidate, resumed=done > 0)
        _log.info("the fit begins with %d known rows of embeddings and %d new ones", begun["copied"], begun["new"])
    started = time.monotonic()
    fit.run()
    examples = round((fit.state.step - done) / fit.steps_per_epoch * events)
    return Effort(examples, time.monotonic() - started, begun)


def _training_facts(efforts: Sequence[Effort]) -> dict[str, Any]:
    """How fast the fits were, and how much memory the process took; for the log, too."""
    examples, seconds = sum(effort.examples for effort in efforts), sum(effort.seconds for effort in efforts)
    peak = peak_rss_bytes()
    speed = f"{examples / seconds:,.0f} a second" if examples else "all of them in an earlier attempt"
    _log.info("fitted to %s examples, %s; peak memory %.2f GB", f"{examples:,}", speed, peak / 1e9)
    return {
        "examples": examples,
        "seconds": round(seconds, 1),
        "examples_per_second": round(examples / seconds) if examples else None,
        "peak_rss_bytes": peak,
    }


def _measured_fit(
    model: Model, prepared: Prepared, split: Split, work: Path, identity: str, start: WarmStart | None
) -> MeasuredFit:
    train, heldout = prepared.events.select(~split.heldout), prepared.events.select(split.heldout)
    fit = TwoTowerFit("measured", model, prepared, train, heldout, work, identity)
    effort = _run(fit, None if start is None else start.measured, len(train))
    linear = choose_linear(model, fit, train)
    if fit.evaluation is None:
        return MeasuredFit(fit, {}, {}, linear, effort)
    found = fit.state.best_metrics if linear is None else linear.metrics
    metrics = {**found, **fit.evaluation.factorized_top_k()}
    _log.info("held out: %s", ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "nothing to ask")
    return MeasuredFit(fit, metrics, fit.evaluation.counts, linear, effort)


def _refit(
    model: Model, prepared: Prepared, measured: MeasuredFit, work: Path, identity: str, start: WarmStart | None
) -> tuple[TwoTowerFit, Effort]:
    """A fit to all positives, as many steps as were best without the held-out ones; the head counts as much, too."""
    schedule = measured.fit.schedule.until(measured.fit.result_step)
    events, linear = prepared.events, measured.linear
    fit = TwoTowerFit("refit", model, prepared, events, None, work, identity, schedule)
    effort = _run(fit, None if start is None else start.exported, len(events))
    if model.linear is not None and linear is not None and linear.share > 0:
        attach_linear(fit, solve_head(model.linear, linear.regularization, fit, events), linear.strength)
    return fit, effort


def _export(
    model: Model, fit: TwoTowerFit, prepared: Prepared, folder: Path, *, retriever: bool
) -> dict[str, Any] | None:
    """Save both towers and, if asked, the retriever; returns what the retriever is."""
    export_tower(fit.query, folder / "query")
    export_tower(fit.candidate, folder / "candidate")
    save_weights(folder / EXPORTED_WEIGHTS, fit.query, fit.candidate)
    # The exported tower's own vectors, so that the retriever ranks by exactly those that a night publishes.
    tower = Tower(folder / "candidate", tower_description(fit.candidate, model))
    vectors, known = tower.embed(prepared.items)
    valid = known & np.isfinite(vectors).all(axis=1)
    if not valid.any():
        raise RecbatchError("the candidate tower gives no item a finite vector; lower model.training.learning_rate")
    if not retriever:
        return None
    ids = prepared.items["id"].filter(pa.array(valid)).combine_chunks()
    return export_retriever(fit.query, ids, vectors[valid], model.retriever, folder / "retriever")


def _export_measured(model: Model, fit: TwoTowerFit, folder: Path) -> dict[str, Any]:
    """Save the towers that were measured, too: the next nights compare with them. Returns their descriptions."""
    export_tower(fit.query, folder / "measured" / "query")
    export_tower(fit.candidate, folder / "measured" / "candidate")
    save_weights(folder / MEASURED_WEIGHTS, fit.query, fit.candidate)
    return {"query": tower_description(fit.query, model), "candidate": tower_description(fit.candidate, model)}


def _make_reproducible(seed: int) -> None:
    """Every random choice of ours has its own seed; this makes TensorFlow choose kernels whose bits are repeatable."""
    tf.random.set_seed(stable_seed(seed))
    tf.config.experimental.enable_op_determinism()


def identity_of(model: Model, prepared: Prepared, fingerprint: str, start: str = "") -> str:
    """Names what the weights depend on: a checkpoint of anything else is not continued.

    ``start`` names the bundle that a warm start begins with.
    """
    digest = hashlib.sha256(canonical_json([fingerprint, start, model.model_dump(mode="json")]))
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
