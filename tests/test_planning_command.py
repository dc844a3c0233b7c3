"""`recbatch plan` as it is called: what it says of a night is what the night then is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from night_bundles import given_bundle
from world import DS, Published, pairs_world, random_vectors

from benchmarks.speed.planning import stored_bytes
from recbatch.cli.main import main
from recbatch.launch.nightly import recommend
from recbatch.planning.prediction import STEPS

USERS = [f"user {number:04d}" for number in range(1_500)]
ITEMS = [f"item {number:04d}" for number in range(1_200)]
K = 20
SETTINGS: dict[str, Any] = {
    "run": {"range_ids": 200},
    "index": {"kind": "scann", "memory_gib": 0.00015},
    "tables": {"user2item": {"k": K}, "item2item": {"k": K}},
}


@dataclass(frozen=True)
class Planned:
    words: list[str]
    document: dict[str, Any]
    shown: str
    folder: Path


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """A plan from vectors, as printed and as JSON; it leaves nothing else."""
    folder = tmp_path_factory.mktemp("inputs")
    world = pairs_world([(user, ITEMS[number % 97]) for number, user in enumerate(USERS)])
    config = world.config(world.write(folder), SETTINGS)
    for side, ids in (("users", USERS), ("items", ITEMS)):
        vectors = random_vectors(ids, 16, len(ids), clusters=20)
        table = pa.table({"id": ids, "embedding": pa.array([vectors[name].tolist() for name in ids])})
        pq.write_table(table, folder / f"{side}.parquet", row_group_size=500)
    words = [config, "--user-vectors", str(folder / "users.parquet"), "--item-vectors", str(folder / "items.parquet")]
    before, target = files(folder), tmp_path_factory.mktemp("plan") / "plan.json"
    with pytest.MonkeyPatch.context() as patch:
        shown: list[str] = []
        patch.setattr("rich.console.Console.print", lambda _, *what, **__: shown.extend(map(_text, what)))
        assert main(["plan", *words, "--ds", DS, "--json", str(target)]) == 0
    assert files(folder) == before
    return Planned(words, json.loads(target.read_text()), "\n".join(shown), folder)


def _text(what: Any) -> str:
    columns = getattr(what, "columns", None)
    return str(what) if columns is None else "\n".join(str(cell) for column in columns for cell in column._cells)


@pytest.fixture(scope="module")
def night(planned: Planned, tmp_path_factory: pytest.TempPathFactory) -> Published:
    output = tmp_path_factory.mktemp("night")
    vectors: dict[str, str | None] = {side: str(planned.folder / f"{side}.parquet") for side in ("users", "items")}
    recommend(planned.words[0], [], str(output), DS, model=None, vectors=vectors, force=False, beam_arguments=[])
    return Published(output)


def test_ranges_and_shards_are_the_night_s(planned: Planned, night: Published) -> None:
    (run,) = night.output.glob("_runs/*/*")
    assert planned.document["cuts"] == json.loads((run / "plan.json").read_text())
    shards = json.loads((run / "shards.json").read_text())
    assert planned.document["shards"] == shards
    assert max(len(stops) for stops in shards.values()) > 1
    assert len(planned.document["entities"]["user"]["ranges"]) == 8


def test_counts_are_the_night_s(planned: Planned, night: Published) -> None:
    tables = night.manifest["tables"]
    for name, said in planned.document["tables"].items():
        assert said["rows"] == tables[name]["rows"]
        assert said["queries"] == tables[name]["queries"]
        assert said["candidates"] == tables[name]["index"]["candidates"]
    assert planned.document["entities"]["item"]["source"] == "all ids of the items"


def test_bytes_are_about_the_night_s(planned: Planned, night: Published) -> None:
    said, tables = planned.document["output_bytes"], night.manifest["tables"]
    for name in tables:
        real = sum(file["bytes"] for file in tables[name]["files"])
        assert said[name] == pytest.approx(real, rel=0.3)
    assert said["all"] == pytest.approx(stored_bytes(night.output), rel=0.3)


def test_steps_have_the_manifest_s_names(planned: Planned, night: Published) -> None:
    steps = planned.document["seconds_by_step"]
    assert list(steps) == list(STEPS) == list(night.manifest["timings"]["seconds_by_step"])
    assert all(value > 0 for value in steps.values())
    assert planned.document["seconds"] == pytest.approx(sum(each["seconds"] for each in planned.document["stages"]))
    assert not planned.document["not_predicted"]


def test_the_table_says_it_all(planned: Planned) -> None:
    stages = [stage["name"] for stage in planned.document["stages"]]
    assert "search user2item" in stages
    for said in (*stages, "Dataflow: ", "vCPU-hours", "GB-hours", "memory on this machine", "output: ", "1,500"):
        assert said in planned.shown
    machine = planned.document["dataflow"]["machine"]
    assert machine["name"] in planned.shown
    assert machine["memory_gb"] * 2**30 >= planned.document["worker_memory_bytes"]["peak"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(config, bundle) of a night of few users and items."""
    folder = tmp_path_factory.mktemp("small")
    users, items = USERS[:60], ITEMS[:40]
    rng = np.random.default_rng(0)
    world = pairs_world([(str(rng.choice(users)), str(rng.choice(items))) for _ in range(500)], items=items)
    bundle = given_bundle(folder / "bundle", random_vectors(users, 6), random_vectors(items[:30], 6))
    return world.config(world.write(folder), {"run": {"max_invalid_vector_share": 1.0}}), bundle


def test_with_a_bundle_its_towers_are_measured(small: tuple[str, Path], tmp_path: Path) -> None:
    config, bundle = small
    target = tmp_path / "plan.json"
    assert main(["plan", config, "--model", str(bundle), "--ds", DS, "--json", str(target)]) == 0
    said = json.loads(target.read_text())
    assert said["seconds_by_step"]["embed"] > 0
    assert said["tables"]["user2item"]["candidates"] == 30  # ten of forty are cold
    assert said["tables"]["user2item"]["method"] == "exact"
    assert not said["not_predicted"]


def test_without_a_model_it_says_what_it_cannot_know(
    small: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Today is the date where none is given."""
    target = tmp_path / "plan.json"
    assert main(["plan", small[0], "--json", str(target), "--hours", "0.5"]) == 0
    said = json.loads(target.read_text())
    assert said["not_predicted"][0].startswith("training: ")
    assert said["tables"]["user2item"]["rows"] > 0
    assert said["dataflow"]["asked_hours"] == 0.5
    assert "not predicted: training" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ds", "yesterday"], "--ds: 'yesterday' is not a date"),
        (["--hours", "0"], "--hours: 0 is no time"),
        (["--set", "tables.user2item.kk=3"], "kk"),
        (["--model", "nowhere"], "--model: "),
        (["--user-vectors", "nowhere.parquet", "--item-vectors", "nowhere.parquet"], "nothing is at 'nowhere.parquet'"),
        (["--json", "."], "is a folder"),
    ],
)
def test_mistakes_are_one_sentence(
    small: tuple[str, Path], words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", small[0], *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert sentence in said[-1]
    assert "Traceback" not in "\n".join(said)
