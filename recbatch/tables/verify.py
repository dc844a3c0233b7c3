"""Checking published nights by content: nothing is believed, every file is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import storage
from recbatch.errors import InputError, RecbatchError
from recbatch.schemas import to_arrow
from recbatch.tables.pointer import published_dates, require_pointer
from recbatch.tables.projection import OUR_TABLES, SUCCESS, partition_uri
from recbatch.tables.read import read_manifest

_PARTITION = re.compile(r"ds=(\d{4}-\d{2}-\d{2})")


def check_output(output: str, ds: str | None = None) -> tuple[list[str], list[str]]:
    """Check one date, or all that are published.

    Returns:
        The dates that were checked, and the problems as sentences (none: all is as published).

    Raises:
        InputError: nothing is published there, or not this date.
    """
    output = storage.absolute(output)
    dates = published_dates(output) if ds is None else [ds]
    if not dates:
        raise InputError(f"{output} holds no published night (no _published/<date>.json); check the path")
    problems = [f"{date}: {problem}" for date in dates for problem in _check_date(output, date)]
    if ds is None:
        problems.extend(_stray_places(output, set(dates)))
    return dates, problems


def verify_output(output: str, ds: str | None) -> None:
    """:func:`check_output` for people: prints what was checked.

    Raises:
        InputError: nothing is published there, or not this date.
        RecbatchError: something is not as it was published; the message lists all of it.
    """
    dates, problems = check_output(output, ds)
    if problems:
        raise RecbatchError(
            f"{output} is not as it was published:\n  "
            + "\n  ".join(problems)
            + "\nCopy it again from where it came, or make the night again with `recbatch nightly --force`"
        )
    print(f"{output}: {len(dates)} published night{'s' if len(dates) > 1 else ''} verified ({dates[0]} to {dates[-1]})")


def _check_date(output: str, ds: str) -> Iterator[str]:
    pointer = require_pointer(output, ds)
    try:
        manifest = read_manifest(output, pointer)
    except RecbatchError as error:
        yield str(error)
        return
    for file in (file for files in manifest["parts"].values() for file in files):
        yield from _check_file(storage.join(output, file["path"]), file)
    for table, entry in manifest["tables"].items():
        # Its own schema: the program's may have got further columns since.
        schema = to_arrow(manifest["schemas"][entry["schema"]])
        for file in entry["files"]:
            yield from _check_file(storage.join(output, file["path"]), file, schema)
        yield from _stray_parts(output, entry)
        yield from _check_projection(output, table, ds, pointer.run, entry, schema)
    for table in _table_folders(output):
        if table not in manifest["tables"] and storage.list_names(partition_uri(output, table, ds)):
            yield f"{partition_uri(output, table, ds)} is stray: the published run has no table {table}"


def _check_file(uri: str, file: dict[str, Any], schema: pa.Schema | None = None) -> Iterator[str]:
    """One file against its entry in the manifest: sha256, rows (of Parquet files), and the columns of its schema."""
    rows, columns = file.get("rows"), schema
    try:
        found = storage.content_sha256(uri)
        if rows is not None:
            with storage.open_input(uri) as source, pq.ParquetFile(source) as parquet:
                rows, columns = parquet.metadata.num_rows, parquet.schema_arrow
    except FileNotFoundError:
        yield f"{uri} is missing"
        return
    except (OSError, pa.ArrowInvalid) as error:
        yield f"{uri} cannot be read: {error}"
        return
    if found != file["sha256"]:
        yield f"{uri} has changed: sha256 {found}, published {file['sha256']}"
    if rows != file.get("rows"):
        yield f"{uri} holds {rows} rows, published {file['rows']}"
    if schema is not None and not schema.equals(columns, check_metadata=False):
        yield f"{uri} has other columns or types than its schema, {schema.names}"


def _stray_parts(output: str, entry: dict[str, Any]) -> Iterator[str]:
    """Files beside the parts of a table in the run directory that are none of them."""
    listed = {storage.join(output, file["path"]) for file in entry["files"]}
    for folder in sorted({uri.rsplit("/", 1)[0] for uri in listed}):
        for file in storage.list_files(folder):
            if file.uri not in listed and not storage.name_of(file.uri).startswith("."):  # a killed writer's
                yield f"{file.uri} is stray: the manifest does not list it"


def _check_projection(
    output: str, table: str, ds: str, run: str, entry: dict[str, Any], schema: pa.Schema
) -> Iterator[str]:
    folder = partition_uri(output, table, ds)
    names = {storage.name_of(file["path"]): file for file in entry["files"]}
    there = {file.uri.removeprefix(f"{folder}/") for file in storage.list_files(folder)}
    for name in sorted(there - set(names) - {SUCCESS}):
        yield f"{storage.join(folder, name)} is stray: the published run has no such file"
    if SUCCESS not in there:
        yield f"{storage.join(folder, SUCCESS)} is missing; run the night again to redo the folder"
    elif storage.read_bytes(storage.join(folder, SUCCESS)) != run.encode():
        yield f"{folder} shows another run than the pointer; run the night again to redo the folder"
    for name, file in names.items():
        yield from _check_file(storage.join(folder, name), file, schema)


def _table_folders(output: str) -> list[str]:
    """Names of the folders that tables are read from."""
    return [name for name in storage.list_names(output) if not name.startswith(("_", "."))]


def _stray_places(output: str, dates: set[str]) -> Iterator[str]:
    """What a reader of a table's folder would meet beside the published dates."""
    for table in _table_folders(output):
        for name in storage.list_names(storage.join(output, table)):
            match = _PARTITION.fullmatch(name)
            if match is None and table in OUR_TABLES:
                yield f"{storage.join(output, table, name)} is stray: it is no date of a table"
            elif match is not None and match[1] not in dates:
                yield f"{partition_uri(output, table, match[1])} is stray: {match[1]} is not published"
