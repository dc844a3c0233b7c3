"""How much an item is liked whoever asks: one more coordinate, so that scores are still dot products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from model_data import history_model, interactions, planted, small_model

from recbatch.config.models import Model
from recbatch.evaluation import make_task
from recbatch.evaluation.two_towers import embed_task
from recbatch.model import TrainingData, load_bundle, load_tower, train_bundle
from recbatch.model.batches import Batch
from recbatch.model.data import prepare
from recbatch.model.features import Bags
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.heldout import split_events

TEMPERATURE = 0.3


def fit_of(model: Model, data: TrainingData, folder: Path) -> TwoTowerFit:
    prepared = prepare(data)
    return TwoTowerFit("test", model, prepared, prepared.events, None, folder, "x")


def vectors_of(fit: TwoTowerFit, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(queries [q, width], candidates [c, width]) of a batch."""
    history = batch.history
    bags = Bags(*map(tf.constant, (history.items, history.rows, len(batch.users), history.age)))
    queries = fit.query(fit.data.query_inputs(batch.users, batch.events, {}, bags))
    candidates = fit.candidate(fit.data.candidate_inputs(tf.constant(batch.drawn.candidates)))
    return queries.numpy().astype(np.float64), candidates.numpy().astype(np.float64)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("negatives", ["full", "mixed", "in_batch"])
def test_the_bias_is_added_to_the_scores_of_the_loss(tmp_path: Path, negatives: str, normalize: bool) -> None:
    training = {"negatives": negatives, "logq": False, "user_weight": "events", "sampled_negatives": 10}
    settings: dict[str, Any] = {"item_bias": True, "temperature": TEMPERATURE, "normalize": normalize}
    fit = fit_of(small_model(training=training, **settings), planted(), tmp_path)
    assert fit.query.item_bias is None, "users have none"
    variable = fit.candidate.item_bias
    assert variable is not None
    assert any(variable is trained for trained in fit._variables)
    bias = np.random.default_rng(0).normal(size=variable.shape).astype(np.float32)
    variable.assign(bias)

    batch = next(fit._batches.epoch(3, 0, 16 if negatives != "in_batch" else 100))
    queries, candidates = vectors_of(fit, batch)
    assert queries.shape[1] == candidates.shape[1] == fit.query.width == 9
    np.testing.assert_array_equal(queries[:, 8], 1)
    if normalize:
        np.testing.assert_allclose(np.linalg.norm(candidates[:, :8], axis=1), 1, rtol=1e-5)
    names = prepare(planted()).items["id"].take(batch.drawn.candidates)
    own = bias[fit.candidate.learnt.layers["id"].encode(names)]
    scores = queries[:, :8] @ candidates[:, :8].T / TEMPERATURE + own
    np.testing.assert_allclose(queries @ candidates.T, scores * TEMPERATURE, rtol=1e-5, atol=1e-6)

    losses = np.log(np.exp(scores).sum(axis=1))[batch.query_of] - scores[batch.query_of, batch.drawn.columns]
    arrays = {name: tf.constant(array) for name, array in batch.arrays().items()}
    assert float(fit._train_step(arrays, tf.constant([1, 2]))) == pytest.approx(losses.mean(), rel=1e-5)
    assert (variable.numpy() != bias).any(), "it is learnt"


@pytest.mark.heavy
def test_it_learns_what_everybody_likes(tmp_path: Path) -> None:
    # Users about whom nothing is known take one of two items, three times out of four the same: softmax scores that are
    # log 3 apart. The towers cannot say it: with a normalised vector for all users they reach 2 / temperature at most.
    data = TrainingData(interactions([f"u{n}" for n in range(400)], [f"i{n % 4 // 3}" for n in range(400)]))
    training = {"epochs": 60, "learning_rate": 0.05, "schedule": "cosine", "batch_size": 100, "early_stopping": None}
    ids = {"features": [{"kind": "id", "dim": 4}], "projection": False}
    user = {"features": [{"kind": "history", "dim": 4, "length": 1}], "projection": False}
    settings: dict[str, Any] = {"dim": 4, "item_bias": True, "temperature": 40.0, "normalize": True}
    model = small_model(query=user, candidate=ids, training=training, **settings)
    manifest = train_bundle(
        model, data, str(tmp_path / "b"), work_folder=str(tmp_path / "w"), as_of_us=None, fingerprint="f"
    )
    assert (manifest["dim"], manifest["bias_coordinate"]) == (5, 4)
    assert [manifest["towers"][name]["dim"] for name in ("query", "candidate")] == [5, 5]
    items, known = load_tower(str(tmp_path / "b"), "candidate").embed(prepare(data).items)
    assert known.all()
    assert (items[0, 4] - items[1, 4]) / 40 == pytest.approx(np.log(3), abs=0.12)


