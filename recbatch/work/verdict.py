"""Which bundle a night's vectors are made with: what the model gate has said, for those who only need to know that."""

from __future__ import annotations

import json
from typing import Any

from recbatch import storage
from recbatch.night import BundleRef, EmbeddingSet, Night


def used_bundle(night: Night) -> BundleRef:
    """The default bundle that the night's tables are made with; it is there once the gate has spoken."""
    if night.gated and night.last is not None and read_verdict(night)["used"] == "last":
        return night.last.bundle
    return night.bundle


def bundle_of(night: Night, vectors: EmbeddingSet) -> BundleRef:
    """The bundle that a set of vectors is computed with."""
    return used_bundle(night) if vectors.bundle == night.bundle else vectors.bundle


def read_verdict(night: Night) -> dict[str, Any]:
    """What the gate found.

    Raises:
        FileNotFoundError: it has not spoken yet.
    """
    verdict: dict[str, Any] = json.loads(storage.read_bytes(night.gate_uri))
    return verdict
