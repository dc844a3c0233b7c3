"""Slices: the work items that read the inputs, each some row groups of one or more files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import storage
from recbatch.errors import InputError, RecbatchError
from recbatch.interactions.finding import Partitions
from recbatch.interactions.sources import InputFile, ResolvedInputs
from recbatch.interactions.spec import SourceName

# Many small files share a slice, but not so many that opening them takes longer than a slice should.
_MOST_PIECES = 200


@dataclass(frozen=True)
class Piece:
    """Consecutive row groups of one file.

    Attributes:
        uri: the file.
        checksum: what the file's content was when the run was planned.
        row_groups: their numbers.
        first_row: number of the first row in the file, from 0.
        rows: how many rows they hold.
        partitions: values that the file has by its folders.
    """

    uri: str
    checksum: str
    row_groups: tuple[int, ...]
    first_row: int
    rows: int
    partitions: Partitions


@dataclass(frozen=True)
class Slice:
    """One work item of reading: pieces of an input, numbered in input order within it.

    ``source_rows`` is the number of rows of the whole input.
    """

    source: SourceName
    number: int
    pieces: tuple[Piece, ...]
    source_rows: int

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return sum(piece.rows for piece in self.pieces)


def plan_slices(inputs: ResolvedInputs, slice_rows: int) -> tuple[Slice, ...]:
    """Cut all inputs into slices of at most ``slice_rows`` rows, or of one row group if that is larger.

    An input without rows has no slices.
    """
    planned = []
    for source in inputs.sources:
        for number, pieces in enumerate(_packed(_pieces(source.files, slice_rows), slice_rows)):
            planned.append(Slice(source.name, number, tuple(pieces), source.rows))
    return tuple(planned)


def read_piece(piece: Piece, columns: Sequence[str], coded: Sequence[str] = ()) -> pa.Table:
    """Read columns of a piece; columns that are folder names are filled in.

    Args:
        piece: what to read.
        columns: names of columns, each once.
        coded: those to read as dictionary codes if they are text.

    Returns:
        ``columns`` in that order.

    Raises:
        RecbatchError: the file is not the one that was planned with any more.
        InputError: its row groups are damaged.
    """
    check_unchanged(piece)
    by_folder = dict(piece.partitions)
    stored = [column for column in columns if column not in by_folder]
    try:
        with storage.open_input(piece.uri) as stream:
            table = _read(stream, piece, stored, [column for column in coded if column in stored])
    except (pa.ArrowException, OSError) as error:
        check_unchanged(piece)
        raise InputError(
            f"{piece.uri} is damaged: its rows {piece.first_row} to {piece.first_row + piece.rows - 1} cannot be read "
            f"({error}); write the file again"
        ) from error
    check_unchanged(piece)
    for column in columns:
        if column in by_folder:
            table = table.append_column(column, _repeated(by_folder[column], piece.rows))
    return table.select(list(columns))


def _pieces(files: Sequence[InputFile], slice_rows: int) -> Iterator[Piece]:
    for file in files:
        first_row, rows = 0, 0
        groups: list[int] = []
        for number, group_rows in enumerate(file.row_groups):
            if groups and rows + group_rows > slice_rows:
                yield Piece(file.uri, file.checksum, tuple(groups), first_row, rows, file.partitions)
                first_row, groups, rows = first_row + rows, [], 0
            groups.append(number)
            rows += group_rows
        if rows:
            yield Piece(file.uri, file.checksum, tuple(groups), first_row, rows, file.partitions)


def _packed(pieces: Iterator[Piece], slice_rows: int) -> Iterator[list[Piece]]:
    pack: list[Piece] = []
    for piece in pieces:
        if pack and (len(pack) == _MOST_PIECES or sum(other.rows for other in pack) + piece.rows > slice_rows):
            yield pack
            pack = []
        pack.append(piece)
    if pack:
        yield pack


def _read(stream: pa.NativeFile, piece: Piece, columns: list[str], coded: list[str]) -> pa.Table:
    with pq.ParquetFile(stream, read_dictionary=coded) as file:
        table = file.read_row_groups(list(piece.row_groups), columns=columns)
    if table.num_rows != piece.rows:
        raise pa.ArrowInvalid(f"{table.num_rows} rows were found where the footer says {piece.rows}")
    return table.replace_schema_metadata(None)


def _repeated(value: str | None, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], pa.string()))


def check_unchanged(file: Piece | InputFile) -> None:
    """See that a file is still the one that was planned with.

    Raises:
        RecbatchError: it was removed or replaced.
    """
    try:
        now = storage.checksum(file.uri)
    except FileNotFoundError as error:
        raise RecbatchError(f"{file.uri} was removed during the run; put it back, or start again") from error
    if now != file.checksum:
        raise RecbatchError(
            f"{file.uri} was replaced during the run (its checksum was {file.checksum}, now it is {now}); "
            f"start again, with inputs that stay as they are until the end"
        )
