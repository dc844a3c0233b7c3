"""Cells on disk: a JSON file each, so that a command that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.cells import Cell


@dataclass(frozen=True)
class Found:
    """A cell that is there.

    Attributes:
        result: what :mod:`.measuring` or :mod:`.searching` made, with ``wall_seconds``.
        current: whether it was made from today's code, configuration and data.
    """

    result: dict[str, Any]
    current: bool


class Store:
    """A folder of results: ``cells/`` (one file a cell) and ``search/`` (one log a search, JSON lines)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, cell: Cell, key: str) -> Found | None:
        """The cell if it is there; made with another key (older code, say) only where there is none with this one."""
        exact = self._path(cell, key)
        if exact.exists():
            return Found(_read(exact), current=True)
        others = [path for path in exact.parent.glob(f"{cell.stem}.*.json") if path.name.count(".") == 2]
        if not others:
            return None
        newest = max(others, key=lambda path: path.stat().st_mtime_ns)
        return Found(_read(newest), current=False)

    def keep(self, cell: Cell, key: str, result: dict[str, Any]) -> None:
        """Write a cell, whole or not at all; a search's trials go into its log as well."""
        _write(self._path(cell, key), json.dumps({"cell": cell.as_dict(), "key": key, "result": result}) + "\n")
        if cell.kind == "search":
            facts = {"system": cell.system, "objective": result["objective"], "validations": result["validations"]}
            lines = [json.dumps(facts | trial) for trial in result["log"]]
            _write(self.folder / "search" / f"{cell.stem}.jsonl", "".join(line + "\n" for line in lines))

    def _path(self, cell: Cell, key: str) -> Path:
        return self.folder / "cells" / f"{cell.stem}.{key}.json"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["result"]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
