"""Embedding a range, and reading vectors back: the published vectors are what every score is computed from."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recbatch.errors import RecbatchError
from recbatch.model import load_tower
from recbatch.model.bundle import bundle_checksum
from recbatch.neighbours import for_each
from recbatch.night import BundleRef, EmbeddingSet, Night, TowerName
from recbatch.run import make_part, read_part
from recbatch.tables.rows import embedding_rows, embeddings_layout
from recbatch.work.given import Vectors, given_vectors
from recbatch.work.items import RangePart
from recbatch.work.verdict import bundle_of

if TYPE_CHECKING:  # it brings TensorFlow, which a night from given vectors never needs
    from recbatch.model import Tower

_ROWS = 8 * 1024
"""Rows of a range that a core embeds at a time: few, for a history is padded to its greatest length meanwhile; and
whole blocks of the tower's, so that none is padded."""


@dataclass
class LazyTower:
    """A tower that is loaded when it is first used: a worker is set up before the model has been trained."""

    night: Night
    vectors: EmbeddingSet

    @functools.cached_property
    def tower(self) -> Tower:
        """The tower, verified and loaded; one per process however many stages use it.

        Raises:
            RecbatchError: the bundle is not the one that the run was planned with any more.
        """
        bundle = bundle_of(self.night, self.vectors)
        checksum = bundle_checksum(bundle.uri)
        if bundle.checksum not in (None, checksum):
            raise RecbatchError(
                f"the model bundle {bundle.uri} was replaced during the run; start again, with one that stays as it is"
            )
        return _loaded(bundle.uri, self.vectors.tower, checksum)


@functools.lru_cache(maxsize=4)
def _loaded(bundle: str, name: TowerName, checksum: str) -> Tower:
    """``checksum`` is there for the cache: another bundle may have taken the place of the one that was loaded."""
    return load_tower(bundle, name)


@dataclass(frozen=True)
class TakeGiven:
    """Makes the embedding part of one range from vectors that are given; ``_`` only says that they are described."""

    vectors: EmbeddingSet

    def __call__(self, night: Night, profile: RangePart, _: BundleRef) -> RangePart:
        """The part."""
        return embed_range(night, self.vectors, profile, None)


def embed_range(night: Night, vectors: EmbeddingSet, profile: RangePart, model: LazyTower | None) -> RangePart:
    """The embedding part of one range: ids with a known, finite vector, sorted by id; ``model`` None: a given one.

    The counts say how many ids there were (``ids``) and why some have no vector (``cold``, ``not_finite``).
    """
    layout = embeddings_layout(vectors.schema)

    def make(counts: dict[str, int]) -> Iterator[pa.Table]:
        if model is None:
            profiles = read_part(profile.part.uri, ["id"])
            found, known = given_vectors(night, vectors.entity, profiles.column("id").combine_chunks())
        else:
            profiles = read_part(profile.part.uri)
            found, known = _embedded(model.tower, profiles, night.as_of_us)
        finite = np.isfinite(found).all(axis=1)
        valid = known & finite
        counts.update(
            ids=len(valid), cold=int((~known).sum()), not_finite=int((known & ~finite).sum()), width=found.shape[1]
        )
        ids = profiles.column("id").combine_chunks()
        if not valid.all():
            ids, found = ids.filter(pa.array(valid)), found[valid]
        yield from embedding_rows(layout, ids, found)

    part = make_part(
        night.embedding_uri(vectors, profile.number),
        item=embedding_item(vectors, profile.number),
        inputs=night.run,
        layout=layout,
        make=make,
    )
    return RangePart(vectors.name, profile.number, part)


def _embedded(tower: Tower, profiles: pa.Table, as_of_us: int) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """As :meth:`recbatch.model.tower.Tower.embed`, on all cores: some rows each, for which it takes one.

    A vector does not depend on the rows that are embedded with it, so the result is the same.
    """
    found, known = np.empty((profiles.num_rows, tower.dim), np.float32), np.empty(profiles.num_rows, bool)

    def embed(first: int) -> None:
        rows = slice(first, first + _ROWS)
        found[rows], known[rows] = tower.embed(profiles.slice(first, _ROWS), as_of_us)

    for_each(embed, range(0, profiles.num_rows, _ROWS))
    return found, known


def embedding_item(vectors: EmbeddingSet, number: int) -> str:
    """Name of the work item that embeds one range."""
    return f"embed {vectors.name} {number:05d}"


def read_vectors(parts: Sequence[RangePart]) -> tuple[pa.Array, Vectors]:
    """Ids ``[n]`` and vectors ``[n, dim]`` of some ranges, in order of the ranges, so sorted by id."""
    rows, width = sum(item.part.rows for item in parts), max(item.part.counts["width"] for item in parts)
    ids, vectors = [pa.array([], pa.string())], np.empty((rows, width), np.float32)
    first = 0
    for item in sorted(parts, key=lambda item: item.number):
        table = read_part(item.part.uri)
        ids += table.column(0).chunks
        for chunk in table.column(1).chunks:
            vectors[first : first + len(chunk)] = chunk.flatten().to_numpy().reshape(-1, width)
            first += len(chunk)
    return pa.concat_arrays(ids), vectors
