"""One trial: a process of its own fits the towers once, without the held-out events, and tells how each epoch went.

A process for each trial, because TensorFlow keeps the graphs and much of the memory of every fit that a process has
made; because a fit that the system ends for lack of memory is then one failed trial and not the end of the search; and
because a fit can then be ended at any moment. They are forked from a server that has imported TensorFlow once, so this
costs a tenth of a second.
"""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from recbatch.config.models import EarlyStopping, Model
from recbatch.errors import InputError, RecbatchError
from recbatch.model import TrainingData
from recbatch.model.heldout import Split
from recbatch.run import explain, is_full, writing_in

_SERVER_IMPORTS = ["recbatch.model.training"]
_SHOWN_LINE = 300


@dataclass(frozen=True)
class Fit:
    """What a trial is to fit.

    Attributes:
        model: the towers and how to fit them.
        tables: folder of :func:`save_tables`.
        work: a folder of its own, for checkpoints; a fit that finds its checkpoint goes on from there.
        log: file for what the process says.
        fingerprint: name of the data; with the model it names the checkpoint.
        stopping: by what early stopping goes in the configuration, whatever it goes by in ``model``.
    """

    model: Model
    tables: Path
    work: Path
    log: Path
    fingerprint: str
    stopping: EarlyStopping


@dataclass(frozen=True)
class Evaluated:
    """A fit after an epoch.

    Attributes:
        epoch: epochs that are done.
        metrics: held-out metrics.
        measure: name of the one that early stopping goes by.
        last: whether the fit is over.
    """

    epoch: int
    metrics: Mapping[str, float]
    measure: str
    last: bool = False


@dataclass(frozen=True)
class Measured:
    """A fit that is done: its best evaluation, how it came to it, and what it was measured on."""

    best: Evaluated
    epochs: int
    steps: int
    counts: Mapping[str, int]
    heldout: str


@dataclass(frozen=True)
class Failed:
    """A fit that came to no result, with the reason in a sentence; ``is_full``: there was no room to write."""

    message: str
    is_input: bool = False
    is_full: bool = False


class OutOfTimeError(RecbatchError):
    """The deadline came before the fit was done."""


def save_tables(data: TrainingData, folder: Path) -> None:
    """Write the clean tables where the trials read them: Arrow files, which all processes share in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in _named(data).items():
        if table is not None:
            with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)


def load_tables(folder: Path) -> TrainingData:
    """What :func:`save_tables` wrote."""
    tables = {path.stem: pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in folder.glob("*.arrow")}
    return TrainingData(tables["interactions"], tables.get("users"), tables.get("items"))


def _named(data: TrainingData) -> dict[str, pa.Table | None]:
    return {"interactions": data.interactions, "users": data.users, "items": data.items}


def require_heldout(split: Split, *, can_ask: bool = True) -> None:
    """See that there is something to go by.

    Raises:
        InputError: nothing is held out, or nothing of it can be asked for.
    """
    if not can_ask or not split.heldout.any():
        raise InputError(
            f"a search needs held-out events to go by, and there are none: {split.method}; see model.training.heldout"
        )


def run_fit(fit: Fit, goes_on: Callable[[Evaluated], bool], deadline: float | None = None) -> Measured | Failed | None:
    """Fit in a process of its own.

    Args:
        fit: what to fit.
        goes_on: called after every evaluation; the fit is ended if it says False.
        deadline: of :func:`time.monotonic`.

    Returns:
        The result, or why there is none; None if ``goes_on`` ended it.

    Raises:
        OutOfTimeError: the deadline came first; the same call goes on from the fit's last checkpoint.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(_SERVER_IMPORTS)
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_work, args=(theirs, fit), name="trial", daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            if not ours.poll(None if deadline is None else max(0.0, deadline - time.monotonic())):
                raise OutOfTimeError("the time for the search is up")
            message = ours.recv()
            if not isinstance(message, Evaluated):
                return message
            go_on = goes_on(message)
            ours.send(go_on)
            if not go_on:
                return None
    except (EOFError, ConnectionError):
        process.join()
        return Failed(_how_it_died(process.exitcode, fit.log))
    finally:
        process.kill()
        process.join()
        ours.close()


def _how_it_died(code: int | None, log: Path) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed by the system, which does that when memory runs out"
    how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return f"its process {how}; the last line of {log}: {lines[-1][:_SHOWN_LINE] if lines else 'nothing'}"


# --- in the process of the trial --------------------------------------------------------------------------------------


class _NotWantedError(Exception):
    """The search has ended this fit."""


def _work(connection: Connection, fit: Fit) -> None:
    """Fit, and send what :func:`run_fit` waits for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; who started this ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _write_to(fit.log)
    with contextlib.suppress(_NotWantedError):
        connection.send(_result(connection, fit))
    connection.close()


def _result(connection: Connection, fit: Fit) -> Measured | Failed:
    try:
        from recbatch.model.writing import writing_errors

        with writing_in(fit.work), writing_errors():
            return _measure(fit, connection)
    except RecbatchError as error:
        return Failed(str(error), isinstance(error, InputError))
    except OSError as error:
        return Failed(explain(error, kept=True), is_full=is_full(error))
    except MemoryError:
        return Failed("there is not enough memory")
    except _NotWantedError:
        raise
    except Exception as error:
        traceback.print_exc()
        first = (str(error).strip().splitlines() or [""])[0]
        return Failed(f"{type(error).__name__}: {first[:_SHOWN_LINE]} (more in {fit.log})")


def _measure(fit: Fit, connection: Connection) -> Measured:
    from recbatch.model.fitting import TwoTowerFit
    from recbatch.model.training import identity_of, prepare_fits

    prepared, split = prepare_fits(fit.model, load_tables(fit.tables))
    train, heldout = prepared.events.select(~split.heldout), prepared.events.select(split.heldout)
    identity = identity_of(fit.model, prepared, fit.fingerprint)
    towers = TwoTowerFit("measured", fit.model, prepared, train, heldout, fit.work, identity)
    evaluation = towers.evaluation
    require_heldout(split, can_ask=evaluation is not None and evaluation.can_ask)
    assert evaluation is not None, "it can ask"
    measure = evaluation.measure(fit.stopping)

    def tell(epoch: int, metrics: Mapping[str, float]) -> None:
        connection.send(Evaluated(epoch, metrics, measure, towers.state.done))
        if not connection.recv():
            raise _NotWantedError

    towers.on_evaluation = tell
    state = towers.run()
    best_epoch = math.ceil(towers.result_step / towers.steps_per_epoch)
    result = Evaluated(best_epoch, state.best_metrics, measure, last=True)
    return Measured(result, state.epoch, towers.result_step, evaluation.counts, split.method)


def _write_to(log: Path) -> None:
    """Send all output to a file, C++'s too; the terminal belongs to the search."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("recbatch").setLevel(logging.INFO)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _end_with_parent() -> None:
    """A search that was killed must not leave its fit behind."""
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)
