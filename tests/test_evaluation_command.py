"""``recbatch evaluate``: a small world from Parquet to tables and JSON, and models measured on planted data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_data import history_model, planted, small_model
from robust_nights import SETTINGS, command, error_of, robust_world
from world import World, pairs_world

from recbatch.config.models import Model
from recbatch.errors import InputError
from recbatch.evaluation import embed_task, make_task, popularity, rank_bundle, rank_embedded
from recbatch.evaluation.runs import MODEL, Subject, run_protocol
from recbatch.launch.evaluating import FORMAT
from recbatch.model import TrainingData, load_bundle, train_bundle

DAY_MS = 86_400_000
TRAINING = {"epochs": 12, "batch_size": 32, "learning_rate": 0.05, "early_stopping": None, "refit": False}
FIT_ONCE = {**SETTINGS, "model": {**SETTINGS["model"], "training": {**SETTINGS["model"]["training"], "refit": False}}}


def days_world() -> World:
    """Users who keep to items of their own kind, over thirty days."""
    world = robust_world()
    for number, event in enumerate(world.interactions):
        event["at"] += number % 30 * DAY_MS
    return world


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("evaluate")
    return days_world().config(days_world().write(folder), FIT_ONCE)


@pytest.fixture(scope="module")
def bundle(config: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on everything."""
    folder = tmp_path_factory.mktemp("bundle") / "model"
    assert command(["train", config, "--model", str(folder)])[0] == 0
    return folder


