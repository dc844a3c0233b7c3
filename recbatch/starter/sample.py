"""A bounded look at Parquet files: what columns there are, and a few rows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from recbatch import storage
from recbatch.errors import InputError
from recbatch.interactions.finding import find_files, partitions_of, require_readable
from recbatch.interactions.kinds import one_array, value_type

_FILES = 3
_ROWS_PER_FILE = 20_000


@dataclass(frozen=True)
class Column:
    """A column and the values of the sample, in their plain type (dictionaries decoded).

    ``greatest``: the greatest value of the files looked at, where their footers say so; an array of one.
    ``of_folder``: it is not in the files, but in the names of their folders (``key=value``).
    """

    name: str
    values: pa.Array
    greatest: pa.Array | None = None
    of_folder: bool = False

    @property
    def type(self) -> pa.DataType:
        """The type of the values."""
        return self.values.type


@dataclass(frozen=True)
class Sample:
    """Rows of the first, the middle and the last file.

    Attributes:
        path: as it was given.
        files: number of data files.
        rows: rows of the sample.
        columns: by name, in the order of the files; folders named ``key=value`` are columns too.
    """

    path: str
    files: int
    rows: int
    columns: dict[str, Column]

    def described(self) -> str:
        """``data/x.parquet (2 files, 20,000 rows looked at)``."""
        return f"{self.path} ({self.files} file{'s' if self.files > 1 else ''}, {self.rows:,} rows looked at)"


def take_sample(path: str, option: str) -> Sample:
    """Look at a Parquet file, a folder or a glob.

    Args:
        path: local or ``gs://``.
        option: the command line's name for it, for messages.

    Raises:
        InputError: nothing is there, or it is not Parquet.
    """
    uris = [file.uri for file in find_files(path, option)]
    chosen = dict.fromkeys([uris[0], uris[len(uris) // 2], uris[-1]][:_FILES])
    looks = [_look(uri, option) for uri in chosen]
    tables = [table for table, _, _ in looks]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:  # the files disagree; that is said when they are read, the first one will do here
        table = tables[0]
    names = list(dict.fromkeys(table.column_names))
    columns = {}
    for name in names:
        values = _plain(table.column(table.column_names.index(name)))
        columns[name] = Column(
            name,
            values,
            _greatest([maxima[name] for _, maxima, _ in looks if name in maxima], values.type),
            of_folder=any(name in folders for _, _, folders in looks),
        )
    return Sample(path, len(uris), table.num_rows, columns)


def _look(uri: str, option: str) -> tuple[pa.Table, dict[str, Any], set[str]]:
    """The first rows of a file, the greatest values that its footer knows, and the columns that are its folders."""
    try:
        with storage.open_input(uri) as stream, pq.ParquetFile(stream) as file:
            batch = next(file.iter_batches(batch_size=_ROWS_PER_FILE), None)
            table = file.schema_arrow.empty_table() if batch is None else pa.Table.from_batches([batch])
            maxima = _maxima(file.metadata)
    except (pa.ArrowException, OSError) as error:
        require_readable(uri, option)
        raise InputError(
            f"{option}: {uri} cannot be read as Parquet ({error}); convert it to Parquet first, or name only the "
            f"Parquet files, with a glob such as 'folder/*.parquet'"
        ) from error
    folders = {name for name, _ in partitions_of(uri)} - set(table.column_names)
    for name, value in partitions_of(uri):
        if name in folders and name not in table.column_names:
            table = table.append_column(name, pa.array([value] * table.num_rows, pa.string()))
            maxima[name] = value
    return table, maxima, folders


def _maxima(metadata: pq.FileMetaData) -> dict[str, Any]:
    maxima: dict[str, Any] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            if chunk.statistics is not None and chunk.statistics.has_min_max:
                name, value = chunk.path_in_schema, chunk.statistics.max
                maxima[name] = max(maxima.get(name, value), value)
    return maxima


def _greatest(maxima: list[Any], data_type: pa.DataType) -> pa.Array | None:
    try:
        return pa.array([max(maxima)], data_type) if maxima else None
    except (pa.ArrowException, TypeError):
        return None


def _plain(values: pa.ChunkedArray) -> pa.Array:
    array = one_array(values)
    if types.is_decimal(array.type):
        return array.cast(pa.float64())
    plain = value_type(array.type)
    if types.is_large_string(plain) or types.is_string_view(plain):
        return array.cast(pa.string())
    return array
