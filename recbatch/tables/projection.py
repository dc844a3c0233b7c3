"""The Hive projection ``<output>/<table>/ds=<date>/``: derived from a published run, and remade at any time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbatch import storage

SUCCESS = "_SUCCESS"


def partition_uri(output: str, table: str, ds: str) -> str:
    """Folder of one table's date."""
    return storage.join(output, table, f"ds={ds}")


def project(output: str, ds: str, run: str, manifest: Mapping[str, Any], stale_tables: set[str]) -> None:
    """Make the folders of ``ds`` show the published run, ``_SUCCESS`` last; those of tables it lacks go away.

    Locally every table's folder is exchanged in one step for hard links to the run's parts.
    """
    for table, entry in manifest["tables"].items():
        contents: dict[str, str | bytes] = {
            storage.name_of(file["path"]): storage.join(output, file["path"]) for file in entry["files"]
        }
        storage.replace_folder(partition_uri(output, table, ds), {**contents, SUCCESS: run.encode()}, SUCCESS)
    for table in stale_tables - set(manifest["tables"]):
        storage.delete_tree(partition_uri(output, table, ds))


def is_projected(output: str, ds: str, run: str, manifest: Mapping[str, Any]) -> bool:
    """Whether every table's folder says that it shows this run and has exactly its files."""
    for table, entry in manifest["tables"].items():
        folder = partition_uri(output, table, ds)
        expected = {storage.name_of(file["path"]) for file in entry["files"]} | {SUCCESS}
        if set(storage.list_names(folder)) != expected:
            return False
        if storage.read_bytes(storage.join(folder, SUCCESS)) != run.encode():
            return False
    return True
