"""Publishing: manifest, pointer and folders, and what a second run does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from night_bundles import given_bundle
from night_oracle import DEFAULTS, SIDES, Rules, check_table, top_k
from night_published import BIAS, ITEMS, USERS, SmallNight, small_night, small_world, snapshot
from world import DS, random_vectors

from recbatch.errors import RecbatchError
from recbatch.work import embedding

EMBEDDINGS = ("user_embeddings", "item_embeddings")


@pytest.fixture
def night(tmp_path_factory: pytest.TempPathFactory) -> SmallNight:
    return small_night(tmp_path_factory.getbasetemp())


@pytest.fixture
def copy(night: SmallNight, tmp_path: Path) -> SmallNight:
    return night.copied(tmp_path / "copy" / "of out")


def test_manifest(night: SmallNight) -> None:
    manifest = night.published.manifest
    assert manifest["bias_coordinate"] == BIAS
    assert (manifest["ds"], manifest["run"]) == (DS, night.pointer.run)
    identity = manifest["identity"]
    assert identity["ds"] == DS
    assert identity["config"]["run"]["range_ids"] == 6
    assert identity["bundle"] == sha256(night.bundle / "manifest.json")
    events = Path(night.config).parent / "events" / "00.parquet"
    assert identity["checksums"]["interactions"] == [f"sha256:{sha256(events)}"]
    assert set(identity["checksums"]) == {"interactions", "users", "items"}
    assert manifest["model"]["fingerprint"] == "made by hand"
    assert manifest["schemas"]["user2item"][0]["name"] == "user_id"
    assert {"apache-beam", "numpy", "pyarrow", "scann", "tensorflow"} <= set(manifest["versions"])
    assert manifest["processor"]["machine"] == os.uname().machine
    assert all(seconds >= 0 for seconds in manifest["timings"]["seconds_by_step"].values())
    assert all(work["found"] == 0 < work["made"] for work in manifest["work"].values())


def test_manifest_lists_every_file(night: SmallNight) -> None:
    tables = night.published.manifest["tables"]
    assert set(tables) == {*SIDES, *EMBEDDINGS}
    for name, entry in tables.items():
        entity = name.split("_")[0] if name in EMBEDDINGS else SIDES[name][0]
        count = len(USERS if entity == "user" else ITEMS)
        assert (entry["schema"], entry["queries"], len(entry["files"])) == (name, count, -(-count // 6))
        assert set(entry["not_served"].values()) == {0}
        for file in entry["files"]:
            path = night.output / file["path"]  # relative, so that a copy verifies
            assert not Path(file["path"]).is_absolute()
            assert file["bytes"] == path.stat().st_size
            assert file["rows"] == pq.read_metadata(path).num_rows
            assert file["sha256"] == sha256(path)
        if name in SIDES:
            assert (entry["index"]["kind"], entry["index"]["index_recall_at_k"]) == ("exact", 1.0)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_pointer(night: SmallNight) -> None:
    pointer = json.loads((night.output / "_published" / f"{DS}.json").read_bytes())
    manifest = night.output / pointer["manifest"]
    assert (pointer["ds"], pointer["previous"]) == (DS, [])
    assert pointer["manifest_sha256"] == sha256(manifest)
    assert json.loads(manifest.read_bytes())["run"] == pointer["run"] == manifest.parent.name


def test_folders_are_hard_links_to_the_parts(night: SmallNight) -> None:
    tables = night.published.manifest["tables"]
    assert {path.name for path in night.output.glob("[!.]*")} == {"_published", "_runs", *tables}
    for table, entry in tables.items():
        parts = [night.output / file["path"] for file in entry["files"]]
        assert night.published.projected(table) == ["_SUCCESS", *(part.name for part in parts)]
        for part in parts:
            assert (night.output / table / f"ds={DS}" / part.name).samefile(part)


def test_a_second_run_does_nothing_and_says_so(
    night: SmallNight, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(night.output)
    monkeypatch.setattr("recbatch.launch.pipelines.run_pipeline", lambda *_, **__: pytest.fail("a pipeline was run"))
    with caplog.at_level("INFO", "recbatch"):
        assert night.command() == 0
    assert "nothing to do" in caplog.text
    assert snapshot(night.output) == before


def test_a_value_changed_in_place_makes_a_new_run(night: SmallNight, tmp_path: Path) -> None:
    """Same size, same modification time: only the content tells."""
    world = small_world()
    folder = world.write(tmp_path / "world")
    events = folder / "events" / "00.parquet"
    rows = pq.read_table(events)
    pq.write_table(rows, events, compression="none", use_dictionary=False)
    changed = SmallNight(world.config(folder), night.bundle, tmp_path / "out")
    changed.run()
    first, times = changed.pointer.run, events.stat()
    stars = pa.array([1.0, *rows["stars"].to_pylist()[1:]])
    pq.write_table(rows.set_column(3, "stars", stars), events, compression="none", use_dictionary=False)
    os.utime(events, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (events.stat().st_mtime_ns, events.stat().st_size) == (times.st_mtime_ns, times.st_size)

    assert changed.run().published
    assert changed.pointer.run != first
    assert changed.pointer.previous == (first,)
    assert changed.problems == []


def test_other_inputs_leave_no_old_file(copy: SmallNight) -> None:
    """Fewer ranges, so fewer parts, and a table switched off; and back again."""
    first = copy.pointer.run
    words = ("--set", "run.range_ids=100", "--set", "tables.user2user.enabled=false", "--set", "tables.user2item.k=2")
    assert copy.command(*words) == 0
    published = copy.published
    assert copy.pointer.run != first
    assert sorted(published.manifest["tables"]) == sorted({*SIDES, *EMBEDDINGS} - {"user2user"})
    for table in published.manifest["tables"]:
        assert published.projected(table) == ["_SUCCESS", "part-00000.parquet"]
        assert (copy.output / table / f"ds={DS}" / "_SUCCESS").read_text() == copy.pointer.run
    assert published.projected("user2user") == []
    check_table(published, "user2item", small_world(), Rules(), {"k": 2})
    assert copy.problems == []

    # The first inputs again: all parts are there, and it is the night again.
    assert copy.run().published
    assert copy.pointer.run == first
    assert published.manifest["tables"]["user2user"]["files"][0]["path"].startswith(f"_runs/{DS}/{first}/")
    assert len(published.projected("user2item")) == 3
    assert copy.problems == []


def test_force_makes_a_run_of_its_own(copy: SmallNight) -> None:
    name, rows = copy.pointer.run, copy.published.rows("user2item")
    for counter in (2, 3):
        assert copy.command("--force") == 0
        assert copy.pointer.run == f"{name}-{counter}"
    assert copy.pointer.previous == (f"{name}-2", name)
    assert copy.published.rows("user2item") == rows
    assert copy.published.manifest["work"]["user2item"] == {"made": 2, "found": 0}
    assert (copy.output / "user2item" / f"ds={DS}" / "_SUCCESS").read_text() == f"{name}-3"
    assert copy.problems == []
    assert not copy.run().published  # the forced night is of these inputs


def test_a_forced_run_that_was_stopped_is_gone_on_with(copy: SmallNight, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter does not rise, and no part is made twice."""
    name = copy.pointer.run
    with monkeypatch.context() as patch:
        patch.setattr("recbatch.work.publish.make_manifest", lambda *_: 1 / 0)
        assert copy.command("--force") == 1
    assert copy.pointer.run == name
    assert copy.command("--force") == 0
    assert copy.pointer.run == f"{name}-2"
    assert copy.published.manifest["work"]["user2item"] == {"made": 0, "found": 2}


