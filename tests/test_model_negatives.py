"""Candidates of a batch, how much each target counts, and queries that stand for whole users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from model_data import DAY_US, START_US, interactions, planted, small_model

from recbatch.config.load import load_config
from recbatch.config.models import HistoryFeature, Training
from recbatch.model import TrainingData
from recbatch.model.batches import Batch, Batches, target_weights
from recbatch.model.data import Events, Prepared, prepare
from recbatch.model.features import FIRST_OOV
from recbatch.model.histories import Histories
from recbatch.model.negatives import Catalog, Negatives, Pairs, resolve_negatives

KINDS: tuple[Negatives, ...] = ("full", "mixed", "in_batch")
SAMPLE = 10
ROOT = Path(__file__).resolve().parents[1]


def distinct_items(num_users: int = 30, num_items: int = 50) -> Prepared:
    """User n has taken n % 13 + 1 items, each once, one a day; of the last five items nothing is known but the name."""
    random = np.random.default_rng(2)
    counts = np.arange(num_users) % 13 + 1
    users = np.repeat(np.arange(num_users), counts)
    items = np.concatenate([random.choice(num_items - 5, count, replace=False) for count in counts])
    times = START_US + DAY_US * np.arange(len(users))
    table = interactions([f"u{n:02d}" for n in users], [f"i{n:02d}" for n in items], times.tolist())
    return prepare(TrainingData(table, items=pa.table({"id": [f"i{n:02d}" for n in range(num_items)]})))


def history(dropout: float, length: int = 100, train_on: str = "others") -> HistoryFeature:
    return HistoryFeature.model_validate(
        {"kind": "history", "length": length, "dim": 4, "train_on": train_on, "dropout": dropout}
    )


def batches_of(
    prepared: Prepared, feature: HistoryFeature | None, kind: Negatives, weights: np.ndarray | None = None
) -> Batches:
    events, num_items = prepared.events, prepared.items.num_rows
    numbers = np.arange(num_items, dtype=np.int32) + FIRST_OOV + 1
    return Batches(
        events,
        Histories(events, numbers, feature, prepared.users.num_rows),
        feature,
        Catalog(kind, events, num_items, sample=SAMPLE, logq=True),
        np.ones(len(events), np.float32) if weights is None else weights,
        per_event=feature is not None and feature.train_on == "before",
        whole_users=kind != "in_batch",
    )


def shown_to(batch: Batch, query: int, _: Events | None = None) -> list[int]:
    return (batch.history.items[batch.history.rows == query] - FIRST_OOV - 1).tolist()


def taken_before(batch: Batch, query: int, events: Events) -> list[int]:
    first = batch.events[query]
    return events.items[:first][events.users[:first] == batch.users[query]].tolist()


def taken_by(events: Events, user: int) -> list[int]:
    return events.items[events.users == user].tolist()


def with_targets(data: TrainingData, targets: np.ndarray) -> TrainingData:
    column = pa.array(targets.tolist(), pa.bool_())
    return TrainingData(data.interactions.append_column("target", column), data.users, data.items)


# --- candidates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("train_on", ["before", "others", None])
def test_every_target_is_a_candidate(kind: Negatives, train_on: str | None) -> None:
    prepared = distinct_items()
    feature = None if train_on is None else history(0.4, train_on=train_on)
    known = np.unique(prepared.events.items)
    assert len(known) < prepared.items.num_rows, "some items are not in the training events"
    for batch in batches_of(prepared, feature, kind).epoch(1, 0, 7):
        drawn = batch.drawn
        np.testing.assert_array_equal(drawn.candidates[drawn.columns], batch.items)
        if kind == "in_batch":
            assert np.isin(drawn.candidates, known).all()
            np.testing.assert_array_equal(drawn.candidates, batch.items)
        else:
            assert (np.diff(drawn.candidates) > 0).all(), "each once"
            # What a query is shown is marked, wherever it is a candidate, and nothing else is.
            pairs = zip(drawn.shown_rows, drawn.candidates[drawn.shown_columns], strict=True)
            known_to = taken_before if train_on == "before" else shown_to
            queries = range(len(batch.users))
            excused = {(query, item) for query in queries for item in known_to(batch, query, prepared.events)}
            assert set(pairs) == {(query, item) for query, item in excused if item in drawn.candidates}
        if kind == "full":
            np.testing.assert_array_equal(drawn.candidates, np.arange(prepared.items.num_rows), "nobody's, too")
            assert not drawn.log_inclusion.any()
        if kind == "mixed":
            assert SAMPLE <= len(drawn.candidates) <= SAMPLE + len(set(batch.items.tolist()))


def test_how_likely_an_item_is_a_candidate_is_how_often_it_is_one() -> None:
    random = np.random.default_rng(0)
    probability = 1 / np.arange(1, 41)
    items = np.repeat(np.arange(40), np.round(300 * probability).astype(int)).astype(np.int32)
    events = Events(np.zeros(len(items), np.int32), items, None, pa.table({}))
    nothing, targets, draws = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int32)), 12, 4000
    for logq in (True, False):
        mixed = Catalog("mixed", events, 40, sample=6, logq=logq)
        often, said = np.zeros(40), np.full(40, np.nan)
        for _ in range(draws if logq else 3):
            drawn = mixed.draw(Pairs(np.arange(targets), random.choice(items, targets)), nothing, targets, random)
            often[drawn.candidates] += 1
            said[drawn.candidates] = drawn.log_inclusion
        if logq:
            np.testing.assert_allclose(np.exp(said), often / draws, atol=0.03)
            np.testing.assert_allclose(said, np.log(often / draws), atol=0.15)
        else:
            assert set(said[~np.isnan(said)]) == {0.0}
    # In a batch of targets alone a place holds an item as often as it is taken.
    drawn = Catalog("in_batch", events, 40, sample=6, logq=True).draw(
        Pairs(np.arange(40), np.arange(40)), nothing, 40, random
    )
    np.testing.assert_allclose(np.exp(drawn.log_inclusion), np.bincount(items) / len(items), rtol=1e-5)


def test_a_sample_as_large_as_the_catalog_is_the_catalog() -> None:
    events = distinct_items().events
    catalog = Catalog("mixed", events, 50, sample=10_000, logq=True)
    nothing = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int32))
    drawn = catalog.draw(Pairs(np.zeros(1, np.int64), events.items[:1]), nothing, 1, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.candidates, np.arange(50))
    assert not drawn.log_inclusion.any()


def test_auto_is_the_whole_catalog_where_it_is_small() -> None:
    assert [resolve_negatives(Training(), items) for items in (50_000, 50_001)] == ["full", "mixed"]
    assert resolve_negatives(Training(negatives="in_batch"), 10) == "in_batch"


# --- whole users ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "mixed"])
@pytest.mark.parametrize(("dropout", "length"), [(0.0, 100), (0.4, 100), (0.9, 100), (0.4, 3)])
def test_a_users_events_are_shown_or_targets_and_at_least_one_is_a_target(
    kind: Negatives, dropout: float, length: int
) -> None:
    prepared = distinct_items()
    batches = batches_of(prepared, history(dropout, length), kind)
    shown, taken = 0, 0
    for epoch in range(20):
        asked = []
        for batch in batches.epoch(4, epoch, 8):
            asked += batch.users.tolist()
            for query, user in enumerate(batch.users):
                hidden = batch.items[batch.query_of == query].tolist()
                assert hidden
                assert len(shown_to(batch, query)) <= length
                assert sorted(shown_to(batch, query) + hidden) == sorted(taken_by(prepared.events, user))
                shown, taken = shown + len(shown_to(batch, query)), taken + len(taken_by(prepared.events, user))
        assert sorted(asked) == list(range(30)), "every user once"
    # The share that is shown is uniform between 1 - 2 * dropout and 1, in whole events, and one is always hidden.
    shares = np.clip(1 - 2 * dropout * np.linspace(0, 1, 1001), 0, 1)
    counts = np.bincount(prepared.events.users)
    most = np.minimum(counts - 1, length)
    expected = np.minimum(np.floor(shares[:, None] * counts), most).mean(axis=0).sum() / counts.sum()
    assert shown / taken == pytest.approx(expected, abs=0.02)


def test_without_a_history_all_of_a_users_events_are_targets() -> None:
    prepared = distinct_items()
    for batch in batches_of(prepared, None, "full").epoch(0, 0, 8):
        assert not len(batch.history.items)
        for query, user in enumerate(batch.users):
            assert sorted(batch.items[batch.query_of == query]) == sorted(taken_by(prepared.events, user))


@pytest.mark.parametrize("kind", ["full", "mixed"])
def test_where_queries_depend_on_the_time_each_event_has_its_own(kind: Negatives) -> None:
    prepared = distinct_items()
    batches = batches_of(prepared, history(0.0, train_on="before"), kind)
    assert batches.num_examples == len(prepared.events)
    events = np.concatenate([batch.events for batch in batches.epoch(0, 0, 16)])
    assert sorted(events) == list(range(len(prepared.events)))


def test_short_histories_are_shown_too_where_targets_share_a_query() -> None:
    """A user of a few events has several queries: what one of them hides the others show."""
    prepared = distinct_items()
    for batch in batches_of(prepared, history(0.0), "in_batch").epoch(0, 0, 40):
        for query, user in enumerate(batch.users):
            taken, hidden = taken_by(prepared.events, user), batch.items[batch.query_of == query].tolist()
            assert sorted(shown_to(batch, query) + hidden) == sorted(taken)
            assert len(hidden) <= max(1, len(taken) // 2)


# --- the target column ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("train_on", ["before", "others", None])
def test_what_is_no_target_is_history_only(kind: Negatives, train_on: str | None) -> None:
    data = planted(per_user=8)
    wanted = np.random.default_rng(1).random(data.interactions.num_rows) < 0.5
    wanted &= np.array(data.interactions["user_id"].to_pylist()) != "user 7"
    # An item that is never a target, and one that is always one.
    names = np.array(data.interactions["item_id"].to_pylist())
    wanted = (wanted & (names != "item/4")) | ((names == "item/6") & (np.arange(len(names)) % 8 == 0))
    prepared = prepare(with_targets(data, wanted))
    events = prepared.events
    assert events.targets is not None
    assert 0 < events.targets.sum() < len(events)
    pairs = events.users.astype(np.int64) * 1000 + events.items
    allowed, others = pairs[events.targets], set(pairs[~events.targets]) - set(pairs[events.targets])
    feature = None if train_on is None else history(0.3, train_on=train_on)
    batches = batches_of(prepared, feature, kind)
    shown: set[int] = set()
    for epoch in range(3):
        targets: list[int] = []
        for batch in batches.epoch(3, epoch, 32 if kind == "in_batch" or train_on == "before" else 8):
            targets += (batch.users[batch.query_of].astype(np.int64) * 1000 + batch.items).tolist()
            assert set(batch.query_of.tolist()) == set(range(len(batch.users))), "each query has a target"
            if kind != "in_batch" and train_on == "others":
                for query, user in enumerate(batch.users):
                    both = shown_to(batch, query) + batch.items[batch.query_of == query].tolist()
                    assert set(both) == set(taken_by(events, user)), "all but targets is shown"
            shown |= {
                int(batch.users[query]) * 1000 + item
                for query in range(len(batch.users))
                for item in shown_to(batch, query)
            }
        assert not set(targets) & others
        if kind == "in_batch" or train_on != "others":
            assert sorted(targets) == sorted(allowed), "every target once"
        else:
            assert set(targets) <= set(allowed.tolist())
    assert (train_on is None) == (not shown & others)


def test_the_correction_counts_targets_alone() -> None:
    table = interactions(["u", "u", "u", "v", "v", "v"], ["a", "a", "b", "a", "b", "c"])
    prepared = prepare(with_targets(TrainingData(table), np.array([False, False, True, True, True, False])))
    (batch,) = batches_of(prepared, None, "in_batch").epoch(0, 0, 100)
    share = {0: 1 / 3, 1: 2 / 3}
    assert np.exp(batch.drawn.log_inclusion) == pytest.approx([share[int(item)] for item in batch.items])


# --- weights ----------------------------------------------------------------------------------------------------------


def weights_of(data: TrainingData, **settings: Any) -> np.ndarray:
    return target_weights(small_model(training=settings).training, prepare(data).events)


def relative(values: list[float]) -> np.ndarray:
    return np.array(values) / np.mean(values)


@pytest.mark.parametrize(
    ("user_weight", "of_four", "of_one"), [("events", 1.0, 1.0), ("sqrt", 0.5, 1.0), ("equal", 0.25, 1.0)]
)
def test_user_weights(user_weight: str, of_four: float, of_one: float) -> None:
    """Together four events of a user weigh 4, 2 or 1 times what the only event of another does."""
    data = TrainingData(interactions(["a"] * 4 + ["b"], list("vwxyz")))
    expected = relative([of_four] * 4 + [of_one])
    assert weights_of(data, user_weight=user_weight) == pytest.approx(expected, rel=1e-6)


def test_only_targets_count_for_the_weight_of_a_user() -> None:
    data = TrainingData(interactions(["a"] * 4 + ["b"], list("vwxyz")))
    flagged = with_targets(data, np.array([True, False, False, True, True]))
    weights = weights_of(flagged, user_weight="equal")
    assert weights[[0, 3]] / weights[4] == pytest.approx([0.5, 0.5])


def test_old_events_count_less() -> None:
    times = [START_US, START_US + 10 * DAY_US, START_US + 25 * DAY_US, START_US + 30 * DAY_US]
    data = TrainingData(interactions(["a", "a", "a", "b"], list("wxyz"), times))
    expected = relative([0.5**3 / 3, 0.5**2 / 3, 0.5**0.5 / 3, 1.0])
    assert weights_of(data, user_weight="equal", half_life_days=10.0) == pytest.approx(expected, rel=1e-6)
    timeless = TrainingData(interactions(["a", "a", "a", "b"], list("wxyz")))
    assert weights_of(timeless, user_weight="events", half_life_days=10.0) == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_stays_with_its_event(kind: Negatives) -> None:
    prepared = distinct_items()
    events = prepared.events
    weights = np.random.default_rng(0).random(len(events)).astype(np.float32)
    known = dict(zip(zip(events.users.tolist(), events.items.tolist(), strict=True), weights.tolist(), strict=True))
    for batch in batches_of(prepared, history(0.4), kind, weights).epoch(0, 0, 8):
        pairs = zip(batch.users[batch.query_of].tolist(), batch.items.tolist(), strict=True)
        assert batch.weights.tolist() == [known[pair] for pair in pairs]


@pytest.mark.parametrize("name", ["100k-basic", "100k-context", "100k-deep", "1m-gru"])
def test_the_tutorials_models_have_the_tutorials_negatives(name: str) -> None:
    training = load_config(str(ROOT / "configs" / f"movielens-{name}.yaml"), []).model.training
    assert resolve_negatives(training, 1_682) == "in_batch"
    assert (training.user_weight, training.logq) == ("events", False)
