"""How much there is to do: rows from footers, ids and cut points from a look at the id columns alone.

The ids are sampled and cut as the night does it, so the ranges are the night's own where all ids are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbatch.config.models import Entity
from recbatch.interactions import ReadSpec, Slice, SourceName, cut_points, sample_ids, sample_one_in
from recbatch.interactions.ranges import SAMPLE_SCHEMA, range_offsets
from recbatch.interactions.slices import read_piece
from recbatch.interactions.texts import to_ids
from recbatch.night import Plan, Ranges

READ_ROWS = 50_000_000
"""Rows of an input whose ids are read; of a larger one evenly spaced slices are."""

_ENTITIES: tuple[Entity, Entity] = ("user", "item")


@dataclass(frozen=True)
class EntitySize:
    """Users, or items.

    Attributes:
        ids: how many the night makes a profile of.
        ranges: the same by range, in order.
        source: where the number comes from, in words.
        exact: whether it was counted, and not estimated.
    """

    ids: int
    ranges: tuple[int, ...]
    source: str
    exact: bool


@dataclass(frozen=True)
class Sizes:
    """What a night has to do.

    Attributes:
        rows: of each input.
        slices: rows of each slice of an input, in order.
        entities: users and items.
        cuts: the cut points of the ranges.
    """

    rows: Mapping[SourceName, int]
    slices: Mapping[SourceName, tuple[int, ...]]
    entities: Mapping[Entity, EntitySize]
    cuts: Ranges


@dataclass(frozen=True)
class _Look:
    """What was read of the ids that an input names of an entity; ``times`` is how much more there is of it."""

    source: SourceName
    sample: pa.Table
    times: float


def count_sizes(plan: Plan, read_rows: int = READ_ROWS) -> Sizes:
    """Rows, ids and ranges of a planned night.

    Rows that the night will put aside, and events after its date, are counted: that takes reading them.

    Args:
        plan: the night; its inputs are there.
        read_rows: rows of an input whose ids are read at most.

    Raises:
        InputError: an id column cannot be read as ids.
    """
    night = plan.night
    one_in = sample_one_in(sum(night.input_rows.values()))
    looks: dict[Entity, list[_Look]] = {"user": [], "item": []}
    for source in night.input_rows:
        slices, times = _some([piece for piece in plan.slices if piece.source == source], read_rows)
        for entity in _ENTITIES:
            samples = [_sample(piece, entity, night.read_spec, one_in) for piece in slices]
            there = [sample for sample in samples if sample is not None]
            if there:
                looks[entity].append(_Look(source, pa.concat_tables(there), times))
    run = night.config.run
    cuts = {
        entity: cut_points([_scaled(look) for look in looks[entity]], run.range_ids, run.range_interactions)
        for entity in _ENTITIES
    }
    policies = {"user": night.config.inputs.unknown_users, "item": night.config.inputs.unknown_items}
    return Sizes(
        rows=dict(night.input_rows),
        slices={
            source: tuple(piece.rows for piece in plan.slices if piece.source == source) for source in night.input_rows
        },
        entities={
            entity: _entity(entity, looks[entity], cuts[entity], one_in, keeps=policies[entity] == "keep")
            for entity in _ENTITIES
        },
        cuts=Ranges(cuts["user"], cuts["item"]),
    )


def _some(slices: Sequence[Slice], read_rows: int) -> tuple[Sequence[Slice], float]:
    """Evenly spaced slices that hold ``read_rows`` rows about, and how many times as many rows there are."""
    rows = sum(piece.rows for piece in slices)
    step = max(1, -(-rows // read_rows))
    chosen = slices[::step]
    return chosen, rows / max(1, sum(piece.rows for piece in chosen))


def _sample(piece: Slice, entity: Entity, spec: ReadSpec, one_in: int) -> pa.Table | None:
    """As the night samples a slice, from the column of ids alone; None: the input names no such ids."""
    names = {"interactions": f"{entity}_id", f"{entity}s": "id"}
    wanted = [column for column in spec.columns(piece.source) if column.name == names.get(piece.source)]
    if not wanted:
        return None
    (column,) = wanted
    read = [read_piece(each, [column.column], [column.column])[column.column] for each in piece.pieces]
    converted = [
        to_ids(values, f"{column.key}: column {column.column!r} of {each.uri}").values.drop_null()
        for values, each in zip(read, piece.pieces, strict=True)
    ]
    ids = pa.chunked_array([values.cast(pa.string()) for values in converted], pa.string())
    return sample_ids(ids, one_in, interactions=piece.source == "interactions")


def _scaled(look: _Look) -> pa.Table:
    """The sample, as if all slices had been read."""
    if look.times == 1:
        return look.sample
    interactions = (look.sample["interactions"].to_numpy() * look.times).round().astype(np.int64)
    ids = (look.sample["ids"].to_numpy() * _more_ids(look)).round().astype(np.int64)
    return pa.table([look.sample["id"], pa.array(interactions), pa.array(ids)], schema=SAMPLE_SCHEMA)


def _more_ids(look: _Look) -> float:
    """How many times as many ids there are as were seen.

    Every id of a table of users or items has a row of its own. Of interactions, ids that occur in a single one of the
    slices that were read are as often missed as they were found: sqrt(all / read) times as many of these, and all
    others once (GEE: Charikar, Chaudhuri, Motwani and Narasayya, PODS 2000).
    """
    if look.source != "interactions":
        return look.times
    chosen = look.sample.filter(pa.array(look.sample["ids"].to_numpy() > 0))
    seen = chosen.group_by("id").aggregate([("ids", "count")])["ids_count"].to_numpy()
    once = int((seen == 1).sum())
    return (len(seen) + once * (look.times**0.5 - 1)) / max(1, len(seen))


def _entity(entity: Entity, looks: Sequence[_Look], cuts: Sequence[str], one_in: int, *, keeps: bool) -> EntitySize:
    table = [look for look in looks if look.source != "interactions"]
    counted = looks if keeps or not table else table
    weights = pa.concat_tables([SAMPLE_SCHEMA.empty_table(), *map(_scaled, counted)])
    weights = weights.group_by("id").aggregate([("ids", "max")]).sort_by("id")
    ids = pa.concat_arrays([pa.array([], pa.string()), *weights["id"].chunks])
    upto = np.concatenate([np.zeros(1, np.int64), np.cumsum(weights["ids_max"].to_numpy())])
    offsets: NDArray[np.int64] = upto[range_offsets(ids, cuts)]
    ranges = np.diff(offsets)
    read_all = all(look.times == 1 for look in counted)
    where = " and ".join(f"the {look.source}" for look in counted) or "no input"
    how = "all ids of " if one_in == 1 and read_all else f"one id in {one_in} of "
    part = "" if read_all else f", of one slice in {max(look.times for look in counted):.0f}"
    return EntitySize(int(ranges.sum()), tuple(ranges.tolist()), f"{how}{where}{part}", exact=one_in == 1 and read_all)
