"""Small worlds for whole nights: raw input rows as plain dictionaries, written as Parquet with a config beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch.launch.nightly import Outcome, nightly, recommend
from recbatch.tables.pointer import require_pointer
from recbatch.tables.read import read_manifest, read_table

Row = dict[str, Any]
Vectors = dict[str, np.ndarray]

DS = "2024-03-09"

INTERACTIONS = pa.schema(
    [
        ("who", pa.string()),
        ("what", pa.string()),
        ("at", pa.int64()),
        ("stars", pa.float64()),
        ("kind", pa.string()),
    ]
)
USERS = pa.schema([("uid", pa.string()), ("full name", pa.string())])
ITEMS = pa.schema([("code", pa.string()), ("title", pa.string())])


@dataclass
class World:
    """Raw inputs, row by row.

    Attributes:
        interactions: rows of :data:`INTERACTIONS`; ``at`` in milliseconds.
        users: rows of :data:`USERS`, or None for no users table.
        items: rows of :data:`ITEMS`, or None for no items table.
        timestamps: whether the config maps ``at``.
    """

    interactions: list[Row]
    users: list[Row] | None = None
    items: list[Row] | None = None
    timestamps: bool = True

    def write(self, folder: Path, *, files: int = 1, row_group_rows: int = 1_000) -> Path:
        """Write the inputs: the interactions cut into ``files`` consecutive files."""
        cuts = [len(self.interactions) * number // files for number in range(files + 1)]
        for number in range(files):
            rows = self.interactions[cuts[number] : cuts[number + 1]]
            _write(folder / "events" / f"{number:02d}.parquet", rows, INTERACTIONS, row_group_rows)
        for name, table, schema in (("users", self.users, USERS), ("items", self.items, ITEMS)):
            if table is not None:
                _write(folder / f"{name}.parquet", table, schema, row_group_rows)
        return folder

    def config(self, folder: Path, settings: Mapping[str, Any] | None = None, name: str = "config.yaml") -> str:
        """Write a config for the inputs in ``folder``; ``settings`` are merged into it. Returns its path."""
        columns = {"user_id": "who", "item_id": "what", "weight": "stars", "event_type": "kind"}
        events: Row = {"path": str(folder / "events"), "columns": columns}
        if self.timestamps:
            columns["timestamp"] = "at"
            events["timestamp_unit"] = "ms"
        inputs: Row = {"interactions": events}
        if self.users is not None:
            inputs["users"] = {"path": str(folder / "users.parquet"), "id": "uid"}
        if self.items is not None:
            inputs["items"] = {"path": str(folder / "items.parquet"), "id": "code", "label": "title"}
        path = folder / name
        path.write_text(json.dumps(_merged({"inputs": inputs}, settings or {})))  # JSON is YAML
        return str(path)


def pairs_world(
    pairs: Iterable[tuple[str, str]], *, users: Sequence[str] | None = None, items: Sequence[str] | None = None
) -> World:
    """One event per pair of user and item, a tick apart on the morning of :data:`DS`; tables that hold only ids."""
    start = 1_709_971_200_000
    return World(
        [
            {"who": user, "what": item, "at": start + number, "stars": 5.0, "kind": "view"}
            for number, (user, item) in enumerate(pairs)
        ],
        None if users is None else [{"uid": user, "full name": None} for user in users],
        None if items is None else [{"code": item, "title": f"The {item[:20]}"} for item in items],
    )


def random_vectors(ids: Sequence[str], dim: int = 6, seed: int = 0, clusters: int = 4) -> Vectors:
    """A float32 vector for every id: some clusters, no two alike."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dim))
    return {name: (centres[rng.integers(clusters)] + 0.6 * rng.normal(size=dim)).astype(np.float32) for name in ids}


def run(
    config: str, output: Path, *, ds: str = DS, model: Path | None = None, sets: Sequence[str] = (), force: bool = False
) -> Outcome:
    """Make a night in this process; with ``model`` by that bundle, else by one trained for it."""
    if model is None:
        return nightly(config, sets, str(output), ds, force=force, beam_arguments=[])
    return recommend(config, sets, str(output), ds, model=str(model), force=force, beam_arguments=[])


@dataclass(frozen=True)
class Published:
    """A published night, read back."""

    output: Path
    ds: str = DS

    @property
    def manifest(self) -> dict[str, Any]:
        return read_manifest(str(self.output), require_pointer(str(self.output), self.ds))

    def table(self, name: str) -> pa.Table:
        return read_table(str(self.output), name, self.ds)

    def rows(self, table: str) -> list[tuple[str, int, str, str]]:
        """(query, rank, candidate, source) of every row, in order."""
        query, rank, candidate, _, source = (column.to_pylist() for column in self.table(table).columns)
        return list(zip(query, rank, candidate, source, strict=True))

    def scores(self, table: str) -> np.ndarray:
        """Scores of every row, in order."""
        return np.asarray(self.table(table).column("score").to_numpy())

    def vectors(self, table: str) -> Vectors:
        """The vectors of a table of embeddings."""
        ids, values = (column.to_pylist() for column in self.table(table).columns)
        return {name: np.array(value, np.float32) for name, value in zip(ids, values, strict=True)}

    def profiles(self, entity: str) -> list[Row]:
        """The profiles of all users or items, as one dictionary per row, in order."""
        files = [file["path"] for file in self.manifest["parts"][f"{entity}_profiles"]]
        return [row for file in files for row in pq.read_table(self.output / file).to_pylist()]

    def projected(self, table: str) -> list[str]:
        """Names in the Hive folder of a table's date."""
        folder = self.output / table / f"ds={self.ds}"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _write(path: Path, rows: Sequence[Row], schema: pa.Schema, row_group_rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path, row_group_size=row_group_rows)


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> Row:
    result = dict(base)
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result
