"""A small copy of the inputs to measure on: some rows of each, as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch.config.models import Entity
from recbatch.interactions import Piece, ReadSpec, Source, SourceName
from recbatch.interactions.slices import read_piece
from recbatch.night import Plan

EVENTS, IDS = 100_000, 20_000
"""Rows of interactions, and of users and items, that are measured on at most."""

_PLACES = 4
"""Row groups that they are taken from, evenly spaced over the input."""


def write_sample(plan: Plan, folder: Path, *, events: int = EVENTS, ids: int = IDS) -> list[str]:
    """Write some rows of each input into ``folder``; returns what makes a configuration read them (``--set``).

    Interactions are taken as they follow each other, users and items evenly spaced.

    Raises:
        InputError: a row group is damaged.
    """
    spec, inputs = plan.night.read_spec, plan.night.config.inputs
    folder.mkdir(parents=True, exist_ok=True)
    settings = []
    for source in plan.inputs.sources:
        path = folder / f"{source.name}.parquet"
        rows = list(_rows(source, spec, events if source.name == "interactions" else ids))
        pq.write_table(pa.concat_tables(rows, promote_options="permissive"), path)
        settings.append(f"inputs.{source.name}.path={json.dumps(str(path))}")
    # A sample may have more odd rows than the whole, and names users and items that are not in the other samples.
    unknown = "drop" if inputs.has_vectors else "keep"
    return [
        *settings,
        f"inputs.unknown_users={unknown}",
        f"inputs.unknown_items={unknown}",
        "inputs.max_quarantined_share=1.0",
        "run.max_invalid_vector_share=1.0",
    ]


def name_ids(plan: Plan, folder: Path, ids: Mapping[Entity, pa.Array]) -> None:
    """Let the written interactions name other users or items, one after the other: a night of which none does fails."""
    path = folder / "interactions.parquet"
    table = pq.read_table(path)
    for column in plan.night.read_spec.interactions:
        named = {f"{entity}_id": values for entity, values in ids.items()}.get(column.name)
        if named is not None and len(named):
            rows = pa.array(np.arange(table.num_rows) % len(named))
            table = table.set_column(table.column_names.index(column.column), column.column, named.take(rows))
    pq.write_table(table, path)


def sampled_ids(plan: Plan, folder: Path) -> dict[Entity, pa.Array]:
    """The ids of the written users and items, where there are any."""
    found: dict[Entity, pa.Array] = {}
    entities: tuple[tuple[Entity, SourceName], ...] = (("user", "users"), ("item", "items"))
    for entity, source in entities:
        for column in plan.night.read_spec.columns(source):
            if column.name == "id":
                read = pq.read_table(folder / f"{source}.parquet", columns=[column.column]).column(0)
                found[entity] = read.combine_chunks().drop_null()
    return found


def _rows(source: Source, spec: ReadSpec, wanted: int) -> Iterator[pa.Table]:
    columns = list(dict.fromkeys(column.column for column in spec.columns(source.name)))
    pieces = _row_groups(source)
    chosen = [pieces[place * len(pieces) // _PLACES] for place in range(_PLACES)] if len(pieces) > _PLACES else pieces
    for piece in chosen:
        yield _some(read_piece(piece, columns), -(-wanted // len(chosen)), evenly=source.name != "interactions")


def _row_groups(source: Source) -> Sequence[Piece]:
    """All that hold rows; of an input without any its first file, for the columns."""
    found = [
        Piece(file.uri, file.checksum, (number,), sum(file.row_groups[:number]), rows, file.partitions)
        for file in source.files
        for number, rows in enumerate(file.row_groups)
        if rows
    ]
    first = source.files[0]
    return found or [Piece(first.uri, first.checksum, (), 0, 0, first.partitions)]


def _some(table: pa.Table, rows: int, *, evenly: bool) -> pa.Table:
    if not evenly:
        return table.slice(0, rows)
    step = max(1, table.num_rows // rows)
    return table.take(pa.array(range(0, table.num_rows, step)[:rows], pa.int64()))
