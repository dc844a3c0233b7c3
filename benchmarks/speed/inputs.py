"""Inputs of a measurement: vectors in Parquet, and a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.speed.worlds import BLOCK, Side, World

DS = "2026-01-31"


def write_vectors(world: World, side: Side, count: int, folder: Path) -> Path:
    """Write ``count`` rows (``id``, ``embedding``) unless they are there, a row group per block."""
    made, unfinished = folder / f"{side}-{count}.parquet", folder / "unfinished.parquet"
    if made.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("id", pa.string()), ("embedding", pa.list_(pa.float32()))])
    first = 0
    with pq.ParquetWriter(
        unfinished, schema, compression="none", use_dictionary=False, write_statistics=["id"]
    ) as writer:
        for block in world.blocks(side, count):
            ids = pa.array([f"{side[0]}{row:09d}" for row in range(first, first + len(block))])
            offsets = pa.array(np.arange(0, block.size + 1, world.dim, dtype=np.int32))
            lists = pa.ListArray.from_arrays(offsets, pa.array(block.reshape(-1)))
            writer.write_table(pa.Table.from_arrays([ids, lists], schema=schema), row_group_size=BLOCK)
            first += len(block)
    return unfinished.rename(made)


def write_config(folder: Path, tables: dict[str, Any], **sections: dict[str, Any]) -> Path:
    """A config of some tables (name -> settings), the others off; its interactions are a single one.

    ``sections`` are others: ``index={"memory_gib": 1}``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user_id": ["u000000000"], "item_id": ["i000000000"]}), folder / "interactions.parquet")
    every = ("user2item", "item2item", "user2user", "item2user")
    settings = {name: tables.get(name, {"enabled": False}) for name in every}
    path = folder / f"{'-'.join(tables)}.yaml"
    inputs = {"interactions": {"path": str(folder / "interactions.parquet")}}
    index = {"kind": "scann", **sections.pop("index", {})}
    path.write_text(json.dumps({"inputs": inputs, "tables": settings, "index": index, **sections}))  # JSON is YAML
    return path
