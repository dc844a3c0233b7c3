"""The local file system: fsynced anonymous temporaries, hard links, and one ``renameat2``."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob as globbing
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import filelock
import pyarrow as pa

from recbatch.errors import InputError
from recbatch.storage.digests import checksum
from recbatch.storage.files import Created, StoredFile

__all__ = ["checksum"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def list_files(folder: str) -> list[StoredFile]:
    """See :func:`recbatch.storage.list_files`; links to folders are followed."""
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _is_loop(os.path.join(root, name), folder)]
        for path in (os.path.join(root, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile, or a link to nowhere
                found.append(StoredFile(path, os.path.getsize(path)))
    return found


def _is_loop(path: str, top: str) -> bool:
    """Whether ``path`` is a link to a folder on the way from ``top`` to it."""
    if not os.path.islink(path):
        return False
    target, parent = os.path.realpath(path), os.path.dirname(path)
    while len(parent) >= len(top.rstrip("/")):
        if os.path.realpath(parent) == target:
            return True
        parent = os.path.dirname(parent)
    return False


def list_names(folder: str) -> list[str]:
    """See :func:`recbatch.storage.list_names`."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def glob(pattern: str) -> list[StoredFile]:
    """See :func:`recbatch.storage.glob`."""
    if os.path.isfile(pattern):  # a name may hold [ or * itself
        return [StoredFile(pattern, os.path.getsize(pattern))]
    found = globbing.glob(os.path.expanduser(pattern), recursive=True)
    return [StoredFile(path, os.path.getsize(path)) for path in found if os.path.isfile(path)]


def exists(uri: str) -> bool:
    """See :func:`recbatch.storage.exists`."""
    return os.path.isfile(uri)


def size_of(uri: str) -> int:
    """See :func:`recbatch.storage.size_of`."""
    return os.path.getsize(uri)


def read_bytes(uri: str) -> bytes:
    """See :func:`recbatch.storage.read_bytes`."""
    return Path(uri).read_bytes()


def open_input(uri: str) -> pa.NativeFile:
    """See :func:`recbatch.storage.open_input`."""
    # Not a memory map: a file truncated by its owner while we read it must be an error, not a SIGBUS.
    return pa.OSFile(uri, "rb")


@contextlib.contextmanager
def create(uri: str) -> Iterator[tuple[BinaryIO, Created]]:
    """See :func:`recbatch.storage.create`."""
    uri = os.path.abspath(uri)
    folder = os.path.dirname(uri)
    os.makedirs(folder, exist_ok=True)
    created = Created()
    with _naming(uri), _temporary(folder) as (stream, name):
        yield stream, created
        stream.flush()
        os.fsync(stream.fileno())
        created.won = _link(name, uri)
    _sync_folder(folder)


