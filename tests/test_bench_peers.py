"""The night beside other libraries: scripts that write the right rows, a check that sees wrong ones, figures."""

from __future__ import annotations

import argparse
import ast
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.speed.children import run
from benchmarks.speed.inputs import write_vectors
from benchmarks.speed.peers import __main__ as bench
from benchmarks.speed.peers import environments
from benchmarks.speed.peers.checking import Written, recall
from benchmarks.speed.peers.comparing import Bench, Sizes
from benchmarks.speed.peers.environments import FOLDER, command, python_of, require_program
from benchmarks.speed.peers.figures import figures, index_parameters, table
from benchmarks.speed.peers.implicit.peer import Rows, read
from benchmarks.speed.peers.roster import PEERS, Peer
from benchmarks.speed.worlds import World
from recbatch.errors import RecbatchError

WORLD = World(dim=16, clusters=20, rank=6)
USERS, ITEMS, K = 40, 1_000, 10
SCRIPTS = sorted(FOLDER.glob("*/peer.py"))
INDEX = {"leaves": 20, "search_leaves": 20, "reorder": 200, "dims_per_block": 2}


def task(folder: Path, **options: Any) -> dict[str, Any]:
    vectors = {
        "users": write_vectors(WORLD, "users", USERS, folder),
        "items": write_vectors(WORLD, "items", ITEMS, folder),
    }
    named = {side: str(path) for side, path in vectors.items()}
    return {**named, "output": str(folder / "out.parquet"), "scratch": str(folder), "k": K, "threads": 1, **options}


def share_found(path: Path, *, exact: bool) -> float:
    return recall(Written(path), WORLD.matrix("users", USERS), WORLD.matrix("items", ITEMS), K, exact=exact)


def best() -> tuple[np.ndarray, np.ndarray]:
    """(candidates, scores) of exact search, both ``[USERS, K]``."""
    scores = WORLD.matrix("users", USERS) @ WORLD.matrix("items", ITEMS).T
    found = np.argsort(-scores, axis=1)[:, :K]
    return found, np.take_along_axis(scores, found, axis=1)


def write_rows(path: Path, found: np.ndarray, scores: np.ndarray) -> Path:
    """Rows of all users, as the scripts write them."""
    given = task(path.parent)
    rows = Rows(str(path), read(given["users"])[0], read(given["items"])[0])
    rows.add(found, scores)
    rows.close()
    return path


# --- the scripts --------------------------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.script == "tfrs"])
def test_the_layers_rank_and_write_the_best(tmp_path: Path, name: str) -> None:
    """In batches that do not divide the users, and one query per call."""
    peer = PEERS[name]
    options = {**peer.options, **INDEX, **({"batch": 16} if peer.options["batch"] else {})}
    said = json.loads(run(command(peer, task(tmp_path, **options))).output.splitlines()[-1])
    assert {"imports", "load", "index", "search", "write"} <= said["seconds"].keys()
    assert "tensorflow-recommenders" in said["versions"]
    rows = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert rows.keys() == {"query_id", "rank", "candidate_id", "score"}
    assert rows["query_id"] == [f"u{number:09d}" for number in range(USERS) for _ in range(K)]
    assert rows["rank"] == list(range(1, K + 1)) * USERS
    found, scores = best()
    if peer.exact:
        assert rows["candidate_id"] == [f"i{number:09d}" for number in found.reshape(-1)]
        np.testing.assert_allclose(rows["score"], scores.reshape(-1), atol=1e-5)
    assert share_found(tmp_path / "out.parquet", exact=peer.exact) > (0.999 if peer.exact else 0.95)


