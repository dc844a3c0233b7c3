"""Stored rows of a top-k table as numbers: ids become codes, so that no text is compared twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch.neighbours import Neighbours, places_of

RowGroup = Callable[[], pa.Table]
"""Reads one row group, ids as dictionaries."""

_ROWS = 4
"""The columns before ``source``, which is the same in every row."""


@dataclass(frozen=True)
class StoredRows:
    """Some rows of a top-k table.

    Attributes:
        queries: place of each row's query among those that were asked for; -1 for another one.
        ranks: from 1.
        codes: place of each row's candidate in ``names``.
        scores: float32.
        names: ids of candidates, distinct, in no order.
    """

    queries: npt.NDArray[np.int32]
    ranks: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    names: pa.Array

    @classmethod
    def of(cls, rows: pa.Table, queries: pa.Array) -> StoredRows:
        """Take rows apart, columns by position; ``queries`` are the ids that are asked for, ``[m]``."""
        if not rows.num_rows:
            none = np.empty(0, np.int32)
            return cls(none, none, none, np.empty(0, np.float32), pa.array([], pa.string()))
        query, rank, candidate, score = (rows.column(place) for place in range(_ROWS))
        names, codes = _coded(candidate)
        asked, places = _coded(query)
        return cls(places_of(asked, queries)[places], rank.to_numpy(), codes, score.to_numpy(), names)

    @property
    def span(self) -> slice:
        """The queries from the first to the last that has rows."""
        if not len(self.queries):
            return slice(0, 0)
        return slice(int(self.queries.min()), int(self.queries.max()) + 1)

    def neighbours(self, queries: slice, k: int, ordinals: npt.NDArray[np.int32] | None = None) -> Neighbours:
        """The neighbours of some queries; ordinals are places in ``names``, or what ``ordinals`` has in these places.

        All rows must be of these queries and their ranks between 1 and ``k``.
        """
        size = queries.stop - queries.start
        place = self.queries - np.int32(queries.start)
        counts = np.bincount(place, minlength=size).astype(np.int32)
        own = self.codes if ordinals is None else ordinals[self.codes]
        if (counts == k).all() and (place[1:] >= place[:-1]).all():  # nearly always: the rows are the neighbours
            return Neighbours(own.reshape(size, k), self.scores.reshape(size, k), counts)
        found = Neighbours.empty(size, k)
        cells = place, self.ranks - 1
        found.ordinals[cells], found.scores[cells], found.counts[:] = own, self.scores, counts
        return found


@dataclass(frozen=True)
class StoredFile:
    """A Parquet file that was read as bytes, not yet decoded; threads may read different row groups at a time."""

    schema: pa.Schema
    rows: int
    groups: Sequence[RowGroup]

    @classmethod
    def of(cls, data: bytes, *, verify: bool = True) -> StoredFile:
        """Look at the footer; ``verify`` the checksums of pages, unless the whole is known to be as it was written.

        Raises:
            OSError: it is damaged (likewise pyarrow's ArrowInvalid); a row group may raise these when it is read.
        """
        footer = pq.ParquetFile(pa.BufferReader(data))
        texts = [field.name for field in footer.schema_arrow if field.type == pa.string()]

        def reader(number: int) -> RowGroup:
            def read() -> pa.Table:
                source, metadata = pa.BufferReader(data), footer.metadata
                file = pq.ParquetFile(
                    source, metadata=metadata, read_dictionary=texts, page_checksum_verification=verify
                )
                return file.read_row_group(number, use_threads=False)

            return read

        groups = [reader(number) for number in range(footer.num_row_groups)]
        return cls(footer.schema_arrow, footer.metadata.num_rows, groups)


def _coded(ids: pa.ChunkedArray) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """Distinct ids, and the place of every row's id among them."""
    if pa.types.is_dictionary(ids.type):
        array = ids.unify_dictionaries().combine_chunks()
    else:
        array = ids.combine_chunks().dictionary_encode()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    return array.dictionary, array.indices.to_numpy()
