"""How a failure on a worker reaches the person who started the run: as a small file, whatever the runner is.

A runner reports a worker's exception as text with a traceback; the sentence meant for people is written into the run
directory, where the launcher finds it. What failed in the launcher's own process it knows even if nothing can be
written.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import traceback
import uuid
from collections.abc import Iterator
from typing import Any

from recbatch import storage
from recbatch.errors import InputError, RecbatchError

_FOLDER = "failures"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_unwritten: dict[str, list[dict[str, Any]]] = {}
"""Failures of this process that could not be written down, by run."""


@contextlib.contextmanager
def recorded(run_uri: str, step: str) -> Iterator[None]:
    """Write down what a work item raises, then let it go on to the runner."""
    try:
        yield
    except Exception as error:
        expected = isinstance(error, RecbatchError | OSError)
        record = {
            "step": step,
            "message": explain(error, kept=True),
            "input_error": isinstance(error, InputError),
            "traceback": None if expected else traceback.format_exc(),
        }
        uri = storage.join(run_uri, _FOLDER, f"{uuid.uuid4().hex}.json")
        try:
            storage.put_if_absent(uri, json.dumps(record).encode())
        except (OSError, RecbatchError):  # the failure itself may be that nothing can be written
            _unwritten.setdefault(run_uri, []).append(record)
        raise


def is_full(error: BaseException) -> bool:
    """Whether there is no room to write."""
    return isinstance(error, OSError) and error.errno in _FULL


@contextlib.contextmanager
def writing_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Where there is no room to write, and the error does not know its file, it names the folder that is written to."""
    try:
        yield
    except OSError as error:
        if not is_full(error) or error.filename is not None:
            raise
        number = error.errno or errno.ENOSPC
        raise OSError(number, os.strerror(number), os.fspath(folder)) from error


def explain(error: Exception, *, kept: bool = False) -> str:
    """An exception as one sentence; the operating system's with the file that it is about.

    Where there is no room to write it says what to do, too; ``kept``: what is done is not lost.
    """
    sentence = _sentence(error)
    if not any(os.strerror(number) in sentence for number in _FULL) or isinstance(error, RecbatchError):
        return sentence
    if os.strerror(errno.EFBIG) in sentence:
        advice = "allow larger files (ulimit -f), or choose another disk,"
    else:
        advice = f"free space (TMPDIR is {os.environ.get('TMPDIR', '/tmp')})"
    return f"{sentence}; {advice} and run the same command again{': what is done is kept' if kept else ''}"


def _sentence(error: Exception) -> str:
    if isinstance(error, RecbatchError):
        return str(error)
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        source, target, reason = error.args[0][0]  # one of many that have the same cause
        return f"{source} cannot be copied to {target}: {reason}"
    if isinstance(error, OSError) and error.errno == errno.ENOENT and "temporary directory" in (error.strerror or ""):
        return f"{error.strerror}; free space in one of them, or set TMPDIR to a folder with room"
    if isinstance(error, OSError) and error.strerror:
        names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return f"{names}: {error.strerror}" if names else error.strerror
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def clear_failures(run_uri: str) -> None:
    """Forget the failures of earlier attempts at this run."""
    _unwritten.pop(run_uri, None)
    storage.delete_tree(storage.join(run_uri, _FOLDER))


def first_failure(run_uri: str) -> RecbatchError | None:
    """The recorded failure to show, as the error it was; input errors first, as they are the cause of others."""
    found = [*_unwritten.get(run_uri, [])]
    with contextlib.suppress(OSError):
        files = storage.list_files(storage.join(run_uri, _FOLDER))
        found += [json.loads(storage.read_bytes(file.uri)) for file in files]
    for record in sorted(found, key=lambda record: (not record["input_error"], record["step"])):
        kind = InputError if record["input_error"] else RecbatchError
        error = kind(f"{record['step']}: {record['message']}")
        if record["traceback"]:
            error.add_note(record["traceback"])
        return error
    return None
