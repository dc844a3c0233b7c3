"""Whether what was written is right: the first queries' rows, beside exact search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.speed.worlds import Matrix
from recbatch.errors import RecbatchError

CHECKED = 256
"""Queries that are looked at: the first of the users."""
_TOLERANCE = 1e-4
"""Of a score, which libraries add up in different orders; scores are near 1."""
_FIRSTS = 0.9
"""Share of the queries whose best candidate an approximate search has to find at least."""


@dataclass(frozen=True)
class Written:
    """Rows of a side.

    Attributes:
        path: a file, or a folder of files.
        columns: the names there of query, rank, candidate and score.
    """

    path: Path
    columns: tuple[str, str, str, str] = ("query_id", "rank", "candidate_id", "score")

    def first(self, queries: int, k: int) -> tuple[npt.NDArray[np.int64], Matrix]:
        """(candidates, scores) of the first queries, both ``[queries, k]``, by rank.

        Raises:
            RecbatchError: a query has not exactly the ranks 1 to k.
        """
        query, rank, candidate, score = self.columns
        wanted = ds.field(query).isin([f"u{number:09d}" for number in range(queries)])
        rows = pq.read_table(self.path, columns=list(self.columns), filters=wanted)
        numbers = {name: _numbers(rows[name].to_pylist()) for name in (query, candidate)}
        order = np.lexsort((rows[rank].to_numpy(), numbers[query]))
        places = np.stack([numbers[query], rows[rank].to_numpy()])[:, order]
        expected = np.stack([np.repeat(np.arange(queries), k), np.tile(np.arange(1, k + 1), queries)])
        if not np.array_equal(places, expected):
            raise RecbatchError(f"{self.path} does not hold {k} ranks of each of the first {queries} queries")
        shape = (queries, k)
        return numbers[candidate][order].reshape(shape), rows[score].to_numpy()[order].astype(np.float32).reshape(shape)


def recall(written: Written, users: Matrix, items: Matrix, k: int, *, exact: bool) -> float:
    """The share of the best ``min(k, items)`` candidates that the rows of these users hold; ties count as found.

    Args:
        written: the rows of at least these users.
        users: the first users' vectors ``[queries, dim]``.
        items: all candidates' vectors ``[items, dim]``.
        k: rows of a query.
        exact: whether all of the best have to be there.

    Raises:
        RecbatchError: rows are missing or twice there, scores are not those of the vectors or do not fall, or the best
            candidate is not the first.
    """
    k = min(k, len(items))
    found, scores = written.first(len(users), k)
    truth = users @ items.T
    if any(len(set(row)) < k for row in found.tolist()):
        raise RecbatchError(f"{written.path} names a candidate twice for one query")
    own = np.take_along_axis(truth, found, axis=1)
    if np.abs(own - scores).max() > _TOLERANCE or (np.diff(scores) > _TOLERANCE).any():
        raise RecbatchError(f"the scores in {written.path} are not the vectors' dot products, from the largest on")
    best = -np.partition(-truth, k - 1, axis=1)[:, :k]
    share = float((own >= best.min(axis=1, keepdims=True) - 1e-6).mean())
    firsts = float((own[:, 0] >= best.max(axis=1) - _TOLERANCE).mean())
    if firsts < (1.0 if exact else _FIRSTS) or (exact and share < 0.999):
        raise RecbatchError(
            f"{written.path} is wrong: {firsts:.1%} of the first {len(users)} queries have the best candidate first, "
            f"and {share:.1%} of the best {k} are there"
        )
    return share


def _numbers(ids: list[str]) -> npt.NDArray[np.int64]:
    """The rows' numbers in ids as :mod:`benchmarks.speed.inputs` writes them."""
    return np.array([int(name[1:]) for name in ids], np.int64)
