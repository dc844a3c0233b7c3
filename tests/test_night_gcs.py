"""A night whose config, inputs, model and output are all on ``gs://``, against the loopback server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gcs_server import RESET, GcsServer, emulated
from night_bundles import given_bundle
from world import DS, World, pairs_world, random_vectors

from recbatch import storage
from recbatch.cli.main import main
from recbatch.tables.pointer import require_pointer
from recbatch.tables.read import read_manifest, read_table

pytestmark = pytest.mark.heavy

CONFIG = "gs://bucket/config.yaml"
OUTPUT = "gs://bucket/nights"
TABLES = ("user2item", "item2item", "user2user", "item2user", "user_embeddings", "item_embeddings")
TRAINING = {"epochs": 1, "batch_size": 64, "early_stopping": None, "refit": False}
SETTINGS = {
    "model": {"dim": 8, "training": TRAINING},
    "run": {"range_ids": 30},
}


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    with pytest.MonkeyPatch.context() as monkeypatch, emulated(monkeypatch, page_size=7, rewrite_bytes=2_000) as server:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, gcs: GcsServer) -> Path:
    """Inputs with a config beside them, as they are in ``gs://bucket``: events by day, and what tools leave."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(3)
    events = [
        {
            "who": f"user {user}",
            "what": f"item {item}",
            "at": 1_709_900_000_000 + 1_000 * (60 * number + user),
            "stars": 4.0,
            "kind": "view",
        }
        for user in range(50)
        for number, item in enumerate(rng.choice(60, 5, replace=False))
    ]
    users = [{"uid": f"user {number}", "full name": None} for number in range(50)]
    items = [{"code": f"item {number}", "title": f"The {number}"} for number in range(60)]
    world = World(events, users, items)
    world.write(folder, files=2)
    for number in range(2):
        day = folder / "events" / f"day={number}"
        day.mkdir()
        (folder / "events" / f"0{number}.parquet").rename(day / "part.parquet")
        (day / ".part.parquet.crc").write_bytes(b"crc")
    (folder / "events" / "_SUCCESS").write_bytes(b"")
    config = Path(world.config(folder, SETTINGS))
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().replace(str(folder).encode(), b"gs://bucket") if path == config else path
            storage.put_if_absent(f"gs://bucket/{path.relative_to(folder)}", text)
    return folder


@pytest.fixture(scope="module")
def night(gcs: GcsServer, folder: Path) -> str:
    """The published night's run."""
    assert nightly() == 0
    return require_pointer(OUTPUT, DS).run


def nightly() -> int:
    return main(["nightly", CONFIG, "--output", OUTPUT, "--ds", DS])


def without_footer(uri: str) -> bytes:
    """A Parquet file's bytes but for the footer, which names the run."""
    data = storage.read_bytes(uri)
    return data[: -8 - int.from_bytes(data[-8:-4], "little")]


def parts(output: str, table: str) -> list[str]:
    manifest = read_manifest(output, require_pointer(output, DS))
    return [storage.join(output, file["path"]) for file in manifest["tables"][table]["files"]]


def test_the_tables_are_those_of_a_local_night(night: str, folder: Path, tmp_path: Path) -> None:
    """Byte for byte, by the model that was trained on gs://."""
    assert recommend(f"{folder}/config.yaml", str(tmp_path), model()) == 0
    for table in TABLES:
        ours, theirs = parts(OUTPUT, table), parts(str(tmp_path), table)
        assert [without_footer(uri) for uri in ours] == [without_footer(uri) for uri in theirs]
        assert read_table(OUTPUT, table, DS).equals(read_table(str(tmp_path), table, DS))
    assert read_table(OUTPUT, "user2item", DS).num_rows == 50 * (60 - 5)


def model() -> str:
    """The bundle of the published night."""
    return storage.join(OUTPUT, read_manifest(OUTPUT, require_pointer(OUTPUT, DS))["model"]["bundle"])


def recommend(config: str, output: str, model: str, *words: str) -> int:
    return main(["recommend", config, "--output", output, "--ds", DS, "--model", model, *words])


def test_an_index_is_stored_and_fetched(gcs: GcsServer, tmp_path: Path) -> None:
    items = [f"item {number}" for number in range(1_000)]
    world = pairs_world([("user", "item 1"), ("user", "item 2")], items=items)
    bundle = given_bundle(tmp_path / "bundle", random_vectors(["user"]), random_vectors(items))
    storage.put_folder_if_absent(bundle, "gs://bucket/given", "manifest.json")
    off = {"enabled": False}
    item2item = {"k": 5, "min_recall": 0.5}
    settings = {
        "tables": {"user2item": off, "user2user": off, "item2user": off, "item2item": item2item},
        "index": {"kind": "scann"},
    }
    config = world.config(world.write(tmp_path / "world"), settings)
    output = "gs://bucket/indexed"
    assert recommend(config, output, "gs://bucket/given") == 0
    manifest = read_manifest(output, require_pointer(output, DS))
    assert manifest["tables"]["item2item"]["index"]["kind"] == "scann"
    assert gcs.asked("^GET /download.*indexed/_runs/.*scann")
    assert read_table(output, "item2item", DS).num_rows == 1_000 * 5


