"""A run is a directory of named, immutable parts: fingerprints name it, parts fill it, failures end it."""

from __future__ import annotations

from recbatch.run.failures import clear_failures, explain, first_failure, is_full, recorded, writing_in
from recbatch.run.fingerprint import canonical_json, code_checksum, fingerprint, library_versions
from recbatch.run.memory import peak_rss_bytes
from recbatch.run.parts import Layout, Part, existing_part, found_part, make_part, read_part
from recbatch.run.progress import Progress, display, watch

__all__ = [
    "Layout",
    "Part",
    "Progress",
    "canonical_json",
    "clear_failures",
    "code_checksum",
    "display",
    "existing_part",
    "explain",
    "fingerprint",
    "first_failure",
    "found_part",
    "is_full",
    "library_versions",
    "make_part",
    "peak_rss_bytes",
    "read_part",
    "recorded",
    "watch",
    "writing_in",
]
