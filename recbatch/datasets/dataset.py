"""What a data set is: where it can be had, how it is read, and what its tables must hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch.errors import RecbatchError

Tables = dict[str, pa.Table]
"""The tables of a data set by name: ``interactions``, ``users`` and ``items``."""


@dataclass(frozen=True)
class Source:
    """One place a data set can be had from, as one file.

    Attributes:
        label: what a person calls it; used in messages.
        file_name: name of the file in the cache.
        known_hash: ``md5:...`` or ``sha256:...`` of the file, as published.
        download: writes the file to the given path; raises OSError or RecbatchError when it cannot.
        read: makes the tables from the file; raises RecbatchError when the file is not as expected.
    """

    label: str
    file_name: str
    known_hash: str
    download: Callable[[Path], None]
    read: Callable[[Path], Tables]


@dataclass(frozen=True)
class Expected:
    """What a table must hold: its number of rows, the distinct values of some columns, and its content.

    ``checksum`` is :func:`content_checksum` of the table sorted by ``key``.
    """

    key: tuple[str, ...]
    rows: int
    checksum: str
    distinct: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A data set: its sources in the order they are tried, and its tables as they must come out of each of them."""

    name: str
    sources: tuple[Source, ...]
    tables: Mapping[str, Expected]


def content_checksum(table: pa.Table, key: tuple[str, ...]) -> str:
    """sha256 of names, types and values, whatever the order of the rows, the chunks or the file they came in.

    Args:
        table: columns of strings, or of types of fixed width.
        key: columns that identify a row; the rows are sorted by them first.

    Returns:
        64 hexadecimal digits.
    """
    ordered = table.sort_by([(name, "ascending") for name in key])
    digest = hashlib.sha256()
    for column_field in ordered.schema:
        column = ordered[column_field.name].combine_chunks()
        digest.update(f"{column_field.name}:{column_field.type}:{len(column)}\n".encode())
        digest.update(np.packbits(pc.is_null(column).to_numpy(zero_copy_only=False)).tobytes())
        if pa.types.is_string(column_field.type):
            text = pc.fill_null(column, "")
            digest.update(pc.binary_length(text).to_numpy().astype("<i4").tobytes())
            whole = pa.ListArray.from_arrays(pa.array([0, len(text)], pa.int32()), text)
            digest.update(pc.binary_join(whole, "")[0].as_buffer())
        else:
            numbers = column.cast(pa.int32()) if pa.types.is_date32(column_field.type) else column
            values = pc.fill_null(numbers, 0).to_numpy()
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def verify(tables: Tables, expected: Mapping[str, Expected], origin: str) -> None:
    """Checks counts, then content.

    Args:
        tables: the tables as read.
        expected: what they must hold.
        origin: where they came from; begins the message of the error.

    Raises:
        RecbatchError: a table is missing, or has other rows than it must have.
    """
    for name, wanted in expected.items():
        if name not in tables:
            raise RecbatchError(f"{origin} has no {name}")
        table = tables[name]
        if table.num_rows != wanted.rows:
            raise RecbatchError(f"{origin} has {table.num_rows:,} rows of {name}, expected {wanted.rows:,}")
        for column, count in wanted.distinct.items():
            found = pc.count_distinct(table[column], mode="only_valid").as_py()
            if found != count:
                raise RecbatchError(f"{origin}: {name}.{column} has {found:,} distinct values, expected {count:,}")
        checksum = content_checksum(table, wanted.key)
        if checksum != wanted.checksum:
            raise RecbatchError(f"{origin}: the content of {name} has sha256 {checksum}, expected {wanted.checksum}")
