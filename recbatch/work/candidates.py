"""A table's candidates as a worker holds them: ids, prepared vectors and the loaded index, once per process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from recbatch import storage
from recbatch.index import Candidates, Searcher, SearcherCache, Similarity, Validity, classify, load_index
from recbatch.model.bundle import read_manifest
from recbatch.night import Night, TableJob
from recbatch.work.embedding import Vectors, read_vectors
from recbatch.work.gate import bundle_of
from recbatch.work.items import IndexRef, RangePart

Loaded = Callable[[str], None]
"""Called with an index's name each time this process loads it."""


@dataclass(frozen=True)
class TableCandidates:
    """All valid candidates of a table; an ordinal is a position in ``ids``."""

    ids: pa.Array
    prepared: Candidates
    searcher: Searcher | None

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        held: int = self.ids.nbytes + self.prepared.vectors.nbytes
        return held + (0 if self.searcher is None else self.searcher.nbytes)


_cache: SearcherCache[TableCandidates] = SearcherCache()


def similarity_of(night: Night, job: TableJob) -> tuple[Similarity, int | None]:
    """How a table compares vectors, and the coordinate of them that is a bias (None: there is none)."""
    bias: int | None = read_manifest(bundle_of(night, job.candidates).uri)["bias_coordinate"]
    return job.settings.similarity, bias


def valid_rows(
    ids: pa.Array, vectors: Vectors, similarity: Similarity, bias: int | None
) -> tuple[pa.Array, Vectors, dict[str, int]]:
    """The ids and vectors that a similarity can use, and how many it cannot, by reason."""
    validity = classify(vectors, similarity, bias)
    usable = validity == Validity.VALID
    left_out = {
        "zero_vector": int((validity == Validity.ZERO).sum()),
        "too_long_vector": int((validity == Validity.TOO_LONG).sum()),
    }
    return ids.filter(pa.array(usable)), vectors[usable], left_out


def read_candidates(
    night: Night, job: TableJob, parts: Sequence[RangePart]
) -> tuple[pa.Array, Candidates, dict[str, int]]:
    """Ids and prepared vectors of a table's candidates, from their embedding parts, and how many are left out, why."""
    similarity, bias = similarity_of(night, job)
    ids, vectors, left_out = valid_rows(*read_vectors(parts), similarity, bias)
    return ids, Candidates.of(vectors, similarity, bias), left_out


def load_candidates(
    night: Night, job: TableJob, index: IndexRef, parts: Sequence[RangePart], on_load: Loaded
) -> TableCandidates:
    """A table's candidates and index; read once per process, kept within its memory budget."""

    def load() -> TableCandidates:
        ids, prepared, _ = read_candidates(night, job, parts)
        return TableCandidates(ids, prepared, _load_searcher(night, job, index.record))

    return _cache.get(night.index_uri(job), load, lambda _: on_load(job.name))


def _load_searcher(night: Night, job: TableJob, record: Mapping[str, Any]) -> Searcher | None:
    if record["kind"] == "exact":
        return None
    files = record["files"]
    return load_index(storage.fetch_folder(files_uri(night, job, record), files), files)


def files_uri(night: Night, job: TableJob, record: Mapping[str, Any]) -> str:
    """The folder of an index's own files, named by their checksum: two builds that differ cannot mix in one folder."""
    return storage.join(night.index_uri(job), record["checksum"].removeprefix("sha256:"))
