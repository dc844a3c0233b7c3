"""What a bundle holds, and that nothing else is ever loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from model_data import START_US, every_feature, planted, small_model

from recbatch import storage
from recbatch.errors import InputError
from recbatch.model import bundle as bundle_module
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
    assert manifest["counts"]["heldout_events"] == 72
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
    assert {name.split("/")[0] for name in manifest["files"]} == {"query", "candidate", "retriever"}
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
def remote(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """gs://bucket/... is the folder that holds the copy; the user's cache is empty."""

    def local(uri: str) -> str:
        return uri.replace("gs://bucket", str(copied.parent))

    def listed(uri: str) -> list[storage.StoredFile]:
        files = storage.list_files(local(uri))
        return [storage.StoredFile(file.uri.replace(str(copied.parent), "gs://bucket"), file.size) for file in files]

    class Bucket:
        is_remote = staticmethod(lambda uri: uri.startswith("gs://"))
        join = staticmethod(storage.join)
        read_bytes = staticmethod(lambda uri: storage.read_bytes(local(uri)))
        list_files = staticmethod(listed)

    monkeypatch.setattr(bundle_module, "storage", Bucket)
    monkeypatch.setattr(bundle_module.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return copied


def test_a_bundle_in_a_bucket_is_fetched_once_and_verified(remote: Path) -> None:
    first = load_bundle("gs://bucket/copy")
    assert (first.folder / "query" / "saved_model.pb").exists()
    (remote / "query" / "saved_model.pb").write_bytes(b"changed afterwards: the fetched copy is used")
    assert load_bundle("gs://bucket/copy/").folder == first.folder
    (first.folder / "query" / "saved_model.pb").write_bytes(b"changed in the cache")
    with pytest.raises(InputError, match=r"query/saved_model\.pb was changed"):
        load_bundle("gs://bucket/copy")


def test_a_changed_bundle_in_a_bucket_is_refused_and_not_kept(remote: Path, tmp_path: Path) -> None:
    (remote / "extra").write_text("x")
    with pytest.raises(InputError, match="holds extra, which its manifest does not list"):
        load_bundle("gs://bucket/copy")
    (remote / "extra").unlink()
    flip_last_byte(remote / "query" / "saved_model.pb")
    with pytest.raises(InputError, match=r"query/saved_model\.pb was changed"):
        load_bundle("gs://bucket/copy")
    assert not list((tmp_path / "cache" / "recbatch" / "bundles").iterdir())