def test_nothing_is_left_but_what_belongs_there(night: str) -> None:
    assert storage.list_names(OUTPUT) == sorted(["_models", "_published", "_runs", *TABLES])
    assert storage.list_names(f"{OUTPUT}/_models") == [storage.name_of(model())]
    for table in TABLES:
        names = [storage.name_of(uri) for uri in parts(OUTPUT, table)]
        assert storage.list_names(f"{OUTPUT}/{table}/ds={DS}") == ["_SUCCESS", *names]


def test_a_second_run_changes_nothing(gcs: GcsServer, night: str, capsys: pytest.CaptureFixture[str]) -> None:
    gcs.requests.clear()
    assert nightly() == 0
    assert gcs.asked("^(POST|PUT|DELETE)") == []
    assert gcs.asked("^GET /download.*_runs.*parquet") == []


def test_verify(night: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", OUTPUT]) == 0
    assert f"{OUTPUT}: 1 published night verified ({DS} to {DS})" in capsys.readouterr().out
    damaged = parts(OUTPUT, "item2item")[0]
    data = storage.read_bytes(damaged)
    replace(damaged, data[:-1] + b"x")
    assert main(["verify", OUTPUT]) == 1
    assert damaged in capsys.readouterr().err
    replace(damaged, data)
    storage.put_if_absent(f"{OUTPUT}/item2item/ds={DS}/stray.parquet", b"x")
    assert main(["verify", OUTPUT]) == 1
    assert "stray.parquet is stray" in capsys.readouterr().err
    storage.delete(f"{OUTPUT}/item2item/ds={DS}/stray.parquet")
    assert main(["verify", OUTPUT]) == 0


def replace(uri: str, data: bytes) -> None:
    storage.delete(uri)
    storage.put_if_absent(uri, data)


def test_show(night: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", OUTPUT, "--ds", DS]) == 0
    assert f"tables in {OUTPUT}/<table>/ds={DS}/" in capsys.readouterr().out
    assert main(["show", OUTPUT, "--ds", DS, "--item", "item 7"]) == 0
    assert "The 7" in capsys.readouterr().out


def test_a_night_survives_bad_days(gcs: GcsServer, night: str, tmp_path: Path) -> None:
    """One request in eight fails, half of them after having been carried out."""
    whats = (503, RESET, 429, 500)
    for number in range(200):
        gcs.fail(".", whats[number % 4], skip=8 * number + number % 5, done=number % 2 == 0)
    output = "gs://bucket/bad days"
    assert recommend(CONFIG, output, model()) == 0
    assert sum(fault.hits > fault.skip for fault in gcs.faults) > 30
    gcs.faults.clear()
    for table in TABLES:
        assert read_table(OUTPUT, table, DS).equals(read_table(output, table, DS))
    assert main(["verify", output]) == 0


def test_an_input_replaced_during_the_night_is_noticed(
    gcs: GcsServer, night: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the same content, even: the row groups read so far and those to come might differ."""
    uri = "gs://bucket/events/day=1/part.parquet"
    data = storage.read_bytes(uri)
    gcs.meanwhile("^POST /upload", lambda: replace(uri, data))
    output = "gs://bucket/noticed"
    assert recommend(CONFIG, output, model(), "--set", "run.slice_rows=100") == 1
    assert f"{uri} was replaced during the run" in capsys.readouterr().err
    assert require_pointer(OUTPUT, DS).run == night
    assert not storage.list_names(f"{output}/_published")


def test_wrong_paths_are_sentences(gcs: GcsServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in (
        (["--output", "gs://buket/nights"], "the bucket gs://buket does not exist"),
        (["--output", "gs://bucket/events/nights"], "inside"),
        (["--output", OUTPUT, "--set", "inputs.users.path=gs://bucket/user.parquet"], "gs://bucket/users.parquet"),
        (["--output", OUTPUT, "--set", "inputs.users.path=gs://buket/users.parquet"], "gs://buket does not exist"),
    ):
        assert main(["nightly", CONFIG, "--ds", DS, *words]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert "Traceback" not in error
    assert main(["nightly", "gs://bucket/nothing.yaml", "--ds", DS, "--output", OUTPUT]) == 2
    assert "gs://bucket/nothing.yaml: there is no such file" in capsys.readouterr().err


def test_another_input_replaces_the_night_and_leaves_no_old_file(gcs: GcsServer, night: str) -> None:
    """The last of this module, as it changes what the others look at. Wider ranges make fewer files."""
    before = {table: storage.list_names(f"{OUTPUT}/{table}/ds={DS}") for table in TABLES}
    storage.delete("gs://bucket/events/day=1/part.parquet")
    wider = ("--set", "run.range_ids=1000", "--set", "tables.item2user.enabled=false")
    assert recommend(CONFIG, OUTPUT, model(), *wider) == 0
    pointer = require_pointer(OUTPUT, DS)
    assert pointer.run != night
    assert pointer.previous == (night,)
    assert main(["verify", OUTPUT]) == 0
    for table in set(TABLES) - {"item2user"}:
        assert storage.list_names(f"{OUTPUT}/{table}/ds={DS}") == ["_SUCCESS", "part-00000.parquet"]
        assert len(before[table]) > 2
        assert storage.read_bytes(f"{OUTPUT}/{table}/ds={DS}/_SUCCESS") == pointer.run.encode()
    assert "item2user" not in storage.list_names(OUTPUT)
