"""The storage room on Google Cloud Storage; imported when the first ``gs://`` path is met."""

from __future__ import annotations

from recbatch.storage.gcs_folders import delete_tree, put_folder_if_absent, replace_folder
from recbatch.storage.gcs_objects import (
    checksum,
    compare_and_swap,
    create,
    delete,
    exists,
    glob,
    list_files,
    list_names,
    open_input,
    read_bytes,
    size_of,
)

__all__ = [
    "checksum",
    "compare_and_swap",
    "create",
    "delete",
    "delete_tree",
    "exists",
    "glob",
    "list_files",
    "list_names",
    "open_input",
    "put_folder_if_absent",
    "read_bytes",
    "replace_folder",
    "size_of",
]
