"""Raw rows in, clean rows out; what cannot be used is put aside with its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recbatch.config.inputs import EventFilter
from recbatch.errors import InputError
from recbatch.interactions.kinds import Converted, true_rows
from recbatch.interactions.numbers import to_numbers
from recbatch.interactions.quarantine import QUARANTINE_SCHEMA, Problems
from recbatch.interactions.slices import Piece, Slice, read_piece
from recbatch.interactions.spec import ColumnSpec, ReadSpec, SourceName, clean_schema
from recbatch.interactions.texts import to_ids, to_text, to_texts
from recbatch.interactions.times import check_times, to_times
from recbatch.interactions.vectors import to_vectors

# A slice of at least so many rows may be judged alone: if most of its times cannot be meant so, the unit is wrong.
_ENOUGH_ROWS = 1000


@dataclass(frozen=True)
class SliceData:
    """What a slice holds.

    Attributes:
        table: the clean rows in input order, see :func:`recbatch.interactions.clean_schema`.
        quarantined: the rows put aside, as :data:`recbatch.interactions.QUARANTINE_SCHEMA` says.
        counts: ``rows`` read, ``accepted``, ``quarantined`` (and ``quarantined/<column> <reason>``), ``after_as_of``,
            ``positive``, ``seen``, ``float_ids`` (rows whose id came as a float) and what
            :func:`recbatch.interactions.check_counts` needs. Counts of the slices of an input may be added up.
    """

    table: pa.Table
    quarantined: pa.Table
    counts: dict[str, int]


def read_slice(work: Slice, spec: ReadSpec) -> SliceData:
    """Read and clean one slice.

    Raises:
        InputError: the data contradicts the configuration: an id column of fractions, most timestamps outside
            1970-2100, damaged row groups.
        RecbatchError: a file was replaced or removed since the run was planned.
    """
    tables, aside, counts = [], [], Counter[str]()
    for piece in work.pieces:
        clean, quarantined, found = _read_piece(work.source, piece, spec)
        tables.append(clean)
        aside.append(quarantined)
        counts.update(found)
    if work.rows >= _ENOUGH_ROWS or work.rows * 2 > work.source_rows:
        check_times(counts, spec.timestamp_unit)
    table = pa.concat_tables(tables) if tables else clean_schema(work.source, spec).empty_table()
    quarantined = pa.concat_tables(aside) if aside else QUARANTINE_SCHEMA.empty_table()
    return SliceData(table.unify_dictionaries(), quarantined, dict(counts))


def _read_piece(source: SourceName, piece: Piece, spec: ReadSpec) -> tuple[pa.Table, pa.Table, Counter[str]]:
    specs = spec.columns(source)
    wanted = list(dict.fromkeys(column.column for column in specs))
    raw = read_piece(piece, wanted, [column.column for column in specs if column.kind == "id"])
    problems, counts = Problems(raw.num_rows), Counter[str]()
    columns: dict[str, pa.Array] = {}
    for column in specs:
        converted = _convert(raw[column.column], column, spec, piece)
        columns[column.name] = converted.values
        problems.add(column.column, converted.problems)
        counts.update(converted.counts)
    keep = ~problems.bad
    counts.update({"rows": raw.num_rows, "quarantined": int(problems.bad.sum())} | problems.counts())
    if source == "interactions":
        keep &= _before_as_of(columns, spec, keep, counts)
        columns["positive"] = pa.array(_passing(columns, spec.positives))
        columns["seen"] = pa.array(_passing(columns, spec.seen))
    schema = clean_schema(source, spec)
    table = pa.table({name: columns[name] for name in schema.names})
    if not keep.all():  # else a copy of everything for nothing
        table = table.filter(pa.array(keep))
    table = table.cast(schema, safe=False)
    counts["accepted"] = table.num_rows
    if source == "interactions":
        counts.update({name: pc.sum(table[name]).as_py() or 0 for name in ("positive", "seen")})
    return table, problems.table(raw, source, piece), counts


def _convert(values: pa.ChunkedArray, column: ColumnSpec, spec: ReadSpec, piece: Piece) -> Converted:
    place = _place(column, piece)
    try:
        if column.kind == "id":
            converted = to_ids(values, place)
            if column.name == "id":  # each occurs once: codes would only cost
                return Converted(converted.values.cast(pa.string()), converted.problems, converted.counts)
            return converted
        if column.kind == "time":
            return to_times(values, spec.timestamp_unit, spec.time_zone, place)
        if column.kind == "number":
            return to_numbers(values, place)
        if column.kind == "vector":
            return to_vectors(values)
        return to_text(values) if column.kind == "text" else to_texts(values, column.separator)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{place}: {values.type} cannot be used as {column.name} ({error})") from error


def _place(column: ColumnSpec, piece: Piece) -> str:
    return f"{column.key}: column {column.column!r} of {piece.uri}"


def _before_as_of(
    columns: dict[str, pa.Array], spec: ReadSpec, usable: NDArray[np.bool_], counts: Counter[str]
) -> NDArray[np.bool_]:
    if spec.as_of_us is None or not spec.has_timestamps:
        return usable
    late = usable & true_rows(pc.greater_equal(columns["timestamp"], spec.as_of_us))
    counts["after_as_of"] = int(late.sum())
    return ~late


def _passing(columns: dict[str, pa.Array], events: EventFilter) -> NDArray[np.bool_]:
    """Which rows a filter lets pass; a null weight or event type passes no filter that asks for one."""
    passing = np.ones(len(columns["user_id"]), bool)
    if events.min_weight is not None:
        # As float32 on both sides: a stored 0.7 of that type is a little less than 0.7.
        weight = columns["weight"].cast(pa.float32())
        passing &= true_rows(pc.greater_equal(weight, pa.scalar(events.min_weight, pa.float32())))
    if events.event_types is not None:
        passing &= true_rows(pc.is_in(columns["event_type"], pa.array(events.event_types, pa.string())))
    return passing
