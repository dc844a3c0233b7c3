"""History layers against NumPy, and that the exported towers do the same in a process without Keras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from model_data import DAY_US, START_US, interactions, planted, small_model

from recbatch.config.models import HistoryFeature, Model
from recbatch.errors import InputError
from recbatch.model import Tower, TrainingData
from recbatch.model.data import Prepared, prepare
from recbatch.model.features import (
    Bags,
    GruLayer,
    HistoryLayer,
    ItemTable,
    LookupLayer,
    RecencyLayer,
)
from recbatch.model.layers.history import TIME_BUCKETS, time_bucket
from recbatch.model.manifest import tower_description
from recbatch.model.serving import export_tower
from recbatch.model.towers import TowerModel, build_towers, trainable_variables

ITEMS = [b"a", b"b", b"c", b"d"]
RAW = [["a", "b", "c", "a", ""], ["", "", "", "", ""], ["d", "new", "b", "", ""], ["c", "", "", "", ""]]
TIMES = [[0, 10, 3_000, 3_000, 0], [0] * 5, [5, 6, 900, 0, 0], [77, 0, 0, 0, 0]]  # seconds
KNOWN = [["a", "b", "c", "a"], [], ["d", "b"], ["c"]]
AGES = [[3_000, 2_990, 0, 0], [], [895, 0], [0]]


def feature_of(**settings: Any) -> HistoryFeature:
    return HistoryFeature.model_validate({"kind": "history", "length": 5, "dim": 3, **settings})


def looked_up(layer: HistoryLayer) -> Bags:
    return layer.lookup(tf.constant(RAW), tf.constant(TIMES, tf.int64) * 1_000_000 + START_US)


def embedded(layer: HistoryLayer, item: str) -> np.ndarray:
    return layer.embedding.embeddings.numpy()[2 + ITEMS.index(item.encode())]


@pytest.mark.parametrize("length", [5, 3, 1])
@pytest.mark.parametrize("time_gate", [True, False])
def test_recency_is_the_sum_of_items_gated_by_place_and_age(length: int, time_gate: bool) -> None:
    feature = feature_of(pooling="recency", length=length, time_gate=time_gate)
    layer = RecencyLayer(feature, ITEMS, seed=1, longest=5)
    assert layer.needs_times == time_gate
    random = np.random.default_rng(0)
    position = random.normal(size=(length, 3))
    layer.position.assign(position)
    time = random.normal(size=(TIME_BUCKETS, 3)) if time_gate else np.ones((TIME_BUCKETS, 3))
    if layer.time is not None:
        layer.time.assign(time)
    expected = np.zeros((4, 3))
    for row, (items, ages) in enumerate(zip(KNOWN, AGES, strict=True)):
        for rank, (item, age) in enumerate(zip(items[::-1][:length], ages[::-1], strict=False)):
            expected[row] += embedded(layer, item) * position[rank] * time[int(np.log2(1 + age))]
    bags = looked_up(layer)
    np.testing.assert_allclose(layer(bags), expected, rtol=1e-5, atol=1e-7)
    assert layer.known(bags).numpy().tolist() == [True, False, True, True]
    assert bags.age is not None
    later = bags._replace(age=bags.age + 12_345.0)
    np.testing.assert_allclose(layer(later), expected, rtol=1e-5, atol=1e-7)


def test_the_gates_start_falling_and_without_times_flat() -> None:
    layer = RecencyLayer(feature_of(pooling="recency"), ITEMS, seed=1)
    for gate in (layer.position, layer.time):
        assert gate is not None
        assert (np.diff(gate.numpy(), axis=0) < 0).all()
        assert gate.numpy()[0].tolist() == [1, 1, 1]
    untimed = RecencyLayer(feature_of(pooling="recency"), ITEMS, seed=1, timed=False)
    assert (untimed.position.numpy() == 1).all()
    assert untimed.time is None


def test_time_buckets_are_powers_of_two_of_the_age_after_the_newest_of_the_row() -> None:
    ages = [0, 0.9, 1, 2.9, 3, 6.9, 7, 86_400, 4e9]
    bags = Bags(tf.fill([10], 2), tf.constant([0] * 9 + [1]), tf.constant(2), tf.constant([*ages, 500.0], tf.float32))
    assert time_bucket(bags).numpy().tolist() == [0, 0, 1, 1, 2, 2, 3, 16, 31, 0]


def test_a_shared_table_is_pooled_over_the_newest_and_weighed() -> None:
    ids = LookupLayer(ITEMS, 3, oov_buckets=3, dropout=0.0, seed=1)
    layer = HistoryLayer(feature_of(length=2, pooling="mean"), ITEMS, seed=2, table=ItemTable.of_ids(ids), longest=5)
    assert layer.scale is not None
    layer.scale.assign([1.0, 2.0, -1.0])
    table = dict(zip("abcd", ids.embedding.embeddings.numpy()[4:], strict=True))
    expected = [(table["c"] + table["a"]) / 2, np.zeros(3), (table["d"] + table["b"]) / 2, table["c"]]
    np.testing.assert_allclose(layer(looked_up(layer)), np.array(expected) * [1, 2, -1], rtol=1e-6)
    assert len(layer.trainable_variables) == 2


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("length", "units"), [(5, None), (2, 6)])
def test_a_gru_reads_from_the_oldest_to_the_newest(length: int, units: int | None, shared: bool) -> None:
    ids = LookupLayer(ITEMS, 3, oov_buckets=3, dropout=0.0, seed=1)
    table = ItemTable.of_ids(ids) if shared else None
    layer = GruLayer(feature_of(pooling="gru", length=length, units=units), ITEMS, seed=1, table=table, longest=5)
    layer.gru.cell.bias.assign(np.random.default_rng(1).normal(size=layer.gru.cell.bias.shape))
    weights = ids.embedding.embeddings.numpy()[4:] if shared else layer.embedding.embeddings.numpy()[2:]
    rows = [
        numpy_gru(layer, [weights[ITEMS.index(item.encode())] for item in items[-length:]] if items else [])
        for items in KNOWN
    ]
    assert layer.width == (units or 3)
    np.testing.assert_allclose(layer(looked_up(layer)), rows, rtol=1e-4, atol=1e-6)


def numpy_gru(layer: GruLayer, inputs: list[np.ndarray]) -> np.ndarray:
    """The last state; gates in Keras' order (update, reset, candidate), reset after the matrix product."""
    kernel, recurrent, bias = (weight.numpy().astype(np.float64) for weight in layer.gru.weights)
    state = np.zeros(layer.width)
    for vector in inputs:
        from_input, from_state = vector @ kernel + bias[0], state @ recurrent + bias[1]
        update, reset, new = np.split(from_input, 3)
        update_state, reset_state, new_state = np.split(from_state, 3)
        gate = 1 / (1 + np.exp(-(update + update_state)))
        candidate = np.tanh(new + new_state / (1 + np.exp(-(reset + reset_state))))
        state = gate * state + (1 - gate) * candidate
    return state


