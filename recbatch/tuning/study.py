"""A search on disk: what it is a search for, Optuna's journal, and a log that needs no Optuna to be read.

<study>/study.json     what the trials have in common; another search in the same folder is refused
        journal.log    Optuna's storage: every trial with its values, written before and after each step
        trials.jsonl   one line per trial, for people and programs
        logs/          what the process of each trial said
        work/          tables and checkpoints while the search runs
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from recbatch import storage
from recbatch.config.explain import show
from recbatch.errors import InputError

_NAME = "study.json"
_JOURNAL = "journal.log"
_LOG = "trials.jsonl"
_FORMAT = 1
_STARTUP_TRIALS = 5
_WARM_UP_EPOCHS = 2
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "waiting",
}


class StudyFolder:
    """The folder of one search, held by this process (see :func:`open_study`)."""

    def __init__(self, folder: Path, study: optuna.Study) -> None:
        self.path = folder
        self.study = study

    @property
    def work(self) -> Path:
        """What is of use only while the search is unfinished."""
        return self.path / "work"

    @property
    def tables(self) -> Path:
        """Folder of the data that all trials read."""
        return self.work / "tables"

    @property
    def log(self) -> Path:
        """The log of all trials."""
        return self.path / _LOG

    def trials(self) -> list[dict[str, Any]]:
        """All trials that have begun, as the log has them, in their order."""
        return [_row(trial) for trial in self.study.trials if trial.state != TrialState.WAITING]

    def write_log(self) -> None:
        """Write the log anew, whole or not at all."""
        lines = [json.dumps(row, ensure_ascii=False) for row in self.trials()]
        temporary = self.log.with_suffix(".temporary")
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        temporary.replace(self.log)

    def tidy(self) -> None:
        """Remove the tables, which are made again when the search goes on, and what is empty."""
        shutil.rmtree(self.tables, ignore_errors=True)
        with contextlib.suppress(OSError):  # a checkpoint is there, or rows that were put aside
            self.work.rmdir()


@contextlib.contextmanager
def open_study(folder: str, identity: Mapping[str, Any]) -> Iterator[StudyFolder]:
    """Open the folder of a search, made if it is not there; nobody else can while this is open.

    Args:
        folder: on this machine.
        identity: JSON-able; what the trials have in common. Of each entry that can differ the key is named in errors.

    Raises:
        InputError: the folder is in use, holds something else, or another search.
    """
    path = Path(storage.absolute(folder))
    _require_usable(path, folder)
    path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(f"--study: another search is running in {folder}; wait for it, or choose another") from None
    try:
        _claim(path, folder, identity)
        yield StudyFolder(path, _load(path / _JOURNAL))
    finally:
        lock.release()


def _require_usable(path: Path, folder: str) -> None:
    if storage.is_remote(folder):
        raise InputError(f"--study: {folder} is not on this machine, where the search keeps its journal; name a folder")
    if path.exists() and not path.is_dir():
        raise InputError(f"--study: {folder} is a file; name a folder")
    if path.is_dir() and not (path / _NAME).exists() and set(os.listdir(path)) - {".lock"}:
        raise InputError(f"--study: {folder} holds something else than a search; choose another folder, or empty it")


def _claim(path: Path, folder: str, identity: Mapping[str, Any]) -> None:
    """Write what the search is for, or see that what is written is the same."""
    plain = json.loads(json.dumps(identity))
    if not (path / _NAME).exists():
        text = json.dumps({"format": _FORMAT, "search": plain}, indent=2, ensure_ascii=False)
        storage.put_if_absent(str(path / _NAME), text.encode())
        return
    try:
        there = json.loads((path / _NAME).read_text(encoding="utf-8"))
        known = there["format"] == _FORMAT and isinstance(there["search"], dict)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise InputError(f"--study: {folder}/{_NAME} is not one that this version wrote; choose another folder")
    for key, then, now in _differences(there["search"], plain, ()):
        raise InputError(
            f"--study: {folder} holds a search with {key} {show(then)}, now it is {show(now)}; its trials cannot be "
            f"compared with new ones: choose another folder, or remove this one"
        )


def _differences(then: Any, now: Any, key: tuple[str, ...]) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*now, *then]):
            yield from _differences(then.get(name), now.get(name), (*key, name))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for place, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _differences(one, other, (*key, str(place)))
    elif then != now:
        yield ".".join(key), then, now


class _Held(JournalFileOpenLock):
    """The journal needs no lock of its own, whose leftover a killed process would leave: the folder has one."""

    def acquire(self) -> bool:
        """It is held."""
        return True

    def release(self) -> None:
        """It stays held."""


def _load(journal: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what there is to say about trials we say
    if journal.exists():
        _cut_torn_line(journal)
    backend = JournalFileBackend(str(journal), lock_obj=_Held(str(journal)))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=_WARM_UP_EPOCHS)
    return optuna.create_study(
        storage=JournalStorage(backend), study_name="recbatch", direction="maximize", load_if_exists=True, pruner=pruner
    )


def _cut_torn_line(journal: Path) -> None:
    """Take away the line that a process was writing when it was killed."""
    data = journal.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(journal, whole)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    attributes = trial.user_attrs
    return {
        "trial": trial.number + 1,
        "state": _STATES[trial.state],
        "measure": attributes.get("measure"),
        "score": trial.value if trial.state == TrialState.COMPLETE else None,
        "parameters": attributes.get("values", {}),
        "as_configured": attributes.get("as_configured", False),
        "metrics": attributes.get("metrics", {}),
        "score_by_epoch": {str(epoch): value for epoch, value in sorted(trial.intermediate_values.items())},
        "best_epoch": attributes.get("best_epoch"),
        "epochs": attributes.get("epochs"),
        "steps": attributes.get("steps"),
        "seconds": attributes.get("seconds", 0.0),
        "same_as": attributes.get("same_as"),
        "reason": attributes.get("reason"),
    }
