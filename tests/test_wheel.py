"""The package as others get it: a wheel, away from the checkout, with its schemas inside, makes a night.

``make test-wheel`` runs this in an environment made from nothing, which it names in ``RECBATCH_WHEEL``. Elsewhere the
wheel is built and unpacked beside the libraries of this environment, and the checkout is kept out of sight.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parent.parent
DS = "2024-03-09"

NIGHT = """
import os, sys
checkout, *words = sys.argv[1:]
sys.path = [path for path in sys.path if path and not os.path.realpath(path).startswith(checkout + "/recbatch")]
sys.path = [path for path in sys.path if os.path.realpath(path) != checkout]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]

import recbatch
assert not os.path.realpath(recbatch.__file__).startswith(checkout + "/recbatch/"), recbatch.__file__
print(os.path.dirname(recbatch.__file__))

from recbatch.cli.main import main
sys.exit(main(words))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables under which Python finds the wheel."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RECBATCH_WHEEL")}
    if "RECBATCH_WHEEL" in os.environ:
        return clean
    dist, target = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # From a source distribution, so that nothing that lies in build/ gets in.
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(ROOT)], clean, dist)
    (wheel,) = dist.glob("*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], clean, dist)
    return clean | {"PYTHONPATH": str(target)}


@pytest.mark.wheel
@pytest.mark.heavy
def test_the_wheel_makes_a_night(environment: dict[str, str], tmp_path: Path) -> None:
    config = write_inputs(tmp_path)
    place = recbatch(environment, tmp_path, "nightly", config, "--output", "out", "--ds", DS).splitlines()[0]
    assert "site-packages" in place or place.startswith(environment["PYTHONPATH"])
    assert "1 published night verified" in recbatch(environment, tmp_path, "verify", "out")

    schemas = {path.stem: json.loads(path.read_text()) for path in Path(place, "_schemas").glob("*.json")}
    assert schemas.keys() == {path.stem for path in (ROOT / "schemas").glob("*.json")}
    for table in ("user2item", "item2item", "user2user", "item2user", "user_embeddings", "item_embeddings"):
        rows = pq.read_table(tmp_path / "out" / table / f"ds={DS}", partitioning=None)
        assert rows.num_rows > 0
        assert rows.column_names == [column["name"] for column in schemas[table]]
        assert rows.schema.field(0).metadata[b"description"].decode() == schemas[table][0]["description"]


def write_inputs(folder: Path) -> str:
    """A few interactions, and a config whose training takes a second."""
    pairs = [(f"u{user}", f"i{(user * step) % 17}") for user in range(1, 20) for step in range(1, 7)]
    start = 1_709_971_200
    columns = {"user_id": [user for user, _ in pairs], "item_id": [item for _, item in pairs]}
    times = pa.array([start + number for number in range(len(pairs))])
    pq.write_table(pa.table(columns | {"timestamp": times}), folder / "interactions.parquet")
    config = {
        "inputs": {
            "interactions": {
                "path": "interactions.parquet",
                "columns": {"timestamp": "timestamp"},
                "timestamp_unit": "s",
            }
        },
        "model": {"dim": 8, "training": {"epochs": 1, "refit": False}},
    }
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    return "config.yaml"


def recbatch(environment: dict[str, str], folder: Path, *words: str) -> str:
    """Standard output of a command of the installed package, run in ``folder``."""
    return run([sys.executable, "-c", NIGHT, str(ROOT), *words], environment, folder)


def run(words: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
