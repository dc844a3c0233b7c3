"""Rows put aside: which, why, and when there are too many of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from recbatch.errors import InputError
from recbatch.interactions.coding import encode
from recbatch.interactions.kinds import is_list, is_text, value_type
from recbatch.interactions.slices import Piece
from recbatch.interactions.spec import ReadSpec, SourceName
from recbatch.interactions.times import check_times

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False, metadata={"description": "Number of the row in the file, from 0."}),
        pa.field("column", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("values", pa.string(), nullable=False, metadata={"description": "What was read of the row, as JSON."}),
    ]
)
_LONGEST_TEXT = 1000  # characters of one value that are kept
_REASON = "quarantined/"


class Problems:
    """The first problem found in each row of a piece."""

    def __init__(self, rows: int) -> None:
        self._which = np.zeros(rows, np.int16)
        self._found: list[tuple[str, str]] = []

    def add(self, column: str, problems: Mapping[str, NDArray[np.bool_]]) -> None:
        """Note the rows of ``column`` that have a problem, unless they have one already."""
        for reason, rows in problems.items():
            self._found.append((column, reason))
            self._which[rows & (self._which == 0)] = len(self._found)

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Which rows have a problem."""
        return self._which != 0

    def counts(self) -> dict[str, int]:
        """``quarantined/<column> <reason>`` -> rows."""
        rows = np.bincount(self._which, minlength=len(self._found) + 1)[1:].tolist()
        found = zip(self._found, rows, strict=True)
        return {f"{_REASON}{column} {reason}": count for (column, reason), count in found if count}

    def table(self, raw: pa.Table, source: SourceName, piece: Piece) -> pa.Table:
        """The rows with a problem, as :data:`QUARANTINE_SCHEMA` says."""
        rows = np.flatnonzero(self.bad)
        found = [self._found[number - 1] for number in self._which[rows]]
        columns = [
            [source] * len(rows),
            [piece.uri] * len(rows),
            piece.first_row + rows,
            [column for column, _ in found],
            [reason for _, reason in found],
            _as_json(raw.take(pa.array(rows))),
        ]
        return pa.table(columns, schema=QUARANTINE_SCHEMA)


def check_counts(source: SourceName, counts: Mapping[str, int], spec: ReadSpec, *, where: str) -> None:
    """See that what was read of one input may be used; call it when all its slices have been read.

    Args:
        source: the input.
        counts: the counts of its slices, added up.
        spec: how it was read.
        where: where the rows that were put aside can be read.

    Raises:
        InputError: most timestamps cannot be meant as they are declared, or they are written in two ways; or more rows
            were put aside than ``inputs.max_quarantined_share`` allows.
    """
    check_times(counts, spec.timestamp_unit)
    rows, bad = counts.get("rows", 0), counts.get("quarantined", 0)
    if bad <= spec.max_quarantined_share * rows:
        return
    reasons = {key.removeprefix(_REASON): n for key, n in counts.items() if key.startswith(_REASON)}
    most = max(reasons, key=lambda reason: (reasons[reason], reason))
    raise InputError(
        f"inputs.{source}: {bad} of {rows} rows ({bad / rows:.2%}) had to be put aside, and "
        f"inputs.max_quarantined_share allows {spec.max_quarantined_share:.2%}. "
        f"Most often ({reasons[most]} rows): {most}. "
        f"The rows are in {where}; mend the input, or raise inputs.max_quarantined_share"
    )


def _as_json(rows: pa.Table) -> pa.Array:
    """Each row as a JSON object. There may be many: anonymous events of a log, say."""
    members = [
        pc.binary_join_element_wise(f"{json.dumps(name, ensure_ascii=False)}: ", _json_values(rows[name]), "")
        for name in rows.column_names
    ]
    return pc.binary_join_element_wise("{", pc.binary_join_element_wise(*members, ", "), "}", "")


def _json_values(column: pa.ChunkedArray) -> pa.Array:
    """Each value as JSON; Python sees each different value once (lists: each)."""
    plain = value_type(column.type)
    if is_text(plain):
        column = column.cast(pa.binary())  # it may not be UTF-8
    elif types.is_timestamp(plain):
        column = column.cast(pa.timestamp(plain.unit)).cast(pa.string())  # any year, without a time zone database
    if is_list(plain):
        return pa.array([_json(value) for value in column.to_pylist()], pa.string())
    encoded = encode(column)
    texts = pa.array([_json(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return pc.fill_null(texts.take(encoded.indices), "null")


def _json(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A value that JSON can say."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}... ({len(text)} characters)"
