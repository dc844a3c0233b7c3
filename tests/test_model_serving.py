"""Exported towers and retrievers: without Keras, in a fresh process, and the same bits however rows are batched."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from model_data import START_US, every_feature, interactions, planted, small_model

from recbatch.errors import InputError
from recbatch.model import Tower, TrainingData, load_tower, read_manifest, train_bundle

NOW_US = START_US + 10**12


def users_of(data: TrainingData, count: int = 60) -> pa.Table:
    """Profiles of the planted users, and of two unknown ones: the first with a known taste."""
    assert data.users is not None
    taken: dict[str, list[str]] = {user: [] for user in data.users["id"].to_pylist()}
    for user, item in zip(*(data.interactions[name].to_pylist() for name in ("user_id", "item_id")), strict=True):
        taken[user].append(item)
    newcomers = pa.table({"id": ["nobody", "no one"], "feature:taste": ["odd", None]})
    table = pa.concat_tables([data.users.slice(0, count), newcomers], promote_options="default")
    device = [["phone", "desk", None][n % 3] for n in range(count)] + [None, "unheard of"]
    history: list[list[str] | None] = [*list(taken.values())[:count], [], None]
    table = table.append_column("context:device", pa.array(device))
    return table.append_column("history", pa.array(history, pa.list_(pa.string())))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bundles: ``exact`` with every feature, and ``scann`` with 300 items."""
    folder = tmp_path_factory.mktemp("serving")
    learnt = {
        "min_steps": 100,
        "learning_rate": 0.02,
        "refit": False,
    }  # ScaNN looks for clusters; chance vectors have none
    scann = small_model(training=learnt, retriever={"layer": "scann", "k": 10})
    for name, model, data in (
        ("exact", every_feature(), planted()),
        ("scann", scann, planted(num_items=300, per_user=40)),
    ):
        train_bundle(model, data, str(folder / name), work_folder=str(folder / "w"), as_of_us=None, fingerprint=name)
    return folder


@pytest.fixture(scope="module")
def query(trained: Path) -> Tower:
    return load_tower(str(trained / "exact"), "query")


def test_a_row_has_the_same_bits_however_it_is_batched(query: Tower) -> None:
    profiles = users_of(planted())
    whole, known = query.embed(profiles, NOW_US)
    assert whole.shape == (62, 8)
    assert whole.dtype == np.float32
    many = pa.concat_tables([profiles] * 40)  # several blocks, each row at many places of them
    order = np.random.default_rng(1).permutation(many.num_rows)
    vectors, known_too = query.embed(many.take(order), NOW_US)
    np.testing.assert_array_equal(vectors, np.tile(whole, (40, 1))[order])
    np.testing.assert_array_equal(known_too, np.tile(known, 40)[order])
    for start, count in ((0, 1), (5, 7), (61, 1)):
        np.testing.assert_array_equal(
            query.embed(profiles.slice(start, count), NOW_US)[0], whole[start : start + count]
        )
    assert query.embed(profiles.slice(0, 0), NOW_US)[0].shape == (0, 8)


def test_cold_is_who_training_knows_nothing_of(query: Tower, trained: Path) -> None:
    _, known = query.embed(users_of(planted()), NOW_US)
    assert known.tolist() == [True] * 60 + [True, False]
    candidate = load_tower(str(trained / "exact"), "candidate")
    items = pa.table(
        {"id": ["new", "newer", "item/3"], "feature:name": ["thing", "?!", None], "feature:tags": [None] * 3}
    )
    items = items.set_column(2, "feature:tags", pa.array([["unknown"], [], None], pa.list_(pa.string())))
    assert candidate.embed(items)[1].tolist() == [True, False, True]


def test_the_as_of_time_is_clamped_to_the_training_range(query: Tower) -> None:
    profiles, times = users_of(planted()), planted().interactions["timestamp"].to_numpy()
    np.testing.assert_array_equal(query.embed(profiles, 4 * 10**15)[0], query.embed(profiles, int(times.max()))[0])
    np.testing.assert_array_equal(query.embed(profiles, 0)[0], query.embed(profiles, int(times.min()))[0])
    assert (query.embed(profiles, 0)[0] != query.embed(profiles, 4 * 10**15)[0]).any()


def test_only_the_newest_of_a_long_history_count(query: Tower) -> None:
    profiles = users_of(planted())
    cut = pa.array([(history or [])[-6:] for history in profiles["history"].to_pylist()], pa.list_(pa.string()))
    shorter = profiles.set_column(profiles.schema.get_field_index("history"), "history", cut)
    np.testing.assert_array_equal(query.embed(profiles, NOW_US)[0], query.embed(shorter, NOW_US)[0])


def test_a_tower_can_be_weakly_referenced_and_says_what_it_misses(query: Tower) -> None:
    assert weakref.ref(query)() is query
    assert (query.entity, query.dim, query.needs_time) == ("user", 8, True)
    profiles = users_of(planted())
    with pytest.raises(InputError, match="has a time feature, but there is no as-of time"):
        query.embed(profiles)
    with pytest.raises(InputError, match="reads 'feature:age' of each user"):
        query.embed(profiles.drop_columns("feature:age"), NOW_US)


