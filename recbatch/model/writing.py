"""What TensorFlow says when a file cannot be written, as an error of the operating system, which it is."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator

import tensorflow as tf

_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
_DEVICES = re.compile(r"\{\{.*?\}\}")  # where an operation ran; it looks like a path


@contextlib.contextmanager
def writing_errors() -> Iterator[None]:
    """An error of TensorFlow that is one of the operating system's leaves this as an OSError with its file."""
    try:
        yield
    except tf.errors.OpError as error:
        found = _as_os_error(error.message or "")
        if found is None:
            raise
        raise found from error


def _as_os_error(message: str) -> OSError | None:
    for number in _NUMBERS:
        reason = os.strerror(number)
        found = re.search(rf"(?:(/[^;\n]*); )?{re.escape(reason)}", _DEVICES.sub("", message))
        if found:
            return OSError(number, reason, found[1])
    return None
