"""Reading published nights: by the pointer, so that all tables are of one and the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbatch import storage
from recbatch.errors import InputError, RecbatchError
from recbatch.tables.pointer import Pointer, require_pointer


def read_manifest(output: str, pointer: Pointer) -> dict[str, Any]:
    """The published manifest, checked against the pointer.

    Raises:
        RecbatchError: it is missing or not the one that was published.
    """
    uri = storage.join(output, pointer.manifest)
    try:
        raw = storage.read_bytes(uri)
    except FileNotFoundError:
        message = f"{uri} is missing, but the pointer of {pointer.ds} names it; copy the whole output"
        raise RecbatchError(message) from None
    if hashlib.sha256(raw).hexdigest() != pointer.manifest_sha256:
        raise RecbatchError(f"{uri} is not the manifest that was published for {pointer.ds}: its sha256 differs")
    manifest: dict[str, Any] = json.loads(raw)
    return manifest


def table_files(output: str, manifest: dict[str, Any], table: str) -> list[str]:
    """URIs of a table's parts, in order.

    Raises:
        InputError: the night has no such table.
    """
    if table not in manifest["tables"]:
        raise InputError(f"the night has no table {table!r}; it has {', '.join(manifest['tables'])}")
    return [storage.join(output, file["path"]) for file in manifest["tables"][table]["files"]]


def read_table(output: str, table: str, ds: str) -> pa.Table:
    """A whole published table, in order of (query, rank).

    Raises:
        InputError: the date or the table is not published.
        RecbatchError: the output is damaged.
    """
    manifest = read_manifest(output, require_pointer(output, ds))
    parts = []
    for uri in table_files(output, manifest, table):
        with storage.open_input(uri) as source:
            parts.append(pq.read_table(source, page_checksum_verification=True))
    return pa.concat_tables(parts)


def lookup(output: str, manifest: dict[str, Any], table: str, ids: Sequence[str]) -> pa.Table:
    """The rows of some queries: only the row groups whose statistics cover one of the ids are read."""
    found = []
    for uri in table_files(output, manifest, table):
        with storage.open_input(uri) as source:
            file = pq.ParquetFile(source, page_checksum_verification=True)
            for group in range(file.metadata.num_row_groups):
                statistics = file.metadata.row_group(group).column(0).statistics
                covered = (
                    statistics is None
                    or not statistics.has_min_max
                    or any(_within(name, statistics.min, statistics.max) for name in ids)
                )
                if covered and file.metadata.row_group(group).num_rows:
                    rows = file.read_row_group(group)
                    found.append(rows.filter(pc.is_in(rows.column(0), pa.array(ids, rows.column(0).type))))
            schema = file.schema_arrow
    return pa.concat_tables(found) if found else schema.empty_table()


def _within(name: str, low: str | bytes, high: str | bytes) -> bool:
    """Whether ``name`` lies between statistics in byte order."""
    low, high = (bound.encode() if isinstance(bound, str) else bound for bound in (low, high))
    return low <= name.encode() <= high