def test_a_table_with_a_model_of_its_own(night: SmallNight, tmp_path: Path) -> None:
    others = random_vectors(ITEMS, dim=9, seed=11)
    other = given_bundle(tmp_path / "other", random_vectors(USERS, dim=9, seed=12), others, bias=0)
    mixed = SmallNight(night.config, night.bundle, tmp_path / "out")
    mixed.run(f"tables.item2item.model={other}", "tables.item2item.k=4")
    published = mixed.published
    own = {"item2item_query_embeddings", "item2item_candidate_embeddings"}
    assert set(published.manifest["tables"]) == {*SIDES, *EMBEDDINGS, *own}
    for name in own:
        assert published.table(name).schema.names == ["id", "embedding"]
        found = published.vectors(name)
        assert found.keys() == others.keys()
        assert all((found[item] == others[item]).all() for item in others)
        assert "_SUCCESS" in published.projected(name)
    expected = top_k(others, others, {**DEFAULTS["item2item"], "k": 4}, seen={}, bias=0)
    assert published.rows("item2item") == expected.rows
    assert np.abs(published.scores("item2item") - expected.scores).max() < 1e-6
    check_table(published, "user2item", small_world(), Rules(), {}, bias=BIAS)
    assert {len(vector) for vector in published.vectors("item_embeddings").values()} == {6}
    assert published.manifest["identity"]["other_bundles"].keys() == {"item2item"}
    assert mixed.problems == []

    # Without it the night is another run, and the extra tables are gone.
    mixed.run()
    assert not any(published.projected(name) for name in own)
    assert mixed.problems == []


def test_a_bundle_replaced_during_the_run_fails_it(
    night: SmallNight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared folder of the newest model, say; and the process must not go on with the towers that it holds."""
    latest = Path(shutil.copytree(night.bundle, tmp_path / "latest"))
    shared = SmallNight(night.config, latest, tmp_path / "out")
    shared.run()
    newer = given_bundle(tmp_path / "newer", random_vectors(USERS, seed=21), random_vectors(ITEMS, seed=22))
    embed_range = embedding.embed_range

    def replace_first(*arguments: Any) -> Any:
        if newer.exists():
            shutil.rmtree(latest)
            newer.rename(latest)
        return embed_range(*arguments)

    monkeypatch.setattr(embedding, "embed_range", replace_first)
    with pytest.raises(RecbatchError, match="latest was replaced during the run"):
        shared.run("tables.user2item.k=5")
    shared.run("tables.user2item.k=5")
    found = shared.published.vectors("user_embeddings")
    assert all((found[name] == vector).all() for name, vector in random_vectors(USERS, seed=21).items())