@contextlib.contextmanager
def _naming(uri: str) -> Iterator[None]:
    """Errors of the operating system say which file they are about; those of an open file do not know it."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, uri) from error


@contextlib.contextmanager
def _temporary(folder: str) -> Iterator[tuple[BinaryIO, str]]:
    """An open file in ``folder`` and a name to link it by; without a name of its own, so a kill leaves nothing."""
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o644)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
    else:
        with os.fdopen(descriptor, "w+b") as stream:
            yield stream, f"/proc/self/fd/{descriptor}"
        return
    name = os.path.join(folder, f".temporary-{uuid.uuid4().hex}")  # file systems without O_TMPFILE
    try:
        with open(name, "x+b") as stream:
            yield stream, name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _link(name: str, uri: str) -> bool:
    # With a directory descriptor Python calls linkat: only that follows /proc/self/fd/N to the anonymous file.
    anywhere = os.open("/", os.O_RDONLY)
    try:
        os.link(name, uri, src_dir_fd=anywhere, follow_symlinks=True)
    except FileExistsError:
        return False
    except OSError as error:
        reason = "this file system has no hard links; choose another" if error.errno in _NO_LINKS else error.strerror
        raise OSError(error.errno, reason, uri) from error
    finally:
        os.close(anywhere)
    return True


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_folder_if_absent(folder: Path, uri: str, last: str) -> bool:
    """See :func:`recbatch.storage.put_folder_if_absent`; here one rename, so ``last`` needs no order."""
    if os.path.exists(os.path.join(uri, last)):
        return False
    parent = os.path.dirname(os.path.abspath(uri))
    os.makedirs(parent, exist_ok=True)
    for file in list_files(str(folder)):
        with open(file.uri, "rb") as stream:
            os.fsync(stream.fileno())
    try:
        _move(str(folder), uri)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not os.path.exists(os.path.join(uri, last)):
            raise InputError(f"{uri} holds other files; remove them or choose another folder") from None
        return False
    _sync_folder(parent)
    return True


def _move(folder: str, target: str) -> None:
    """Rename a folder; where it is on another file system, a copy of it."""
    try:
        os.rename(folder, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    staged = os.path.join(os.path.dirname(target), f".temporary-{uuid.uuid4().hex}")
    try:
        shutil.copytree(folder, staged)
        os.rename(staged, target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def compare_and_swap(uri: str, expected: bytes | None, data: bytes) -> bool:
    """See :func:`recbatch.storage.compare_and_swap`."""
    folder = os.path.dirname(os.path.abspath(uri))
    os.makedirs(folder, exist_ok=True)
    with filelock.FileLock(os.path.join(folder, ".lock")):
        current = read_bytes(uri) if exists(uri) else None
        if current != expected:
            return False
        # Under the lock one name serves all: the next one writes over what a kill has left.
        name = os.path.join(folder, f".temporary-{os.path.basename(uri)}")
        with _naming(uri), open(name, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, uri)
        _sync_folder(folder)
        return True


def replace_folder(uri: str, contents: Mapping[str, str | bytes], last: str) -> None:
    """See :func:`recbatch.storage.replace_folder`; hard links in a new folder that is exchanged whole."""
    parent, name = os.path.split(os.path.abspath(uri))
    root, table = os.path.split(parent)
    os.makedirs(parent, exist_ok=True)
    # Beside the parent, hidden: a reader that globs the parent's sub-folders must not meet it.
    staged = os.path.join(root, f".temporary-{table}-{name}")
    with _locked(root):
        shutil.rmtree(staged, ignore_errors=True)  # a kill may have left it
        os.mkdir(staged)
        try:
            for file, source in contents.items():
                target = os.path.join(staged, file)
                if isinstance(source, bytes):
                    Path(target).write_bytes(source)
                else:
                    _link_or_copy(source, target)
            _sync_folder(staged)
            _swap(staged, uri)
            _sync_folder(parent)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """One at a time among the processes and threads of a machine; the folder itself is the lock, so nothing is left."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # network file systems lock no folders: there two at once may fail
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        shutil.copyfile(source, target)


def _swap(staged: str, target: str) -> None:
    """Put ``staged`` in the place of ``target``; afterwards ``staged`` is what was there before, if anything."""
    if not os.path.lexists(target):
        os.rename(staged, target)
        return
    library = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(library, "renameat2", None)
    if renameat2 is not None:
        if renameat2(_AT_FDCWD, os.fsencode(staged), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code), target)
    # No exchange on this file system: a reader may find no folder for a moment, never a mixed one.
    old = f"{staged}-old"
    os.rename(target, old)
    os.rename(staged, target)
    os.rename(old, staged)


def delete(uri: str) -> None:
    """See :func:`recbatch.storage.delete`."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(uri)


def delete_tree(uri: str) -> None:
    """See :func:`recbatch.storage.delete_tree`."""

    def check(_: object, __: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(failure[1], FileNotFoundError):  # somebody else deletes it at the same time
            raise failure[1]

    shutil.rmtree(uri, onerror=check)
