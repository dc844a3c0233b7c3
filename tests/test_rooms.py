"""The rooms of the package, from left to right: a room imports only from its left."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import recbatch

ROOMS = (
    "errors",
    "storage",
    "run",
    "schemas",
    "config",
    "datasets",
    "interactions",
    "starter",
    "splits",
    "metrics",
    "model",
    "evaluation",
    "tuning",
    "index",
    "neighbours",
    "night",
    "tables",
    "report",
    "work",
    "planning",
    "dofns",
    "transforms",
    "pipeline",
    "launch",
    "cli",
)
PACKAGE = Path(recbatch.__file__).parent


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {room_of(name.name) for name in node.names if name.name.startswith("recbatch.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "recbatch":
            found |= {room_of(node.module or "")} if "." in (node.module or "") else {name.name for name in node.names}
    return found & set(ROOMS)


def test_every_room_is_known() -> None:
    there = {
        path.stem if path.is_file() else path.name
        for path in PACKAGE.iterdir()
        if path.is_dir() or path.suffix == ".py"
    }
    there = {name for name in there if not name.startswith("_")}
    assert there == set(ROOMS)


def test_a_room_imports_only_from_its_left() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room in ROOMS:
            right = [other for other in imported_rooms(path) if ROOMS.index(other) > ROOMS.index(room)]
            wrong += [f"{path.relative_to(PACKAGE)} imports {other}" for other in right]
    assert wrong == []


def test_the_launcher_side_needs_neither_tensorflow_nor_beam() -> None:
    """``--help``, ``verify``, a night with nothing to do and an evaluation's task for a peer answer without the seconds
    that these take to import."""
    code = (
        "import sys\nimport recbatch.cli.main, recbatch.launch.nightly, recbatch.tables.verify, recbatch.report\n"
        "import recbatch.evaluation, recbatch.model.ranges, recbatch.model.ranking\n"
        "heavy = {'tensorflow', 'apache_beam', 'scann', 'google.cloud.storage'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
