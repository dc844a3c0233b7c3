"""Approximate nearest neighbours: valid vectors, building, storing, loading and asking a ScaNN index.

Plain functions without Beam or TensorFlow; ScaNN is imported on the first build or load.
"""

from recbatch.index.build import build_index, index_checksum
from recbatch.index.cache import BudgetCache
from recbatch.index.parameters import MIN_CANDIDATES, IndexParameters, SearchParameters, candidate_bytes
from recbatch.index.searcher import Searcher, load_index
from recbatch.index.vectors import MAX_NORM, Candidates, Similarity, Validity, classify, prepare

__all__ = [
    "MAX_NORM",
    "MIN_CANDIDATES",
    "BudgetCache",
    "Candidates",
    "IndexParameters",
    "SearchParameters",
    "Searcher",
    "Similarity",
    "Validity",
    "build_index",
    "candidate_bytes",
    "classify",
    "index_checksum",
    "load_index",
    "prepare",
]
