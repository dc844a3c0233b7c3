"""Load an index from a folder, and ask it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recbatch.errors import RecbatchError
from recbatch.index.build import DESCRIPTION, folder_checksums
from recbatch.index.library import scann_module
from recbatch.index.parameters import IndexParameters, SearchParameters
from recbatch.index.vectors import Candidates, FloatMatrix

_FEWEST_QUERIES = 64
"""ScaNN rounds the distances to leaves in another way for small calls (under 7 queries of 16 columns, 25 of 128, 38 of
1,024), and so finds other candidates now and then. All larger calls agree, whatever is in them."""


@dataclass(frozen=True)
class Searcher:
    """A loaded index. Threads may share it; a search holds no Python lock and uses the calling thread only."""

    scann: Any
    parameters: IndexParameters
    candidates: int
    width: int
    similarity: str
    nbytes: int
    """Memory of the loaded index, about: the size of its files."""

    def search(self, queries: FloatMatrix, count: int, parameters: SearchParameters) -> npt.NDArray[np.int32]:
        """Ordinals [m, count] of likely best candidates of prepared queries [m, width], best first.

        What a query gets does not depend on the other queries of the call, nor on their number. Rows that found
        fewer end in -1: ScaNN pads them with candidate 0 at distance NaN, which is not an answer. ``count`` is at
        most the number of candidates.
        """
        if len(queries) == 0:
            return np.empty((0, count), np.int32)
        missing = max(0, _FEWEST_QUERIES - len(queries))
        found, distances = self.scann.search_batched(
            np.pad(queries, ((0, missing), (0, 0))) if missing else queries,
            count,
            max(count, min(parameters.reorder, self.candidates)),
            min(parameters.leaves, self.parameters.leaves),
        )
        ordinals = found[: len(queries)].astype(np.int32)
        ordinals[np.isnan(distances[: len(queries)])] = -1
        return ordinals

    def check(self, candidates: Candidates) -> None:
        """Raise RecbatchError if this cannot be the index of ``candidates``."""
        ours = (self.candidates, self.width, self.similarity)
        theirs = (len(candidates), candidates.width, candidates.similarity)
        if ours != theirs:
            raise RecbatchError(f"the index is of (candidates, width, similarity) {ours}, not {theirs}")


def load_index(folder: Path, files: Mapping[str, str]) -> Searcher:
    """Load the index that :func:`recbatch.index.build_index` wrote, from any place it was copied to.

    Args:
        folder: a local folder that holds the index and nothing else.
        files: what the builder returned: name -> "sha256:...".

    Raises:
        RecbatchError: a file is missing, has other content, or is not listed. ScaNN unpickles a
            ``scann_docids.pkl`` that lies there, so a stray file is refused, not ignored.
    """
    there = folder_checksums(folder)
    for name in sorted(there.keys() | files.keys()):
        if name not in files:
            raise RecbatchError(f"index in {folder}: {name} does not belong to it; remove the file")
        if there.get(name) != files[name]:
            what = "has other content than was written" if name in there else "is missing"
            raise RecbatchError(f"index in {folder}: {name} {what}; copy or build the index again")
    description = json.loads((folder / DESCRIPTION).read_text())
    return Searcher(
        scann=scann_module().load_searcher(str(folder), assets_backcompat_shim=False),
        parameters=IndexParameters(**description["parameters"]),
        candidates=description["candidates"],
        width=description["width"],
        similarity=description["similarity"],
        nbytes=sum((folder / name).stat().st_size for name in files),
    )