def sequential(embedding: str = "candidate", **settings: Any) -> Model:
    """Every encoder at once, with one item embedding for all and for the candidates."""
    common = {"kind": "history", "dim": 8, "embedding": embedding}
    features: list[dict[str, Any]] = [
        {**common, "name": "last", "pooling": "recency", "length": 4, **settings},
        {**common, "name": "read", "pooling": "gru", "length": 5, "units": 6, **settings},
        {**common, "name": "all", "length": 9, **settings},
    ]
    candidate = {"features": [{"kind": "id", "dim": 8, "min_count": 2, "oov_buckets": 2}]}
    return small_model(query={"features": features, "combine": "sum"}, candidate=candidate, normalize=True)


def towers_of(model: Model, data: TrainingData) -> tuple[TowerModel, TowerModel, Prepared]:
    prepared = prepare(data)
    query, candidate = build_towers(model, prepared, prepared.events)
    random = np.random.default_rng(4)
    for variable in trainable_variables(query, candidate):
        variable.assign(variable + random.normal(size=variable.shape, scale=0.2))
    return query, candidate, prepared


def profiles_of(prepared: Prepared) -> pa.Table:
    """The users with their whole histories, oldest first, and one whose history is unknown and one with none."""
    events = prepared.events
    assert events.times_us is not None
    counts = np.bincount(events.users, minlength=prepared.users.num_rows)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    history = pa.ListArray.from_arrays(offsets, prepared.items["id"].take(pa.array(events.items)).combine_chunks())
    times = pa.ListArray.from_arrays(offsets, pa.array(events.times_us))
    table = pa.table({"id": prepared.users["id"], "history": history, "history_timestamps": times})
    strangers = pa.table(
        {"id": ["x", "y"], "history": [["unheard of"], None], "history_timestamps": [[START_US], None]}, table.schema
    )
    return pa.concat_tables([table, strangers])


def test_an_embedding_that_two_towers_share_is_one_weight() -> None:
    query, candidate, prepared = towers_of(sequential(), planted())
    ids = candidate.learnt.layers["id"]
    assert isinstance(ids, LookupLayer)
    layers = [layer for layer in query.learnt.layers.values() if isinstance(layer, HistoryLayer)]
    assert len(layers) == 3
    assert all(layer.embedding is ids.embedding for layer in layers)
    variables = trainable_variables(query, candidate)
    assert len({variable.ref() for variable in variables}) == len(variables)
    assert sum(variable.shape[0] == ids.embedding.input_dim for variable in variables) == 1
    assert prepared.events.times_us is not None

    own, _, _ = towers_of(sequential("own"), planted())
    assert len({id(layer.embedding) for layer in own.learnt.layers.values() if isinstance(layer, HistoryLayer)}) == 3


def test_one_history_is_drawn_for_all_features_of_a_tower() -> None:
    query, _, prepared = towers_of(sequential(dropout=0.25), planted())
    drawn = query.history_feature
    assert drawn is not None
    assert (drawn.length, drawn.train_on, drawn.dropout) == (9, "before", 0.25)
    assert query.learnt.needs_times
    assert query.per_event
    rare = interactions(["u", "u", "v"], ["x", "y", "x"], [START_US, START_US + DAY_US, START_US])
    query, candidate, _ = towers_of(sequential(), TrainingData(rare))
    sizes = query.learnt.layers["history:all"].size, candidate.learnt.layers["id"].size
    assert sizes == (1, 1), "min_count holds for both"
    assert prepared.items.num_rows == 40


