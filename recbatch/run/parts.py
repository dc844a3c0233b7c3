"""Parts: every work item makes exactly one Parquet file, named by the work item alone, whole or not at all.

The footer says which work item made it, from what, and how many rows it holds; a part is *there* only if these match,
so a file cut short, or one of another run, is made again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import storage

_FOOTER_KEY = "recbatch"
_BATCH = 65_536  # values encoded at a time; with Parquet's 1,024 a column of short codes takes half as long again

Tables = Iterable[pa.Table]
Make = Callable[[dict[str, int]], Tables]
"""Yields the part's tables, one row group each, and may fill in the counts that the footer keeps."""


@dataclass(frozen=True)
class Part:
    """A part that is there. ``made`` tells whether it was made just now, in ``seconds``, or found.

    ``sha256`` is that of the bytes as they were written, or found; "" where nobody needed to read them.
    """

    uri: str
    item: str
    rows: int
    size_bytes: int
    counts: Mapping[str, int] = field(default_factory=dict)
    made: bool = False
    seconds: float = 0.0
    sha256: str = ""


@dataclass(frozen=True)
class Layout:
    """How a part is laid out in Parquet.

    Attributes:
        schema: Arrow schema that a reader gets.
        sorted_by: columns by which the rows are sorted, written as the row groups' sorting columns.
        encoded: text columns whose values are handed in as dictionary arrays, which saves hashing every value again.
            A dictionary must hold only the values of its row group.
        statistics: columns that get min/max statistics and a page index (True: all). The min/max of a text column
            that nobody filters by costs as much as writing it.
        dictionaries: columns that are written with a dictionary (True: all). Numbers hardly two of which are equal are
            faster written, and smaller, without.
        uncompressed: columns that are stored as they are: floats of vectors and scores, of which compression saves a
            tenth and takes longer than everything else that is done to write and read them.
    """

    schema: pa.Schema
    sorted_by: Sequence[str] = ()
    encoded: Sequence[str] = ()
    statistics: bool | Sequence[str] = True
    dictionaries: bool | Sequence[str] = True
    uncompressed: Sequence[str] = ()

    @property
    def written_schema(self) -> pa.Schema:
        """The schema of the tables handed to the writer: ``schema`` with the encoded columns as dictionaries."""
        encoded = pa.dictionary(pa.int32(), pa.string())
        return pa.schema([field.with_type(encoded) if field.name in self.encoded else field for field in self.schema])

    def writer(self, stream: BinaryIO | io.RawIOBase) -> pq.ParquetWriter:
        """A Parquet writer of this layout."""
        writer = pq.ParquetWriter(
            stream,
            self.written_schema,
            compression={
                leaf: "none" if field.name in self.uncompressed else "zstd"
                for field in self.schema
                for leaf in _leaves(field.name, field.type)
            },
            use_dictionary=self.dictionaries if isinstance(self.dictionaries, bool) else list(self.dictionaries),
            write_statistics=self.statistics if isinstance(self.statistics, bool) else list(self.statistics),
            write_page_index=True,
            write_batch_size=_BATCH,
            write_page_checksum=True,  # a flipped bit of a score would otherwise be read as another score
            store_schema=False,
            sorting_columns=pq.SortingColumn.from_ordering(
                self.schema, [(name, "ascending") for name in self.sorted_by]
            )
            if self.sorted_by
            else None,
        )
        # Arrow's own schema entry, written by hand so that readers get plain text columns, with their descriptions.
        writer.add_key_value_metadata({"ARROW:schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode()})
        return writer


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """The names that Parquet gives the columns that hold a column's values."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path


def make_part(uri: str, item: str, inputs: str, layout: Layout | Callable[[pa.Schema], Layout], make: Make) -> Part:
    """The part of a work item: the one that is there, else one made now.

    Args:
        uri: where it is stored.
        item: the work item's name, such as ``search user2item 00003``.
        inputs: checksum of what it is made from.
        layout: how it is written; a function gets the schema of the first table, where only that tells.
        make: called only if the part is not there.
    """
    with contextlib.suppress(FileNotFoundError):
        found = _read_footer(uri, item, inputs)
        if found is not None:
            return replace(found, sha256=storage.content_sha256(uri))
        storage.delete(uri)  # what lies there is not this part: cut short, or made from something else
    started = time.monotonic()
    counts: dict[str, int] = {}
    rows = 0
    settled, tables = _settled(layout, iter(make(counts)))
    with storage.create(uri) as (stream, created):
        hashing = _Hashing(stream)
        with settled.writer(hashing) as writer:
            for table in tables:
                writer.write_table(table, row_group_size=max(table.num_rows, 1))
                rows += table.num_rows
            footer = {"item": item, "inputs": inputs, "rows": rows, "counts": counts}
            writer.add_key_value_metadata({_FOOTER_KEY: json.dumps(footer, sort_keys=True)})
    part = existing_part(uri, item, inputs)
    if part is None:
        raise OSError(f"{uri}: the part just written cannot be read back; check the disk or bucket it is on")
    sha256 = hashing.digest.hexdigest() if created.won else storage.content_sha256(uri)
    return replace(part, made=created.won, seconds=time.monotonic() - started, sha256=sha256)


class _Hashing(io.RawIOBase):
    """Passes on what is written, and takes its sha256 on the way, so that nobody has to read it back for that."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self._stream.write(data)
        return len(data)

    def tell(self) -> int:
        return self._stream.tell()


def _settled(
    layout: Layout | Callable[[pa.Schema], Layout], tables: Iterator[pa.Table]
) -> tuple[Layout, Iterator[pa.Table]]:
    """The layout, and at least one table: a part without rows has its columns all the same."""
    first = next(tables, None)
    if isinstance(layout, Layout):
        first = layout.written_schema.empty_table() if first is None else first
    elif first is not None:
        layout = layout(first.schema)
    else:
        raise ValueError("a part whose layout depends on its first table needs one")
    return layout, itertools.chain([first], tables)


def found_part(uri: str, item: str, inputs: str) -> Part | None:
    """As :func:`existing_part`, but read whole, for its sha256."""
    part = existing_part(uri, item, inputs)
    return None if part is None else replace(part, sha256=storage.content_sha256(uri))


def existing_part(uri: str, item: str, inputs: str) -> Part | None:
    """The part if it is there and was made by this work item from these inputs, else None."""
    try:
        return _read_footer(uri, item, inputs)
    except FileNotFoundError:
        return None


def _read_footer(uri: str, item: str, inputs: str) -> Part | None:
    """As :func:`existing_part`, but a file that is not there is a FileNotFoundError, one that is no such part None."""
    size = storage.size_of(uri)
    try:
        with storage.open_input(uri) as source:
            metadata = pq.read_metadata(source)
    except OSError as error:
        if error.errno is not None:
            raise
        return None  # not the operating system's: Arrow cannot make sense of the content
    except pa.ArrowInvalid:
        return None
    footer = json.loads((metadata.metadata or {}).get(_FOOTER_KEY.encode(), b"{}"))
    if footer.get("item") != item or footer.get("inputs") != inputs or footer.get("rows") != metadata.num_rows:
        return None
    return Part(uri, item, metadata.num_rows, size, footer["counts"])


def read_part(uri: str, columns: Sequence[str] | None = None, coded: Sequence[str] = ()) -> pa.Table:
    """A part's rows (all row groups), with its schema's own metadata only.

    Args:
        uri: the part.
        columns: which columns; None: all.
        coded: text columns to read as dictionary codes.
    """
    with storage.open_input(uri) as source:
        table = pq.read_table(
            source,
            columns=None if columns is None else list(columns),
            read_dictionary=list(coded),
            page_checksum_verification=True,
        )
    return table.replace_schema_metadata(None)
