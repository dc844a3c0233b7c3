"""Auditing a part by reading it back: what the table promises, checked on the stored bytes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recbatch.neighbours import Exclusions, Neighbours, for_each, places_of
from recbatch.schemas import arrow_schema
from recbatch.tables.stored import RowGroup, StoredFile, StoredRows


class TopKAudit:
    """Says what is wrong with a part of a top-k table, and keeps what it holds.

    Row groups are looked at one by one on all cores, so what is held is the neighbours and little more. Every step
    returns sentences, and the next one is taken only if there are none.

    Attributes:
        found: the part's neighbours ``[m, k]`` as ordinals of the candidates, once nothing was found wrong.
    """

    def __init__(
        self, table: str, queries: pa.Array, candidates: pa.Array, excluded: Exclusions, wanted: npt.NDArray[np.int64]
    ) -> None:
        """Arguments: what the part should hold.

        Args:
            table: name of its schema.
            queries: ids of the part's queries in order, ``[m]``.
            candidates: ids of all candidates in order, ``[n]``.
            excluded: of each query, the query itself among them where excluded.
            wanted: ``[m]``, the rows that each query must have: min(k, eligible).
        """
        self.found = Neighbours.empty(len(queries), int(wanted.max(initial=1)))
        self._schema, self._queries, self._candidates = arrow_schema(table), queries, candidates
        self._excluded, self._wanted = excluded, wanted
        self._table = table
        self._spans: dict[int, slice] = {}  # by row group: its queries, from the first to the last
        self._names: dict[int, pa.Array] = {}  # and its candidates, which ordinals point into until they are looked up

    def __call__(self, stored: StoredFile) -> list[str]:
        """What is wrong.

        Raises:
            OSError: a row group is damaged (likewise pyarrow's ArrowInvalid).
        """
        if not stored.schema.equals(self._schema, check_metadata=False):
            return [f"columns {stored.schema.names} are not those of schema {self._table}"]
        return self._read(stored.groups) or self._count() or self._look_up() or self._check_pairs()

    def _read(self, groups: Sequence[RowGroup]) -> list[str]:
        """Whether rows are what they are in every table."""
        found: list[Counter[str]] = []  # added up at the end: threads that add to one counter lose what another adds

        def read(number: int) -> None:
            rows = StoredRows.of(groups[number](), self._queries)
            wrong = _wrong_rows(rows)
            self._spans[number], self._names[number] = rows.span, rows.names
            if not wrong:
                self._put(rows)
            found.append(wrong)

        for_each(read, range(len(groups)))
        problems = sum(found, Counter[str]())
        spans = [span for _, span in sorted(self._spans.items()) if span.stop > span.start]
        if any(after.start < before.stop for before, after in itertools.pairwise(spans)):
            problems["the queries are not in order, or one is in two row groups"] += 1
        return _sentences(problems)

    def _put(self, rows: StoredRows) -> None:
        counts = np.bincount(rows.queries - rows.span.start, minlength=0)
        if counts.max(initial=0) > self.found.ordinals.shape[1]:
            self.found.counts[rows.span] = counts  # more than there is room for; their number tells
        else:
            self.found.put(rows.span, rows.neighbours(rows.span, self.found.ordinals.shape[1]))

    def _count(self) -> list[str]:
        """Whether every query has as many rows as it must."""
        wrong = np.flatnonzero(self.found.counts != self._wanted)
        return [
            f"{len(wrong)} queries do not have min(k, eligible) rows; "
            f"{self._queries[first]} has {self.found.counts[first]} of {self._wanted[first]}"
            for first in wrong[:1].tolist()
        ]

    def _look_up(self) -> list[str]:
        """Make ordinals point into the candidates; for all row groups at once, since that hashes all candidates."""
        numbers = sorted(self._names)
        names = pa.concat_arrays([self._candidates[:0], *(self._names[number] for number in numbers)])
        every = places_of(names, self._candidates)
        unknown, first = 0, 0
        for number in numbers:
            own = every[first : first + len(self._names[number])]
            first += len(own)
            codes = self.found.ordinals[self._spans[number]]
            given = codes >= 0
            codes[:] = np.append(own, np.int32(-1))[codes]  # the last one stands for no candidate
            unknown += int((given & (codes < 0)).sum())
        return [f"{unknown} rows name an unknown candidate"] if unknown else []

    def _check_pairs(self) -> list[str]:
        """Whether a candidate occurs twice for a query, or is excluded."""
        found: list[Counter[str]] = []

        def check(span: slice) -> None:
            ordered, own = np.sort(self.found.ordinals[span], axis=1), self._excluded.rows(span.start, span.stop)
            twice = int(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).sum())
            # Numbers that rise from candidate to candidate, -1 included, and from query to query.
            first = np.arange(len(ordered)) * (len(self._candidates) + 1) + 1
            pairs = (first[:, None] + ordered).reshape(-1)
            unwanted = np.repeat(first, own.counts) + own.ordinals
            at = np.minimum(np.searchsorted(pairs, unwanted), len(pairs) - 1)
            shown = int((pairs[at] == unwanted).sum())
            excluded = "{} excluded pairs (seen, or the query itself) are in the table"
            found.append(Counter({"{} pairs occur twice": twice, excluded: shown}))

        for_each(check, [span for span in self._spans.values() if span.stop > span.start])
        return _sentences(sum(found, Counter[str]()))


def _wrong_rows(rows: StoredRows) -> Counter[str]:
    """What is wrong with the rows of one row group, whoever their candidates are, and how often."""
    if _flawless(rows):
        return Counter()
    query, score = rows.queries, rows.scores
    same = query[1:] == query[:-1]
    starts = np.flatnonzero(np.append(True, ~same)) if len(query) else np.zeros(0, np.int64)
    lengths = np.diff(np.append(starts, len(query)))
    rank = np.arange(len(query), dtype=np.int32) - np.repeat(starts, lengths).astype(np.int32) + np.int32(1)
    return +Counter(
        {
            "{} rows name an unknown query": int((query < 0).sum()),
            "the queries are not in order": int((query[1:] < query[:-1]).sum()),
            "the ranks are not dense from 1": int((rows.ranks != rank).sum()),
            "{} scores are not finite": int((~np.isfinite(score)).sum()),
            "scores increase with the rank": int((same & (score[1:] > score[:-1])).sum()),
        }
    )


def _flawless(rows: StoredRows) -> bool:
    """Whether nothing is wrong; seen at a glance where all queries have the same number of rows, as nearly always."""
    k = int(rows.ranks[-1]) if len(rows.ranks) else 0
    if k < 1 or len(rows.ranks) % k:
        return False
    query, rank, score = (column.reshape(-1, k) for column in (rows.queries, rows.ranks, rows.scores))
    first = query[:, 0]
    return bool(
        first[0] >= 0
        and (first[1:] > first[:-1]).all()
        and (query == first[:, None]).all()
        and (rank == np.arange(1, k + 1, dtype=np.int32)).all()
        and np.isfinite(score).all()
        and (score[:, 1:] <= score[:, :-1]).all()
    )


def _sentences(problems: Counter[str]) -> list[str]:
    return [sentence.format(count) for sentence, count in problems.items() if count]


@dataclass(frozen=True)
class VectorsAudit:
    """Says what is wrong with a part of a table of vectors; ``schema`` is the table's."""

    schema: str

    def __call__(self, stored: StoredFile) -> list[str]:
        """What is wrong.

        Raises:
            OSError: a row group is damaged (likewise pyarrow's ArrowInvalid).
        """
        if not stored.schema.equals(arrow_schema(self.schema), check_metadata=False):
            return [f"columns {stored.schema.names} are not those of schema {self.schema}"]
        last = pa.array([], pa.string())
        problems = Counter[str]()
        for read in stored.groups:
            rows = read()
            ids = pa.concat_arrays([last, *rows.column(0).cast(pa.string()).chunks])
            if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
                problems["the ids are not sorted, or not unique"] += 1
            last = ids[-1:]
            values = rows.column(1).combine_chunks().flatten().to_numpy(zero_copy_only=False)
            problems["{} values are not finite"] += int((~np.isfinite(values)).sum())
        return _sentences(problems)