def test_without_timestamps_the_time_gate_is_off_and_said_so() -> None:
    model = sequential()
    query, _, _ = towers_of(model, planted(timestamps=False))
    assert not query.learnt.needs_times
    assert query.history_feature is not None
    assert query.history_feature.train_on == "others"
    features = {entry["name"]: entry for entry in tower_description(query, model)["features"]}
    assert "the time gate is off: the interactions have no timestamps" in features["history:last"]["remark"]
    assert "time gate" not in features["history:all"]["remark"]
    assert [entry["name"] for entry in tower_description(query, model)["inputs"]] == ["history"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TowerModel, Model, Prepared]:
    folder, model = tmp_path_factory.mktemp("history") / "query", sequential()
    query, _, prepared = towers_of(model, planted())
    export_tower(query, folder)
    return folder, query, model, prepared


def test_an_exported_tower_says_what_the_layers_say(exported: tuple[Path, TowerModel, Model, Prepared]) -> None:
    folder, query, model, prepared = exported
    description = tower_description(query, model)
    assert [(entry["name"], entry["dtype"], entry["length"]) for entry in description["inputs"]] == [
        ("history", "string", 9),
        ("history_timestamps", "int64", 9),
    ]
    profiles = profiles_of(prepared)
    vectors, known = Tower(folder, description).embed(profiles)
    assert known.tolist() == [True] * 60 + [False, False]

    events = prepared.events
    assert events.times_us is not None
    ends = np.cumsum(np.bincount(events.users))
    rank = ends[events.users] - 1 - np.arange(len(events))
    layer = query.learnt.layers["history:all"]
    numbers = layer.encode(prepared.items["id"])[events.items]
    kept = (rank < 9) & (numbers > 1)
    ages = (events.times_us[ends - 1][events.users] - events.times_us) / 1e6
    arrays = tf.constant(numbers[kept]), tf.constant(events.users[kept]), tf.constant(60)
    bags = Bags(*arrays, tf.constant(ages[kept], tf.float32))
    np.testing.assert_allclose(vectors[:60], query({"history": bags}), rtol=1e-5, atol=1e-6)


def test_a_row_has_the_same_bits_however_it_is_batched(exported: tuple[Path, TowerModel, Model, Prepared]) -> None:
    folder, query, model, prepared = exported
    tower, profiles = Tower(folder, tower_description(query, model)), profiles_of(prepared)
    whole, _ = tower.embed(profiles)
    order = np.random.default_rng(1).permutation(40 * profiles.num_rows)
    vectors, _ = tower.embed(pa.concat_tables([profiles] * 40).take(order))
    np.testing.assert_array_equal(vectors, np.tile(whole, (40, 1))[order])
    np.testing.assert_array_equal(tower.embed(profiles.slice(7, 1))[0], whole[7:8])


def test_each_item_of_a_history_has_its_time(exported: tuple[Path, TowerModel, Model, Prepared]) -> None:
    folder, query, model, prepared = exported
    tower, profiles = Tower(folder, tower_description(query, model)), profiles_of(prepared)
    with pytest.raises(InputError, match="reads 'history_timestamps' of each user"):
        tower.embed(profiles.drop_columns("history_timestamps"))
    uneven = profiles.slice(0, 2).set_column(2, "history_timestamps", pa.array([None, [1]], pa.list_(pa.int64())))
    with pytest.raises(InputError, match="row 0 of the users has 12 items in 'history', but 0 times"):
        tower.embed(uneven)


_FRESH = """
import sys
for name in ("tf_keras", "keras", "tensorflow_recommenders", "recbatch"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
folder, asked, answers = sys.argv[1:]
asked = np.load(asked)
call = tf.saved_model.load(folder).signatures["serving_default"]
found = call(history=tf.constant(asked["history"]), history_timestamps=tf.constant(asked["times"]))
np.savez(answers, embedding=found["embedding"], known=found["known"])
"""


@pytest.mark.heavy
def test_a_fresh_process_without_keras_gives_the_same(
    exported: tuple[Path, TowerModel, Model, Prepared], tmp_path: Path
) -> None:
    folder, query, model, prepared = exported
    profiles = profiles_of(prepared).slice(0, 20)
    vectors, _ = Tower(folder, tower_description(query, model)).embed(profiles)
    history = [row[-9:] + [""] * (9 - len(row)) for row in profiles["history"].to_pylist()]
    times = [row[-9:] + [0] * (9 - len(row)) for row in profiles["history_timestamps"].to_pylist()]
    np.savez(tmp_path / "asked.npz", history=np.array(history), times=np.array(times, np.int64))
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    words = [sys.executable, "-c", _FRESH, str(folder), str(tmp_path / "asked.npz"), str(tmp_path / "answers.npz")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "answers.npz")
    np.testing.assert_allclose(answers["embedding"], vectors, rtol=1e-5, atol=1e-6)
    assert answers["known"].all()
