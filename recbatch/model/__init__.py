"""Two towers: clean tables in, a bundle (two SavedModels, a retriever, a manifest) out, vectors from it.

:func:`train_bundle` fits and exports, :func:`load_bundle` and :func:`load_tower` verify and load. Nothing here imports
TensorFlow before it is needed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

# TensorFlow Recommenders is written for Keras 2 (tf_keras). TensorFlow reads this when it is imported, and every module
# of this room is imported after this line.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# Level 3 keeps its C++ side's remarks about absent graphics cards to itself; its errors reach us as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from recbatch.model.bundle import Bundle, load_bundle, read_manifest
from recbatch.model.data import TrainingData

if TYPE_CHECKING:
    from recbatch.model.tower import Tower
    from recbatch.model.training import train_bundle

__all__ = ["Bundle", "Tower", "TrainingData", "load_bundle", "load_tower", "read_manifest", "train_bundle"]


def __getattr__(name: str) -> Any:
    if name == "train_bundle":
        from recbatch.model.training import train_bundle

        return train_bundle
    if name == "Tower":
        from recbatch.model.tower import Tower

        return Tower
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_tower(bundle_uri: str, tower: Literal["query", "candidate"]) -> Tower:
    """The ``query`` or ``candidate`` tower of a bundle, verified against its manifest.

    Raises:
        InputError: there is no bundle, or it is not what its manifest says.
    """
    from recbatch.model.tower import Tower

    bundle = load_bundle(bundle_uri)
    return Tower(bundle.folder / tower, bundle.manifest["towers"][tower])
