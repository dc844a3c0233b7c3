"""Whether the columns of the files can be what the configuration says, judged by the footers alone."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from recbatch.errors import InputError
from recbatch.interactions.finding import Partitions
from recbatch.interactions.kinds import is_list, is_number, is_text, value_type
from recbatch.interactions.spec import ColumnSpec, Kind, ReadSpec, SourceName
from recbatch.interactions.times import fitting_unit

_USABLE: dict[Kind, str] = {
    "id": "text, whole numbers or binary",
    "time": "a timestamp, a date, numbers or text",
    "number": "numbers or booleans",
    "text": "text, numbers, booleans or dates",
    "texts": "lists of text or numbers, or text with a separator",
    "vector": "lists of numbers",
}
_MOST_NAMES = 30  # columns listed in a message


@dataclass(frozen=True)
class Footer:
    """What the end of a Parquet file says, and what the place of the file adds."""

    uri: str
    schema: pa.Schema
    metadata: pq.FileMetaData
    partitions: Partitions

    @property
    def names(self) -> list[str]:
        """The columns that the file has, those of its folders included."""
        return [*self.schema.names, *(key for key, _ in self.partitions if key not in self.schema.names)]

    def type_of(self, column: str) -> pa.DataType:
        """The type of a column; text for one that is a folder name."""
        return self.schema.field(column).type if column in self.schema.names else pa.string()


def check_footers(source: SourceName, footers: Sequence[Footer], spec: ReadSpec) -> None:
    """See that every needed column is there in every file, of a type that can be used, and means the same in all.

    Raises:
        InputError: naming the key, the column and the file (or the two files that differ).
    """
    for column in spec.columns(source):
        for footer in footers:
            _check_there(column, footer)
            _check_type(column, footer)
            if column.kind == "time":
                _check_unit(column, footer, spec)
        if column.kind == "time":
            _check_same_clock(column, footers)


def _usable(kind: Kind, data_type: pa.DataType, *, from_folder: bool) -> bool:
    data_type = value_type(data_type)
    if types.is_null(data_type):  # a column without any value
        return True
    if kind == "id":
        return is_text(data_type) or is_number(data_type)
    if kind == "time":
        return bool(types.is_timestamp(data_type) or types.is_date(data_type)) or (
            is_text(data_type) or is_number(data_type)
        )
    if kind == "number":
        return is_number(data_type) or bool(types.is_boolean(data_type)) or from_folder
    if kind == "vector":
        return is_list(data_type) and is_number(data_type.value_type)
    if kind == "texts" and is_list(data_type):
        return _usable("text", data_type.value_type, from_folder=False)
    return is_text(data_type) or is_number(data_type) or bool(types.is_boolean(data_type) or types.is_date(data_type))


def _check_there(column: ColumnSpec, footer: Footer) -> None:
    if footer.schema.names.count(column.column) > 1:
        raise InputError(f"{column.key}: {footer.uri} has more than one column {column.column!r}; rename one of them")
    if column.column in footer.names:
        return
    lower = {name.lower(): name for name in footer.names}
    near = difflib.get_close_matches(column.column.lower(), lower, n=1, cutoff=0.4)
    hint = f" Did you mean {lower[near[0]]!r}?" if near else ""
    names = ", ".join(footer.names[:_MOST_NAMES]) + (", ..." if len(footer.names) > _MOST_NAMES else "")
    raise InputError(f"{column.key}: there is no column {column.column!r} in {footer.uri}; it has {names}.{hint}")


def _check_type(column: ColumnSpec, footer: Footer) -> None:
    data_type = footer.type_of(column.column)
    if not _usable(column.kind, data_type, from_folder=column.column not in footer.schema.names):
        raise InputError(
            f"{column.key}: column {column.column!r} of {footer.uri} is {data_type}, which cannot be used as "
            f"{column.name}; it must hold {_USABLE[column.kind]}"
        )


def _check_unit(column: ColumnSpec, footer: Footer, spec: ReadSpec) -> None:
    data_type, unit = value_type(footer.type_of(column.column)), spec.timestamp_unit
    where = f"inputs.interactions.timestamp_unit: column {column.column!r} of {footer.uri} is {data_type}"
    if is_text(data_type) and unit is None:
        raise InputError(f"{where}; say what the text is: iso (2024-01-31T12:00:00), or s, ms, us, ns for digits")
    if is_number(data_type) and unit == "iso":
        raise InputError(f"{where}, and iso is for text; {_unit_hint(column, footer)}")
    if is_number(data_type) and unit is None:
        raise InputError(f"{where} and carries no unit; {_unit_hint(column, footer)}")


def _unit_hint(column: ColumnSpec, footer: Footer) -> str:
    """Suggest the unit under which the largest value, known from the footer's statistics, lies in our time."""
    fits = {fitting_unit(value) for value in _maxima(column.column, footer.metadata)} - {None}
    if len(fits) == 1:
        return f"its values look like {fits.pop()}: set that"
    return "set s, ms, us or ns"


def _maxima(column: str, metadata: pq.FileMetaData) -> Iterator[float]:
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            if chunk.path_in_schema == column and chunk.statistics is not None and chunk.statistics.has_min_max:
                yield float(chunk.statistics.max)


def _check_same_clock(column: ColumnSpec, footers: Sequence[Footer]) -> None:
    """Times with and without a zone, or of different kinds, must not mix silently."""
    first = footers[0]
    for footer in footers[1:]:
        kinds = [_clock(file.type_of(column.column)) for file in (first, footer)]
        if None not in kinds and kinds[0] != kinds[1]:
            raise InputError(
                f"{column.key}: column {column.column!r} is {first.type_of(column.column)} ({kinds[0]}) in {first.uri} "
                f"but {footer.type_of(column.column)} ({kinds[1]}) in {footer.uri}; write both in the same way"
            )


def _clock(data_type: pa.DataType) -> str | None:
    data_type = value_type(data_type)
    if types.is_null(data_type):
        return None
    if types.is_timestamp(data_type) and data_type.tz is not None:
        return "with a time zone"
    if types.is_timestamp(data_type) or types.is_date(data_type):
        return "without a time zone"
    return "text" if is_text(data_type) else "a number"
