"""A world of clustered vectors, and its index, built once per test session."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from recbatch.index import Candidates, IndexParameters, Searcher, Similarity, build_index, load_index


def clustered(count: int, width: int = 16, seed: int = 0, clusters: int = 60) -> np.ndarray:
    """float32 [count, width]: clusters of unequal size around common centres, norms that differ."""
    centres = np.random.default_rng(99).standard_normal((clusters, width))
    rng = np.random.default_rng(seed)
    sizes = 1 / np.arange(1, clusters + 1)
    members = rng.choice(clusters, count, p=sizes / sizes.sum())
    vectors = centres[members] + 0.5 * rng.standard_normal((count, width))
    return (vectors * (0.7 + 0.3 * rng.random((count, 1)))).astype(np.float32)


@functools.cache
def indexed_world(similarity: Similarity, count: int = 6_000) -> tuple[Candidates, Searcher]:
    """Candidates with their index."""
    candidates = Candidates.of(clustered(count, seed=1), similarity)
    with tempfile.TemporaryDirectory() as folder:
        files = build_index(candidates, IndexParameters.for_candidates(count), Path(folder))
        return candidates, load_index(Path(folder), files)
