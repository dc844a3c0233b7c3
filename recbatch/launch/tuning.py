"""A search for a better model, from a configuration to a configuration."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from recbatch import storage
from recbatch.config.columns import feature_columns
from recbatch.config.document import parse
from recbatch.config.load import LoadedConfig, read_config, read_text, resolve
from recbatch.config.models import Model
from recbatch.config.nearest import closest
from recbatch.config.overrides import override
from recbatch.errors import InputError, RecbatchError
from recbatch.interactions import ReadSpec, end_of_day_us, resolve_inputs
from recbatch.launch.dates import parse_date
from recbatch.launch.prepare import require_writable, training_job
from recbatch.model.data import prepare
from recbatch.model.heldout import split_events
from recbatch.night import TrainingJob
from recbatch.run import code_checksum, library_versions, writing_in
from recbatch.tuning.child import require_heldout, save_tables
from recbatch.tuning.defaults import default_space
from recbatch.tuning.outcome import METRICS
from recbatch.tuning.progress import Row, finished
from recbatch.tuning.report import show_trials
from recbatch.tuning.search import Best, Limits, Search
from recbatch.tuning.space import Space, changes, current_values, override_words
from recbatch.tuning.space_file import checked, read_space, written_space
from recbatch.tuning.study import StudyFolder, open_study
from recbatch.tuning.written import require_ours, write_config

log = logging.getLogger(__name__)


def tune(
    config_path: str,
    overrides: Sequence[str],
    study: str,
    output: str,
    *,
    trials: int,
    minutes: float | None = None,
    ds: str | None = None,
    space_path: str | None = None,
    metric: str = "early_stopping",
) -> None:
    """Search, and write the configuration with the best values found to ``output``.

    Args:
        config_path: the configuration file to start from.
        overrides: ``key=value`` words.
        study: folder of the search on this machine; one that was stopped is gone on with.
        output: the YAML file to write.
        trials: how many trials there are to be in the folder.
        minutes: how long they may take together; None: no matter.
        ds: as of the end of that date; None: of the last event.
        space_path: a YAML file with what may be changed; None: see :func:`recbatch.tuning.defaults.default_space`.
        metric: a key of :data:`recbatch.tuning.outcome.METRICS`.

    Raises:
        InputError: an option, the configuration, the space or an input is wrong, or the folder is of another search.
        RecbatchError: no trial came to a result.
    """
    _check_options(metric, trials, minutes)
    loaded = read_config(config_path, overrides)
    loaded.check_output(study)
    require_ours(output, config_path)
    require_writable(posixpath.dirname(storage.absolute(output)), "--output")
    base = loaded.document
    space = default_space(loaded.config, base) if space_path is None else read_space(space_path, base)
    job = _job(loaded, space, None if ds is None else end_of_day_us(parse_date(ds), loaded.config.zone))
    require_writable(study, "--study")
    with writing_in(study), open_study(study, _identity(loaded, job, space, metric)) as folder:
        limits = Limits(trials, None if minutes is None else minutes * 60)
        search = Search(folder, space, loaded, metric, job.name, limits)
        configured = current_values(space, loaded.config)
        try:
            _run(search, folder, job, loaded.config.model)
            if (there := len(finished(folder.trials()))) < trials:
                log.info(
                    "the time is up after %d of %d trials; with more --minutes the same command goes on", there, trials
                )
        finally:
            folder.tidy()
            if rows := folder.trials():
                show_trials(rows, configured)
        best = search.best()
        if best is None:
            raise RecbatchError(_no_result(folder, minutes))
        start = (config_path, overrides)
        facts = _facts(best, folder.trials(), configured, start)
        _write(output, start, loaded, best, [*facts, f"All trials: {storage.join(study, 'trials.jsonl')}"])


def _check_options(metric: str, trials: int, minutes: float | None) -> None:
    if metric not in METRICS:
        meant = closest(metric, METRICS)
        hint = f"; did you mean {meant}?" if meant else ""
        raise InputError(f"--metric: {metric!r} is none; it takes {', '.join(METRICS)}{hint}")
    if trials < 1:
        raise InputError(f"--trials: {trials} is too few; give at least 1")
    if minutes is not None and not minutes > 0:
        raise InputError(f"--minutes: {minutes} is no time; give more than 0")


def _job(loaded: LoadedConfig, space: Space, as_of_us: int | None) -> TrainingJob:
    """What there is to read for any model of the space."""
    variants = [found.model for parameter in space for found in checked(parameter, loaded.document, "the search space")]
    columns = feature_columns(loaded.config, [loaded.config.model, *variants])
    inputs = resolve_inputs(loaded.config, columns)
    return replace(training_job(loaded.config, inputs, as_of_us), spec=ReadSpec.of(loaded.config, columns, as_of_us))


def _identity(loaded: LoadedConfig, job: TrainingJob, space: Space, metric: str) -> dict[str, Any]:
    """What the trials of a search have in common, so that their scores can be compared."""
    config = loaded.config.model_dump(mode="json", include={"model", "inputs", "positives", "time_zone"})
    for entity in ("interactions", "users", "items"):
        (config["inputs"][entity] or {}).pop("path", None)  # the contents count
    return {
        "metric": metric,
        "space": written_space(space),
        "config": config,
        "as_of_us": job.as_of_us,
        "inputs": job.inputs.checksums,
        "code": code_checksum(),
        "versions": library_versions(),
    }


def _run(search: Search, folder: StudyFolder, job: TrainingJob, model: Model) -> None:
    if search.is_done:
        log.info("nothing to do: %s has its trials", folder.path)
        return
    from recbatch.work.training import training_data

    folder.work.mkdir(exist_ok=True)
    data = training_data(job, folder.work)
    if model.pairs is None:  # else the first trial finds out, for pairs need TensorFlow
        require_heldout(split_events(model, prepare(data)))
    save_tables(data, folder.tables)
    search.run()


def _no_result(folder: StudyFolder, minutes: float | None) -> str:
    failures = [row for row in folder.trials() if row["reason"]]
    if failures:
        return f"no trial came to a result; trial {failures[0]['trial']}: {failures[0]['reason']}"
    return (
        f"the configuration as it is was not measured within {minutes:g} minutes; give --minutes more, and the same "
        f"command goes on there"
    )


def _write(output: str, start: tuple[str, Sequence[str]], loaded: LoadedConfig, best: Best, facts: list[str]) -> None:
    config_path, overrides = start
    expected = resolve(override(loaded.document, override_words(best.values), "the best values")).config
    given = {key.strip(): parse(text, "--set").values for key, _, text in (word.partition("=") for word in overrides)}
    write_config(output, read_text(config_path), expected, {**given, **changes(best.values, loaded.config)}, facts)
    log.info("written %s, for `recbatch nightly`", output)


def _facts(
    best: Best, rows: Sequence[Row], configured: Mapping[str, Any], start: tuple[str, Sequence[str]]
) -> list[str]:
    """How the best values were found, a sentence each."""
    sets = "".join(f" --set {word}" for word in start[1])
    before = next((row["score"] for row in rows if row["as_configured"]), None)
    than = "which came to no result itself" if before is None else f"which has {before:.4f} itself"
    changed = [
        f"{name.split(', ')[0]} {configured[name]} -> {value}"
        for name, value in best.values.items()
        if value != configured[name]
    ]
    return [
        f"Trial {best.number} of {len(finished(rows))}: score {best.score:.4f}. Begun with {start[0]}{sets}, {than}.",
        f"Score: {best.measure} of {best.evaluated} events ({best.heldout}); nothing else was looked at.",
        "Changed: " + (", ".join(changed) or "nothing, for no trial was better") + ".",
    ]
