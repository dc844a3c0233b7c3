"""The linear head: the closed form, its low rank, and what the towers make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from model_data import history_model, interactions, planted, small_model
from pydantic import ValidationError

from recbatch.config.models import LinearHead, Model
from recbatch.model import Tower, TrainingData, linear, load_bundle, train_bundle
from recbatch.model.data import Events, prepare
from recbatch.model.features import Bags, LinearLayer
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.linear import add_linear, solve_linear
from recbatch.model.towers import TowerModel

DIM = 8


def by_regression(taken: np.ndarray, regularization: float) -> np.ndarray:
    """Each item's column by its own ridge regression on all others: what the closed form has to give."""
    weights = np.zeros((taken.shape[1], taken.shape[1]))
    for item in range(taken.shape[1]):
        others = np.delete(np.arange(taken.shape[1]), item)
        gram = taken[:, others].T @ taken[:, others] + regularization * np.eye(len(others))
        weights[others, item] = np.linalg.solve(gram, taken[:, others].T @ taken[:, item])
    return weights


def random_events(num_users: int = 1500, num_items: int = 12) -> tuple[Events, np.ndarray]:
    """Some of them twice, and more users than are counted at a time."""
    random = np.random.default_rng(0)
    taken = (random.random((num_users, num_items)) < random.random(num_items) * 0.6).astype(np.float64)
    taken[:num_items] += np.eye(num_items)  # every item has somebody
    taken[taken.sum(axis=1) == 0, 0] = 1
    users, items = np.nonzero(taken)
    return events_of_rows(users, items, taken), np.minimum(taken, 1)


def events_of_rows(users: np.ndarray, items: np.ndarray, taken: np.ndarray) -> Events:
    times = taken[users, items].astype(int)
    users, items = np.repeat(users, times), np.repeat(items, times)
    table = interactions([f"u{n:04d}" for n in users], [f"i{n:04d}" for n in items])
    return prepare(TrainingData(table)).events


def head_of(tower: TowerModel) -> LinearLayer:
    assert tower.linear is not None
    return tower.linear


def all_of(num_items: int) -> np.ndarray:
    return np.ones(num_items, bool)


# --- solving ----------------------------------------------------------------------------------------------------------


def test_it_is_the_ridge_regression_of_each_item_on_the_others() -> None:
    events, taken = random_events()
    found = solve_linear(LinearHead(regularization=20), events, all_of(12), rank=12)
    np.testing.assert_array_equal(found.items, np.arange(12))
    np.testing.assert_allclose(found.left @ found.right.T, by_regression(taken, 20), atol=2e-4)


def test_a_lower_rank_is_about_the_best_of_that_rank() -> None:
    events, taken = random_events(num_items=40)
    found = solve_linear(LinearHead(regularization=20), events, all_of(40), rank=10)
    wanted = by_regression(taken, 20)
    values = np.linalg.svd(wanted, compute_uv=False)
    error = np.linalg.norm(found.left @ found.right.T - wanted)
    assert error < 1.02 * np.sqrt((values[10:] ** 2).sum())


def test_it_is_solved_for_the_most_popular_items_that_may_have_weights() -> None:
    events, taken = random_events()
    eligible = all_of(12)
    eligible[int(taken.sum(axis=0).argmax())] = False
    counts = np.where(eligible, np.bincount(events.items, minlength=12), 0)
    found = solve_linear(LinearHead(regularization=20, most_items=4), events, eligible, rank=6)
    assert set(found.items) == set(np.argsort(-counts, kind="stable")[:4])
    assert found.left.shape == found.right.shape == (4, 6)
    kept = by_regression(taken[:, found.items], 20)
    np.testing.assert_allclose(found.left @ found.right.T, kept, atol=2e-4)


def test_twice_the_same_is_the_same() -> None:
    events, _ = random_events(num_items=30)
    found = [solve_linear(LinearHead(), events, all_of(30), rank=5) for _ in range(2)]
    np.testing.assert_array_equal(found[0].left, found[1].left)
    np.testing.assert_array_equal(found[0].right, found[1].right)


# --- in the towers ----------------------------------------------------------------------------------------------------


def fit_of(model: Model, folder: Path) -> TwoTowerFit:
    prepared = prepare(planted())
    heldout = np.arange(len(prepared.events)) % 6 == 0
    train, rest = prepared.events.select(~heldout), prepared.events.select(heldout)
    fit = TwoTowerFit("test", model, prepared, train, rest, folder, "x")
    fit.run()
    return fit


def head_scores(fit: TwoTowerFit) -> np.ndarray:
    """[users, items] what the head adds for each user's whole training history."""
    events = prepare(planted()).events
    known = np.bincount(events.users)
    numbers = fit.data.history_numbers[events.items].astype(np.int32)
    bags = Bags(tf.constant(numbers), tf.constant(events.users.astype(np.int32)), tf.constant(len(known)))
    queries = fit.query(fit.data.query_inputs(tf.range(len(known)), tf.zeros(len(known), tf.int64), {}, bags))
    candidates = fit.candidate(fit.data.candidate_inputs(tf.range(len(fit.data.history_numbers))))
    return tf.matmul(queries[:, DIM : fit.query.width], candidates[:, DIM:], transpose_b=True).numpy()


