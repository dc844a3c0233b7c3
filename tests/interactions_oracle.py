"""Profiles made by the package from events in memory, and the same by plain Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from interactions_data import config_of, spec_of

from recbatch.interactions import (
    Profiles,
    ReadSpec,
    clean_schema,
    entity_chunks,
    group_items,
    group_users,
    interaction_chunks,
)

Event = dict[str, Any]


def spec(*, timestamps: bool = True, tables: bool = False, unknown: str = "drop", history: int = 12) -> ReadSpec:
    config = config_of(
        "events",
        columns={"timestamp": "at"} if timestamps else {},
        interactions_options={"timestamp_unit": "us" if timestamps else None, "context": ["c"]},
        users="users" if tables else None,
        items="items" if tables else None,
        query=[
            {"kind": "category", "column": "c"},
            {"kind": "history", "length": history},
            *([{"kind": "number", "column": "age"}] if tables else []),
        ],
        candidate=[{"kind": "multi_category", "column": "tags"}] if tables else [],
        inputs={"unknown_users": unknown, "unknown_items": unknown},
    )
    return spec_of(config)


def clean(events: Sequence[Event], how: ReadSpec) -> pa.Table:
    schema = clean_schema("interactions", how)
    plain = pa.schema([f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f for f in schema])
    return pa.Table.from_pylist(list(events), schema=plain).cast(schema)


def group(
    slices: Sequence[Sequence[Event]],
    how: ReadSpec,
    *,
    users: Sequence[pa.Table] = (),
    items: Sequence[pa.Table] = (),
    cuts: Sequence[str] = (),
) -> tuple[Profiles, Profiles]:
    """Profiles of all users and of all items; chunks arrive in some other order than they were made."""
    chunks = [
        chunk
        for number, events in enumerate(slices)
        for chunk in interaction_chunks(clean(events, how), number, cuts, cuts, how)
    ]
    tables = [
        chunk
        for entity, parts in (("user", users), ("item", items))
        for number, part in enumerate(parts)
        for chunk in entity_chunks(part, entity, number, cuts)  # type: ignore[arg-type]
    ]
    random.Random(1).shuffle(chunks)
    random.Random(2).shuffle(tables)
    found = []
    for entity, function in (("user", group_users), ("item", group_items)):
        parts = [
            function(
                [c.data for c in chunks if (c.entity, c.range) == (entity, number)],
                [c.data for c in tables if (c.entity, c.range) == (entity, number)],
                how,
            )
            for number in range(len(cuts) + 1)
        ]
        counts = {key: sum(part.counts[key] for part in parts) for key in parts[0].counts}
        found.append(Profiles(pa.concat_tables([part.table for part in parts]), counts))
    return found[0], found[1]


def expected_users(slices: Sequence[Sequence[Event]], how: ReadSpec) -> list[dict[str, Any]]:
    """The same, one Python object after the other."""
    events = [event for part in slices for event in part]
    if how.has_timestamps:
        events.sort(key=lambda event: event["timestamp"])
    profiles = []
    for user in sorted({event["user_id"] for event in events}, key=str.encode):
        mine = [event for event in events if event["user_id"] == user]
        newest = [event for event in mine if event["positive"]][-how.history_length :]
        known = [event["context:c"] for event in mine if event["context:c"] is not None]
        profile = {"id": user, "context:c": known[-1] if known else None, "history": [e["item_id"] for e in newest]}
        if how.has_timestamps:
            profile["history_timestamps"] = [event["timestamp"] for event in newest]
        seen = sorted({event["item_id"] for event in mine if event["seen"]}, key=str.encode)
        profiles.append(profile | {"seen": seen, "events": len(mine)})
    return profiles


def expected_items(slices: Sequence[Sequence[Event]]) -> list[dict[str, Any]]:
    events = [event for part in slices for event in part]
    return [
        {
            "id": item,
            "seen": sorted({e["user_id"] for e in events if e["item_id"] == item and e["seen"]}, key=str.encode),
            "events": sum(event["item_id"] == item for event in events),
        }
        for item in sorted({event["item_id"] for event in events}, key=str.encode)
    ]
