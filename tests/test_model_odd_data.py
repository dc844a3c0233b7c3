"""Small and odd data: everything trains, loads and answers, and what had to be switched off is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from model_data import START_US, history_model, interactions, planted, small_model

from recbatch.config.models import Model
from recbatch.errors import InputError
from recbatch.model import TrainingData, load_tower, train_bundle


def trained(folder: Path, model: Model, data: TrainingData) -> dict[str, Any]:
    bundle, work = str(folder / "b"), str(folder / "w")
    return train_bundle(model, data, bundle, work_folder=work, as_of_us=START_US, fingerprint="f")


def retrieved(folder: Path, users: list[str]) -> list[list[bytes]]:
    call = tf.saved_model.load(str(folder / "b" / "retriever")).signatures["serving_default"]
    answer = call(user_id=tf.constant(users))
    assert np.isfinite(answer["scores"].numpy()).all()
    return answer["ids"].numpy().tolist()


@pytest.mark.parametrize(
    "model", [small_model(), history_model("others"), history_model("before")], ids=["ids", "others", "before"]
)
def test_one_user_and_one_item(tmp_path: Path, model: Model, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        manifest = trained(tmp_path, model, TrainingData(interactions(["u"], ["i"], [START_US])))
    assert manifest["heldout"].startswith("nothing (newest")
    assert "nothing is held out" in caplog.text
    assert (manifest["metrics"], manifest["refit"], manifest["steps"]) == ({}, False, 2)
    assert manifest["retriever"] == {"layer": "brute_force", "k": 1, "candidates": 1}
    vectors, known = load_tower(str(tmp_path / "b"), "candidate").embed(pa.table({"id": ["i", "j"]}))
    assert np.isfinite(vectors).all()
    assert known.tolist() == [True, False]


def test_one_event_per_user_at_one_instant_with_scann_asked_for(tmp_path: Path) -> None:
    users, items = [f"u{n}" for n in range(30)], [f"i{n % 15}" for n in range(30)]
    model = small_model(retriever={"layer": "scann", "k": 100})
    manifest = trained(tmp_path, model, TrainingData(interactions(users, items, [START_US] * 30)))
    assert manifest["heldout"].startswith("nothing (newest")
    assert manifest["retriever"] == {
        "layer": "brute_force",
        "k": 15,
        "candidates": 15,
        "reason": "fewer than 100 items: exact search",
    }
    assert {len(set(row)) for row in retrieved(tmp_path, ["u1", "unknown"])} == {15}


def test_without_timestamps_the_split_is_random_and_time_features_are_off(tmp_path: Path) -> None:
    query = {
        "features": [
            {"kind": "id", "dim": 8},
            {"kind": "timestamp", "bins": 10},
            {"kind": "history", "length": 5, "dim": 8, "train_on": "before"},
        ]
    }
    manifest = trained(tmp_path, small_model(query=query), planted(timestamps=False))
    assert manifest["heldout"] == "random per user, for the interactions have no timestamps"
    assert manifest["counts"]["heldout_events"] > 0
    assert (manifest["first_event_us"], manifest["last_event_us"]) == (None, None)
    features = {feature["name"]: feature for feature in manifest["towers"]["query"]["features"]}
    assert features["timestamp"]["on"] is False
    assert features["timestamp"]["reason"] == "the interactions have no timestamps"
    assert features["history"]["remark"].startswith("trained on the user's other positives")
    assert not load_tower(str(tmp_path / "b"), "query").needs_time


def test_a_tower_without_any_feature_left_is_an_input_error(tmp_path: Path) -> None:
    model = small_model(query={"features": [{"kind": "timestamp"}]})
    with pytest.raises(
        InputError, match=r"no feature of the query tower is left \(timestamp: the interactions have no"
    ):
        trained(tmp_path, model, planted(timestamps=False))


def test_a_column_without_values_switches_its_feature_off(tmp_path: Path) -> None:
    users = pa.table({"id": ["u", "v"], "feature:empty": pa.array([None, None], pa.string())})
    features = [{"kind": "id", "dim": 8}, {"kind": "category", "column": "empty", "dim": 8}]
    data = TrainingData(interactions(["u", "v"], ["i", "j"]), users)
    manifest = trained(tmp_path, small_model(query={"features": features}), data)
    feature = manifest["towers"]["query"]["features"][1]
    assert (feature["on"], feature["reason"]) == (False, "column 'empty' has no values in the training data")
    narrow = {"features": features, "projection": False}
    with pytest.raises(InputError, match="is 8 wide, but model.dim is 16; category:empty is off"):
        trained(tmp_path / "narrow", small_model(query=narrow, dim=16), data)


def test_a_missing_column_is_an_input_error(tmp_path: Path) -> None:
    model = small_model(query={"features": [{"kind": "number", "column": "height"}]})
    with pytest.raises(InputError, match="reads column 'height', which the data does not have"):
        trained(tmp_path, model, planted())


def test_ids_may_hold_anything(tmp_path: Path) -> None:
    ids = [
        "with space",
        "quo'te\"s",
        "a/b/c",
        "..",
        "back\\slash",
        "new\nline",
        "tab\t",
        "🎬🍿",
        "é",
        "e\u0301",
        "x" * 1024,
        "1",
        "01",
    ]
    users = [f"{name} user" for name in ids for _ in ids]
    data = TrainingData(interactions(users, ids * len(ids)))
    manifest = trained(tmp_path, small_model(retriever={"k": 20}), data)
    assert manifest["towers"]["candidate"]["features"][0]["vocabulary_size"] == len(ids)
    for row in retrieved(tmp_path, ["with space user", "🎬🍿 user"]):
        assert sorted(row) == sorted(name.encode() for name in ids)
    vectors, known = load_tower(str(tmp_path / "b"), "candidate").embed(pa.table({"id": ids}))
    assert known.all()
    assert len(np.unique(vectors, axis=0)) == len(ids)


def test_rare_ids_share_the_unknown_ids_vectors_and_are_cold(tmp_path: Path) -> None:
    users = ["a"] * 3 + ["b"] * 3 + ["c"]
    items = ["i", "j", "k"] * 2 + ["rare"]
    candidate = {"features": [{"kind": "id", "dim": 8, "min_count": 2}]}
    manifest = trained(tmp_path, small_model(candidate=candidate), TrainingData(interactions(users, items)))
    assert manifest["retriever"]["candidates"] == 3
    _, known = load_tower(str(tmp_path / "b"), "candidate").embed(pa.table({"id": ["i", "rare"]}))
    assert known.tolist() == [True, False]