@pytest.mark.parametrize("item_bias", [False, True])
def test_its_coordinates_add_the_regressions_scores(tmp_path: Path, item_bias: bool) -> None:
    model = history_model(linear={"rank": 40, "regularization": 5}, item_bias=item_bias)
    fit = fit_of(model, tmp_path)
    events = prepare(planted()).events
    choice = add_linear(model, fit, events, strength=0.7)
    assert choice is not None
    assert choice.strength == 0.7
    num_items = len(fit.data.history_numbers)
    assert fit.query.width == fit.candidate.width == DIM + head_of(fit.query).width + item_bias

    taken = np.zeros((60, num_items))
    np.add.at(taken, (events.users, events.items), 1)
    weights = by_regression(np.minimum(taken, 1), 5)
    known = fit.data.history_numbers > 1
    weights[~known] = weights[:, ~known] = 0
    wanted = 0.7 * (taken * known) @ weights / np.sqrt(np.maximum((taken * known).sum(axis=1, keepdims=True), 1))
    found = head_scores(fit)
    if item_bias:
        found = found - fit.candidate(fit.data.candidate_inputs(tf.range(num_items))).numpy()[:, -1]
    np.testing.assert_allclose(found[:, known], wanted[:, known], atol=5e-3)


def test_the_share_that_ranks_the_heldout_events_best_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = history_model(linear={"rank": 8, "regularization": 5, "shares": [0.25, 0.5, 1]})
    fit = fit_of(model, tmp_path)
    assert fit.evaluation is not None
    events, asked = prepare(planted()).events, []

    def metrics() -> dict[str, float]:
        asked.append(head_of(fit.candidate).table.numpy())
        return {"heldout_recall_at_10": [0.1, 0.2, 0.4, 0.4][len(asked) - 1]}

    monkeypatch.setattr(fit.evaluation, "metrics", metrics)
    choice = add_linear(model, fit, events)
    assert choice is not None
    assert (choice.share, choice.metrics) == (0.5, {"heldout_recall_at_10": 0.4})
    assert not asked[0].any(), "the towers alone are asked for, too"
    np.testing.assert_array_equal(head_of(fit.candidate).table.numpy(), asked[2])

    asked.clear()
    monkeypatch.setattr(fit.evaluation, "metrics", lambda: {"heldout_recall_at_10": 0.5})
    choice = add_linear(model, fit, events)
    assert choice is not None
    assert (choice.share, choice.strength) == (0.0, 0.0)
    assert not head_of(fit.candidate).table.numpy().any(), "what does not help is left out"


def test_a_share_of_one_spreads_as_far_as_the_towers_scores(tmp_path: Path) -> None:
    model = history_model(linear={"rank": 8, "regularization": 5})
    fit = fit_of(model, tmp_path)
    assert fit.evaluation is not None
    assert add_linear(model, fit, prepare(planted()).events, strength=1.0) is not None
    unit = linear._spread(fit, DIM, head_of(fit.query).width)
    assert add_linear(model, fit, prepare(planted()).events, strength=unit) is not None
    queries, candidates = (vectors.numpy() for vectors in fit.evaluation.vectors())
    spreads = [(queries[:, part] @ candidates[:, part].T).std(axis=1).mean() for part in (slice(DIM), slice(DIM, None))]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.02)


def test_training_goes_without_it(tmp_path: Path) -> None:
    plain = fit_of(history_model(), tmp_path / "plain")
    headed = fit_of(history_model(linear={"rank": 8}), tmp_path / "headed")
    for variable, other in zip(plain._variables, headed._variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), other.numpy())


def test_a_bundle_has_it_and_says_so(tmp_path: Path) -> None:
    heldout: dict[str, Any] = {"heldout": {"split": "random", "share": 0.2}}
    model = history_model(linear={"rank": 4, "regularization": 5}, item_bias=True, training=heldout)
    manifest = train_bundle(
        model, planted(), str(tmp_path / "b"), work_folder=str(tmp_path / "w"), as_of_us=None, fingerprint="x"
    )
    assert manifest["dim"] == DIM + 4 + 1
    assert manifest["bias_coordinate"] == DIM + 4
    assert manifest["linear"]["share"] in (0.0, *LinearHead().shares)
    bundle = load_bundle(str(tmp_path / "b"))
    tower = Tower(bundle.folder / "query", manifest["towers"]["query"])
    history = pa.array([["item/0", "item/2"], []], pa.list_(pa.string()))
    vectors, known = tower.embed(pa.table({"id": ["new", "nobody"], "history": history}))
    assert known.tolist() == [True, False]
    assert vectors[0, DIM:-1].any() == (manifest["linear"]["share"] > 0)
    assert not vectors[1, DIM:-1].any()


def test_without_ids_or_histories_it_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="linear: the query tower has no history feature"):
        small_model(linear={"rank": 4})
    tags = {"features": [{"kind": "multi_category", "column": "tags"}]}
    with pytest.raises(ValidationError, match="linear: the candidate tower has no id feature"):
        history_model(linear={"rank": 4}, candidate=tags)
