"""Inputs of a measurement: vectors in Parquet for the night, the same as ``.npy`` for the bare loop, and a config."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.speed.worlds import BLOCK, Side, World

DS = "2026-01-31"


@dataclass(frozen=True)
class Vectors:
    """The vectors of one side, twice: ``parquet`` (``id``, ``embedding``) and ``npy``."""

    parquet: Path
    npy: Path


def write_vectors(world: World, side: Side, count: int, folder: Path) -> Vectors:
    """Write ``count`` rows unless they are there, a row group per block."""
    made = Vectors(folder / f"{side}-{count}.parquet", folder / f"{side}-{count}.npy")
    if made.npy.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("id", pa.string()), ("embedding", pa.list_(pa.float32()))])
    matrix = np.lib.format.open_memmap(folder / "unfinished.npy", "w+", np.float32, (count, world.dim))
    first = 0
    with pq.ParquetWriter(
        made.parquet, schema, compression="none", use_dictionary=False, write_statistics=["id"]
    ) as writer:
        for block in world.blocks(side, count):
            matrix[first : first + len(block)] = block
            ids = pa.array([f"{side[0]}{row:09d}" for row in range(first, first + len(block))])
            offsets = pa.array(np.arange(0, block.size + 1, world.dim, dtype=np.int32))
            lists = pa.ListArray.from_arrays(offsets, pa.array(block.reshape(-1)))
            writer.write_table(pa.Table.from_arrays([ids, lists], schema=schema), row_group_size=BLOCK)
            first += len(block)
    matrix.flush()
    (folder / "unfinished.npy").rename(made.npy)
    return made


def write_config(folder: Path, tables: dict[str, Any]) -> Path:
    """A config of some tables (name -> settings), the others off; its interactions are a single one."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user_id": ["u000000000"], "item_id": ["i000000000"]}), folder / "interactions.parquet")
    every = ("user2item", "item2item", "user2user", "item2user")
    settings = {name: tables.get(name, {"enabled": False}) for name in every}
    path = folder / f"{'-'.join(tables)}.yaml"
    inputs = {"interactions": {"path": str(folder / "interactions.parquet")}}
    path.write_text(json.dumps({"inputs": inputs, "tables": settings, "index": {"kind": "scann"}}))  # JSON is YAML
    return path
