"""What is packaged and what is locked."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "locks" / "requirements-py311.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> dict[str, str]:
    """Version by canonical name. Fails on a line that is neither a pin with hashes nor a comment."""
    text = re.sub(r"^ *#.*\n", "", LOCK.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    pins = {}
    for line in text.splitlines():
        pin = re.fullmatch(r"([a-z0-9.-]+)(?:\[[a-z0-9,-]+\])?==(\S+)((?: +--hash=sha256:[0-9a-f]{64})+) *", line)
        assert pin, f"not a pinned package with hashes: {line[:200]}"
        pins[str(canonicalize_name(pin[1]))] = pin[2]
    return pins


def test_lock_pins_every_package_by_hash_and_names_no_host() -> None:
    pins = locked()
    assert len(pins) > 100
    assert {"setuptools", "wheel"} <= pins.keys(), "the editable install builds without isolation"
    text = LOCK.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash)", text, flags=re.MULTILINE), "an option of pip, for example an index"
    assert not re.search(r"\b[\w-]+\.(org|com|net|io|dev)\b", text)


def test_lock_satisfies_the_project() -> None:
    pins = locked()
    for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]:
        requirement = Requirement(line)
        version = pins.get(str(canonicalize_name(requirement.name)))
        assert version, f"{line} is not in the lock; run make lock"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{line} but {version} is locked; run make lock"
        )


def test_locked_packages_go_together() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "No broken requirements found.")


def test_version_is_said_once() -> None:
    assert importlib.metadata.version("recbatch") == PROJECT["version"]
    assert "__version__ =" not in (ROOT / "recbatch" / "__init__.py").read_text()


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """Names of the files in the sdist (below its top folder) and in the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames() if "/" in name}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
        schema = archive.read("recbatch/_schemas/user2item.json")
    assert hashlib.sha256(schema).digest() == hashlib.sha256((ROOT / "schemas/user2item.json").read_bytes()).digest()
    return in_sdist, in_wheel


def package_files() -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / "recbatch").rglob("*.py")} | {"recbatch/py.typed"}


def schema_files() -> set[str]:
    return {path.name for path in (ROOT / "schemas").glob("*.json")}


def test_wheel_holds_the_package_and_the_schemas_and_nothing_else(distributions: tuple[set[str], set[str]]) -> None:
    _, in_wheel = distributions
    wanted = package_files() | {f"recbatch/_schemas/{name}" for name in schema_files()}
    assert {name for name in in_wheel if ".dist-info/" not in name} == wanted
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in in_wheel)


def test_sdist_holds_what_a_worker_builds_from_and_no_data(distributions: tuple[set[str], set[str]]) -> None:
    in_sdist, _ = distributions
    jobs = {str(path.relative_to(ROOT)) for path in (ROOT / "jobs").rglob("*.py")}
    schemas = {f"schemas/{name}" for name in schema_files()}
    assert package_files() | jobs | schemas | {"setup.py", "pyproject.toml", "LICENSE"} <= in_sdist
    tops = {name.split("/")[0] for name in in_sdist}
    assert not tops & {"tests", "data", "output", "benchmarks", "locks", ".venv"}
    assert not {name for name in in_sdist if name.endswith((".parquet", ".zip", ".pyc"))}
