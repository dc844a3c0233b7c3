"""Vectors that are given with the users and items, found among the cleaned slices."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import storage
from recbatch.config.models import Entity
from recbatch.interactions import VECTOR, SourceName, check_widths
from recbatch.model.bundle import FORMAT, MANIFEST
from recbatch.neighbours import places_of
from recbatch.night import Night, Plan
from recbatch.run import existing_part
from recbatch.work.inputs import clean_item

Vectors = npt.NDArray[np.float32]


def given_vectors(night: Night, entity: Entity, ids: pa.Array) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """The vectors of some ids, and which ids have one.

    Slices are sorted by id, so of each only the row groups that may hold one of the ids are read. Of several rows with
    one id the last counts, as it does for features.

    Args:
        night: its inputs are cleaned.
        entity: users or items.
        ids: ``[n]``, sorted.

    Returns:
        ``[n, width]`` and ``[n]``.
    """
    source: SourceName = "users" if entity == "user" else "items"
    width = 0
    slices = []
    for number in range(night.input_slices[source]):
        uri = night.slice_uri(source, number)
        part = existing_part(uri, clean_item(source, number), night.run)
        if part is None:
            raise FileNotFoundError(f"{uri} was removed during the run; run the night again")
        slices.append(uri)
        width = check_widths(source, part.counts) or width
    found, known = np.zeros((len(ids), width), np.float32), np.zeros(len(ids), bool)
    for uri in slices if len(ids) else []:
        for names, values in _rows(uri, ids[0].as_py(), ids[-1].as_py()):
            place = places_of(names, ids)
            asked = place >= 0
            vectors = values.flatten().to_numpy().reshape(len(names), width)
            found[place[asked]] = vectors if asked.all() else vectors[asked]  # of equal places the last one stands
            known[place[asked]] = True
    return found, known


def describe_given(plan: Plan) -> None:
    """Store what stands in for a bundle's manifest: no tower, and where the vectors came from."""
    inputs = plan.night.config.inputs
    towers = {"query": ("user", inputs.users), "candidate": ("item", inputs.items)}
    manifest = {
        "format": FORMAT,
        "given": True,
        "fingerprint": storage.name_of(plan.night.bundle.uri),
        "checksums": {name: plan.inputs.checksums[name] for name in ("users", "items")},
        "bias_coordinate": None,
        "last_event_us": None,
        "metrics": {},
        "steps": 0,
        "heldout": "nothing",
        "refit": False,
        "seconds": 0.0,
        "towers": {
            tower: {"entity": entity, "inputs": table and table.model_dump(mode="json"), "features": []}
            for tower, (entity, table) in towers.items()
        },
        "files": {},
    }
    uri = storage.join(plan.night.bundle.uri, MANIFEST)
    storage.put_if_absent(uri, json.dumps(manifest, indent=1).encode())


def _rows(uri: str, first: str, last: str) -> Iterator[tuple[pa.Array, pa.ListArray]]:
    """Ids and vectors of a slice from ``first`` to ``last``, a row group at a time."""
    with storage.open_input(uri) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
        place = file.schema_arrow.names.index("id")
        for number in range(file.num_row_groups):
            statistics = file.metadata.row_group(number).column(place).statistics
            if statistics is None or not statistics.has_min_max or _meets(statistics, first, last):
                group = file.read_row_group(number, ["id", VECTOR]).combine_chunks()
                names, vectors = (group[name].chunk(0) for name in ("id", VECTOR))
                start = bisect_left(range(len(names)), first, key=lambda row: names[row].as_py())
                stop = bisect_right(range(len(names)), last, key=lambda row: names[row].as_py())
                yield names[start:stop], vectors[start:stop]


def _meets(statistics: pq.Statistics, first: str, last: str) -> bool:
    low, high = (str(value).encode() for value in (statistics.min, statistics.max))
    return low <= last.encode() and high >= first.encode()
