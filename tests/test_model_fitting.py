"""The loss against its closed form, evaluation against NumPy, and exact continuation after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from model_data import START_US, every_feature, history_model, interactions, planted, small_model

from recbatch.config.models import Model
from recbatch.errors import InputError, RecbatchError
from recbatch.model import TrainingData, evaluation, fitting, ranking, train_bundle
from recbatch.model.batches import Batch
from recbatch.model.data import prepare
from recbatch.model.features import Bags
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.heldout import split_events
from recbatch.model.training import identity_of


def fit_of(model: Model, data: TrainingData, folder: Path, *, heldout: bool = False) -> TwoTowerFit:
    prepared = prepare(data)
    if not heldout:
        return TwoTowerFit("test", model, prepared, prepared.events, None, folder, "x")
    mask = split_events(model, prepared).heldout
    train, rest = prepared.events.select(~mask), prepared.events.select(mask)
    return TwoTowerFit("test", model, prepared, train, rest, folder, "x")


def bags_of(batch: Batch) -> Bags:
    history = batch.history
    return Bags(*map(tf.constant, (history.items, history.rows, len(batch.users), history.age)))


@pytest.mark.parametrize("train_on", ["before", "others", None])
def test_the_loss_is_the_softmax_with_log_q_subtracted(tmp_path: Path, train_on: str | None) -> None:
    settings: dict[str, Any] = {"normalize": True, "temperature": 0.25}
    settings["training"] = {"negatives": "in_batch", "user_weight": "events"}
    model = history_model(train_on, **settings) if train_on else small_model(**settings)
    fit = fit_of(model, planted(), tmp_path)
    batch = next(fit._batches.epoch(3, 0, 100))
    inputs = fit.data.query_inputs(batch.users, batch.events, {}, bags_of(batch))
    queries = fit.query(inputs).numpy().astype(np.float64)[batch.query_of]
    items = fit.candidate(fit.data.candidate_inputs(tf.constant(batch.items))).numpy().astype(np.float64)
    events = fit._batches._events
    counts = np.bincount(events.items)
    logits = queries @ items.T / 0.25 - np.log(counts / counts.sum())[batch.items]
    if train_on:
        for row, query in enumerate(batch.query_of):
            positives = set(batch.items[batch.query_of == query]) - {batch.items[row]}
            shown = set(
                np.flatnonzero(np.isin(fit.data.history_numbers, batch.history.items[batch.history.rows == query]))
            )
            if train_on == "before":  # all that came before, though the tower is shown the newest ten only
                earlier = slice(0, batch.events[query])
                shown = set(events.items[earlier][events.users[earlier] == batch.users[query]]) - {batch.items[row]}
            logits[row, np.isin(batch.items, list(positives | shown))] = -np.inf
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))
    assert float(fit._train_step(batch.arrays(), np.zeros(2, np.int32))) == pytest.approx(expected, rel=1e-5)


def test_log_q_makes_scores_learn_popularity_and_without_it_they_do_not(tmp_path: Path) -> None:
    # Every user looks the same to the tower, so the best scores have a closed form: log P(item) + constant with the
    # correction; without it the expected gradient vanishes where both items score the same.
    users = [f"u{n}" for n in range(400)]
    items = ["often" if n % 4 else "seldom" for n in range(400)]
    query = {"features": [{"kind": "category", "column": "all", "dim": 2}]}
    data = TrainingData(interactions(users, items, all=["same"] * 400))
    difference = {}
    for logq in (True, False):
        training = {"negatives": "in_batch", "logq": logq, "epochs": 40, "learning_rate": 0.03, "batch_size": 100}
        fit = fit_of(small_model(query=query, training=training), data, tmp_path / str(logq))
        fit.run()
        vectors = fit.candidate(fit.data.candidate_inputs(tf.constant([0, 1]))).numpy()
        first, nothing = tf.constant([0]), Bags(tf.constant([]), tf.constant([]), tf.constant(1))
        of_query = fit.query(fit.data.query_inputs(first, first, fit._of_events, nothing))
        scores = (of_query.numpy() @ vectors.T)[0]  # items sorted by id: often, seldom
        difference[logq] = scores[0] - scores[1]
    assert difference[True] == pytest.approx(np.log(3), abs=0.1)
    assert difference[False] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    "model", [history_model("others"), history_model("before"), small_model()], ids=["others", "before", "ids"]
)
def test_heldout_recall_is_what_numpy_says(tmp_path: Path, model: Model) -> None:
    fit = fit_of(model, planted(), tmp_path, heldout=True)
    fit.run()
    assert fit.evaluation is not None
    prepared = prepare(planted())
    mask = split_events(model, prepared).heldout
    train, heldout = prepared.events.select(~mask), prepared.events.select(mask)
    assert train.times_us is not None
    assert heldout.times_us is not None
    queries, candidates = (vectors.numpy() for vectors in fit.evaluation.vectors())
    known = fit.evaluation._items
    users = fit.evaluation._users
    hits, with_seen, asked = 0, 0, set()
    for user, item, time in zip(heldout.users, heldout.items, heldout.times_us, strict=True):
        seen = set(train.items[train.users == user].tolist())
        if item in seen or (user, item) in asked or not seen:
            continue
        asked.add((user, item))
        event = len(asked) - 1 if fit.query.per_event else int(np.flatnonzero(users == user)[0])
        if fit.query.per_event and not (train.times_us[train.users == user] < time).any():
            continue
        scores = candidates @ queries[event]
        ranked = [known[place] for place in np.argsort(-scores, kind="stable")]
        with_seen += item in ranked[:10]
        hits += item in [other for other in ranked if other not in seen][:10]
    count = fit.evaluation.counts["heldout_events_evaluated"]
    assert count > 20
    assert fit.evaluation.metrics()["heldout_recall_at_10"] == pytest.approx(hits / count)
    assert fit.evaluation.factorized_top_k()["heldout_recall_at_10_with_seen"] == pytest.approx(with_seen / count)


def test_a_planted_taste_is_learnt(tmp_path: Path) -> None:
    model = history_model(training={"epochs": 30, "learning_rate": 0.02}, normalize=True, temperature=0.2)
    fit = fit_of(model, planted(), tmp_path, heldout=True)
    fit.run()
    # Twenty items per taste, nine or so of them seen: ten guesses nearly cover the rest, chance would hit a third.
    assert fit.state.best_metrics["heldout_recall_at_10"] > 0.8


def test_the_last_evaluation_as_good_as_the_best_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(training={"epochs": 50, "early_stopping": {"patience": 3}})
    fit = fit_of(model, planted(), tmp_path, heldout=True)
    assert fit.evaluation is not None
    # 40 items: recall@100 says nothing in so small a catalog, recall@10 does. Within 1 % of the best is as good.
    recalls, seen = iter([0.1, 0.5, 0.4, 0.496, 0.494, 0.4, 0.49]), []

    def metrics() -> dict[str, float]:
        seen.append([variable.numpy() for variable in fit._variables])
        return {"heldout_recall_at_10": next(recalls), "heldout_recall_at_100": 1.0, "heldout_ndcg_at_10": 0.5}

    monkeypatch.setattr(fit.evaluation, "metrics", metrics)
    state = fit.run()
    assert (state.best_step, state.step) == (4 * fit.steps_per_epoch, 7 * fit.steps_per_epoch)
    assert fit.result_step == state.best_step
    for variable, kept in zip(fit._variables, seen[3], strict=True):
        np.testing.assert_array_equal(variable.numpy(), kept)


def test_vocabularies_know_the_training_split_only(tmp_path: Path) -> None:
    times = [START_US + t for t in range(20)]
    table = interactions([f"u{n}" for n in range(20)], [f"i{n}" for n in range(20)], times)
    model = small_model(training={"heldout": {"split": "time", "share": 0.25}})
    fit = fit_of(model, TrainingData(table), tmp_path, heldout=True)
    assert fit.query.learnt.layers["id"].size == fit.candidate.learnt.layers["id"].size == 15
    assert fit.evaluation is not None
    assert fit.evaluation.counts == {
        "heldout_events_evaluated": 0,
        "heldout_events_repeated": 0,
        "heldout_events_of_cold_users": 5,
    }
    assert fit.run().step == 2 * fit.steps_per_epoch, "with nothing to ask every epoch is run"


def test_a_diverging_fit_says_so(tmp_path: Path) -> None:
    model = small_model(training={"optimizer": "adagrad", "learning_rate": 1e30, "epochs": 20})
    with pytest.raises(RecbatchError, match=r"diverged: the loss is .* lower model\.training\.learning_rate"):
        fit_of(model, planted(), tmp_path).run()


_CHILD = """
import os, signal, sys
from model_data import every_feature, planted
import recbatch.model.fitting as fitting
from recbatch.model import train_bundle

