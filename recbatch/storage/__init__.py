"""The only room that knows ``gs://`` from a local path.

A URI is a string: a local path (relative to the current directory, or absolute) or ``gs://bucket/name``. Everything is
written whole or not at all and, once there, never changed: :func:`create` and :func:`put_if_absent` let the first
writer win, so two workers that make the same part at the same time cannot harm each other. The one thing that changes,
a pointer, changes by :func:`compare_and_swap`.
"""

from __future__ import annotations

from recbatch.storage.access import denied
from recbatch.storage.api import (
    StoredFile,
    absolute,
    checksum,
    compare_and_swap,
    content_sha256,
    create,
    delete,
    delete_tree,
    exists,
    glob,
    is_remote,
    join,
    list_files,
    list_names,
    name_of,
    open_input,
    put_folder_if_absent,
    put_if_absent,
    read_bytes,
    replace_folder,
    size_of,
)
from recbatch.storage.fetched import fetch_folder
from recbatch.storage.files import ContentError

__all__ = [
    "ContentError",
    "StoredFile",
    "absolute",
    "checksum",
    "compare_and_swap",
    "content_sha256",
    "create",
    "delete",
    "delete_tree",
    "denied",
    "exists",
    "fetch_folder",
    "glob",
    "is_remote",
    "join",
    "list_files",
    "list_names",
    "name_of",
    "open_input",
    "put_folder_if_absent",
    "put_if_absent",
    "read_bytes",
    "replace_folder",
    "size_of",
]
