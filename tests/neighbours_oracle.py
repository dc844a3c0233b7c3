"""Neighbours as one would compute them by hand: every score in float64, then sorted. Slow and obviously right."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from recbatch.neighbours import Exclusions, Neighbours


def all_scores(
    queries: np.ndarray, candidates: np.ndarray, similarity: str = "dot", bias_coordinate: int | None = None
) -> np.ndarray:
    """float64 [m, n], from published vectors."""
    left, right = queries.astype(np.float64), candidates.astype(np.float64)
    if similarity == "cosine":
        if bias_coordinate is not None:
            left, right = np.delete(left, bias_coordinate, axis=1), np.delete(right, bias_coordinate, axis=1)
        left = left / np.linalg.norm(left, axis=1, keepdims=True)
        right = right / np.linalg.norm(right, axis=1, keepdims=True)
    return (left[:, None, :] * right[None, :, :]).sum(axis=2)


def best_by_hand(scores: np.ndarray, k: int, excluded: Sequence[AbstractSet[int]]) -> list[list[tuple[int, float]]]:
    """For each row of scores its k best (ordinal, score), by score descending and then by ordinal."""
    result = []
    for row, out in zip(scores, excluded, strict=True):
        ranked = sorted((-score, ordinal) for ordinal, score in enumerate(row.tolist()) if ordinal not in out)
        result.append([(ordinal, -score) for score, ordinal in ranked[:k]])
    return result


def exclusions(rows: Sequence[AbstractSet[int]]) -> Exclusions:
    """Sets as compressed sparse rows."""
    ordered = [sorted(row) for row in rows]
    offsets = np.cumsum([0, *(len(row) for row in ordered)]).astype(np.int64)
    return Exclusions(offsets, np.array([value for row in ordered for value in row], np.int32))


def rows_of(found: Neighbours) -> list[list[tuple[int, float]]]:
    """What was found as lists of (ordinal, score); checks the padding behind them."""
    result = []
    for ordinals, scores, count in zip(found.ordinals, found.scores, found.counts, strict=True):
        assert (ordinals[count:] == -1).all()
        assert np.isnan(scores[count:]).all()
        result.append(list(zip(ordinals[:count].tolist(), scores[:count].tolist(), strict=True)))
    return result


def same_bits(left: Neighbours, right: Neighbours) -> bool:
    """Whether two results are equal in every bit."""
    return all(
        getattr(left, name).tobytes() == getattr(right, name).tobytes() for name in ("ordinals", "scores", "counts")
    )
