"""Preprocessing values against NumPy, and that the served graph and the training arrays are the same."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from recbatch.config.models import HistoryFeature, TimestampFeature
from recbatch.model.columns import coded, coded_lists, cut_lists, vocabulary
from recbatch.model.features import (
    HistoryLayer,
    LookupLayer,
    MultiCategoryLayer,
    NumberLayer,
    TextLayer,
    TimestampLayer,
)


def test_a_vocabulary_is_ordered_by_count_then_bytes() -> None:
    values = pa.chunked_array([["b", "z", None, "a"], ["b", "", "é", "a", "b"]])
    assert vocabulary(values) == [b"b", b"a", b"z", "é".encode()]
    assert vocabulary(values, min_count=2) == [b"b", b"a"]
    assert vocabulary(values, most=1) == [b"b"]
    assert vocabulary(pa.array(["x", "y", "z"]), np.array([1, 5, 0])) == [b"y", b"x"]


def test_ids_are_looked_up_alike_in_and_out_of_the_graph() -> None:
    ids = ["a b", 'quo"te', "new\nline", "sl/ash", "🎬", "x" * 1024]
    layer = LookupLayer([value.encode() for value in ids], 4, oov_buckets=2, dropout=0.0, seed=1)
    column = pa.chunked_array([[*ids, "unknown"], pa.array([None], pa.string())])
    encoded = layer.encode(column)
    assert encoded[:6].tolist() == [3, 4, 5, 6, 7, 8]
    assert encoded[6] in (1, 2)
    assert encoded[7] == 0
    assert layer.lookup(tf.constant([*ids, "unknown", ""])).numpy().tolist() == encoded.tolist()
    assert layer.known(tf.constant(encoded)).numpy().tolist() == [True] * 6 + [False, False]
    vectors = layer(tf.constant(encoded)).numpy()
    assert (vectors[6:] == 0).all(), "what training has not seen says nothing"
    assert (vectors[:6] == layer.embedding.embeddings.numpy()[3:]).all()


def test_dropout_takes_whole_vectors_by_the_seed_alone() -> None:
    layer = LookupLayer([b"a"], 4, oov_buckets=1, dropout=0.5, seed=1)
    encoded, seed = tf.fill([1000], 2), tf.constant([1, 2])
    dropped = (layer(encoded, seed=seed).numpy() == 0).all(axis=1)
    assert 0.4 < dropped.mean() < 0.6
    assert (dropped == (layer(encoded, seed=seed).numpy() == 0).all(axis=1)).all()
    assert not (layer(encoded).numpy() == 0).any()


def test_several_values_are_averaged_without_the_padding() -> None:
    layer = MultiCategoryLayer([b"x", b"y", b"z"], length=3, dim=4, seed=1)
    column = pa.array([["x", "z"], [], None, ["y", "unknown"], ["x", "x", "y", "z"]])
    encoded = layer.encode(column)
    assert encoded.tolist() == [[2, 4, 0], [0, 0, 0], [0, 0, 0], [3, 1, 0], [2, 2, 3]]
    raw = [["x", "z", ""], ["", "", ""], ["", "", ""], ["y", "unknown", ""], ["x", "x", "y"]]
    assert layer.lookup(tf.constant(raw)).numpy().tolist() == encoded.tolist()
    assert layer.known(tf.constant(encoded)).numpy().tolist() == [True, False, False, True, True]
    weights = layer.embedding.embeddings.numpy()
    expected = [
        (weights[2] + weights[4]) / 2,
        weights[0],
        weights[0],
        weights[3] / 2,
        (2 * weights[2] + weights[3]) / 3,
    ]
    np.testing.assert_allclose(layer(tf.constant(encoded)), expected, rtol=1e-6)


def test_values_are_averaged_to_the_same_bits_however_batched() -> None:
    layer = MultiCategoryLayer([b"x", b"y", b"z"], length=9, dim=5, seed=1)
    encoded = np.random.default_rng(0).integers(0, 5, (300, 9))
    whole = layer(tf.constant(encoded)).numpy()
    assert (
        np.concatenate([layer(tf.constant(encoded[place : place + 7])) for place in range(0, 300, 7)]) == whole
    ).all()
    assert layer(tf.constant(encoded[:0])).shape == (0, 5)


def test_texts_are_words_in_lower_case_without_punctuation() -> None:
    layer = TextLayer(["straße".encode(), b"the"], length=3, dim=4, seed=1)
    column = pa.array(["The STRAßE!", "the, the unknown the", None, " "])
    encoded = layer.encode(column)
    assert encoded.tolist() == [[3, 2, 0], [3, 3, 1], [0, 0, 0], [0, 0, 0]]
    raw = tf.constant(["The STRAßE!", "the, the unknown the", "", " "])
    assert layer.lookup(raw).numpy().tolist() == encoded.tolist()
    assert layer.known(tf.constant(encoded)).numpy().tolist() == [True, True, False, False]


def test_numbers_are_normalised_and_a_null_is_the_mean() -> None:
    training = np.array([1.0, 2.0, 6.0])
    layer = NumberLayer(training.mean(), training.var())
    encoded = layer.encode(pa.array([6.0, None, 3.0], pa.float32()))
    np.testing.assert_allclose(layer(tf.constant(encoded)), [[3 / training.std()], [0], [0]], atol=1e-6)
    assert layer.known(tf.constant(encoded)).numpy().tolist() == [True, False, True]


def microseconds(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1e6)


def test_times_give_bins_position_hour_and_weekday_and_are_clamped() -> None:
    training = np.array(
        [microseconds("2024-01-01T00:00"), microseconds("2024-01-02T06:00"), microseconds("2024-01-05T00:00")]
    )
    feature = TimestampFeature(kind="timestamp", bins=4, dim=2, normalized=True, hour_of_day=True, weekday=True)
    layer = TimestampLayer(feature, training, seed=1)
    asked = ["2024-01-02T23:59:59", "2024-01-03T01:00", "2031-05-05T05:00", "1999-01-01T12:00"]
    vectors = layer(tf.constant([microseconds(text) for text in asked])).numpy()
    positions = (training - training[0]) / (training[-1] - training[0])
    inside = [(1 + 86399 / 86400) / 4, (2 + 1 / 24) / 4, 1.0, 0.0]
    np.testing.assert_allclose(vectors[:, 0], (inside - positions.mean()) / positions.std(), rtol=1e-5)
    tables = {name: embedding.embeddings.numpy() for name, embedding in layer.embeddings.items()}
    bins, hours, weekdays = [1, 2, 3, 0], [23, 1, 0, 0], [2, 3, 5, 1]  # 2024-01-01 is a Monday; Sunday is 0
    np.testing.assert_array_equal(vectors[:, 1:3], tables["bin"][bins])
    np.testing.assert_array_equal(vectors[:, 3:5], tables["hour"][hours])
    np.testing.assert_array_equal(vectors[:, 5:7], tables["weekday"][weekdays])
    assert not layer.known(tf.constant(training)).numpy().any(), "the time says nothing about a user"


def test_all_events_at_one_instant_give_finite_times() -> None:
    layer = TimestampLayer(TimestampFeature(kind="timestamp", bins=3), np.array([5, 5]), seed=1)
    assert np.isfinite(layer(tf.constant([5, 10**15])).numpy()).all()


@pytest.mark.parametrize(("pooling", "power"), [("mean", 1.0), ("sqrt", 0.5)])
def test_a_history_is_pooled_over_its_known_items(pooling: str, power: float) -> None:
    feature = HistoryFeature.model_validate({"kind": "history", "length": 4, "dim": 3, "pooling": pooling})
    layer = HistoryLayer(feature, [b"a", b"b"], seed=1)
    bags = layer.lookup(tf.constant([["a", "b", "a", ""], ["", "", "", ""], ["unknown", "b", "", ""]]))
    weights = layer.embedding.embeddings.numpy()
    expected = [(2 * weights[2] + weights[3]) / 3**power, np.zeros(3), weights[3]]
    np.testing.assert_allclose(layer(bags), expected, rtol=1e-6)
    assert layer.known(bags).numpy().tolist() == [True, False, True]


def test_columns_become_codes_and_come_back() -> None:
    codes, distinct = coded(pa.chunked_array([["a", None], ["b", "a"]]))
    assert tf.gather(distinct, codes).numpy().tolist() == [b"a", b"", b"b", b"a"]
    lists = pa.chunked_array([[["a", "b", "c"], None], [[], ["d", None]]]).slice(0, 4)
    first, values = coded_lists(lists, 2)
    assert tf.gather(values, first).numpy().tolist() == [[b"a", b"b"], [b"", b""], [b"", b""], [b"d", b""]]
    last, values = coded_lists(lists.slice(0, 1), 2, newest=True)
    assert tf.gather(values, last).numpy().tolist() == [[b"b", b"c"]]


def test_lists_are_cut_to_their_first_or_newest_values() -> None:
    lists = pa.chunked_array([[["a", "b", "c"], None], [[], ["d", None]]])
    values, splits = cut_lists(lists, 2)
    assert (values.to_pylist(), splits.tolist()) == (["a", "b", "d", None], [0, 2, 2, 2, 4])
    values, splits = cut_lists(lists.slice(0, 1), 2, newest=True)
    assert (values.to_pylist(), splits.tolist()) == (["b", "c"], [0, 2])
    values, splits = cut_lists(lists, 3)
    assert (values.to_pylist(), splits.tolist()) == (["a", "b", "c", "d", None], [0, 3, 3, 3, 5])