def measured(words: list[str], output: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """What the command writes, and what it prints."""
    code, said = command([*words, "--output", str(output)])
    assert code == 0, said
    return json.loads(output.read_text()), capsys.readouterr().out


@pytest.mark.heavy
def test_evaluate_trains_ranks_and_reports(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", config, "--protocol", "B", "--protocol", "a", "--splits", "2", "--seed", "5"]
    document, shown = measured(words, tmp_path / "made" / "b.json", capsys)
    assert document["format"] == FORMAT
    assert list(document["protocols"]) == ["B", "A"]
    found = document["protocols"]["B"]
    assert found["seeds"] == [5, 6]
    assert found["sentence"].startswith("the split of A; each user's training items are removed")
    assert found["saw_heldout"] is False
    assert set(found["systems"]) == {"model", "popularity", "recent popularity"}
    hit = found["systems"]["model"]["metrics"]["hit@10"]
    assert 0 <= hit["low"] < hit["value"] < hit["high"] <= 1
    assert "users: warm" in found["systems"]["model"]["groups"]
    difference = found["differences"]["popularity"]["recall@100"]
    assert set(difference) == {"value", "low", "high", "p"}
    for split in found["splits"]:
        assert split["counts"]["positives"] == 900
        assert split["model"]["unknown_candidates"] == 0
    # A third of the items are of a user's kind, and the model knows which.
    assert found["differences"]["popularity"]["ndcg@10"]["value"] > 0.1
    assert found["differences"]["popularity"]["ndcg@10"]["p"] < 0.01
    a, b = ([split["seconds"]["training"] for split in document["protocols"][p]["splits"]] for p in "AB")
    assert sum(a) < sum(b) / 2, "the models of B serve A"
    assert "B: random, seen removed" in shown
    assert "ndcg@10" in shown
    assert "users: few events" in shown
    assert "too good" not in shown


@pytest.mark.heavy
def test_a_model_that_has_seen_what_is_held_out_is_said_to(
    config: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", config, "--model", str(bundle), "--protocol", "B", "--protocol", "C", "--splits", "2"]
    document, shown = measured(words, tmp_path / "b.json", capsys)
    assert document["model"]["trained"] is False
    assert document["protocols"]["B"]["saw_heldout"] is True
    assert document["protocols"]["C"]["seeds"] == [0], "one bundle on one split is measured once"
    assert "The model was trained on events from the time of what is held out here" in shown


@pytest.mark.heavy
def test_a_global_time_split_is_cut_where_the_model_ends(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    assert command(["train", config, "--model", str(old), "--ds", "2024-03-28"])[0] == 0
    document, shown = measured(
        ["evaluate", config, "--model", str(old), "--protocol", "D"], tmp_path / "d.json", capsys
    )
    found = document["protocols"]["D"]
    assert found["saw_heldout"] is False
    assert found["splits"][0]["counts"]["training_events"] == 600, "twenty of thirty days"
    assert "too good" not in shown


@pytest.mark.heavy
def test_a_bundle_without_times_cannot_tell_what_it_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = robust_world()
    world.timestamps = False
    path = world.config(world.write(tmp_path), FIT_ONCE)
    assert command(["train", path, "--model", str(tmp_path / "model")])[0] == 0
    words = ["evaluate", path, "--model", str(tmp_path / "model")]
    document, shown = measured(words, tmp_path / "b.json", capsys)
    assert document["protocols"]["B"]["saw_heldout"] == "unknown"
    assert set(document["protocols"]["B"]["systems"]) == {"model", "popularity"}, "there is no recent popularity"
    assert "cannot be told from its manifest" in shown


@pytest.mark.heavy
def test_what_comes_next_is_predicted_from_what_came_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Users walk round a ring of sixty items: nothing is popular, and the last item says which one is next."""
    world = pairs_world((f"u{user:03}", f"i{(7 * user + step) % 60:02}") for user in range(300) for step in range(12))
    last = {"kind": "history", "length": 1, "dim": 16, "train_on": "before"}
    query = {"features": [last], "combine": "sum", "projection": False}
    training = {**TRAINING, "epochs": 6, "negatives": "full", "shown_margin": 0}
    model = {"dim": 16, "query": query, "candidate": {"features": [{"kind": "id", "dim": 16}]}, "training": training}
    path = world.config(world.write(tmp_path), {"model": model})
    document, shown = measured(["evaluate", path, "--protocol", "S"], tmp_path / "s.json", capsys)
    found = document["protocols"]["S"]
    counts = found["splits"][0]["counts"]
    assert (counts["candidates"], counts["queries"], counts["heldout_events"]) == (60, 330, 330), "a tenth of 3,300"
    ours, popular = (found["systems"][name]["metrics"]["hit@10"]["value"] for name in ("model", "popularity"))
    assert ours > 0.9
    assert popular < 0.3
    assert "S: sequential" in shown


def test_mistakes_are_said_before_anything_is_trained(config: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for words, message in (
        (["--protocol", "X"], "--protocol: there is no protocol 'X'; the protocols are A (tutorial random)"),
        (["--protocol", "global-time"], "did you mean D (global time)?"),
        (["--output", str(tmp_path)], "is a folder; name a file in it"),
        (["--output", str(tmp_path / "file" / "b.json")], "--output:"),
        (["--model", str(tmp_path)], "is not a model bundle"),
        (["--set", "positives.min_weight=9"], "none of the 900 interactions is positive"),
    ):
        code, said = command(["evaluate", config, *words])
        assert (code, message in error_of(said)) == (2, True), said


def test_a_model_of_item_pairs_cannot_be_asked_by_users(config: str, tmp_path: Path) -> None:
    tower = "{features: [{kind: id, dim: 4}]}"
    words = ["--set", "model.pairs={window: 1}", "--set", f"model.query={tower}"]
    code, said = command(["evaluate", config, *words, "--protocol", "I", "--protocol", "B"])
    assert (code, "the config's model asks by items, protocol B by users" in error_of(said)) == (2, True), said
    with pytest.raises(InputError, match="evaluate it with --protocol I"):
        run(small_model(pairs={"window": 1}), planted(), "U", tmp_path)
    assert not list(tmp_path.iterdir()), "nothing was trained"


def test_a_split_by_time_without_times(tmp_path: Path) -> None:
    world = robust_world()
    world.timestamps = False
    path = world.config(world.write(tmp_path), FIT_ONCE)
    code, said = command(["evaluate", path, "--protocol", "C"])
    assert code == 2
    assert "protocol C (leave last out) splits by time, but the interactions have no timestamps" in error_of(said)


def run(model: Model, data: TrainingData, letter: str, work: Path) -> Any:
    return run_protocol(letter, data, Subject(model, ["device"], work), [0])


@pytest.mark.heavy
def test_new_users_are_known_by_their_history(tmp_path: Path) -> None:
    model = history_model(training=TRAINING)
    report = run(model, planted(num_users=200, num_items=200), "U", tmp_path)
    assert report.splits[0]["model"]["unknown_queries"] == 0
    ours, popular = (report.systems[name].value("hit@100") for name in (MODEL, "popularity"))
    assert ours > 0.8, "half of the items are of a user's taste"
    assert popular < 0.7


@pytest.mark.heavy
def test_new_items_are_known_by_their_features(tmp_path: Path) -> None:
    features = [{"kind": "multi_category", "column": "tags", "dim": 8}]
    model = small_model(candidate={"features": features}, training=TRAINING)
    data = planted(num_users=80, num_items=200)
    report = run(model, data, "N", tmp_path)
    assert report.splits[0]["model"]["unknown_candidates"] == 0
    assert report.splits[0]["counts"]["candidates"] == 20
    assert report.systems[MODEL].value("ndcg@10") > report.systems["popularity"].value("ndcg@10") + 0.1
    # By ids alone nothing is known of them, and nothing is listed.
    by_ids = run(small_model(training=TRAINING), data, "N", tmp_path / "ids")
    assert by_ids.splits[0]["model"]["unknown_candidates"] == 20
    assert by_ids.systems[MODEL].value("hit@100") == 0


@pytest.mark.heavy
def test_lists_are_those_of_the_exported_towers(tmp_path: Path) -> None:
    data = planted()
    task = make_task("B", data, 0)
    uri = str(tmp_path / "model")
    train_bundle(
        small_model(training=TRAINING), task.train, uri, work_folder=f"{uri}.work", as_of_us=None, fingerprint="test"
    )
    embedded = embed_task(task, load_bundle(uri))
    lists = rank_bundle(task, uri)
    scores = embedded.queries @ embedded.candidates.T
    scores[task.seen_query, task.seen_item] = -np.inf
    assert np.array_equal(lists[:, :10], np.argsort(-scores, axis=1, kind="stable")[:, :10])
    # The most popular for those of whom the model knows nothing, unless an item bias ranks for them.
    assert not embedded.has_bias
    strangers = replace(embedded, known_queries=np.arange(task.num_queries) != 2)
    assert np.array_equal(rank_embedded(task, strangers)[2], popularity(task)[2])
    assert np.array_equal(rank_embedded(task, replace(strangers, has_bias=True)), lists)
    # Item pairs are asked to the candidate tower, by cosine; nothing is its own neighbour.
    pairs = make_task("I", data, 0)
    lists = rank_bundle(pairs, uri)
    assert not (lists == pairs.seen_item[:, None]).any()
    near = [pairs.items[number].as_py() for number in lists[:, 0].tolist()]
    kinds = [int(name.split("/")[1]) % 2 for name in near]
    asked = [int(name.split("/")[1]) % 2 for name in pairs.queries["id"].to_pylist()]
    assert np.mean(np.equal(kinds, asked)) > 0.8


@pytest.mark.heavy
def test_a_model_with_time_and_context_is_asked_event_by_event(tmp_path: Path) -> None:
    query = {
        "features": [
            {"kind": "id", "dim": 8},
            {"kind": "timestamp", "bins": 4, "dim": 4},
            {"kind": "category", "column": "device", "dim": 4},
        ]
    }
    report = run(small_model(query=query, training={"epochs": 1}), planted(), "A", tmp_path)
    assert report.per_event
    assert report.splits[0]["counts"]["queries"] == report.splits[0]["counts"]["targets"]
    assert report.as_json()["queries"] == "one per held-out event"
    assert 0 < report.systems[MODEL].value("hit@10") < 1
