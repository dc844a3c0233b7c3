"""The Hive projection ``<output>/<table>/ds=<date>/``: derived from a published run, and remade at any time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbatch import storage
from recbatch.config.models import TABLES
from recbatch.tables.pointer import require_pointer
from recbatch.tables.read import read_manifest

SUCCESS = "_SUCCESS"

OUR_TABLES = frozenset(
    ["user_embeddings", "item_embeddings", *TABLES]
    + [f"{table}_{side}_embeddings" for table in TABLES for side in ("query", "candidate")]
)
"""Every folder of a table that a night may make."""


def partition_uri(output: str, table: str, ds: str) -> str:
    """Folder of one table's date."""
    return storage.join(output, table, f"ds={ds}")


def project(output: str, ds: str) -> None:
    """Make the folders of ``ds`` show the published run, ``_SUCCESS`` last; those of tables that it lacks go away.

    Locally every table's folder is exchanged in one step for hard links to the run's parts. Another run may be
    published meanwhile: then its tables are shown as well, so the last one to end leaves those of one run.

    Raises:
        InputError: the date is not published.
        RecbatchError: the published manifest is missing, or another one.
    """
    shown = None
    while (pointer := require_pointer(output, ds)) != shown:
        _show(output, ds, pointer.run, read_manifest(output, pointer))
        shown = pointer


def _show(output: str, ds: str, run: str, manifest: Mapping[str, Any]) -> None:
    for table, entry in manifest["tables"].items():
        contents: dict[str, str | bytes] = {
            storage.name_of(file["path"]): storage.join(output, file["path"]) for file in entry["files"]
        }
        storage.replace_folder(partition_uri(output, table, ds), {**contents, SUCCESS: run.encode()}, SUCCESS)
    for table in _stale_tables(output, ds, manifest):
        storage.delete_tree(partition_uri(output, table, ds))


def is_projected(output: str, ds: str, run: str, manifest: Mapping[str, Any]) -> bool:
    """Whether every table's folder says that it shows this run and has exactly its files, and no other is left."""
    for table, entry in manifest["tables"].items():
        folder = partition_uri(output, table, ds)
        expected = {storage.name_of(file["path"]) for file in entry["files"]} | {SUCCESS}
        if set(storage.list_names(folder)) != expected:
            return False
        if storage.read_bytes(storage.join(folder, SUCCESS)) != run.encode():
            return False
    return not _stale_tables(output, ds, manifest)


def _stale_tables(output: str, ds: str, manifest: Mapping[str, Any]) -> list[str]:
    """Tables of ours that are switched off in this run, but have a folder of the date from an earlier one."""
    there = OUR_TABLES & set(storage.list_names(output)) - set(manifest["tables"])
    return sorted(table for table in there if storage.list_names(partition_uri(output, table, ds)))
