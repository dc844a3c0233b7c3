"""All clean rows at once, in memory: what a fit is made from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recbatch.config.models import Entity
from recbatch.interactions.clean import SliceData, read_slice
from recbatch.interactions.coding import last_of_group, sorted_codes, stable_order
from recbatch.interactions.kinds import true_rows, value_type
from recbatch.interactions.profiles import unknown_ids
from recbatch.interactions.quarantine import QUARANTINE_SCHEMA, check_counts
from recbatch.interactions.slices import Slice
from recbatch.interactions.spec import SOURCES, ReadSpec, SourceName, clean_schema


@dataclass(frozen=True)
class CleanTables:
    """The clean inputs.

    Attributes:
        interactions: accepted events in input order, as :func:`recbatch.interactions.clean_schema` says, but with ids
            as plain strings; what names unknown users or items is left out where the configuration says so.
        users: unique ids, sorted by UTF-8 bytes, and features; None without a users table.
        items: the same for items.
        counts: by input, the counts of :class:`recbatch.interactions.SliceData`, and for users and items
            ``duplicate_users``, ``unknown_users``, ``unknown_user_events`` and so on as in
            :class:`recbatch.interactions.Profiles`.
        quarantined: the rows put aside.
    """

    interactions: pa.Table
    users: pa.Table | None
    items: pa.Table | None
    counts: dict[SourceName, dict[str, int]]
    quarantined: pa.Table


def load_tables(slices: Sequence[Slice], spec: ReadSpec) -> CleanTables:
    """Read, clean and join up all inputs.

    Args:
        slices: all slices of all inputs, see :func:`recbatch.interactions.plan_slices`.
        spec: how they are read.

    Raises:
        InputError: see :func:`recbatch.interactions.read_slice`; or an interaction names an unknown id and the
            configuration says ``fail``.
        RecbatchError: more rows had to be put aside than the configuration allows.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = list(pool.map(lambda work: _read(work, spec), slices))
    tables: dict[SourceName, pa.Table] = {}
    counts: dict[SourceName, dict[str, int]] = {}
    quarantined: list[pa.Table] = []
    for source in SOURCES:
        found = [data for work, data in zip(slices, read, strict=True) if work.source == source]
        empty = _plain(clean_schema(source, spec).empty_table())
        tables[source] = pa.concat_tables([empty, *(data.table for data in found)])
        total: Counter[str] = Counter()
        for data in found:
            total.update(data.counts)
        counts[source] = dict(total)
        aside = pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *(data.quarantined for data in found)])
        check_counts(source, total, spec, where=_first_place(aside))
        quarantined.append(aside)
    interactions = tables["interactions"]
    users, known_users, counts["users"] = _match("user", tables["users"], interactions, spec, counts["users"])
    items, known_items, counts["items"] = _match("item", tables["items"], interactions, spec, counts["items"])
    usable = known_users & known_items
    if not usable.all():
        interactions = interactions.filter(pa.array(usable))
    return CleanTables(interactions, users, items, counts, pa.concat_tables(quarantined))


def _read(work: Slice, spec: ReadSpec) -> SliceData:
    data = read_slice(work, spec)
    return replace(data, table=_plain(data.table))


def _first_place(aside: pa.Table) -> str:
    if aside.num_rows == 0:
        return "the input"
    first = aside.slice(0, 1).to_pylist()[0]
    return f"the input, such as row {first['row']} of {first['file']}"


def _plain(table: pa.Table) -> pa.Table:
    """Without dictionary codes."""
    return table.cast(pa.schema([field.with_type(value_type(field.type)) for field in table.schema]))


def _match(
    entity: Entity, table: pa.Table, interactions: pa.Table, spec: ReadSpec, counts: Mapping[str, int]
) -> tuple[pa.Table | None, NDArray[np.bool_], dict[str, int]]:
    """The table with unique ids, which interactions may be used with it, and the counts with what was found."""
    source: SourceName = "users" if entity == "user" else "items"
    policy = spec.unknown_users if entity == "user" else spec.unknown_items
    if not spec.columns(source):
        return None, np.ones(interactions.num_rows, bool), dict(counts)
    ids, codes = sorted_codes(table["id"])
    order = stable_order(codes)
    unique = table.take(pa.array(order[last_of_group(codes[order])]))
    known = true_rows(pc.is_in(interactions[f"{entity}_id"], ids))
    strangers, _ = sorted_codes(interactions[f"{entity}_id"].filter(pa.array(~known)))
    found = {
        f"duplicate_{entity}s": table.num_rows - len(ids),
        f"unknown_{entity}s": len(strangers),
        f"unknown_{entity}_events": int((~known).sum()),
    }
    if len(strangers) and policy == "fail":
        raise unknown_ids(entity, strangers, found[f"unknown_{entity}_events"])
    if policy == "keep":
        joined = {name: strangers if name == "id" else pa.nulls(len(strangers), kind) for name, kind in _types(unique)}
        unique = pa.concat_tables([unique, pa.table(joined, schema=unique.schema)]).sort_by("id")
        known = np.ones(interactions.num_rows, bool)
    return unique, known, dict(counts) | found


def _types(table: pa.Table) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in table.schema]
