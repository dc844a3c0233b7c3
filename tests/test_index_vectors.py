"""Which vectors can be searched, and what they become."""

from __future__ import annotations

import numpy as np
import pytest

from recbatch.errors import RecbatchError
from recbatch.index import MAX_NORM, Candidates, Validity, classify, prepare
from recbatch.neighbours import find_neighbours

ROWS = {
    "usual": [1, 2, 3],
    "nan": [1, np.nan, 3],
    "infinite": [np.inf, 0, 0],
    "minus infinite and nan": [-np.inf, np.nan, 0],
    "zero": [0, 0, 0],
    "minus zero": [-0.0, 0, 0],
    "only the last": [0, 0, 5],
    "huge": [1e30, -1e30, 1e30],
    "largest": [3.4e38, 3.4e38, 3.4e38],
    "tiny": [1e-40, 0, 0],
}
VECTORS = np.array(list(ROWS.values()), np.float32)


def reasons(codes: np.ndarray) -> dict[str, str]:
    assert codes.dtype == np.uint8
    return {name: Validity(code).name for name, code in zip(ROWS, codes, strict=True) if code}


def test_what_dot_cannot_use() -> None:
    not_finite = dict.fromkeys(["nan", "infinite", "minus infinite and nan"], "NOT_FINITE")
    assert reasons(classify(VECTORS, "dot")) == not_finite | {"huge": "TOO_LONG", "largest": "TOO_LONG"}
    assert reasons(classify(VECTORS, "dot", 2)) == reasons(classify(VECTORS, "dot"))


def test_what_cosine_cannot_use() -> None:
    not_finite = dict.fromkeys(["nan", "infinite", "minus infinite and nan"], "NOT_FINITE")
    zero = dict.fromkeys(["zero", "minus zero"], "ZERO")
    assert reasons(classify(VECTORS, "cosine")) == not_finite | zero
    assert reasons(classify(VECTORS, "cosine", 2)) == not_finite | zero | {"only the last": "ZERO"}


def test_no_rows_and_no_columns() -> None:
    assert classify(np.empty((0, 3), np.float32), "dot").tolist() == []
    assert len(Candidates.of(np.empty((0, 3), np.float32), "cosine")) == 0
    assert classify(np.ones((2, 1), np.float32), "cosine", 0).tolist() == [Validity.ZERO] * 2


def test_cosine_takes_the_direction_of_huge_and_tiny_vectors() -> None:
    usable = VECTORS[classify(VECTORS, "cosine") == Validity.VALID]
    prepared = prepare(usable, "cosine")
    assert np.abs(np.linalg.norm(prepared.astype(np.float64), axis=1) - 1).max() < 1e-6
    found = find_neighbours(usable, Candidates.of(usable, "cosine"), len(usable))
    assert np.isfinite(found.scores).all()
    assert np.abs(found.scores).max() <= 1
    assert (found.scores[:, 0] > 0.9999999).all()


def test_the_longest_vectors_that_dot_takes_have_finite_scores() -> None:
    longest = np.full((2, 4), 0.4999 * MAX_NORM, np.float32) * np.array([[1], [-1]], np.float32)
    assert not classify(longest, "dot").any()
    found = find_neighbours(longest, Candidates.of(longest, "dot"), 2)
    assert np.isfinite(found.scores).all()
    assert found.ordinals.tolist() == [[0, 1], [1, 0]]


def test_the_bias_coordinate_does_not_count_under_cosine() -> None:
    vectors = np.array([[3, 100, 4], [3, -7, 4], [-4, 100, 3]], np.float32)
    assert np.allclose(prepare(vectors, "cosine", 1), [[0.6, 0.8], [0.6, 0.8], [-0.8, 0.6]])
    assert prepare(vectors, "dot", 1).tolist() == vectors.tolist()
    found = find_neighbours(vectors, Candidates.of(vectors, "cosine", 1), 3)
    assert found.ordinals.tolist() == [[0, 1, 2], [0, 1, 2], [2, 0, 1]]


def test_preparing_what_is_not_valid_is_refused() -> None:
    with pytest.raises(RecbatchError, match="5 of 10 vectors cannot be searched by dot.*row 1, is not finite"):
        prepare(VECTORS, "dot")
    with pytest.raises(RecbatchError, match="row 0, is zero"):
        prepare(VECTORS[4:5], "cosine")
    with pytest.raises(RecbatchError, match="float32 matrix"):
        prepare(VECTORS.astype(np.float64), "dot")
