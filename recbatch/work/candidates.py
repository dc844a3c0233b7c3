"""A table's candidates as a worker holds them: ids, prepared vectors and the loaded index, once per process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from recbatch import storage
from recbatch.index import (
    BudgetCache,
    Candidates,
    Searcher,
    Similarity,
    Validity,
    candidate_bytes,
    classify,
    load_index,
)
from recbatch.model.bundle import read_manifest
from recbatch.night import Night, Shard, TableJob
from recbatch.work.embedding import Vectors, read_vectors
from recbatch.work.items import IndexRef, RangePart
from recbatch.work.verdict import bundle_of


@dataclass(frozen=True)
class TableCandidates:
    """All valid candidates of one shard of a table; an ordinal is a position in ``ids``."""

    ids: pa.Array
    prepared: Candidates
    searcher: Searcher | None

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        held: int = self.ids.nbytes + self.prepared.vectors.nbytes
        return held + (0 if self.searcher is None else self.searcher.nbytes)


_caches: dict[int, BudgetCache[TableCandidates]] = {}
_lock = threading.Lock()


def cache_of(night: Night) -> BudgetCache[TableCandidates]:
    """The process's cache, of the night's budget."""
    budget = int(night.config.index.memory_gib * 2**30)
    with _lock:
        return _caches.setdefault(budget, BudgetCache(budget))


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
    if usable.all():  # no copy in the common case
        return ids, vectors, left_out
    return ids.filter(pa.array(usable)), vectors[usable], left_out


def read_candidates(
    night: Night, job: TableJob, shard: Shard, parts: Sequence[RangePart]
) -> tuple[pa.Array, Candidates, dict[str, int]]:
    """Ids and prepared vectors of a shard's candidates, and how many are left out, why; ``parts`` are the table's."""
    similarity, bias = similarity_of(night, job)
    own = [part for part in parts if part.number in shard]
    ids, vectors, left_out = valid_rows(*read_vectors(own), similarity, bias)
    return ids, Candidates.of(vectors, similarity, bias), left_out


def load_candidates(
    night: Night, job: TableJob, index: IndexRef, parts: Sequence[RangePart], loaded: list[str]
) -> TableCandidates:
    """A shard's candidates and index; read once per process, kept within its memory budget.

    ``loaded`` gets the table's name if they had to be read.
    """

    def load() -> TableCandidates:
        ids, prepared, _ = read_candidates(night, job, index.shard, parts)
        return TableCandidates(ids, prepared, _load_searcher(night, job, index))

    name, expected = night.index_uri(job, index.shard), shard_bytes(index.shard, parts)
    return cache_of(night).get(name, load, lambda _: loaded.append(job.name), expected)


def shard_bytes(shard: Shard, parts: Sequence[RangePart]) -> int:
    """Memory that the candidates of a shard and their index take, at most about; ``parts`` are the table's."""
    own = {part.number: part.part for part in parts if part.number in shard}
    return sum(part.rows * candidate_bytes(part.counts["width"]) for part in own.values())


def rows_per_query(job: TableJob, parts: Sequence[RangePart]) -> int:
    """Most rows that a query of the table can get; the same for every shard of the candidates."""
    return job.rows_per_query(sum({part.number: part.part.rows for part in parts}.values()))


def _load_searcher(night: Night, job: TableJob, index: IndexRef) -> Searcher | None:
    if index.record["kind"] == "exact":
        return None
    files = index.record["files"]
    return load_index(storage.fetch_folder(files_uri(night, job, index.shard, index.record), files), files)


def files_uri(night: Night, job: TableJob, shard: Shard, record: Mapping[str, Any]) -> str:
    """The folder of an index's own files, named by their checksum: two builds that differ cannot mix in one folder."""
    return storage.join(night.index_uri(job, shard), record["checksum"].removeprefix("sha256:"))
