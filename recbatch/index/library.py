"""ScaNN's own searcher, imported without TensorFlow.

``import scann`` imports TensorFlow for its TensorFlow ops, which takes seconds and hundreds of megabytes; the searcher
that we use needs none of it (0.2 s). The package's ``__init__`` is what pulls TensorFlow in, so the module below it is
imported under a package object that has not been run. A later ``import scann``, by the exported retriever for instance,
runs it as usual.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType

_SEARCHER = "scann.scann_ops.py.scann_ops_pybind"
_lock = threading.Lock()


def scann_module() -> ModuleType:
    """ScaNN's module ``scann_ops_pybind`` (``builder``, ``load_searcher``)."""
    with _lock:
        if _SEARCHER in sys.modules:
            return sys.modules[_SEARCHER]
        if "scann" in sys.modules:
            return importlib.import_module(_SEARCHER)
        spec = importlib.util.find_spec("scann")
        if spec is None:
            raise ModuleNotFoundError("No module named 'scann'; install the package's requirements", name="scann")
        sys.modules["scann"] = importlib.util.module_from_spec(spec)
        try:
            return importlib.import_module(_SEARCHER)
        finally:
            del sys.modules["scann"]