target, work, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
fitting._CHECKPOINT_SECONDS = fitting._CHECKPOINT_TIMES = 0.0  # after every step
step = fitting.TwoTowerFit._step
def killed_at_last(fit, batch):
    global steps
    if steps == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    steps -= 1
    return step(fit, batch)
fitting.TwoTowerFit._step = killed_at_last
train_bundle(every_feature(), planted(), target, work_folder=work, as_of_us=None, fingerprint="f")
"""


def weights_of(bundle: Path) -> dict[str, np.ndarray]:
    return {
        f"{tower}/{name}": tf.train.load_checkpoint(str(bundle / tower / "variables" / "variables")).get_tensor(name)
        for tower in ("query", "candidate")
        for name, _ in tf.train.list_variables(str(bundle / tower / "variables" / "variables"))
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


@pytest.mark.heavy
def test_killed_twice_and_resumed_gives_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    model, data = every_feature(), planted()
    undisturbed = train_bundle(
        model, data, str(tmp_path / "a"), work_folder=str(tmp_path / "wa"), as_of_us=None, fingerprint="f"
    )
    first_fit = 2 * 11  # epochs and steps of the measured fit: 648 events in batches of at most 64
    assert undisturbed["steps"] in (11, 22)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])]),
    }
    # In the middle of the measured fit's second epoch, then (15 are done) in the middle of the refit's first.
    for steps, done in ((15, "measured"), (first_fit - 15 + 5, "refit")):
        arguments = [sys.executable, "-c", _CHILD, str(tmp_path / "b"), str(tmp_path / "wb"), str(steps)]
        killed = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert (tmp_path / "wb" / "checkpoints" / f"{done}.npz").exists()
        assert not (tmp_path / "b").exists()
    resumed = train_bundle(
        model, data, str(tmp_path / "b"), work_folder=str(tmp_path / "wb"), as_of_us=None, fingerprint="f"
    )
    expected, weights = weights_of(tmp_path / "a"), weights_of(tmp_path / "b")
    assert len(expected) > 10
    assert expected.keys() == weights.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)
    for key in ("metrics", "steps", "counts", "towers", "retriever"):
        assert resumed[key] == undisturbed[key]


def test_a_checkpoint_of_other_data_is_not_continued(tmp_path: Path) -> None:
    model, prepared = small_model(), prepare(planted())
    identity = identity_of(model, prepared, "f")
    assert identity == identity_of(model, prepare(planted()), "f")
    fit = TwoTowerFit("test", model, prepared, prepared.events, None, tmp_path, identity)
    assert (
        fit.run().step == TwoTowerFit("test", model, prepared, prepared.events, None, tmp_path, identity).state.step > 0
    )
    data = planted()
    assert data.items is not None
    fewer = prepare(TrainingData(data.interactions.slice(1), data.users, data.items))
    others = [
        identity_of(model, prepared, "g"),
        identity_of(small_model(dim=4), prepared, "f"),
        identity_of(model, fewer, "f"),
        identity_of(model, prepare(TrainingData(data.interactions, data.users, data.items.slice(1))), "f"),
    ]
    assert len({identity, *others}) == 5
    for other in others:
        assert TwoTowerFit("test", model, prepared, prepared.events, None, tmp_path, other).state.step == 0


def test_nothing_to_train_on_is_an_input_error(tmp_path: Path) -> None:
    table = interactions(["u", "v"], ["i", "j"], positive=[False, False])
    with pytest.raises(InputError, match="nothing to train on: none of the 2 interactions"):
        train_bundle(
            small_model(),
            TrainingData(table),
            str(tmp_path / "b"),
            work_folder=str(tmp_path / "w"),
            as_of_us=None,
            fingerprint="f",
        )


def test_checkpoints_take_a_twentieth_of_the_time_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, saved = [0.0], []
    monkeypatch.setattr(fitting, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def takes(seconds: float) -> None:
        now[0] += seconds

    def save_checkpoint(*_: object) -> None:
        saved.append(now[0])
        takes(10.0)

    def step(*_: object) -> float:
        takes(1.0)
        return 1.0

    monkeypatch.setattr(fitting, "save_checkpoint", save_checkpoint)
    monkeypatch.setattr(TwoTowerFit, "_step", step)
    fit_of(small_model(training={"epochs": 400, "early_stopping": None}), planted(), tmp_path).run()
    assert saved[:2] == [31.0, 31.0 + 10.0 + 201.0]


def test_the_correction_of_in_batch_negatives_is_not_cut_off_in_a_large_catalog(tmp_path: Path) -> None:
    training = {"negatives": "in_batch", "logq": True, "user_weight": "events", "learning_rate": 1e-9}
    losses = []
    for number, shift in enumerate((0.0, 30.0)):  # e^-30 is far below TFRS' least probability
        fit = fit_of(small_model(training=training), planted(), tmp_path / str(number))
        arrays = next(fit._batches.epoch(3, 0, 100)).arrays()
        arrays["log_inclusion"] = (arrays["log_inclusion"] - shift).astype(np.float32)
        batch = {name: tf.constant(array) for name, array in arrays.items()}
        losses.append(float(fit._train_step(batch, tf.constant([1, 2]))))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_an_evaluation_in_blocks_is_that_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, metrics = [], []
    for block in (1024, 7):
        monkeypatch.setattr(evaluation, "_BLOCK", block)
        monkeypatch.setattr(ranking, "_BLOCK", block)
        fit = fit_of(every_feature(), planted(), tmp_path / str(block), heldout=True)
        assert fit.evaluation is not None
        vectors.append([found.numpy() for found in fit.evaluation.vectors()])
        metrics.append((fit.evaluation.metrics(), fit.evaluation.counts))
    for whole, blocks in zip(*vectors, strict=True):
        np.testing.assert_allclose(blocks, whole, rtol=1e-5, atol=1e-6)
    assert metrics[0] == metrics[1]
