"""Which files a path of the configuration means: a file, a folder with all that is below it, or a glob."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from urllib.parse import unquote

from recbatch import storage
from recbatch.errors import InputError

Partitions = tuple[tuple[str, str | None], ...]
"""Values that a file has by its place: ``key=value`` folder names, in their order."""

_MAGIC = re.compile(r"[*?\[]")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def find_files(paths: str | Sequence[str], key: str) -> list[storage.StoredFile]:
    """The data files that ``paths`` mean: in the order of the paths, sorted by name within each, none twice.

    Below a folder or a glob, names that begin with ``_`` or ``.`` (``_SUCCESS``, temporary files), ``.crc`` files and
    empty files are passed over.

    Args:
        paths: files, folders or globs, local or ``gs://``.
        key: the key of the configuration that says so, for messages.

    Raises:
        InputError: a path leads to no data file.
    """
    found: dict[str, storage.StoredFile] = {}
    for path in [paths] if isinstance(paths, str) else paths:
        for file in _files_of(storage.absolute(path), path, key):
            found.setdefault(file.uri, file)
    if not found:
        raise InputError(f"{key}: no path is given; name a Parquet file, a folder or a glob")
    return list(found.values())


def require_readable(uri: str, key: str) -> None:
    """See that nothing forbids this user to read a file or folder.

    Raises:
        InputError: with what does, and whose it is.
    """
    reason = storage.denied(uri)
    if reason is not None:
        raise InputError(f"{key}: {reason}; ask for read access to it, or run as a user who has it")


def partitions_of(uri: str) -> Partitions:
    """The ``key=value`` folders on the way to a file, as Hive writes them (percent-encoded, a marker for null)."""
    folders = uri.split("/")[:-1]
    pairs = (folder.split("=", 1) for folder in folders if "=" in folder[1:])
    return tuple((unquote(key), None if value == _HIVE_NULL else unquote(value)) for key, value in pairs)


def _files_of(uri: str, path: str, key: str) -> list[storage.StoredFile]:
    if storage.exists(uri):
        candidates, base = [storage.StoredFile(uri, storage.size_of(uri))], uri.rpartition("/")[0]
        data = [file for file in candidates if file.size > 0]
    else:
        candidates, base = storage.list_files(uri), uri
        data = [file for file in candidates if _is_data(file, base)]
    magic = _MAGIC.search(uri)
    if not candidates and magic:
        base = uri[: magic.start()].rpartition("/")[0]
        candidates = storage.glob(uri)
        data = [file for file in candidates if _is_data(file, base)]
        if not data:  # the pattern may mean folders, such as day=2024-01-*
            candidates += storage.glob(storage.join(uri, "**"))
            data = [file for file in candidates if _is_data(file, base)]
    if not data:
        require_readable(uri[: magic.start()].rpartition("/")[0] if magic else uri, key)
        raise InputError(_nothing(uri, path, key, [file.uri for file in candidates], bool(magic)))
    return data


def _is_data(file: storage.StoredFile, base: str) -> bool:
    *folders, name = file.uri.removeprefix(base).strip("/").split("/")
    hidden = name.startswith(("_", ".")) or any(
        folder.startswith((".", "_")) and "=" not in folder for folder in folders
    )
    return file.size > 0 and not hidden and not name.endswith(".crc")


def _nothing(uri: str, path: str, key: str, passed_over: list[str], is_glob: bool) -> str:
    if passed_over:
        names = ", ".join(sorted({storage.name_of(name) for name in passed_over})[:5])
        return (
            f"{key}: {path!r} leads to no Parquet file: what is there is empty or hidden and was passed over "
            f"({names}); name a folder or file with data"
        )
    if is_glob:
        return f"{key}: no file matches {path!r}; check the pattern (** crosses folders)"
    folder, _, name = uri.rpartition("/")
    near = difflib.get_close_matches(name, storage.list_names(folder), n=1, cutoff=0.5)
    hint = f"; did you mean {storage.join(folder, near[0])!r}?" if near else "; check the path"
    return f"{key}: nothing is at {path!r}: it does not exist, or is an empty folder{hint}"
