"""A warm start: what is copied, that it is exact after a kill, and that it saves epochs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from model_data import every_feature, interactions, planted, small_model

import recbatch.model.fitting as fitting
from recbatch.config.models import Model
from recbatch.errors import RecbatchError
from recbatch.model import Bundle, TrainingData, load_bundle, train_bundle
from recbatch.model.bundle import EXPORTED_WEIGHTS, MEASURED_WEIGHTS, content_name
from recbatch.model.data import prepare
from recbatch.model.heldout import split_events
from recbatch.model.progress import FitProgress
from recbatch.model.warm_start import begin, load_weights, warm_start_of

pytestmark = pytest.mark.heavy
RANDOM = {"heldout": {"split": "random", "share": 0.1}}


def fewer(data: TrainingData, users: int, items: int) -> TrainingData:
    """The planted world before its last users and items came."""
    wanted = pa.array([f"user {number}" for number in range(users)]), pa.array([f"item/{n}" for n in range(items)])
    kept = pc.and_(pc.is_in(data.interactions["user_id"], wanted[0]), pc.is_in(data.interactions["item_id"], wanted[1]))
    return replace(data, interactions=data.interactions.filter(kept))


def train(model: Model, data: TrainingData, folder: Path, name: str, start: Bundle | None = None) -> dict[str, Any]:
    return train_bundle(
        model,
        data,
        str(folder / name),
        work_folder=str(folder / f"work-{name}"),
        as_of_us=None,
        fingerprint=name,
        retriever=False,
        warm_start=start,
    )


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("yesterday")
    train(every_feature(training=RANDOM), fewer(planted(), 50, 34), folder, "b")
    return load_bundle(str(folder / "b"))


def test_rows_of_known_ids_are_copied_and_new_ones_start_as_always(yesterday: Bundle, tmp_path: Path) -> None:
    model = every_feature(training=RANDOM)
    prepared = prepare(planted())
    fits = [
        fitting.TwoTowerFit(name, model, prepared, prepared.events, None, tmp_path, name) for name in ("cold", "warm")
    ]
    found = load_weights(yesterday.folder / EXPORTED_WEIGHTS)
    counts = begin(found, fits[1].query, fits[1].candidate, resumed=False)
    for tower, count, prefix, name in (("query", 60, "user ", "user"), ("candidate", 40, "item/", "item")):
        cold, warm = (getattr(fit, tower).learnt.layers["id"] for fit in fits)
        old = found[f"{tower}/id/embeddings"]
        assert old.vocabulary is not None
        texts = old.vocabulary.to_pylist()
        ids = warm.strings.get_vocabulary()
        assert len(ids) == 2 + count, name
        for place, text in enumerate(ids):
            row = warm.embedding.embeddings.numpy()[place]
            if place < 2:
                np.testing.assert_array_equal(row, old.values[place], "the missing and the unknown value")
            elif text in texts:
                assert text.startswith(prefix)
                np.testing.assert_array_equal(row, old.values[2 + texts.index(text)])
            else:
                np.testing.assert_array_equal(row, cold.embedding.embeddings.numpy()[ids.index(text)])
        assert len(texts) == {"query": 50, "candidate": 34}[tower]
    # Dense layers have no names for their rows: they fit as a whole.
    np.testing.assert_array_equal(fits[1].query.dense[0].kernel.numpy(), found["query//kernel"].values)
    assert counts["new"] == 10 + 6 + 6 + 6  # users, items, the items in the history, and the numbers in their names
    assert counts["weights_new"] == 0
    assert counts["weights_copied"] > 5
    assert begin(found, fits[0].query, fits[0].candidate, resumed=True) == counts
    assert not (fits[0].query.dense[0].kernel.numpy() == found["query//kernel"].values).any()


def test_the_fit_that_is_measured_begins_with_measured_weights(yesterday: Bundle) -> None:
    """The exported ones have seen what is held out."""
    prepared = prepare(planted())
    start = warm_start_of(yesterday, prepared, split_events(every_feature(training=RANDOM), prepared))
    for weights, file in ((start.measured, MEASURED_WEIGHTS), (start.exported, EXPORTED_WEIGHTS)):
        values = load_weights(yesterday.folder / file)["candidate/id/embeddings"].values
        np.testing.assert_array_equal(weights["candidate/id/embeddings"].values, values)
    assert (start.measured["query//kernel"].values != start.exported["query//kernel"].values).any()


def test_a_bundle_that_has_seen_what_is_held_out_is_no_start(
    yesterday: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = train(small_model(RANDOM | {"seed": 5}), planted(), tmp_path, "b", yesterday)
    assert "are held out now" in manifest["warm_started"]["reason"]
    assert manifest["warm_started"]["from"] is None
    assert "the fit starts cold" in caplog.text


def test_killed_and_resumed_gives_the_same_weights(
    yesterday: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = small_model(RANDOM | {"negatives": "in_batch"}), planted()
    undisturbed = train(model, data, tmp_path, "b", yesterday)
    assert undisturbed["warm_started"]["from"] == yesterday.manifest["fingerprint"]
    assert undisturbed["warm_started"]["new"] == 10 + 6
    step, left = FitProgress.step, [14]

    def dies(progress: FitProgress, done: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise RecbatchError("dies")
        step(progress, done)

    folder = tmp_path / "again"
    with monkeypatch.context() as patched:
        patched.setattr(fitting, "_CHECKPOINT_SECONDS", 0.0)
        patched.setattr(fitting, "_CHECKPOINT_TIMES", 0.0)
        patched.setattr(FitProgress, "step", dies)
        for _ in range(2):
            left[0] = 14
            with pytest.raises(RecbatchError, match="dies"):
                train(model, data, folder, "b", yesterday)
    resumed = train(model, data, folder, "b", yesterday)
    assert content_name(resumed) == content_name(undisturbed)
    assert resumed["warm_started"] == undisturbed["warm_started"]
    assert resumed["metrics"] == undisturbed["metrics"]


def test_a_warm_fit_is_as_good_in_fewer_epochs(tmp_path: Path) -> None:
    """Eight kinds of users and items; today a tenth of both is new."""
    random = np.random.default_rng(1)
    users = np.repeat(np.arange(400), 14)
    items = random.integers(0, 25, len(users)) * 8 + users % 8
    table = interactions([f"user {user}" for user in users], [f"item/{item}" for item in items])
    today = TrainingData(table)
    before = fewer(today, 360, 180)
    training = RANDOM | {"learning_rate": 0.02, "batch_size": 256, "early_stopping": None, "refit": False}

    def model(epochs: int) -> Model:
        return small_model(training | {"epochs": epochs}, normalize=True, temperature=0.2)

    train(model(9), before, tmp_path, "before")
    cold = train(model(9), today, tmp_path, "cold")
    few = train(model(3), today, tmp_path, "few")
    warm = train(model(3), today, tmp_path, "warm", load_bundle(str(tmp_path / "before")))
    name = "heldout_ndcg_at_10"
    assert few["metrics"][name] < 0.9 * cold["metrics"][name]
    assert warm["metrics"][name] > 0.98 * cold["metrics"][name]
    assert warm["warm_started"]["copied"] == 540
    assert warm["warm_started"]["new"] == 60
    assert warm["steps"] * 3 <= cold["steps"]
