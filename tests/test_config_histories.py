"""What is wrong with history features, each alone and together."""

from __future__ import annotations

from typing import Any

import pytest
from model_data import small_model

from recbatch.config.models import HistoryFeature, Tower


def test_a_gru_is_as_wide_as_its_state() -> None:
    read = HistoryFeature.model_validate({"kind": "history", "pooling": "gru", "dim": 8, "units": 5})
    tower = Tower(features=[read, HistoryFeature(kind="history", name="all", dim=4)])
    assert (read.width, tower.width) == (5, 9)
    assert HistoryFeature(kind="history", dim=7).width == 7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([{"units": 4}], "units is for pooling: gru, but pooling is sqrt"),
        ([{"time_gate": False, "pooling": "gru"}], "time_gate is for pooling: recency, but pooling is gru"),
        ([{}, {}], "feature history is declared twice"),
        ([{}, {"name": "b", "train_on": "others"}], "train_on is others, but before in the tower's first history"),
        ([{"dropout": 0.1}, {"name": "b"}], "dropout is 0.0, but 0.1 in the tower's first history feature"),
        ([{"embedding": "history"}], "it is the tower's first history feature; say own or candidate"),
        ([{}, {"name": "b", "embedding": "history", "dim": 4}], "dim is 4, but the embedding that it shares is 8 wide"),
        ([{"embedding": "candidate", "dim": 4}], "dim is 4, but the embedding that it shares is 8 wide"),
    ],
)
def test_what_histories_cannot_be(changes: list[dict[str, Any]], words: str) -> None:
    features = [{"kind": "history", "dim": 8, **change} for change in changes]
    with pytest.raises(ValueError, match=words):
        small_model(query={"features": features, "combine": "sum"})


def test_a_shared_candidate_embedding_needs_an_id_feature() -> None:
    features = [{"kind": "history", "dim": 8, "embedding": "candidate"}]
    with pytest.raises(ValueError, match="the candidate tower has no id feature"):
        small_model(query={"features": features}, candidate={"features": [{"kind": "number", "column": "year"}]})