def test_a_shared_embedding_and_a_bias(tmp_path: Path) -> None:
    query = {"features": [{"kind": "history", "length": 10, "dim": 8, "embedding": "candidate"}]}
    fit = fit_of(small_model(query=query, item_bias=True), planted(), tmp_path)
    before = next(iter(fit._batches.epoch(0, 0, 16)))
    assert vectors_of(fit, before)[0].shape == (len(before.users), 9)
    assert fit.run().step == fit.schedule.steps


def test_a_fit_with_a_bias_is_evaluated_by_all_coordinates(tmp_path: Path) -> None:
    model = history_model(item_bias=True)
    prepared = prepare(planted())
    mask = split_events(model, prepared).heldout
    train, rest = prepared.events.select(~mask), prepared.events.select(mask)
    fit = TwoTowerFit("test", model, prepared, train, rest, tmp_path, "x")
    assert fit.evaluation is not None
    assert fit.candidate.item_bias is not None
    # An item that all take first: then it is the first for everybody who has not had it.
    target = int(np.bincount(rest.items).argmax())
    bias = np.zeros(fit.candidate.item_bias.shape)
    bias[fit.candidate.learnt.layers["id"].encode(prepared.items["id"])[target]] = 1e4
    fit.candidate.item_bias.assign(bias)
    queries, candidates = fit.evaluation.vectors()
    best = fit.evaluation._items[np.argmax(queries.numpy() @ candidates.numpy().T, axis=1)]
    assert set(best.tolist()) == {target}


def test_item_pairs_are_evaluated_without_the_bias(tmp_path: Path) -> None:
    model = small_model(item_bias=True, training={"epochs": 1, "refit": False})
    folders: dict[str, Any] = {"work_folder": str(tmp_path / "w"), "as_of_us": None, "fingerprint": "f"}
    train_bundle(model, planted(), str(tmp_path / "b"), retriever=False, **folders)
    bundle = load_bundle(str(tmp_path / "b"))
    tower = load_tower(bundle.uri, "candidate")
    of_users = embed_task(make_task("B", planted(), 0), bundle)
    assert of_users.has_bias
    assert of_users.queries.shape[1] == of_users.candidates.shape[1] == 9
    pairs = make_task("I", planted(), 0)
    embedded = embed_task(pairs, bundle)
    vectors = tower.embed(pairs.candidates)[0][:, :8].astype(np.float64)
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(embedded.candidates, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(embedded.queries, expected[pairs.seen_item], rtol=1e-5, atol=1e-6)


def test_the_bias_starts_at_the_popularity_of_an_items_targets(tmp_path: Path) -> None:
    users, items = [f"u{n}" for n in range(9)], [*"aaaaabbcd"]
    table = interactions(users, items).append_column("target", [[True] * 3 + [False] * 2 + [True] * 4])
    candidate = {"features": [{"kind": "id", "dim": 8, "min_count": 2}]}
    training = {"user_weight": "events"}
    fit = fit_of(small_model(candidate=candidate, item_bias=True, training=training), TrainingData(table), tmp_path)
    assert fit.candidate.item_bias is not None
    bias = dict(zip("abcd", fit.candidate.item_bias.numpy()[fit.data.items["id"].numpy()], strict=True))
    # What is held out (two of a) is not told; rare items share a row, which starts where each of them would.
    assert bias == pytest.approx({"a": np.log(4), "b": np.log(3), "c": np.log(2), "d": np.log(2)})
    assert fit.candidate.item_bias.numpy()[0] == 0, "the missing item"
