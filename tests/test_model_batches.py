"""Which events, whose query, what history: the target is never in its own history."""

from __future__ import annotations

import numpy as np
import pytest
from model_data import START_US, interactions, planted

from recbatch.config.models import HistoryFeature
from recbatch.model import TrainingData
from recbatch.model.batches import Batch, Batches
from recbatch.model.data import Events, prepare
from recbatch.model.features import FIRST_OOV
from recbatch.model.histories import Histories
from recbatch.model.negatives import Catalog, Negatives


def feature_of(train_on: str, dropout: float = 0.0, length: int = 5) -> HistoryFeature:
    return HistoryFeature.model_validate(
        {"kind": "history", "length": length, "dim": 4, "train_on": train_on, "dropout": dropout}
    )


def batches_of(
    events: Events,
    feature: HistoryFeature | None,
    num_users: int,
    num_items: int,
    negatives: Negatives = "in_batch",
    *,
    mask_shown: bool = True,
) -> Batches:
    numbers = np.arange(num_items, dtype=np.int32) + FIRST_OOV + 1  # history numbers that can be told back to items
    histories = Histories(events, numbers, feature, num_users)
    per_event = feature is not None and feature.train_on == "before"
    catalog = Catalog(negatives, events, num_items, sample=10, logq=True)
    weights = np.ones(len(events), np.float32)
    whole = negatives != "in_batch"
    return Batches(
        events, histories, feature, catalog, weights, per_event=per_event, whole_users=whole, mask_shown=mask_shown
    )


@pytest.fixture(scope="module")
def events() -> Events:
    return prepare(planted()).events


def history_of(batch: Batch, query: int) -> list[int]:
    return (batch.history.items[batch.history.rows == query] - FIRST_OOV - 1).tolist()


@pytest.mark.parametrize("train_on", ["before", "others", None])
def test_an_epoch_has_every_event_once_in_batches_of_nearly_equal_size(events: Events, train_on: str | None) -> None:
    batches = batches_of(events, feature_of(train_on) if train_on else None, 60, 40)
    epoch = list(batches.epoch(1, 0, 100))
    assert len(epoch) == batches.steps_per_epoch(100) == 8
    pairs = np.concatenate([batch.users[batch.query_of] * 1000 + batch.items for batch in epoch])
    assert sorted(pairs) == sorted(events.users * 1000 + events.items)
    sizes = [len(batch.items) for batch in epoch]
    assert min(sizes) > 60
    assert max(sizes) < 130


def test_epochs_differ_and_are_the_same_when_drawn_again_from_the_middle(events: Events) -> None:
    batches = batches_of(events, feature_of("others", dropout=0.4), 60, 40)
    whole, rest = list(batches.epoch(1, 3, 100)), list(batches.epoch(1, 3, 100, start=5))
    for expected, again in zip(whole[5:], rest, strict=True):
        for name, array in expected.arrays().items():
            np.testing.assert_array_equal(array, again.arrays()[name])
    assert next(batches.epoch(1, 4, 100)).items.tolist() != whole[0].items.tolist()


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("train_on", ["before", "others"])
def test_no_target_is_in_its_own_history_nor_a_negative(events: Events, train_on: str, dropout: float) -> None:
    batches = batches_of(events, feature_of(train_on, dropout, length=8), 60, 40)
    times = events.times_us
    assert times is not None
    shown = 0
    for epoch in range(3):
        for batch in batches.epoch(7, epoch, 100):
            for query in range(len(batch.users)):
                history, targets = history_of(batch, query), batch.items[batch.query_of == query]
                assert not set(history) & set(targets.tolist())
                assert len(history) <= 8
                assert set(history) <= set(events.items[events.users == batch.users[query]].tolist())
                shown_to_it = batch.drawn.shown_columns[batch.drawn.shown_rows == query]
                negatives = np.delete(batch.drawn.candidates, shown_to_it)
                excused = set(history)
                if train_on == "before":  # what dropout hides was taken all the same
                    earlier = (events.users == batch.users[query]) & (times < times[batch.events[query]])
                    excused = set(events.items[earlier].tolist())
                assert set(negatives.tolist()) == set(batch.items.tolist()) - excused - set(targets.tolist())
                shown += len(history)
    assert shown > 500


