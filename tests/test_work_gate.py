"""Nights with the model gate: what is compared, what becomes of a worse model, and that the last night is an input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gated import BAD, FIRST, SECOND, SETTINGS, Gated, clustered_world
from world import Published, pairs_world

from recbatch.cli.main import main
from recbatch.errors import ConfigError, RecbatchError
from recbatch.model import read_manifest
from recbatch.report import show_night
from recbatch.tables.pointer import published_dates
from recbatch.work.gate import pass_gate
from recbatch.work.verdict import read_verdict

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    folder = tmp_path_factory.mktemp("gate")
    world = clustered_world()
    gated = Gated(world.config(world.write(folder), SETTINGS), folder / "out")
    gated.night(FIRST)
    return gated


@pytest.fixture
def gated(first: Gated, tmp_path: Path) -> Gated:
    """A copy of it to go on with."""
    shutil.copytree(first.output, tmp_path / "out", symlinks=True)
    return Gated(first.config, tmp_path / "out")


def test_the_first_night_is_compared_with_popularity_alone(first: Gated, capsys: pytest.CaptureFixture[str]) -> None:
    gate = first.manifest(FIRST)["gate"]
    assert (gate["worse_than"], gate["used"], list(gate["compared"])) == ([], "new", ["popularity"])
    assert gate["not_compared"] == {"last": "there is no published date before"}
    figures = gate["compared"]["popularity"]
    assert figures["new"]["heldout_ndcg_at_10"] > 1.5 * figures["other"]["heldout_ndcg_at_10"]
    assert figures["queries"] > 30
    show_night(str(first.output), FIRST)
    shown = capsys.readouterr().out
    assert "model gate: the new model's recall@10 0." in shown
    assert "training: " in shown


def test_the_manifest_says_how_fast_and_how_large_the_training_was(first: Gated) -> None:
    training = first.manifest(FIRST)["model"]["training"]
    events = 60 * 9
    assert 12 * events * 1.4 < training["examples"] <= 12 * events * 2  # measured without the held-out ones, then all
    assert training["examples_per_second"] > 0
    assert 1e8 < training["peak_rss_bytes"] < 1e11


def test_a_bundle_made_twice_has_one_name(first: Gated, tmp_path: Path) -> None:
    """So that the second night of two outputs has one name, too."""
    again = Gated(first.config, tmp_path / "again")
    again.night(FIRST)
    plans = [one.plan(SECOND) for one in (first, again)]
    assert plans[0].night.last is not None
    assert plans[0].night.last.ds == FIRST
    assert plans[0].night.run == plans[1].night.run


def test_the_last_bundle_is_in_the_name_of_the_run(gated: Gated) -> None:
    def name(*sets: str) -> str:
        return gated.plan(SECOND, *sets).night.run

    with_last, unasked = name(), name("gate.worse_than=[popularity]")
    shutil.rmtree(gated.output / "_published")
    assert name() != with_last
    assert name("gate.worse_than=[popularity]") == unasked


def test_a_good_second_night_is_compared_on_what_neither_has_seen(gated: Gated) -> None:
    gated.night(SECOND)
    gate = gated.manifest(SECOND)["gate"]
    assert (gate["worse_than"], gate["used"]) == ([], "new")
    last, popularity = gate["compared"]["last"], gate["compared"]["popularity"]
    assert gate["last"]["ds"] == FIRST
    # The split is the same from night to night: what is held out now, the last night's model has not seen.
    assert last["targets"] == popularity["targets"] > 100
    assert last["remark"] is None
    # It knows nothing of the new users, who can only be missed.
    assert last["other"]["heldout_ndcg_at_10"] < last["new"]["heldout_ndcg_at_10"]
    before = {path: path.stat().st_mtime_ns for path in gated.output.rglob("*")}
    assert not gated.night(SECOND).published
    assert {path: path.stat().st_mtime_ns for path in gated.output.rglob("*")} == before


def test_the_last_night_is_the_newest_published_one_before(gated: Gated) -> None:
    """So also for a backfill, which plans each of its dates when the ones before are published."""
    pointers = gated.output / "_published"
    for ds in ("2024-03-01", "2024-03-20"):
        pointer = json.loads((pointers / f"{FIRST}.json").read_text())
        (pointers / f"{ds}.json").write_text(json.dumps({**pointer, "ds": ds}))
    dates = [FIRST, SECOND, "2024-03-21", "2024-03-01"]
    plans = [gated.plan(ds) for ds in dates]
    assert [plan.night.last and plan.night.last.ds for plan in plans] == ["2024-03-01", FIRST, "2024-03-20", None]
    # The model of the ninth knows what the first may not know.
    obstacles = [plan.night.last.obstacle for plan in plans if plan.night.last is not None]
    assert obstacles == [None, None, None]
    early = gated.plan("2024-03-08").night.last
    assert early is not None
    assert early.obstacle == "its model was trained on events after this date"
    for ds, starts_warm in (("2024-03-08", False), (SECOND, True)):
        training = gated.plan(ds, "model.training.warm_start=true").training
        assert training is not None
        assert (training.warm_start is not None) == starts_warm


def test_a_night_starts_from_the_last_one(gated: Gated, capsys: pytest.CaptureFixture[str]) -> None:
    gated.night(SECOND, "model.training.warm_start=true", "model.training.epochs=3", "gate.worse_than=[]")
    night, before = gated.manifest(SECOND), gated.manifest(FIRST)["model"]
    warm = night["model"]["warm_started"]
    items = len({event["what"] for event in clustered_world().interactions})
    assert (warm["from"], warm["copied"], warm["new"]) == (before["fingerprint"], 60 + 60, 20 + items - 60)
    assert (night["gate"]["compared"], night["gate"]["says"]) == ({}, [])
    show_night(str(gated.output), SECOND)
    assert (
        f"warm start from {before['fingerprint']}: 120 known rows and {items - 40} new ones" in capsys.readouterr().out
    )


def test_a_training_starts_from_a_bundle_that_is_named(
    gated: Gated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = gated.output / gated.manifest(FIRST)["model"]["bundle"]
    words = ["train", gated.config, "--ds", SECOND, "--set", "model.training.epochs=1"]
    assert main([*words, "--model", str(tmp_path / "warm"), "--warm-start", str(bundle)]) == 0
    warm = read_manifest(str(tmp_path / "warm"))
    assert warm["warm_started"]["copied"] == 120
    assert main([*words, "--model", str(tmp_path / "warm")]) == 2  # a cold training is another one
    assert "holds another model" in capsys.readouterr().err
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"] = {k: v for k, v in manifest["files"].items() if not k.startswith("weights/")}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert main([*words, "--model", str(tmp_path / "other"), "--warm-start", str(bundle)]) == 2
    assert "holds no weights" in capsys.readouterr().err


def test_warn_uses_a_worse_model_all_the_same(gated: Gated, caplog: pytest.LogCaptureFixture) -> None:
    assert gated.command(SECOND, *BAD) == 0
    gate = gated.manifest(SECOND)["gate"]
    assert "last" in gate["worse_than"]
    assert gate["used"] == "new"
    assert gated.manifest(SECOND)["model"]["bundle"] == gate["new"]["bundle"]
    assert any("worse than the last night's" in record.message for record in caplog.records)


def test_fail_ends_the_night_with_both_figures(gated: Gated, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*BAD, "gate.on_failure=fail"]
    for _ in range(2):  # the second time from the verdict that is there
        assert gated.command(SECOND, *words) == 1
        message = capsys.readouterr().err
        figures = json.loads(Path(gated.plan(SECOND, *words).night.gate_uri).read_text())["compared"]["last"]
        for side in ("new", "other"):
            assert f"recall@10 {figures[side]['heldout_recall_at_10']:.4f}" in message
        assert "readers keep what they have" in message
    assert published_dates(str(gated.output)) == [FIRST]
    assert not list((gated.output / "_runs" / SECOND).glob("*/2_embeddings"))


def test_keep_makes_the_tables_with_the_last_nights_model(gated: Gated) -> None:
    words = [*BAD, "gate.on_failure=keep"]
    assert gated.command(SECOND, *words) == 0
    manifest, kept = gated.manifest(SECOND), gated.manifest(FIRST)["model"]
    assert manifest["gate"]["used"] == "last"
    assert manifest["model"] == kept
    assert manifest["gate"]["new"]["bundle"] != kept["bundle"]
    vectors, before = (Published(gated.output, ds).vectors("item_embeddings") for ds in (SECOND, FIRST))
    assert vectors.keys() == before.keys() < {event["what"] for event in clustered_world().interactions}
    assert all((vectors[item] == before[item]).all() for item in before)
    assert manifest["tables"]["user_embeddings"]["not_served"]["cold"] == 20
    # The next night is measured by the model that was kept.
    plan = gated.plan("2024-03-11")
    assert plan.night.last is not None
    assert plan.night.last.bundle.uri == str(gated.output / kept["bundle"])


def test_keep_does_not_take_a_model_that_is_no_better(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worse than popularity, which the last night's model is, too, and more so."""
    figures = dict.fromkeys(("heldout_ndcg_at_10", "heldout_recall_at_10", "heldout_recall_at_100"), 0.1)
    shared = {"criterion": "heldout_recall_at_100", "queries": 1, "targets": 1, "new": figures, "other": figures}
    compared = {"popularity": {**shared, "worse": True}, "last": {**shared, "worse": False, "remark": None}}
    monkeypatch.setattr("recbatch.work.gate._compare", lambda *_: (compared, {}))
    night = gated.plan(SECOND, "gate.on_failure=keep").night
    for _ in range(2):  # the second time from the verdict that is there
        with pytest.raises(
            RecbatchError, match=r"worse than popularity's .* keep, but the last night's model .* no better"
        ):
            pass_gate(night, lambda: pytest.fail("nothing is to be read"))
    assert read_verdict(night)["used"] == "new"


