"""Measuring: the config's model, or a bundle, on splits of the config's data."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from recbatch.config.columns import feature_columns
from recbatch.config.load import load_config
from recbatch.config.models import Config, Model
from recbatch.evaluation import find_protocol, require_askers
from recbatch.interactions import ReadSpec, load_tables, plan_slices, resolve_inputs
from recbatch.launch.bundles import look_at
from recbatch.launch.documents import document_target, write_document
from recbatch.model import TrainingData, load_bundle
from recbatch.run import fingerprint, library_versions, peak_rss_bytes, writing_in

log = logging.getLogger(__name__)

FORMAT = "recbatch-evaluation/1"


def evaluate(
    config_path: str,
    overrides: Sequence[str],
    *,
    model: str | None,
    protocols: Sequence[str],
    splits: int,
    seed: int,
    output: str | None,
) -> dict[str, Any]:
    """Measure by ``protocols``, print tables, and write JSON to ``output`` if asked.

    Args:
        config_path: the configuration file.
        overrides: ``key=value`` words.
        model: URI of a bundle to measure as it is; None: train the config's model on every split.
        protocols: letters.
        splits: how many seeds, from ``seed`` on.
        seed: of the first split.
        output: URI of a JSON file; what is there is replaced.

    Returns:
        What is written.

    Raises:
        InputError: the config, a protocol, an input or the bundle is wrong, or there are too few events to split.
        RecbatchError: a training failed.
    """
    started = time.monotonic()
    chosen = {protocol.letter: protocol for protocol in map(find_protocol, protocols)}
    config = load_config(config_path, overrides)
    target = None if output is None else document_target(output, "--output")
    given = None if model is None else look_at(model, "--model")
    towers = config.model if given is None else given.model
    for protocol in chosen.values():
        require_askers(protocol, towers.query_entity, "the config's model" if given is None else f"the model {model}")
    data, counts = read_training_data(config, [towers])

    # TensorFlow takes seconds to import: not before it is needed.
    from recbatch.evaluation.runs import Subject, run_protocol
    from recbatch.evaluation.show import show_report

    document: dict[str, Any] = {
        "format": FORMAT,
        "recbatch": metadata.version("recbatch"),
        "versions": library_versions(),
        "model": {"trained": given is None, "settings": towers.model_dump(mode="json")}
        | ({} if given is None else {"uri": given.reference.uri, "fingerprint": given.fingerprint}),
        "inputs": counts,
        "protocols": {},
    }
    with tempfile.TemporaryDirectory(prefix="recbatch-evaluate-") as work, writing_in(work):
        bundle = None if given is None else load_bundle(given.reference.uri)
        subject = Subject(towers, config.inputs.interactions.context, Path(work), bundle)
        for letter in chosen:
            report = run_protocol(letter, data, subject, range(seed, seed + splits))
            document["protocols"][letter] = report.as_json()
            show_report(report)
    document["seconds"] = round(time.monotonic() - started, 1)
    document["peak_memory_bytes"] = peak_rss_bytes()
    if target is not None:
        write_document(target, document, "--output")
        log.info("wrote %s", target)
    return document


def read_training_data(config: Config, models: Sequence[Model]) -> tuple[TrainingData, dict[str, Any]]:
    """(the clean tables as a training of ``models`` reads them, their checksum and what was counted).

    Raises:
        InputError: an input is wrong, or there is no event to learn from.
    """
    from recbatch.work.training import require_events

    columns = feature_columns(config, models)
    inputs = resolve_inputs(config, columns)
    log.info("reading %s", ", ".join(f"{source.name} ({source.rows:,} rows)" for source in inputs.sources))
    clean = load_tables(plan_slices(inputs, config.run.slice_rows), ReadSpec.of(config, columns))
    require_events(clean)
    if clean.quarantined.num_rows:
        log.warning("%d rows were put aside, because they cannot be read", clean.quarantined.num_rows)
    counts = {"checksum": fingerprint(inputs.checksums), "counts": clean.counts}
    return TrainingData(clean.interactions, clean.users, clean.items), counts
