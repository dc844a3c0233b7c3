"""How a failure on a worker reaches the person who started the run: as a small file, whatever the runner is.

A runner reports a worker's exception as text with a traceback; the sentence meant for people is written into the run
directory, where the launcher finds it.
"""

from __future__ import annotations

import contextlib
import json
import traceback
import uuid
from collections.abc import Iterator

from recbatch import storage
from recbatch.errors import InputError, RecbatchError

_FOLDER = "failures"


@contextlib.contextmanager
def recorded(run_uri: str, step: str) -> Iterator[None]:
    """Write down what a work item raises, then let it go on to the runner."""
    try:
        yield
    except Exception as error:
        expected = isinstance(error, RecbatchError | OSError)
        record = {
            "step": step,
            "message": str(error) if expected else f"{type(error).__name__}: {error}",
            "input_error": isinstance(error, InputError),
            "traceback": None if expected else traceback.format_exc(),
        }
        with contextlib.suppress(OSError):  # the failure itself may be that nothing can be written
            storage.put_if_absent(storage.join(run_uri, _FOLDER, f"{uuid.uuid4().hex}.json"), json.dumps(record).encode())
        raise


def clear_failures(run_uri: str) -> None:
    """Forget the failures of earlier attempts at this run."""
    storage.delete_tree(storage.join(run_uri, _FOLDER))


def first_failure(run_uri: str) -> RecbatchError | None:
    """The recorded failure to show, as the error it was; input errors first, as they are the cause of others."""
    found = [json.loads(storage.read_bytes(file.uri)) for file in storage.list_files(storage.join(run_uri, _FOLDER))]
    for record in sorted(found, key=lambda record: (not record["input_error"], record["step"])):
        kind = InputError if record["input_error"] else RecbatchError
        error = kind(f"{record['step']}: {record['message']}")
        if record["traceback"]:
            error.add_note(record["traceback"])
        return error
    return None
