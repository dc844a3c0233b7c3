"""What a bundle holds, and that nothing else is ever loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gcs_server import emulated
from model_data import START_US, every_feature, planted, small_model

from recbatch import storage
from recbatch.errors import InputError
from recbatch.model import load_bundle, load_tower, read_manifest, train_bundle


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    train_bundle(
        every_feature(),
        planted(),
        str(folder / "b"),
        work_folder=str(folder / "w"),
        as_of_us=START_US,
        fingerprint="f1",
    )
    return folder / "b"


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_the_manifest_explains_the_bundle(trained: Path) -> None:
    manifest = load_bundle(str(trained)).manifest
    assert (manifest["fingerprint"], manifest["as_of_us"], manifest["bias_coordinate"]) == ("f1", START_US, None)
    assert manifest["heldout"] == "newest"
    assert manifest["refit"] is True
    assert manifest["steps"] in (11, 22)
    assert 0 <= manifest["metrics"]["heldout_recall_at_100"] <= 1
    counts = manifest["counts"]
    assert counts["heldout_events"] == 72
    parts = [counts[f"heldout_events_{part}"] for part in ("evaluated", "repeated", "of_cold_users")]
    assert parts[0] > 0
    assert sum(parts) == 72
    times = planted().interactions["timestamp"].to_numpy()
    assert (manifest["first_event_us"], manifest["last_event_us"]) == (times.min(), times.max())
    query = manifest["towers"]["query"]
    assert (query["entity"], query["dim"], manifest["towers"]["candidate"]["entity"]) == ("user", 8, "item")
    assert [(entry["name"], entry["dtype"], entry["length"], entry["column"]) for entry in query["inputs"]] == [
        ("user_id", "string", None, "id"),
        ("taste", "string", None, "feature:taste"),
        ("device", "string", None, "context:device"),
        ("age", "float32", None, "feature:age"),
        ("timestamp", "int64", None, None),
        ("history", "string", 6, "history"),
    ]
    features = {feature["name"]: feature for feature in query["features"]}
    assert features["timestamp"]["training_range_us"] == [times.min(), times.max()]
    assert features["category:device"]["vocabulary_size"] == 2
    assert all(feature["on"] for feature in features.values())
    assert manifest["model"] == every_feature().model_dump(mode="json")
    assert manifest["versions"]["tensorflow"].startswith("2.")
    folders = {"query", "candidate", "retriever", "measured", "weights"}
    assert {name.split("/")[0] for name in manifest["files"]} == folders
    assert read_manifest(str(trained)) == manifest


def test_both_fits_write_tensorboard_logs(trained: Path) -> None:
    for fit, tag in (("measured", b"heldout_recall_at_100"), ("refit", b"loss")):
        (events,) = (trained.parent / "w" / "logs" / fit).iterdir()
        assert tag in events.read_bytes()


def test_a_bundle_that_is_there_is_left_alone(trained: Path, tmp_path: Path) -> None:
    before = (trained / "manifest.json").stat()
    manifest = train_bundle(
        small_model(), planted(), str(trained), work_folder=str(tmp_path / "w"), as_of_us=None, fingerprint="other"
    )
    assert manifest["fingerprint"] == "f1"
    assert (trained / "manifest.json").stat().st_mtime_ns == before.st_mtime_ns
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (
            lambda folder: (folder / "query/variables/extra.pkl").write_bytes(b"x"),
            "query/variables/extra.pkl is not listed",
        ),
        (lambda folder: (folder / "notes.txt").write_text("x"), "notes.txt is not listed in the manifest"),
        (lambda folder: (folder / "candidate/saved_model.pb").unlink(), "candidate/saved_model.pb is missing"),
        (lambda folder: flip_last_byte(folder / "query/saved_model.pb"), "query/saved_model.pb was changed after"),
    ],
)
def test_anything_but_the_listed_bytes_is_refused(copied: Path, harm: Any, sentence: str) -> None:
    assert load_bundle(str(copied)).manifest["fingerprint"] == "f1", "a copy is as good as the original"
    harm(copied)
    with pytest.raises(InputError, match=sentence):
        load_tower(str(copied), "query")


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other", "files": {}}', '{"files": {}}'])
def test_other_manifests_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="not the manifest of a model bundle of this version"):
        load_bundle(str(tmp_path))


def test_names_that_leave_the_folder_are_refused(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["files"]["../outside"] = manifest["files"].pop("query/saved_model.pb")
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="not the manifest"):
        load_bundle(str(copied))


def test_no_bundle_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a model bundle: it has no manifest\.json"):
        load_bundle(str(tmp_path / "nothing"))


@pytest.fixture
def remote(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bundle in a bucket; the user's cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with emulated(monkeypatch):
        storage.put_folder_if_absent(copied, "gs://bucket/bundle", "manifest.json")
        yield "gs://bucket/bundle"


def change(uri: str, data: bytes) -> None:
    storage.delete(uri)
    storage.put_if_absent(uri, data)


def test_a_bundle_in_a_bucket_is_fetched_once_and_verified(remote: str) -> None:
    first = load_bundle(remote)
    assert (first.folder / "query" / "saved_model.pb").exists()
    change(f"{remote}/query/saved_model.pb", b"changed afterwards: the fetched copy is used")
    assert load_bundle(f"{remote}/").folder == first.folder
    (first.folder / "query" / "saved_model.pb").write_bytes(b"changed in the cache as well: fetched again")
    with pytest.raises(InputError, match=r"query/saved_model\.pb has other content than was recorded"):
        load_bundle(remote)


def test_a_changed_bundle_in_a_bucket_is_refused_and_not_kept(remote: str, tmp_path: Path) -> None:
    storage.put_if_absent(f"{remote}/extra.pkl", b"x")
    with pytest.raises(InputError, match=r"extra\.pkl is not listed in the manifest"):
        load_bundle(remote)
    storage.delete(f"{remote}/extra.pkl")
    model = storage.read_bytes(f"{remote}/query/saved_model.pb")
    storage.delete(f"{remote}/query/saved_model.pb")
    with pytest.raises(InputError, match=r"query/saved_model\.pb is missing"):
        load_bundle(remote)
    change(f"{remote}/query/saved_model.pb", model[:-1])
    with pytest.raises(InputError, match=r"query/saved_model\.pb has other content than was recorded"):
        load_bundle(remote)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    change(f"{remote}/query/saved_model.pb", model)
    assert load_tower(remote, "query").dim == 8
