"""Local copies of folders in an object store: for what has to lie in files, such as models and indexes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import platformdirs

from recbatch.storage.api import is_remote, join, list_files, open_input
from recbatch.storage.files import ContentError

_BUDGET_BYTES = 20 << 30
_IN_USE_SECONDS = 3600.0  # a copy that was asked for so lately may still be read
_THREADS = 8
_BLOCK_BYTES = 4 << 20


def fetch_folder(uri: str, files: Mapping[str, str]) -> Path:
    """A local folder with these files of the folder ``uri``: itself if it is local, else a verified copy in the cache.

    The copy holds ``files`` and nothing else, is named by their checksums and serves all processes of a machine. The
    cache keeps the copies used last, up to 20 GiB.

    Args:
        uri: the folder.
        files: relative name -> ``sha256:<hex>``; a local folder is not checked against it.

    Raises:
        FileNotFoundError: a file is not there.
        ContentError: a file has other content.
    """
    if not is_remote(uri):
        return Path(uri)
    if strange := [name for name in files if {"", ".", ".."} & set(name.split("/"))]:
        raise ContentError(f"{strange[0]!r} is no name of a file in {uri}; it is not fetched")
    listing = "".join(f"{name}\n{files[name]}\n" for name in sorted(files))
    cache = platformdirs.user_cache_path("recbatch") / "fetched"
    folder = cache / hashlib.sha256(listing.encode()).hexdigest()
    cache.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not _is_whole(folder, files):
            shutil.rmtree(folder, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=cache, prefix=".temporary-") as staged:
                _fetch(uri, files, Path(staged, "files"))
                Path(staged, "files").rename(folder)
        os.utime(folder)
    _make_room(cache)
    return folder


def _is_whole(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether the copy is there and still is what was fetched; a crash of the machine may have emptied files of it."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    return found.keys() == files.keys() and all(_sha256(path) == files[name] for name, path in found.items())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _fetch(uri: str, files: Mapping[str, str], folder: Path) -> None:
    folder.mkdir()

    def fetch(name: str) -> None:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_input(join(uri, name)) as source, target.open("xb") as sink:
            while block := source.read(_BLOCK_BYTES):
                sink.write(block)
        if _sha256(target) != files[name]:
            raise ContentError(f"{join(uri, name)} has other content than was recorded when it was written")

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(fetch, files))


def _make_room(cache: Path) -> None:
    """Remove the copies that were not used for longest until the others fit the budget."""
    with contextlib.suppress(FileNotFoundError, filelock.Timeout):  # another process is tidying up
        copies = sorted((path for path in cache.iterdir() if path.is_dir()), key=_last_use)
        sizes = {path: sum(file.size for file in list_files(str(path))) for path in copies}
        held = sum(sizes.values())
        for path in copies:
            with filelock.FileLock(path.with_suffix(".lock"), timeout=0):
                if held <= _BUDGET_BYTES or time.time() - _last_use(path) < _IN_USE_SECONDS:
                    return
                shutil.rmtree(path)
            held -= sizes[path]


def _last_use(path: Path) -> float:
    return path.stat().st_mtime
