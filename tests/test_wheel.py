"""The built wheel, away from the checkout: it is all that a worker gets, so its schemas must be inside.

With ``RECBATCH_WHEEL`` set (``make test-wheel``) the wheel is installed in this very environment, made from nothing;
otherwise it is built and unpacked here, and a process is started that can see it and not the checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TABLES = ("user2item", "item2item", "user2user", "item2user", "user_embeddings", "item_embeddings")
CONFIG = """\
inputs:
  interactions:
    path: events.parquet
model:
  dim: 4
  training: {epochs: 1, batch_size: 64}
tables:
  user2item: {k: 3}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel file."""
    if given := os.environ.get("RECBATCH_WHEEL"):
        return Path(given)
    folder = tmp_path_factory.mktemp("dist")
    checkout = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(checkout)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which a new process finds the package in the wheel."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if "RECBATCH_WHEEL" in os.environ:
        return variables
    unpacked = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    return {**variables, "PYTHONPATH": str(unpacked)}


def run_away(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run Python in ``folder``; returns what it printed."""
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.wheel
def test_the_wheel_holds_the_package_and_its_schemas_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"recbatch/_schemas/{table}.json" for table in TABLES} <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"recbatch"}
    assert not [name for name in names if name.endswith((".parquet", ".npz", ".zip", ".yaml"))]


@pytest.mark.wheel
@pytest.mark.heavy
def test_a_small_night_runs_from_the_wheel(environment: dict[str, str], tmp_path: Path) -> None:
    checkout = Path(__file__).resolve().parents[1]
    where = run_away(
        ["-c", "import recbatch.schemas as s; print(s.__file__, s.schema_folder())"], tmp_path, environment
    )
    assert str(checkout / "recbatch") not in where
    assert str(checkout / "schemas") not in where

    users = [f"u{user}" for user in range(12) for _ in range(4)]
    items = [f"i{(7 * number) % 15}" for number in range(48)]
    pq.write_table(pa.table({"user_id": users, "item_id": items}), tmp_path / "events.parquet")
    (tmp_path / "night.yaml").write_text(CONFIG)
    night = ["-m", "recbatch", "nightly", "night.yaml", "--output", "output", "--ds", "2024-03-09"]
    run_away(night, tmp_path, environment)
    run_away(["-m", "recbatch", "verify", "output"], tmp_path, environment)
    rows = pq.read_table(tmp_path / "output" / "user2item" / "ds=2024-03-09" / "part-00000.parquet", partitioning=None)
    assert rows.column_names == ["user_id", "rank", "item_id", "score", "source"]
    assert rows.num_rows == 12 * 3
    pointer = json.loads((tmp_path / "output" / "_published" / "2024-03-09.json").read_text())
    assert pointer["ds"] == "2024-03-09"
