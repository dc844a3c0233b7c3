"""Columns of every published table, read from their one source: ``schemas/*.json``, BigQuery table schemas.

The files travel inside the package (``recbatch/_schemas``); in a checkout they lie at its top.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

_PACKAGE = Path(__file__).resolve().parents[1]

_TYPES = {
    ("STRING", False): pa.string(),
    ("INTEGER", False): pa.int32(),
    ("FLOAT", False): pa.float32(),
    ("FLOAT", True): pa.list_(pa.field("element", pa.float32(), nullable=False)),
}


def schema_folder() -> Path:
    """Where the schema files are: in the installed package, else at the top of the checkout."""
    packaged = _PACKAGE / "_schemas"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "schemas"


@functools.cache
def columns(table: str) -> tuple[dict[str, Any], ...]:
    """The BigQuery schema of a table: name, type, mode and description of every column, in order."""
    return tuple(json.loads((schema_folder() / f"{table}.json").read_text(encoding="utf-8")))


@functools.cache
def arrow_schema(table: str) -> pa.Schema:
    """The Arrow schema of a table, see :func:`to_arrow`."""
    return to_arrow(columns(table))


def to_arrow(described: Iterable[Mapping[str, Any]]) -> pa.Schema:
    """BigQuery columns as an Arrow schema: STRING string, INTEGER int32, FLOAT float32, FLOAT REPEATED list<float32>.

    Descriptions travel as field metadata.
    """
    return pa.schema(
        [
            pa.field(
                column["name"],
                _TYPES[column["type"], column["mode"] == "REPEATED"],
                nullable=column["mode"] == "NULLABLE",
                metadata={"description": column["description"]},
            )
            for column in described
        ]
    )


def all_columns() -> dict[str, list[dict[str, Any]]]:
    """Every schema by name, for fingerprints."""
    return {path.stem: list(columns(path.stem)) for path in sorted(schema_folder().glob("*.json"))}
