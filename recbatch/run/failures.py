"""How a failure on a worker reaches the person who started the run: as a small file, whatever the runner is.

A runner reports a worker's exception as text with a traceback; the sentence meant for people is written into the run
directory, where the launcher finds it. What failed in the launcher's own process it knows even if nothing can be
written.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import traceback
import uuid
from collections.abc import Iterator
from typing import Any

from recbatch import storage
from recbatch.errors import InputError, RecbatchError

_FOLDER = "failures"
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
            "message": explain(error),
            "input_error": isinstance(error, InputError),
            "traceback": None if expected else traceback.format_exc(),
        }
        uri = storage.join(run_uri, _FOLDER, f"{uuid.uuid4().hex}.json")
        try:
            storage.put_if_absent(uri, json.dumps(record).encode())
        except (OSError, RecbatchError):  # the failure itself may be that nothing can be written
            _unwritten.setdefault(run_uri, []).append(record)
        raise


def explain(error: Exception) -> str:
    """An exception as one sentence; the operating system's with the file that it is about."""
    if isinstance(error, RecbatchError):
        return str(error)
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        source, target, reason = error.args[0][0]  # one of many that have the same cause
        return f"{source} cannot be copied to {target}: {reason}"
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