@pytest.mark.parametrize("negatives", ["full", "mixed", "in_batch"])
def test_where_everything_competes_nothing_is_gathered_and_all_else_stays(events: Events, negatives: Negatives) -> None:
    usual = batches_of(events, feature_of("before"), 60, 40, negatives)
    without = batches_of(events, feature_of("before"), 60, 40, negatives, mask_shown=False)
    for expected, found in zip(usual.epoch(1, 0, 100), without.epoch(1, 0, 100), strict=True):
        assert len(expected.drawn.shown_rows) > len(found.drawn.shown_rows)
        for name, array in expected.arrays().items():
            if not name.startswith("shown_"):
                np.testing.assert_array_equal(array, found.arrays()[name])


def test_before_means_strictly_earlier_and_newest_first_to_stay() -> None:
    times = [START_US + t for t in (10, 20, 20, 30, 40)]
    table = interactions(["u"] * 5, ["i0", "i1", "i2", "i3", "i4"], times)
    events = prepare(TrainingData(table)).events
    (batch,) = batches_of(events, feature_of("before", length=2), 1, 5).epoch(0, 0, 100)
    seen = {int(item): history_of(batch, row) for row, item in enumerate(batch.items)}
    assert seen == {0: [], 1: [0], 2: [0], 3: [1, 2], 4: [2, 3]}


def test_a_repeated_item_is_taken_out_of_the_history_of_its_repetition() -> None:
    table = interactions(["u"] * 4, ["a", "b", "a", "c"], [START_US + t for t in range(4)])
    events = prepare(TrainingData(table)).events
    (batch,) = batches_of(events, feature_of("before"), 1, 3).epoch(0, 0, 100)
    histories = sorted((int(item), history_of(batch, row)) for row, item in enumerate(batch.items))
    assert histories == [(0, []), (0, [1]), (1, [0]), (2, [0, 1, 0])]


def test_dropout_hides_the_given_share_on_average(events: Events) -> None:
    def shown(dropout: float, train_on: str) -> float:
        batches = batches_of(events, feature_of(train_on, dropout, length=100), 60, 40)
        return sum(len(batch.history.items) for epoch in range(20) for batch in batches.epoch(1, epoch, 100))

    for train_on in ("before", "others"):
        assert shown(0.3, train_on) / shown(0.0, train_on) == pytest.approx(0.7, abs=0.05)


def test_a_night_sees_the_newest_training_positives(events: Events) -> None:
    histories = Histories(events, np.arange(40, dtype=np.int32) + 2, feature_of("before", length=3), 60)
    shown = histories.at(np.array([4, 4, 9]), None)
    items, rows = shown.items, shown.rows
    assert rows.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert items[:3].tolist() == events.items[events.users == 4][-3:].tolist()
    assert events.times_us is not None
    times = events.times_us[events.users == 4]
    shown = histories.at(np.array([4, 4]), np.array([times[2], times[0]]))
    items, rows = shown.items, shown.rows
    assert items.tolist() == events.items[events.users == 4][:2].tolist()
    assert rows.tolist() == [0, 0]


def test_events_do_not_depend_on_the_order_of_the_rows() -> None:
    data = planted()
    shuffled = data.interactions.take(np.random.default_rng(0).permutation(data.interactions.num_rows))
    first, second = prepare(data).events, prepare(TrainingData(shuffled, data.users, data.items)).events
    for name in ("users", "items", "times_us"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_only_positives_train_and_unknown_ids_join_the_tables() -> None:
    table = interactions(["b", "a", "new"], ["x", "y", "z"], positive=[True, False, True])
    prepared = prepare(TrainingData(table, users=planted().users, items=None))
    assert prepared.items["id"].to_pylist() == ["x", "y", "z"]
    assert prepared.users.num_rows == 63
    assert prepared.users["id"].to_pylist() == sorted(prepared.users["id"].to_pylist(), key=str.encode)
    names = prepared.users["id"].take(prepared.events.users).to_pylist()
    assert sorted(names) == ["b", "new"]
