"""What a command writes to standard error."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what standard error is now: while progress is shown, lines have to go above the bars."""

    @property
    def stream(self) -> Any:
        """Standard error."""
        return sys.stderr

    @stream.setter
    def stream(self, _: Any) -> None:
        """It is no handler's to choose."""


def set_up_logs() -> None:
    """Our progress, others' warnings, one line each; silence where nobody can act on it."""
    # TensorFlow writes its start-up notices past every logger unless told before its import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    # Beam's RunInference says this at each model load where PyTorch is not installed.
    handler.addFilter(lambda record: not str(record.msg).startswith("Resource module is not available"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("recbatch").setLevel(logging.INFO)
    # Its warnings are about how our functions are traced, at the first call of each shape.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # A failed work item is reported once, by us, as a sentence; Beam would log it as well, as tracebacks.
    logging.getLogger("apache_beam.runners").setLevel(logging.CRITICAL)
