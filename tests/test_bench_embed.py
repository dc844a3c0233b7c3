"""The embed stage and the bare TensorFlow loop embed the same users alike, at toy size."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.speed import embed
from recbatch.errors import RecbatchError


def vectors_of(files: list[Path], id_column: str) -> tuple[list[str], np.ndarray]:
    rows = pa.concat_tables([pq.read_table(path, columns=[id_column, "embedding"]) for path in sorted(files)])
    return rows[id_column].to_pylist(), np.array(rows["embedding"].to_pylist(), np.float32)


@pytest.mark.heavy
def test_stage_and_loop_are_compared_on_the_same_vectors(tmp_path: Path) -> None:
    sizes = {"users": 400, "range_ids": 250}
    result = embed.measure(argparse.Namespace(work=str(tmp_path), runs=1, **sizes))
    assert [each["ranges"] for each in result["compared"]] == [1, 2]
    slopes = [result["fits"][side]["seconds_per_row"] for side in ("night", "loop")]
    assert result["time_ratio"] == pytest.approx(slopes[0] / slopes[1])
    assert result["tower"] == {"length": 1_000, "dim": 192}
    folder = tmp_path / "embed-400-250"
    ours, found = vectors_of(list(folder.glob("output/_runs/*/*/2_embeddings/user_embeddings/*.parquet")), "user_id")
    theirs, expected = vectors_of(list(folder.glob("loop/*.parquet")), "id")
    assert len(ours) == result["compared"][-1]["rows"]
    places = [theirs.index(name) for name in ours]
    np.testing.assert_allclose(found, expected[places], rtol=1e-5, atol=1e-6)


def test_one_range_is_not_two_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_prepare", lambda folder, *_: {"profiles": str(folder)})
    with pytest.raises(RecbatchError, match="give more --users or fewer --range-ids"):
        embed.measure(argparse.Namespace(work=str(tmp_path), runs=1, users=10, range_ids=50))


def test_a_side_is_fitted_by_the_medians_of_its_runs() -> None:
    compared = [{"rows": rows, "night": [{"seconds": 3 + 0.01 * rows + more} for more in (0, 9, 0)]} for rows in (1, 7)]
    assert embed.fitted(compared, "night") == pytest.approx({"fixed": 3, "seconds_per_row": 0.01})
