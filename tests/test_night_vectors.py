"""Nights whose vectors are given with the users and items, made by whatever model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from night_bundles import given_bundle
from world import DS, Published, Vectors, pairs_world, random_vectors, run

from jobs import recommend as job
from recbatch.cli.main import main
from recbatch.errors import ConfigError, InputError, RecbatchError
from recbatch.launch.nightly import Outcome, recommend
from recbatch.tables.verify import check_output

USERS = [f"user {number}" for number in range(40)]
ITEMS = [*(f"item {number}" for number in range(30)), "ключ", "物", "z"]
TABLES = ("user2item", "item2item", "user2user", "item2user", "user_embeddings", "item_embeddings")
SETTINGS: dict[str, Any] = {"run": {"range_ids": 7, "max_invalid_vector_share": 0.2, "slice_rows": 10}}
PAIRS = [(user, ITEMS[(7 * number + step) % len(ITEMS)]) for number, user in enumerate(USERS) for step in range(4)]


@dataclass(frozen=True)
class Inputs:
    folder: Path
    config: str
    users: Vectors
    items: Vectors

    def vectors(self, name: str = "vectors") -> dict[str, str | None]:
        return {side: str(self.folder / name / side) for side in ("users", "items")}

    def run(self, output: Path, *sets: str, name: str = "vectors", **more: Any) -> Outcome:
        arguments = {"model": None, "vectors": self.vectors(name), "force": False, "beam_arguments": []} | more
        return recommend(self.config, sets, str(output), DS, **arguments)


def write(folder: Path, vectors: Sequence[tuple[object, object]], *, files: int = 3, rows: int = 4) -> None:
    """Files of ``id`` and ``embedding`` with small row groups, in the given order."""
    folder.mkdir(parents=True)
    cuts = [len(vectors) * number // files for number in range(files + 1)]
    for number in range(files):
        part = vectors[cuts[number] : cuts[number + 1]]
        ids, values = [name for name, _ in part], [value for _, value in part]
        table = pa.table({"id": ids, "embedding": pa.array(values, pa.list_(pa.float64()))})
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=rows)


def shuffled(vectors: Vectors) -> list[tuple[object, object]]:
    names = list(np.random.default_rng(5).permutation(list(vectors)))
    return [(str(name), vectors[name].tolist()) for name in names]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("given")
    users, items = random_vectors(USERS, 6, 1), random_vectors(ITEMS, 6, 2)
    world = pairs_world(PAIRS, users=USERS, items=ITEMS)
    write(folder / "vectors" / "users", shuffled(users))
    write(folder / "vectors" / "items", shuffled(items))
    return Inputs(folder, world.config(world.write(folder), SETTINGS), users, items)


@pytest.fixture(scope="module")
def night(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Published:
    output = tmp_path_factory.mktemp("night")
    inputs.run(output)
    return Published(output)


def test_tensorflow_is_not_needed(inputs: Inputs, tmp_path: Path) -> None:
    """Nor imported: it takes seconds and half a gigabyte."""
    program = """
import sys
from recbatch.cli.main import main