_FRESH = """
import sys
for name in ("tf_keras", "keras", "tensorflow_recommenders", "recbatch"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
folder, answers = sys.argv[1:]
exact = {
    "user_id": ["user 3", "nobody"], "taste": ["odd", ""], "device": ["desk", ""], "age": [23.0, float("nan")],
    "timestamp": np.array([1_701_000_000_000_000] * 2), "history": [["item/1", "item/5"] + [""] * 4, [""] * 6],
}
exact = {name: tf.constant(value) for name, value in exact.items()}
exact["age"] = tf.cast(exact["age"], tf.float32)
query = tf.saved_model.load(folder + "/exact/query").signatures["serving_default"](**exact)
loaded = tf.saved_model.load(folder + "/exact/retriever")
found = loaded.signatures["serving_default"](**exact)
scores, ids = loaded(exact)
assert (ids.numpy() == found["ids"].numpy()).all() and (scores.numpy() == found["scores"].numpy()).all()
import scann
everybody = tf.constant([f"user {n}" for n in range(60)])
approximate = tf.saved_model.load(folder + "/scann/retriever").signatures["serving_default"](user_id=everybody)
np.savez(
    answers, embedding=query["embedding"], known=query["known"], scores=found["scores"], ids=found["ids"],
    scann_scores=approximate["scores"], scann_ids=approximate["ids"],
)
"""


@pytest.mark.heavy
def test_a_fresh_process_without_keras_and_tfrs_gives_what_numpy_gives(
    trained: Path, query: Tower, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    arguments = [sys.executable, "-c", _FRESH, str(trained), str(tmp_path / "answers.npz")]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "answers.npz", allow_pickle=True)  # our own file: strings are objects there

    profiles = pa.table(
        {
            "id": ["user 3", "nobody"],
            "feature:taste": ["odd", None],
            "context:device": ["desk", None],
            "feature:age": pa.array([23.0, None], pa.float32()),
            "history": [["item/1", "item/5"], []],
        }
    )
    vectors, known = query.embed(profiles, 1_701_000_000_000_000)
    np.testing.assert_allclose(answers["embedding"], vectors, rtol=1e-5, atol=1e-6)
    assert answers["known"].tolist() == known.tolist() == [True, False]
    ids, scores = exact_top(trained / "exact", planted(), vectors, 5)
    assert answers["ids"].tolist() == ids.tolist()
    np.testing.assert_allclose(answers["scores"], scores, rtol=1e-5, atol=1e-6)

    everybody = pa.table({"id": [f"user {n}" for n in range(60)]})
    vectors, _ = load_tower(str(trained / "scann"), "query").embed(everybody)
    ids, scores = exact_top(trained / "scann", planted(num_items=300), vectors, 10)
    overlap = [len(set(row) & set(best)) for row, best in zip(answers["scann_ids"].tolist(), ids.tolist(), strict=True)]
    assert np.mean(overlap) > 9
    assert (np.diff(answers["scann_scores"], axis=1) <= 0).all()
    found = answers["scann_ids"][:, 0] == ids[:, 0]
    assert found.mean() > 0.9
    np.testing.assert_allclose(answers["scann_scores"][found, 0], scores[found, 0], rtol=1e-4)


def exact_top(bundle: Path, data: TrainingData, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids, scores) of the best k items by the candidate tower's own vectors."""
    assert data.items is not None
    vectors, known = load_tower(str(bundle), "candidate").embed(data.items)
    ids, vectors = np.array(data.items["id"].to_pylist(), "S")[known], vectors[known]
    scores = queries @ vectors.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return ids[best], np.take_along_axis(scores, best, axis=1)


def test_the_manifest_says_which_layer_the_retriever_has(trained: Path) -> None:
    assert read_manifest(str(trained / "exact"))["retriever"] == {"layer": "brute_force", "k": 5, "candidates": 40}
    assert read_manifest(str(trained / "scann"))["retriever"] == {"layer": "scann", "k": 10, "candidates": 300}


def test_columns_of_any_name_become_inputs(tmp_path: Path) -> None:
    columns = ["zip code", "zip_code", "1st", "größe", "user_id", "history"]
    users = pa.table({"id": ["u", "v"], **{f"feature:{name}": ["x", "y"] for name in columns}})
    features = [{"kind": "id", "dim": 2}, *({"kind": "category", "column": name, "dim": 2} for name in columns)]
    data = TrainingData(interactions(["u", "v"], ["i", "j"]), users)
    manifest = train_bundle(
        small_model(query={"features": features}),
        data,
        str(tmp_path / "b"),
        work_folder=str(tmp_path / "w"),
        as_of_us=None,
        fingerprint="f",
    )
    inputs = manifest["towers"]["query"]["inputs"]
    assert [entry["name"] for entry in inputs] == [
        "user_id", "zip_code", "zip_code_2", "column_1st", "gr__e", "user_id_2", "history",
    ]  # fmt: skip
    vectors, _ = load_tower(str(tmp_path / "b"), "query").embed(users)
    assert (vectors[0] != vectors[1]).any()
