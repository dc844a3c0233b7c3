"""Small inputs for the tests of the interactions room."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recbatch.config.columns import FeatureColumns, feature_columns
from recbatch.config.models import Config
from recbatch.interactions import (
    QUARANTINE_SCHEMA,
    ReadSpec,
    ResolvedInputs,
    SliceData,
    clean_schema,
    plan_slices,
    read_slice,
    resolve_inputs,
)
from recbatch.interactions.spec import SourceName


def write(path: Path, columns: dict[str, Any] | pa.Table, **options: Any) -> str:
    """A Parquet file of ``columns``; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, **options)
    return str(path)


def events(tmp_path: Path, **columns: Any) -> str:
    """Interactions whose item ids count the rows."""
    size = len(next(iter(columns.values())))
    return write(tmp_path / "e.parquet", {"user_id": ["u"] * size, "item_id": [f"i{n}" for n in range(size)]} | columns)


def config_of(
    interactions: str | list[str],
    *,
    columns: dict[str, str] | None = None,
    users: str | None = None,
    items: str | None = None,
    query: list[dict[str, Any]] | None = None,
    candidate: list[dict[str, Any]] | None = None,
    interactions_options: dict[str, Any] | None = None,
    inputs: dict[str, Any] | None = None,
    **rest: Any,
) -> Config:
    """A configuration over files whose columns are named as the defaults are."""
    sources: dict[str, Any] = {
        "interactions": {"path": interactions, "columns": columns or {}, **(interactions_options or {})},
        **(inputs or {}),
    }
    for name, path in (("users", users), ("items", items)):
        if path is not None:
            sources[name] = {"path": path}
    towers = {
        "query": {"features": [{"kind": "id"}, *(query or [])]},
        "candidate": {"features": [{"kind": "id"}, *(candidate or [])]},
    }
    return Config.model_validate({"inputs": sources, "model": towers, **rest})


def columns_of(config: Config) -> FeatureColumns:
    """The columns that the towers of a configuration read."""
    return feature_columns(config, [config.model])


def resolved(config: Config) -> ResolvedInputs:
    """The inputs of a configuration."""
    return resolve_inputs(config, columns_of(config))


def spec_of(config: Config, as_of_us: int | None = None) -> ReadSpec:
    """How the inputs of a configuration are read."""
    return ReadSpec.of(config, columns_of(config), as_of_us)


def read_all(
    config: Config, source: SourceName = "interactions", *, as_of_us: int | None = None, slice_rows: int = 1_000_000
) -> SliceData:
    """All clean rows, quarantined rows and counts of one input."""
    spec = spec_of(config, as_of_us)
    tables, aside = [clean_schema(source, spec).empty_table()], [QUARANTINE_SCHEMA.empty_table()]
    counts = Counter[str]()
    for work in plan_slices(resolved(config), slice_rows):
        if work.source == source:
            data = read_slice(work, spec)
            tables.append(data.table)
            aside.append(data.quarantined)
            counts.update(data.counts)
    return SliceData(pa.concat_tables(tables), pa.concat_tables(aside), dict(counts))