def test_a_night_that_keeps_resumes_with_what_it_kept(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies after the verdict and some embeddings; then another last night's model would not be looked for."""
    words = [*BAD, "gate.on_failure=keep"]
    with monkeypatch.context() as patched:
        patched.setattr("recbatch.work.search.Search.__call__", lambda *_: (_ for _ in ()).throw(RecbatchError("dies")))
        with pytest.raises(RecbatchError, match="dies"):
            gated.night(SECOND, *words)
    made = {path: path.stat().st_mtime_ns for path in (gated.output / "_runs" / SECOND).rglob("part-*")}
    assert made
    with monkeypatch.context() as patched:
        patched.setattr("recbatch.work.gate._judge", lambda *_: pytest.fail("it was judged again"))
        assert gated.night(SECOND, *words).published
    assert all(path.stat().st_mtime_ns == at for path, at in made.items())
    assert gated.manifest(SECOND)["gate"]["used"] == "last"


def test_keep_without_an_earlier_model_fails(tmp_path: Path) -> None:
    """Most users take the same few items, so an untrained model is worse than popularity."""
    rng = np.random.default_rng(2)
    pairs = [(f"u{user}", f"i{item}") for user in range(50) for item in {*rng.geometric(0.1, 12).tolist()}]
    world = pairs_world(pairs)
    alone = Gated(world.config(world.write(tmp_path), SETTINGS), tmp_path / "out")
    with pytest.raises(RecbatchError, match=r"worse than popularity's .* no earlier model to keep: there is no publ"):
        alone.night(FIRST, *BAD, "gate.on_failure=keep")
    assert published_dates(str(alone.output)) == []


def test_another_seed_splits_anew_and_is_compared_on_what_is_left(gated: Gated) -> None:
    gated.night(SECOND, "model.training.seed=7")
    last = gated.manifest(SECOND)["gate"]["compared"]["last"]
    assert 0 < last["targets"] < gated.manifest(SECOND)["gate"]["compared"]["popularity"]["targets"]
    assert "which it cannot have seen" in last["remark"]


def test_a_bundle_of_an_older_version_is_compared_by_its_exported_towers(gated: Gated) -> None:
    bundle = gated.output / gated.manifest(FIRST)["model"]["bundle"]
    manifest = json.loads((bundle / "manifest.json").read_text())
    for key in ("heldout_rule", "measured", "warm_started", "training"):
        del manifest[key]
    manifest["files"] = {k: v for k, v in manifest["files"].items() if not k.startswith(("measured/", "weights/"))}
    for folder in ("measured", "weights"):
        shutil.rmtree(bundle / folder)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    gated.night(SECOND, "model.training.warm_start=true")
    night = gated.manifest(SECOND)
    assert "older version" in night["gate"]["compared"]["last"]["remark"]
    assert "holds no weights" in night["model"]["warm_started"]["reason"]


def test_a_last_model_that_reads_what_is_not_there_is_said(gated: Gated) -> None:
    bundle = gated.output / gated.manifest(FIRST)["model"]["bundle"]
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["model"]["candidate"]["features"].append({"kind": "category", "column": "genre"})
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    gated.night(SECOND)
    reason = gated.manifest(SECOND)["gate"]["not_compared"]["last"]
    assert "does not fit the inputs" in reason
    assert "genre" in reason


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gate.on_failure=stop"], "gate.on_failure"),
        (["gate.worse_than=[last, last]"], "listed twice"),
        (["gate.worse_than=[yesterday]"], "gate.worse_than"),
        (["gate.tolerance=1.5"], "gate.tolerance"),
    ],
)
def test_mistakes_in_the_section_are_named(first: Gated, words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        first.plan(SECOND, *words)


def one_event(gated: Gated, folder: Path) -> Gated:
    """The same output, and a config whose interactions are a single one: nothing can be held out of it."""
    world = pairs_world([("u01", "i01")])
    return Gated(world.config(world.write(folder), SETTINGS), gated.output)


def test_fail_ends_a_night_that_cannot_be_compared(gated: Gated, tmp_path: Path) -> None:
    alone = one_event(gated, tmp_path)
    with pytest.raises(RecbatchError, match=r"not compared with the last night or popularity: .*nothing to ask for"):
        alone.night(SECOND, "gate.on_failure=fail")
    assert published_dates(str(gated.output)) == [FIRST]


def test_keep_makes_such_a_night_with_the_last_model(gated: Gated, tmp_path: Path) -> None:
    one_event(gated, tmp_path).night(SECOND, "gate.on_failure=keep")
    gate = gated.manifest(SECOND)["gate"]
    assert (gate["worse_than"], gate["unjudged"], gate["used"]) == ([], True, "last")
    assert gated.manifest(SECOND)["model"] == gated.manifest(FIRST)["model"]


def test_warn_publishes_such_a_night_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = pairs_world([("u01", "i01")])
    alone = Gated(world.config(world.write(tmp_path), SETTINGS), tmp_path / "out")
    assert alone.command(FIRST) == 0
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert any("not compared with" in message and "nothing to ask for" in message for message in warnings)
    assert any(f"the night of {FIRST} has no row in any of user2item" in message for message in warnings)
    # Without a last night there is nothing that `last` alone could ask for.
    plan = alone.plan(FIRST, "gate.worse_than=[last]", "gate.on_failure=fail")
    assert plan.night.last is None
    assert alone.night(FIRST, "gate.worse_than=[last]", "gate.on_failure=fail").published