@pytest.mark.heavy
@pytest.mark.network
@pytest.mark.parametrize("name", ["implicit", "faiss", "spark"])
def test_peers_in_environments_of_their_own_rank_and_write_the_best(tmp_path: Path, name: str) -> None:
    """From their locks. What they write is exact, scores included."""
    peer = PEERS[name]
    require_program(peer)
    said = json.loads(run(command(peer, task(tmp_path, **peer.options))).output.splitlines()[-1])
    assert {"imports", "jvm" if name == "spark" else "load"} <= said["seconds"].keys()
    assert said["blas"]
    assert share_found(tmp_path / "out.parquet", exact=True) > 0.999


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_a_script_can_be_read_alone(script: Path) -> None:
    """It imports nothing of this project, and nothing of its library before its clock has started."""
    tree = ast.parse(script.read_text())
    modules = {
        module
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert not {module for module in modules if module.split(".")[0] in ("recbatch", "benchmarks")}
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {each.module if isinstance(each, ast.ImportFrom) else each.names[0].name for each in top}
    assert {str(name).split(".")[0] for name in names} <= {*sys.stdlib_module_names}


def test_every_peer_has_its_script_and_lock() -> None:
    assert {peer.script for peer in PEERS.values()} == {script.parent.name for script in SCRIPTS}
    for name in {peer.environment for peer in PEERS.values() if peer.environment}:
        assert "--hash=sha256:" in (FOLDER / name / "requirements.txt").read_text()


def test_rows_go_on_from_call_to_call(tmp_path: Path) -> None:
    found, scores = best()
    given = task(tmp_path)
    rows = Rows(given["output"], read(given["users"])[0], read(given["items"])[0])
    for first in range(0, USERS, 15):
        rows.add(found[first : first + 15], scores[first : first + 15])
    rows.close()
    assert share_found(Path(given["output"]), exact=True) == 1


# --- the check ----------------------------------------------------------------------------------------------------


def test_right_rows_pass(tmp_path: Path) -> None:
    assert share_found(write_rows(tmp_path / "rows.parquet", *best()), exact=True) == 1


def test_recall_is_the_share_of_the_best(tmp_path: Path) -> None:
    """The last of ten replaced by the eleventh."""
    scores = WORLD.matrix("users", USERS) @ WORLD.matrix("items", ITEMS).T
    places = np.argsort(-scores, axis=1)[:, [*range(K - 1), K]]
    path = write_rows(tmp_path / "rows.parquet", places, np.take_along_axis(scores, places, axis=1))
    assert share_found(path, exact=False) == pytest.approx(0.9)
    with pytest.raises(RecbatchError, match=r"is wrong: 100.0% .* and 90.0% of the best 10 are there"):
        share_found(path, exact=True)


def test_the_best_candidate_has_to_be_the_first(tmp_path: Path) -> None:
    scores = WORLD.matrix("users", USERS) @ WORLD.matrix("items", ITEMS).T
    places = np.argsort(-scores, axis=1)[:, 1 : K + 1]
    path = write_rows(tmp_path / "rows.parquet", places, np.take_along_axis(scores, places, axis=1))
    with pytest.raises(RecbatchError, match=r"is wrong: 0.0% of the first 40 queries have the best candidate first"):
        share_found(path, exact=False)


def test_scores_have_to_be_the_dot_products_and_to_fall(tmp_path: Path) -> None:
    found, scores = best()
    for name, wrong in {"other": (found, scores + 0.01), "rising": (found[:, ::-1], scores[:, ::-1])}.items():
        path = write_rows(tmp_path / f"{name}.parquet", *wrong)
        with pytest.raises(RecbatchError, match="are not the vectors' dot products"):
            share_found(path, exact=False)


def test_a_candidate_may_be_there_once(tmp_path: Path) -> None:
    found, scores = best()
    found[:, 1], scores[:, 1] = found[:, 0], scores[:, 0]
    with pytest.raises(RecbatchError, match="names a candidate twice"):
        share_found(write_rows(tmp_path / "rows.parquet", found, scores), exact=False)


def test_all_ranks_have_to_be_there(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.parquet", *best())
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(RecbatchError, match="does not hold 10 ranks of each of the first 40 queries"):
        share_found(path, exact=False)


def test_a_folder_of_other_columns_in_any_order(tmp_path: Path) -> None:
    """As the night's table, and as Spark writes its rows."""
    rows = pq.read_table(write_rows(tmp_path / "rows.parquet", *best()))
    rows = rows.rename_columns(["user_id", "rank", "item_id", "score"])
    mixed = rows.take(pa.array(np.random.default_rng(0).permutation(len(rows))))
    (tmp_path / "folder").mkdir()
    for number in range(2):
        pq.write_table(
            mixed.slice(number * 150, 150 if number == 0 else None), tmp_path / "folder" / f"{number}.parquet"
        )
    written = Written(tmp_path / "folder", ("user_id", "rank", "item_id", "score"))
    assert recall(written, WORLD.matrix("users", USERS), WORLD.matrix("items", ITEMS), K, exact=True) == 1


# --- the figures --------------------------------------------------------------------------------------------------


def runs(side: str, fixed: float, rate: float, recalls: float) -> list[dict[str, Any]]:
    """Two runs at each of two sizes and an outlier, which the median leaves out."""
    name = "index_recall_at_k" if side == "night" else "recall_at_k_of_the_first"
    steps = {"imports": 1.5, "index": 0.5, "search": 2.0, "write": 1.0}
    about = {"steps": steps, "versions": {"faiss-cpu": "1"}, "blas": ["openblas"], name: recalls}
    return [
        {"users": users, "seconds": fixed + users / rate + late, **about}
        for users in (1_000, 3_000)
        for late in (0.0, 0.0, 60.0)
    ]


def test_rates_come_from_slopes_and_start_up_does_not_count() -> None:
    made = figures({"night": runs("night", 10, 5_000, 0.96), "peer": runs("peer", 2, 100, 1.0)})
    assert made["queries_per_second"] == pytest.approx({"night": 5_000, "peer": 100})
    assert made["fixed_seconds"] == pytest.approx({"night": 10, "peer": 2})
    assert made["ratio"] == pytest.approx(50)
    assert made["start_steps"] == {"imports": 1.5, "index": 0.5}
    assert made["recall_at_k"] == {"night": 0.96, "peer": 1.0}
    line = table({"x": {"label": "faiss", "items": 20_000, "wanted": 50.0, **made}}).splitlines()[1]
    assert " ".join(line.split()) == "faiss 20,000 5,000 100 50.0 50 10.0 s / 2.0 s 0.960 / 1.000"


def test_nothing_is_said_where_more_users_took_no_longer() -> None:
    made = figures({"night": runs("night", 10, -5_000, 0.96), "peer": runs("peer", 2, 100, 1.0)})
    assert made["queries_per_second"]["night"] is None
    assert made["ratio"] is None
    assert " - " in table({"x": {"label": "faiss", "items": 20_000, "wanted": 1.0, **made}})


def test_a_peer_gets_the_parameters_of_the_nights_index() -> None:
    built = {"leaves": 300, "dims_per_block": 2, "training_sample": 9}
    shard = {"built": built, "search": {"leaves": 30, "reorder": 400}}
    chosen = index_parameters({"kind": "scann", "shards": [shard]}, 100_000, 100)
    assert chosen == {"leaves": 300, "dims_per_block": 2, "search_leaves": 30, "reorder": 400}
    assert index_parameters({"kind": "exact", "shards": [{}]}, 400, 300)["reorder"] == 400


# --- the command --------------------------------------------------------------------------------------------------


PROGRAM = """
import json, sys
import numpy as np
from benchmarks.speed.peers.implicit.peer import Rows, libraries, read
task = json.loads(sys.argv[1])
(names, users), (candidates, items) = read(task["users"]), read(task["items"])
scores = users @ items.T
found = np.argsort(-scores, axis=1)[:, :task["k"]]
rows = Rows(task["output"], names, candidates)
rows.add(found, np.take_along_axis(scores, found, axis=1))
rows.close()
print("a library may say something first")
print(json.dumps({"seconds": {"load": 0.1, "prepare": 1000.0, "search": 0.2}, **libraries(["numpy"])}))
"""


@pytest.mark.heavy
def test_night_and_peer_are_compared_and_kept_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a program that takes the place of a library. What only makes a peer's input is not measured."""
    words = [sys.executable, "-c", PROGRAM]
    monkeypatch.setattr("benchmarks.speed.peers.comparing.command", lambda peer, task: [*words, json.dumps(dict(task))])
    sizes = {"items": 1_000, "users": [100, 200], "night_users": [300, 600], "k": 20, "runs": 1}
    folders = {"work": str(tmp_path), "results": str(tmp_path / "results")}
    bench.keep(tmp_path / "results", {"spark": {"ratio": 60.0}})
    result = bench.measure(argparse.Namespace(peers=["tfrs-brute-force"], **sizes, **folders))["tfrs-brute-force"]
    assert [ran["users"] for ran in result["runs"]["night"]] == [300, 600]
    assert [ran["users"] for ran in result["runs"]["peer"]] == [100, 200]
    assert all(-1000 < ran["seconds"] < 0 for ran in result["runs"]["peer"])
    assert result["start_steps"] == {"load": 0.1}
    assert result["recall_at_k"]["peer"] == 1
    assert result["recall_at_k"]["night"] >= 0.95
    kept = json.loads((tmp_path / "results" / "peers.json").read_text())
    assert list(kept["ratios"]) == ["tfrs-brute-force", "spark"]
    assert kept["peers"]["spark"] == {"ratio": 60.0}
    assert kept["ratios"]["tfrs-brute-force"] == result["ratio"]


def test_a_peer_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.speed.peers.comparing.command", lambda peer, task: ["false"])
    with pytest.raises(RecbatchError, match="^Spark ALS, recommendForAllUsers: .* ended with 1"):
        Bench(tmp_path, 1, WORLD)._peer(PEERS["spark"], 10, Sizes(100, [10], [10], 5), {})


def test_a_peer_gets_no_settings_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    words = command(PEERS["tfrs-scann"], {"k": 3})
    kept = words.index(sys.executable)
    shown = run([*words[:kept], sys.executable, "-c", "import os; print(sorted(os.environ))"]).output
    assert "OPENBLAS_CORETYPE" not in shown
    assert "PYTHONPATH" not in shown
    assert "PATH" in shown
    assert json.loads(words[-1]) == {"k": 3}


def test_an_environment_is_made_from_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the quality measurement's code, where it is told to; the package's own is there already."""
    asked: list[list[str]] = []
    monkeypatch.setattr(environments.environments, "_call", lambda words, name: asked.append(words))
    monkeypatch.setattr(Path, "touch", lambda path, *given: None)
    python = python_of("faiss", tmp_path)
    assert python.parents[2] == tmp_path
    assert asked[1][-1] == str(tmp_path / "faiss" / "requirements.txt")
    assert Path(asked[1][-1]).read_bytes() == (FOLDER / "faiss" / "requirements.txt").read_bytes()
    assert python_of(None) == Path(sys.executable)


def test_what_a_peer_needs_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    require_program(Peer("none", "tfrs", 1, (1, 2)))
    with pytest.raises(RecbatchError, match="^Spark ALS, .* needs java, which is not on this machine: install it"):
        require_program(PEERS["spark"])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    require_program(PEERS["spark"])


def test_both_sides_take_as_many_numbers_of_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--work", str(tmp_path), "--peers", "tfrs-scann", "--users", "100", "--results", str(tmp_path)]
    assert bench.main(words) == 1
    assert "--night-users names 2 numbers of users and the peer tfrs-scann has 1" in capsys.readouterr().err
