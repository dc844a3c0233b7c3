"""A cell: one system on one split of one protocol, what it depends on, and how it is told apart."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from recbatch.run import canonical_json

ROOT = Path(__file__).resolve().parents[2]

Kind = Literal["two-tower", "program", "peer", "search"]

_EVALUATION = ("recbatch/interactions", "recbatch/splits*", "recbatch/metrics*", "recbatch/evaluation")
_PROGRAMS: dict[Kind, tuple[str, ...]] = {
    "two-tower": ("measuring", "tasks"),
    "program": ("measuring", "tasks", "tutorial", "exchange"),
    "peer": ("measuring", "exchange", "markov", "genres", "bounds"),
    "search": ("searching", "tasks", "exchange", "markov"),
}
_CODE: dict[Kind, tuple[str, ...]] = {
    kind: (
        *_EVALUATION,
        *(("recbatch/model",) if kind == "two-tower" else ()),
        *(f"benchmarks/quality/{name}.py" for name in programs),
    )
    for kind, programs in _PROGRAMS.items()
}
"""What the figure of a cell comes from; of recbatch.config it is the resolved configuration, see :func:`cell_key`."""


@dataclass(frozen=True)
class Cell:
    """What a process of its own is asked for.

    Attributes:
        kind: train and measure a two-tower model, the same by the tutorial's own program, fit and measure a peer, or
            search a peer's parameters.
        system: name in :mod:`.systems` or :mod:`.peers`.
        dataset: name in :mod:`.sources`.
        protocol: letter in :mod:`.protocols`.
        seed: of the split and of the training.
        config: the configuration that the data is read with and, for a two-tower model, that it is trained by.
        overrides: ``key=value`` for it.
        parameters: a peer's.
        trials, validations: of a search: how many points, each scored on how many inner splits.
    """

    kind: Kind
    system: str
    dataset: str
    protocol: str
    seed: int
    config: str
    overrides: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 0
    validations: int = 0

    @property
    def stem(self) -> str:
        """Name of the cell without what it depends on."""
        searched = f"-search{self.trials}" if self.kind == "search" else ""
        return f"{self.dataset}-{self.protocol}-{self.system}{searched}-{self.seed}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


def cell_key(cell: Cell, resolved: Mapping[str, Any], data_checksum: str, lock: str | None) -> str:
    """Sixteen hexadecimal digits that change with anything a cell's figures depend on.

    Args:
        cell: the cell.
        resolved: its configuration, defaults included, without paths.
        data_checksum: of the dataset's content.
        lock: folder under benchmarks/quality of a peer's environment.
    """
    facts = {
        "cell": cell.as_dict() | {"overrides": None, "config": None},
        "config": resolved,
        "data": data_checksum,
        "code": code_checksum(cell.kind, lock),
    }
    return hashlib.sha256(canonical_json(facts)).hexdigest()[:16]


@functools.cache
def code_checksum(kind: Kind, lock: str | None = None, root: Path = ROOT) -> str:
    """sha256 over what the code says: comments, docstrings and formatting do not count."""
    digest = hashlib.sha256()
    peer = () if lock is None else (f"benchmarks/quality/{lock}",)
    for pattern in (*_CODE[kind], *peer):
        for found in sorted(root.glob(pattern)):
            for path in sorted(found.rglob("*.py")) if found.is_dir() else [found]:
                digest.update(path.relative_to(root).as_posix().encode() + b"\0")
                digest.update(_meaning(path.read_text(encoding="utf-8")).encode())
    if lock is not None:
        digest.update((root / "benchmarks/quality" / lock / "requirements.txt").read_bytes())
    return digest.hexdigest()


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
