"""The files between a measurement and a peer: NumPy arrays in, top-100 lists out. Needs NumPy and nothing else.

A peer is called as ``python -m <module> FOLDER JOBS``. FOLDER holds ``train.npz`` and ``queries.npz`` as
:func:`recbatch.evaluation.write_task` writes them; JOBS is JSON: ``[{"model": ..., "parameters": {...}, "seed": 0,
"out": "lists-0.npy"}]``. Each job is done in turn and leaves FOLDER/out, int32 [queries, 100], best first, -1 at the
end of a short list, and what it took in FOLDER/out.json: ``seconds``, and ``peak_bytes`` of the process so far. A job
that fails leaves no such file, but its reason in FOLDER/out.failed.txt, and the next one is done.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

K = 100
_BLOCK = 512

Scores = Callable[["slice"], "NDArray[np.floating]"]
"""Scores [rows, num_items] of a slice of the queries, larger is better."""


@dataclass(frozen=True)
class Exchange:
    """One task as arrays.

    Attributes:
        num_users, num_items: users of the training events, items.
        num_candidates: the first of the items; these are ranked.
        users, items, times: int32, int32, int64 [n], training events by user and time (microseconds, -1 without).
        query_users: int32 [q], the number of the asking user among the training users, -1 for an unknown one.
        history, history_offsets: int32 [h], int64 [q + 1]: what a query has behind it, oldest first.
        seen, seen_offsets: the same shape: candidates that are no answer.
        as_of: int64 [q], when is asked (microseconds, -1 without times).
    """

    num_users: int
    num_items: int
    num_candidates: int
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    query_users: NDArray[np.int32]
    history: NDArray[np.int32]
    history_offsets: NDArray[np.int64]
    seen: NDArray[np.int32]
    seen_offsets: NDArray[np.int64]
    as_of: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.query_users)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Training events [num_items] of each item."""
        return np.bincount(self.items, minlength=self.num_items)

    @property
    def with_history(self) -> NDArray[np.bool_]:
        """Queries [q] that have something behind them."""
        return np.diff(self.history_offsets) > 0

    def histories(self, rows: slice, decay: float = 1.0) -> NDArray[np.float32]:
        """Matrix [rows, num_items]: ``decay`` to the power of an item's distance from the newest one, 0 elsewhere.

        With ``decay`` 1 a history is a set; an item that is there twice counts once, at its newest place.
        """
        row, item, distance = self._entries(rows)
        matrix = np.zeros((len(range(*rows.indices(len(self)))), self.num_items), np.float32)
        matrix[row, item] = decay ** distance.astype(np.float32)  # the newest entry is written last
        return matrix

    def _entries(self, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        first, last, _ = rows.indices(len(self))
        offsets = self.history_offsets[first : last + 1]
        lengths = np.diff(offsets)
        row = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(offsets[0], offsets[-1])
        return row, self.history[place], offsets[1:][row] - 1 - place

    def last_items(self, rows: slice, length: int) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """(row [m], item [m], distance from the newest [m]) of the newest ``length`` items of every history."""
        row, item, distance = self._entries(rows)
        near = distance < length
        return row[near], item[near], distance[near]


def read_exchange(folder: Path) -> Exchange:
    """The task in ``folder``."""
    with np.load(folder / "train.npz") as train, np.load(folder / "queries.npz") as queries:
        return Exchange(
            int(train["num_users"]),
            int(train["num_items"]),
            int(train["num_candidates"]),
            train["users"],
            train["items"],
            train["times"],
            queries["user"],
            queries["history_items"],
            queries["history_offsets"],
            queries["seen_items"],
            queries["seen_offsets"],
            queries["as_of"],
        )


def top_lists(task: Exchange, scores: Scores, answers: NDArray[np.bool_] | None = None) -> NDArray[np.int32]:
    """The best candidates [q, 100] of every query.

    Equal scores are ordered by popularity, candidates without a training event come last, and a query that the model
    has no answer to gets the most popular items: none of these decisions is left to the accident of an item's number.

    Args:
        task: whose queries.
        scores: the model.
        answers: queries [q] that the model can answer; without it those with a history.
    """
    counts = task.counts[: task.num_candidates]
    by_popularity = np.argsort(-counts, kind="stable")
    answers = task.with_history if answers is None else answers
    width = min(K, task.num_candidates)
    lists = np.full((len(task), K), -1, np.int32)
    for start in range(0, len(task), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(task)))
        block = np.array(scores(rows)[:, : task.num_candidates], np.float32)
        block[~answers[rows]] = counts
        block[:, counts == 0] = np.finfo(np.float32).min
        seen = np.arange(task.seen_offsets[rows.start], task.seen_offsets[rows.stop])
        block[np.searchsorted(task.seen_offsets, seen, side="right") - 1 - start, task.seen[seen]] = -np.inf
        ordered = block[:, by_popularity]
        best = np.argsort(-ordered, axis=1, kind="stable")[:, :width]
        allowed = np.take_along_axis(ordered, best, axis=1) > -np.inf
        lists[rows, :width] = np.where(allowed, by_popularity[best], -1)
    return lists


Model = Callable[[Exchange, dict[str, Any], int], "NDArray[np.int32]"]
"""Fits a model with its parameters and a seed, and gives the lists [q, 100]."""


def peak_bytes() -> int:
    """The largest resident memory of this process, without what its parent held when it was forked (``VmHWM``)."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def run_jobs(models: dict[str, Model]) -> None:
    """Do what the command line says with ``models`` by name. A job whose parameters cannot be used says so, alone."""
    folder = Path(sys.argv[1])
    task = read_exchange(folder)
    for job in json.loads(sys.argv[2]):
        started = time.monotonic()
        try:
            lists = models[job["model"]](task, job["parameters"], job["seed"])
        except Exception as error:  # whatever a library raises: the other jobs have other parameters
            reason = f"{type(error).__name__}: {error}"
            print(f"{job['model']} {job['parameters']} failed: {reason}", file=sys.stderr, flush=True)
            (folder / f"{job['out']}.failed.txt").write_text(reason)
            continue
        np.save(folder / job["out"], lists)
        facts = {"seconds": round(time.monotonic() - started, 2), "peak_bytes": peak_bytes()}
        (folder / f"{job['out']}.json").write_text(json.dumps(facts))
