"""The linear head: the closed form, its low rank, and what the towers make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from model_data import history_model, interactions, planted, small_model
from pydantic import ValidationError

from recbatch.config.models import LinearHead, Model
from recbatch.errors import ConfigError
from recbatch.model import TrainingData, linear
from recbatch.model.closed_form import ItemPairs, LinearWeights, count_pairs, score_others, solve_linear
from recbatch.model.data import Events, prepare
from recbatch.model.features import Bags, LinearLayer
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.linear import attach_linear, choose_linear, solve_head
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


def random_events(num_users: int = 5000, num_items: int = 12) -> tuple[Events, np.ndarray]:
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


def solved(settings: LinearHead, regularization: float, events: Events, eligible: np.ndarray) -> LinearWeights:
    return solve_linear(count_pairs(events, eligible, settings.most_items), regularization, settings.rank)


# --- solving ----------------------------------------------------------------------------------------------------------


def test_it_is_the_ridge_regression_of_each_item_on_the_others() -> None:
    events, taken = random_events()
    found = solved(LinearHead(rank=12), 20, events, all_of(12))
    np.testing.assert_array_equal(found.items, np.arange(12))
    np.testing.assert_allclose(found.left @ found.right.T, by_regression(taken, 20), atol=2e-4)


def test_a_lower_rank_gives_about_the_best_scores_of_that_rank() -> None:
    events, taken = random_events(num_items=40)
    found = solved(LinearHead(rank=10), 20, events, all_of(40))
    scores = taken @ by_regression(taken, 20)
    values = np.linalg.svd(scores, compute_uv=False)
    error = np.linalg.norm(taken @ found.left @ found.right.T - scores)
    assert error < 1.02 * np.sqrt((values[10:] ** 2).sum())
    np.testing.assert_allclose(np.linalg.norm(found.left, axis=0), np.linalg.norm(found.right, axis=0), rtol=1e-4)


def test_it_is_solved_for_the_most_popular_items_that_may_have_weights() -> None:
    events, taken = random_events()
    eligible = all_of(12)
    eligible[int(taken.sum(axis=0).argmax())] = False
    counts = np.where(eligible, np.bincount(events.items, minlength=12), 0)
    found = solved(LinearHead(most_items=4, rank=6), 20, events, eligible)
    assert set(found.items) == set(np.argsort(-counts, kind="stable")[:4])
    assert found.left.shape == found.right.shape == (4, 4), "no coordinates that four items cannot fill"
    kept = by_regression(taken[:, found.items], 20)
    np.testing.assert_allclose(found.left @ found.right.T, kept, atol=2e-4)


def test_twice_the_same_is_the_same() -> None:
    events, _ = random_events(num_items=30)
    found = [solved(LinearHead(rank=5), 500, events, all_of(30)) for _ in range(2)]
    np.testing.assert_array_equal(found[0].left, found[1].left)
    np.testing.assert_array_equal(found[0].right, found[1].right)


def test_a_large_inverse_is_made_by_halves() -> None:
    events, taken = random_events(num_items=1100)  # more than twice as many as are inverted at once
    found = solved(LinearHead(rank=1100), 300, events, all_of(1100))
    wanted = taken.T @ taken + 300 * np.eye(1100)
    inverse = np.linalg.inv(wanted)
    np.testing.assert_allclose(found.left @ found.right.T, np.eye(1100) - inverse / np.diag(inverse), atol=1e-4)


def test_of_no_items_there_is_nothing_to_solve() -> None:
    events, _ = random_events()
    pairs = count_pairs(events, ~all_of(12), 5000)
    assert pairs.items.shape == (0,)
    assert pairs.together.shape == (0, 0)


def test_a_lambda_too_small_for_the_numbers_is_said() -> None:
    always = ItemPairs(np.arange(3, dtype=np.int32), np.full((3, 3), 4, np.float32))  # the same users took all three
    with pytest.raises(ConfigError, match=r"regularizations: 1e-20 is too small"):
        solve_linear(always, 1e-20, 2)


def test_the_other_items_are_regressed_on_the_users_halves() -> None:
    events, taken = random_events(num_items=30)
    eligible = all_of(30)
    eligible[3] = False
    first = solved(LinearHead(most_items=10, rank=6), 20, events, eligible)
    found = score_others(first, events, eligible)
    np.testing.assert_array_equal(found.scored[:10], first.items)
    assert sorted(found.scored) == [item for item in range(30) if item != 3]
    np.testing.assert_array_equal(found.right[:10], first.right)
    queries = taken[:, first.items] @ first.left
    energy = queries.T @ queries
    wanted = np.linalg.solve(
        energy + 0.01 * np.trace(energy) / 6 * np.eye(6), queries.T @ taken[:, found.scored[10:]]
    ).T
    np.testing.assert_allclose(found.right[10:], wanted, rtol=2e-3, atol=1e-4)


def test_where_no_items_go_together_there_is_nothing_to_say() -> None:
    alone = events_of_rows(np.arange(40), np.arange(40) % 8, np.eye(8)[np.arange(40) % 8])
    found = score_others(solved(LinearHead(most_items=5, rank=4), 20, alone, all_of(8)), alone, all_of(8))
    assert found.right.shape == (8, 4)
    assert np.isfinite(found.right).all()
    np.testing.assert_allclose(found.left @ found.right.T, 0, atol=1e-6)


# --- in the towers ----------------------------------------------------------------------------------------------------


def fit_of(model: Model, folder: Path) -> TwoTowerFit:
    prepared = prepare(planted())
    heldout = np.arange(len(prepared.events)) % 6 == 0
    train, rest = prepared.events.select(~heldout), prepared.events.select(heldout)
    fit = TwoTowerFit("test", model, prepared, train, rest, folder, "x")
    fit.run()
    return fit


def attached(model: Model, fit: TwoTowerFit, events: Events, strength: float) -> None:
    assert model.linear is not None
    attach_linear(fit, solve_head(model.linear, model.linear.regularizations[0], fit, events), strength)


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
    model = history_model(linear={"rank": 40, "regularizations": [5]}, item_bias=item_bias)
    fit = fit_of(model, tmp_path)
    events = prepare(planted()).events
    attached(model, fit, events, 0.7)
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
    model = history_model(linear={"rank": 8, "regularizations": [5], "shares": [0.25, 0.5, 1]})
    fit = fit_of(model, tmp_path)
    assert fit.evaluation is not None
    events, asked = prepare(planted()).events, []

    def metrics() -> dict[str, float]:
        asked.append(head_of(fit.candidate).table.numpy())
        return {"heldout_recall_at_10": [0.2, 0.4, 0.4][len(asked) - 1]}

    monkeypatch.setattr(fit.evaluation, "metrics", metrics)
    fit.state.best_metrics = {"heldout_recall_at_10": 0.1}
    choice = choose_linear(model, fit, events)
    assert choice is not None
    assert (choice.share, choice.metrics) == (0.5, {"heldout_recall_at_10": 0.4})
    np.testing.assert_array_equal(head_of(fit.candidate).table.numpy(), asked[1])

    # The towers alone rank as well.
    asked.clear()
    fit.state.best_metrics = {"heldout_recall_at_10": 0.4}
    choice = choose_linear(model, fit, events)
    assert choice is not None
    assert (choice.share, choice.strength, choice.metrics) == (0.0, 0.0, fit.state.best_metrics)
    assert len(asked) == 3
    assert fit.query.linear is fit.candidate.linear is None, "what does not help is left out"
    queries, candidates = fit.evaluation.vectors()
    assert queries.shape[1] == candidates.shape[1] == fit.query.width == fit.candidate.width == DIM


def test_the_regularization_that_ranks_the_heldout_events_best_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = history_model(linear={"rank": 8, "regularizations": [50, 5], "shares": [0.5, 1]})
    fit = fit_of(model, tmp_path)
    assert fit.evaluation is not None
    events, asked = prepare(planted()).events, []

    def metrics() -> dict[str, float]:
        asked.append(head_of(fit.candidate).table.numpy())
        return {"heldout_recall_at_10": [0.2, 0.4, 0.5, 0.3][len(asked) - 1]}

    monkeypatch.setattr(fit.evaluation, "metrics", metrics)
    fit.state.best_metrics = {"heldout_recall_at_10": 0.1}
    choice = choose_linear(model, fit, events)
    assert choice is not None
    assert (choice.regularization, choice.share) == (5, 0.5)
    assert choice.facts == {"regularization": 5, "share": 0.5, "strength": choice.strength}
    np.testing.assert_array_equal(head_of(fit.candidate).table.numpy(), asked[2])
    assert np.abs(asked[2] - asked[0]).max() > 1e-3, "another one is another head"


def test_the_towers_alone_are_as_good_as_the_fit_found_them(tmp_path: Path) -> None:
    fit = fit_of(history_model(), tmp_path)
    assert fit.evaluation is not None
    assert fit.evaluation.metrics() == fit.state.best_metrics


def test_a_share_of_one_spreads_as_far_as_the_towers_scores(tmp_path: Path) -> None:
    model = history_model(linear={"rank": 8, "regularizations": [5]})
    fit = fit_of(model, tmp_path)
    assert fit.evaluation is not None
    attached(model, fit, prepare(planted()).events, 1.0)
    unit = linear._spread(fit.evaluation, DIM, head_of(fit.query).width)
    attached(model, fit, prepare(planted()).events, unit)
    queries, candidates = (vectors.numpy() for vectors in fit.evaluation.vectors())
    spreads = [(queries[:, part] @ candidates[:, part].T).std(axis=1).mean() for part in (slice(DIM), slice(DIM, None))]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.02)


def test_training_goes_without_it(tmp_path: Path) -> None:
    plain = fit_of(history_model(), tmp_path / "plain")
    headed = fit_of(history_model(linear={"rank": 8}), tmp_path / "headed")
    for variable, other in zip(plain._variables, headed._variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), other.numpy())


def test_without_ids_or_histories_it_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="linear: the query tower has no history feature"):
        small_model(linear={"rank": 4})
    tags = {"features": [{"kind": "multi_category", "column": "tags"}]}
    with pytest.raises(ValidationError, match="linear: the candidate tower has no id feature"):
        history_model(linear={"rank": 4}, candidate=tags)