sys.modules["tensorflow"] = None
sys.exit(main(sys.argv[1:]))
"""
    words = ["recommend", inputs.config, "--output", str(tmp_path / "out"), "--ds", DS]
    words += [word for side, path in inputs.vectors().items() for word in (f"--{side[:-1]}-vectors", str(path))]
    subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True)
    assert Published(tmp_path / "out").manifest["tables"].keys() == set(TABLES)


def test_the_tables_are_those_of_towers_that_give_the_same_vectors(
    inputs: Inputs, night: Published, tmp_path: Path
) -> None:
    run(inputs.config, tmp_path / "out", model=given_bundle(tmp_path / "bundle", inputs.users, inputs.items))
    for table in TABLES:
        assert night.table(table).equals(Published(tmp_path / "out").table(table)), table
    assert check_output(str(night.output)) == ([DS], [])


def test_the_vectors_are_published_as_they_are(inputs: Inputs, night: Published) -> None:
    for table, given in (("user_embeddings", inputs.users), ("item_embeddings", inputs.items)):
        published = night.vectors(table)
        assert published.keys() == given.keys()
        assert all(np.array_equal(published[name], vector) for name, vector in given.items())


def test_what_was_seen_is_left_out(night: Published) -> None:
    assert not {(query, candidate) for query, _, candidate, _ in night.rows("user2item")} & set(PAIRS)


def test_a_second_run_does_nothing(inputs: Inputs, night: Published) -> None:
    assert not inputs.run(night.output).published


def test_the_night_says_that_no_model_made_it(night: Published, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(night.output), "--ds", DS]) == 0
    assert "model: none, the vectors were given" in capsys.readouterr().out
    assert night.manifest["model"]["given"]


def test_the_config_can_name_them_and_nightly_makes_the_same(inputs: Inputs, night: Published, tmp_path: Path) -> None:
    sets = [f"inputs.{side}={{path: {path}, id: id, embedding: embedding}}" for side, path in inputs.vectors().items()]
    run(inputs.config, tmp_path, sets=sets)
    for table in TABLES:
        assert night.table(table).equals(Published(tmp_path).table(table)), table


def test_as_a_job(inputs: Inputs, night: Published, tmp_path: Path) -> None:
    words = [f"--config={inputs.config}", f"--output={tmp_path}", f"--ds={DS}"]
    words += [f"--{side.removesuffix('s')}-vectors={path}" for side, path in inputs.vectors().items()]
    assert job.main(words) == 0
    assert night.table("item2item").equals(Published(tmp_path).table("item2item"))


def test_rows_that_cannot_be_used_are_counted(inputs: Inputs, tmp_path: Path) -> None:
    """Null, empty and not finite vectors, a null id, an id twice, an id of a number."""
    users: list[tuple[object, object]] = shuffled(inputs.users)
    users += [("no vector", None), ("empty", []), ("hole", [1.0, None, 1.0, 1.0, 1.0, 1.0]), (None, [1.0] * 6)]
    users += [("nan", [float("nan")] * 6), ("too large", [1e39] + [0.0] * 5), (USERS[3], [1.0] * 6)]
    folder = inputs.folder / tmp_path.name
    write(folder / "users", users)
    write(folder / "items", shuffled(inputs.items))
    inputs.run(tmp_path, "inputs.max_quarantined_share=0.2", name=tmp_path.name)
    published = Published(tmp_path)
    counts = published.manifest["counts"]
    assert counts["users"]["quarantined"] == 4
    assert counts["users"]["quarantined/embedding is null or empty"] == 2
    assert counts["users"]["quarantined/embedding has a null among its values"] == 1
    assert counts["user_profiles"]["duplicate_users"] == 1
    assert published.manifest["tables"]["user_embeddings"]["not_served"] == {"cold": 0, "not_finite": 2}
    assert np.array_equal(published.vectors("user_embeddings")[USERS[3]], np.ones(6, np.float32))
    reasons = [
        row["reason"]
        for file in published.manifest["parts"]["quarantine"]
        for row in pq.read_table(tmp_path / file["path"]).to_pylist()
    ]
    assert len(reasons) == 4


def test_users_without_a_vector_are_cold(inputs: Inputs, tmp_path: Path) -> None:
    folder = inputs.folder / tmp_path.name
    write(folder / "users", [pair for pair in shuffled(inputs.users) if pair[0] != USERS[5]])
    write(folder / "items", shuffled(inputs.items))
    inputs.run(tmp_path, "inputs.unknown_users=keep", name=tmp_path.name)
    published = Published(tmp_path)
    assert published.manifest["tables"]["user2item"]["not_served"]["cold"] == 1
    assert USERS[5] not in published.vectors("user_embeddings")


@pytest.mark.parametrize("ids", ["numbers", "text"])
def test_ids_of_whole_numbers(tmp_path: Path, ids: str) -> None:
    pairs = [(str(number), str(100 + number % 7)) for number in range(20)]
    world = pairs_world(pairs)
    write(tmp_path / "users", [(n if ids == "numbers" else str(n), [1.0, n]) for n in range(20)], files=1)
    write(tmp_path / "items", [(n if ids == "numbers" else str(n), [1.0, -n]) for n in range(100, 107)], files=1)
    config = world.config(world.write(tmp_path))
    vectors = {side: str(tmp_path / side) for side in ("users", "items")}
    recommend(config, [], str(tmp_path / "out"), DS, model=None, vectors=vectors, force=False, beam_arguments=[])
    assert len(Published(tmp_path / "out").rows("user2item")) == 20 * 6


@pytest.mark.parametrize(
    ("users", "items", "message"),
    [
        (
            [("a", [1.0, 2.0]), ("b", [1.0])],
            [("x", [1.0, 2.0])],
            "inputs.users.embedding: vectors must be of one width",
        ),
        ([("a", [1.0, 2.0])], [("x", [1.0])], "users have vectors of width 2, items of 1"),
    ],
)
def test_widths_must_agree(tmp_path: Path, users: Any, items: Any, message: str) -> None:
    world = pairs_world([("a", "x"), ("b", "x")])
    config = world.config(world.write(tmp_path / "in"))
    write(tmp_path / "users", users, files=1)
    write(tmp_path / "items", items, files=1)
    vectors = {side: str(tmp_path / side) for side in ("users", "items")}
    with pytest.raises(RecbatchError, match=message):
        recommend(config, [], str(tmp_path / "out"), DS, model=None, vectors=vectors, force=False, beam_arguments=[])


def test_a_column_of_another_type_is_named(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"inputs.users.embedding: column 'id' .* it must hold lists of numbers"):
        inputs.run(tmp_path, "inputs.users.embedding=id")


def test_one_side_alone_is_a_mistake(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name inputs.items.embedding, too, or neither"):
        inputs.run(tmp_path, vectors={"users": inputs.vectors()["users"], "items": None})


def test_a_model_beside_them_is_a_mistake(inputs: Inputs, tmp_path: Path) -> None:
    bundle = given_bundle(tmp_path / "bundle", inputs.users, inputs.items)
    with pytest.raises(InputError, match="--model: the vectors are given"):
        inputs.run(tmp_path / "out", model=str(bundle))


def test_neither_is_a_mistake_too(inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", inputs.config, "--output", str(tmp_path), "--ds", DS]) == 2
    assert "--user-vectors and --item-vectors" in capsys.readouterr().err


def test_what_describes_them_is_no_model(inputs: Inputs, night: Published, tmp_path: Path) -> None:
    described = night.output / night.manifest["model"]["bundle"]
    with pytest.raises(InputError, match="only describes vectors that were given"):
        run(inputs.config, tmp_path, model=described)
