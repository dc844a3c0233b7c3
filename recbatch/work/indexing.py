"""A table's index: tuned, built and stored once, then loaded by every worker."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbatch import storage
from recbatch.index import build_index, index_checksum
from recbatch.neighbours import tune
from recbatch.night import Night, TableJob
from recbatch.work.candidates import INDEX_FILES, read_candidates
from recbatch.work.items import IndexRef, RangePart

_RECORD = "index.json"


def make_index(
    night: Night, job: TableJob, candidate_parts: Sequence[RangePart], query_parts: Sequence[RangePart]
) -> IndexRef:
    """The index of a table: the one that is there, else one tuned and built now; its record is stored last."""
    started = time.monotonic()
    uri = storage.join(night.index_uri(job), _RECORD)
    if not storage.exists(uri):
        record = _build(night, job, candidate_parts, query_parts)
        storage.put_if_absent(uri, json.dumps(record, indent=1, sort_keys=True).encode())
    return IndexRef(job.name, json.loads(storage.read_bytes(uri)), time.monotonic() - started)
