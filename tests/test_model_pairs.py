"""Pairs of items against a brute-force loop, and item-to-item models from training to a night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from model_data import START_US, interactions, planted, small_model
from world import DS, Published, World, run

from recbatch.config.columns import feature_columns
from recbatch.config.load import load_config
from recbatch.config.models import Model
from recbatch.errors import ConfigError, InputError
from recbatch.launch.training import train
from recbatch.model import TrainingData, read_manifest
from recbatch.model.data import Events, Prepared, prepare
from recbatch.model.fitting import TwoTowerFit
from recbatch.model.heldout import id_hashes, split_events
from recbatch.model.pairs import item_pairs, pair_events


def pair_model(window: int = 2, **changes: Any) -> Model:
    return small_model(pairs={"window": window}, **changes)


def names_of(prepared: Prepared) -> np.ndarray:
    return id_hashes(prepared.users["id"])


def as_rows(pairs: Events) -> list[tuple[int, int, int, int]]:
    assert pairs.owners is not None
    times = np.zeros(len(pairs), np.int64) if pairs.times_us is None else pairs.times_us
    return list(zip(pairs.users.tolist(), pairs.items.tolist(), times.tolist(), pairs.owners.tolist(), strict=True))


@pytest.mark.parametrize("window", [1, 3, 50])
def test_each_positive_is_paired_with_the_next_ones_of_its_user(window: int) -> None:
    prepared = prepare(planted())
    events, names = prepared.events, names_of(prepared)
    assert events.times_us is not None
    expected = []
    for here in range(len(events)):
        for there in range(here + 1, min(here + window + 1, len(events))):
            if events.users[here] == events.users[there] and events.items[here] != events.items[there]:
                pair = int(events.items[here]), int(events.items[there]), int(events.times_us[there])
                expected.append((*pair, int(names[events.users[here]])))
    pairs = pair_events(events, names, window, seed=1)
    assert sorted(as_rows(pairs)) == sorted(expected)
    order = list(zip(pairs.users.tolist(), pairs.times_us.tolist(), strict=True))  # type: ignore[union-attr]
    assert order == sorted(order)


def test_without_times_each_positive_is_paired_with_random_others_of_its_user() -> None:
    table = interactions([f"u{n % 3}" for n in range(30)] + ["alone"], [f"i{n:02d}" for n in range(30)] + ["x"])
    prepared = prepare(TrainingData(table))
    events, names = prepared.events, names_of(prepared)
    owner = dict(zip(events.items.tolist(), events.users.tolist(), strict=True))
    drawn = set()
    for seed in range(20):
        pairs = pair_events(events, names, 4, seed)
        assert pairs.times_us is None
        assert sorted(as_rows(pairs)) == sorted(as_rows(pair_events(events, names, 4, seed)))
        found = list(zip(pairs.users.tolist(), pairs.items.tolist(), strict=True))
        assert len(set(found)) == len(found) == 30 * 4
        assert all(query != item and owner[query] == owner[item] for query, item in found)
        assert np.bincount(pairs.users)[:30].tolist() == [4] * 30
        drawn |= set(found)
    assert len(drawn) == 3 * 10 * 9, "every pair is drawn some time"
    everyone = pair_events(events, names, 100, seed=1)
    assert len(everyone) == 3 * 10 * 9, "there are no more others than there are"


def test_pairs_need_a_user_with_two_different_items() -> None:
    table = interactions(["u", "u", "v"], ["a", "a", "b"], [START_US, START_US + 1, START_US])
    model = pair_model()
    assert model.pairs is not None
    with pytest.raises(InputError, match="no user has two different positives"):
        item_pairs(prepare(TrainingData(table)), model.pairs, 1)


def fit_of(model: Model, folder: Path, data: TrainingData | None = None) -> tuple[TwoTowerFit, Events, Events]:
    assert model.pairs is not None
    prepared = item_pairs(prepare(data or planted()), model.pairs, model.training.seed)
    mask = split_events(model, prepared).heldout
    train_pairs, rest = prepared.events.select(~mask), prepared.events.select(mask)
    return TwoTowerFit("test", model, prepared, train_pairs, rest, folder, "x"), train_pairs, rest


def test_whole_users_are_held_out_or_the_newest_pairs(tmp_path: Path) -> None:
    random = pair_model(training={"heldout": {"split": "random", "share": 0.3}})
    _, kept, rest = fit_of(random, tmp_path / "a")
    assert kept.owners is not None
    assert rest.owners is not None
    assert not set(kept.owners.tolist()) & set(rest.owners.tolist())
    assert 0.1 < len(rest) / (len(rest) + len(kept)) < 0.5
    _, kept, rest = fit_of(pair_model(), tmp_path / "b")
    assert kept.times_us is not None
    assert rest.times_us is not None
    assert kept.times_us.max() < rest.times_us.min()


@pytest.mark.heavy
def test_held_out_pairs_are_ranked_among_all_items_but_the_query(tmp_path: Path) -> None:
    fit, _, rest = fit_of(pair_model(training={"epochs": 60}), tmp_path)
    fit.run()
    assert fit.evaluation is not None
    scores = fit.query(fit.data.users).numpy() @ fit.candidate(fit.data.items).numpy().T
    np.fill_diagonal(scores, -np.inf)
    pairs = sorted(set(zip(rest.users.tolist(), rest.items.tolist(), strict=True)))
    hits = [(scores[query] > scores[query, item]).sum() < 10 for query, item in pairs]
    metrics = fit.evaluation.metrics()
    assert metrics["heldout_recall_at_10"] == pytest.approx(np.mean(hits), abs=1e-6)
    assert metrics["heldout_recall_at_10"] > 0.4, "items of one taste are a half of all"
    assert fit.evaluation.counts["heldout_events_evaluated"] == len(pairs)


@pytest.mark.parametrize("negatives", ["full", "mixed", "in_batch"])
def test_a_query_is_no_negative_of_its_own(tmp_path: Path, negatives: str) -> None:
    fit, _, _ = fit_of(pair_model(training={"negatives": negatives, "logq": False, "user_weight": "events"}), tmp_path)
    batch = next(fit._batches.epoch(3, 0, 16 if negatives != "in_batch" else 100))
    queries = fit.query(fit.data.users).numpy().astype(np.float64)[batch.users]
    logits = queries @ fit.candidate(fit.data.items).numpy()[batch.drawn.candidates].T
    own = batch.users[:, None] == batch.drawn.candidates[None, :]
    assert own.any(), "the batch holds some query among its candidates"
    logits[own] = -np.inf
    losses = np.log(np.exp(logits).sum(axis=1))[batch.query_of] - logits[batch.query_of, batch.drawn.columns]
    arrays = {name: tf.constant(array) for name, array in batch.arrays().items()}
    assert float(fit._train_step(arrays, tf.constant([1, 2]))) == pytest.approx(losses.mean(), rel=1e-5)


def test_both_towers_read_the_items_table(tmp_path: Path) -> None:
    world = chains()
    path = world.write(tmp_path)
    title = {"kind": "text", "column": "title", "dim": 4}
    towers = {"query": {"features": [title]}, "candidate": {"features": [{"kind": "id", "dim": 4}]}}
    config = load_config(world.config(path, {"model": {**towers, "pairs": {"window": 2}}}))
    columns = feature_columns(config, [config.model])
    assert (list(columns.items), list(columns.users), columns.history_length) == (["title"], [], 0)
    settings = {"model": {**towers, "pairs": {"window": 2}}, "inputs": {"items": None}}
    with pytest.raises(ConfigError, match="reads column 'title', but the config names no inputs.items"):
        load_config(world.config(path, settings, "none.yaml"))


@pytest.mark.parametrize("kind", ["history", "timestamp"])
def test_items_have_neither_history_nor_time(kind: str) -> None:
    with pytest.raises(ValueError, match=f"query.features.0: a {kind} feature is of users, but with pairs both towers"):
        pair_model(query={"features": [{"kind": kind}]})


def chains() -> World:
    """Users who go through one of four chains of ten items in order, from anywhere in it."""
    random = np.random.default_rng(8)
    events = []
    for user in range(80):
        chain, start = random.integers(4), random.integers(5)
        for step in range(6):
            at = 1_709_900_000_000 + 60_000 * user + 1_000 * step
            what = f"item {chain}{start + step}"
            events.append({"who": f"user {user}", "what": what, "at": at, "stars": 4.0, "kind": "view"})
    items = [{"code": f"item {n:02d}", "title": f"Chain {n // 10}"} for n in range(40)]
    return World(events, None, items)


@pytest.mark.heavy
def test_a_night_serves_item2item_from_a_model_of_pairs(tmp_path: Path) -> None:
    world = chains()
    inputs = world.write(tmp_path / "inputs")
    fast = {"epochs": 30, "batch_size": 128, "learning_rate": 0.03, "early_stopping": None, "refit": False}
    ids = {"features": [{"kind": "id", "dim": 8}]}
    words = {"features": [{"kind": "id", "dim": 8}, {"kind": "text", "column": "title", "dim": 4}]}
    pairs = {"dim": 8, "normalize": True, "temperature": 0.2, "query": words, "candidate": ids, "pairs": {"window": 1}}
    config = world.config(inputs, {"model": {**pairs, "training": fast}}, "pairs.yaml")
    bundle = tmp_path / "bundle"
    train(config, [], str(bundle), DS, beam_arguments=[])
    manifest = read_manifest(str(bundle))
    assert [manifest["towers"][name]["entity"] for name in ("query", "candidate")] == ["item", "item"]
    assert [entry["name"] for entry in manifest["towers"]["query"]["inputs"]] == ["item_id", "title"]

    model = {"dim": 8, "training": {**fast, "epochs": 1}}
    tables = {"item2item": {"model": str(bundle), "k": 5}, "user2user": {"enabled": False}}
    night = world.config(inputs, {"model": model, "tables": tables}, "night.yaml")
    run(night, tmp_path / "out")
    table = Published(tmp_path / "out").table("item2item")
    best = {row["item_id"]: row["neighbor_item_id"] for row in table.to_pylist() if row["rank"] == 1}
    nexts = [best[f"item {n:02d}"] == f"item {n + 1:02d}" for n in range(40) if n % 10 < 9]
    assert np.mean(nexts) > 0.8, "the item that follows is the nearest, which holds in one direction only"

    for given in (bundle, None):
        with pytest.raises(ConfigError, match="a night's main model embeds users and items, but this one embeds items"):
            run(config, tmp_path / "other", model=given)
