"""How the inputs are read: which column of the files becomes which column of the clean tables, and what counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from recbatch.config.columns import FeatureColumns
from recbatch.config.inputs import EntityInput, EventFilter, InteractionsInput
from recbatch.config.models import Config

SourceName = Literal["interactions", "users", "items"]
SOURCES: tuple[SourceName, ...] = ("interactions", "users", "items")
Kind = Literal["id", "time", "number", "text", "texts", "vector"]
TimestampUnit = Literal["s", "ms", "us", "ns", "iso"]
UnknownPolicy = Literal["drop", "keep", "fail"]

CODED = pa.dictionary(pa.int32(), pa.string())
"""Ids of interactions: they repeat, so they travel as codes into a dictionary."""

VECTOR = "vector"
"""Column of the clean users or items that holds given vectors."""

# Profiles always keep a few of the newest positives, so that a preview can tell what a user did last.
_SHORTEST_HISTORY = 10


@dataclass(frozen=True)
class ColumnSpec:
    """One column of an input.

    Attributes:
        column: its name in the files.
        name: its name in the clean table.
        kind: what it must hold.
        key: the key of the configuration that names it, for messages.
        separator: where text is cut into several values (kind ``texts``).
    """

    column: str
    name: str
    kind: Kind
    key: str
    separator: str = "|"

    @property
    def clean_type(self) -> pa.DataType:
        """Its type in the clean table."""
        if self.kind == "id":
            return pa.string() if self.name == "id" else CODED
        return {
            "time": pa.int64(),
            "number": pa.float32(),
            "text": pa.string(),
            "texts": pa.list_(pa.string()),
            "vector": pa.list_(pa.float32()),
        }[self.kind]


@dataclass(frozen=True)
class ReadSpec:
    """Everything that reading, cleaning and grouping need from the configuration; small, picklable.

    Attributes:
        interactions: the columns of the interactions.
        users: the columns of the users table; None where there is none.
        items: the columns of the items table; None where there is none.
        timestamp_unit: unit of integer or text timestamps, None if the column's type carries it.
        time_zone: in which naive timestamps and dates are meant.
        as_of_us: events at or after this time (microseconds since the epoch) are left out; None: all events count.
        positives: which events train and make up histories.
        seen: which events exclude.
        history_length: newest positives kept per user.
        unknown_users: what happens to interactions whose user is not in the users table.
        unknown_items: the same for items.
        max_quarantined_share: see :func:`recbatch.interactions.check_counts`.
    """

    interactions: tuple[ColumnSpec, ...]
    users: tuple[ColumnSpec, ...] | None
    items: tuple[ColumnSpec, ...] | None
    timestamp_unit: TimestampUnit | None
    time_zone: str
    as_of_us: int | None
    positives: EventFilter
    seen: EventFilter
    history_length: int
    unknown_users: UnknownPolicy
    unknown_items: UnknownPolicy
    max_quarantined_share: float

    @classmethod
    def of(cls, config: Config, columns: FeatureColumns, as_of_us: int | None = None) -> ReadSpec:
        """The part of ``config`` that matters here, for towers that read ``columns``."""
        inputs = config.inputs
        return cls(
            interactions=_interaction_columns(inputs.interactions, columns),
            users=_entity_columns("users", inputs.users, columns.users, columns),
            items=_entity_columns("items", inputs.items, columns.items, columns),
            timestamp_unit=inputs.interactions.timestamp_unit,
            time_zone=config.time_zone,
            as_of_us=as_of_us,
            positives=config.positives,
            seen=config.seen,
            history_length=max(columns.history_length, _SHORTEST_HISTORY),
            unknown_users=inputs.unknown_users,
            unknown_items=inputs.unknown_items,
            max_quarantined_share=inputs.max_quarantined_share,
        )

    def columns(self, source: SourceName) -> tuple[ColumnSpec, ...]:
        """The columns of one input (none where the input is absent)."""
        return getattr(self, source) or ()

    @property
    def has_timestamps(self) -> bool:
        """Whether events carry a time."""
        return any(column.name == "timestamp" for column in self.interactions)

    @property
    def context(self) -> tuple[ColumnSpec, ...]:
        """The context columns of the interactions."""
        return tuple(column for column in self.interactions if column.name.startswith("context:"))

    def has_vectors(self, source: SourceName) -> bool:
        """Whether an input gives the vectors of its ids."""
        return any(column.kind == "vector" for column in self.columns(source))

    def features(self, source: SourceName) -> tuple[ColumnSpec, ...]:
        """The feature columns of a users or items table."""
        return tuple(column for column in self.columns(source) if column.name.startswith("feature:"))


def clean_schema(source: SourceName, spec: ReadSpec) -> pa.Schema:
    """Columns of the clean table of one input.

    Interactions: ``user_id`` and ``item_id`` (dictionary-coded strings), ``timestamp`` (int64, microseconds since the
    epoch) and ``weight`` (float32) where mapped, ``positive``, ``seen`` (bool), ``context:<column>``. Users and items:
    ``id`` (string), ``feature:<column>`` and, where they are given, ``vector`` (list of float32).
    """
    fields = [(column.name, column.clean_type) for column in spec.columns(source) if column.name != "event_type"]
    if source == "interactions":
        context = [field for field in fields if field[0].startswith("context:")]
        fields = [field for field in fields if field not in context]
        fields += [("positive", pa.bool_()), ("seen", pa.bool_()), *context]
    return pa.schema(fields)


def _interaction_columns(inputs: InteractionsInput, columns: FeatureColumns) -> tuple[ColumnSpec, ...]:
    key = "inputs.interactions.columns"
    mapped: list[ColumnSpec] = [
        ColumnSpec(inputs.columns.user_id, "user_id", "id", f"{key}.user_id"),
        ColumnSpec(inputs.columns.item_id, "item_id", "id", f"{key}.item_id"),
    ]
    optional: tuple[tuple[str | None, str, Kind], ...] = (
        (inputs.columns.timestamp, "timestamp", "time"),
        (inputs.columns.weight, "weight", "number"),
        (inputs.columns.event_type, "event_type", "text"),
    )
    mapped += [ColumnSpec(column, name, kind, f"{key}.{name}") for column, name, kind in optional if column is not None]
    features = _features("context", "inputs.interactions.context", columns.context, columns.separators)
    return (*mapped, *features)


def _entity_columns(
    source: str, entity: EntityInput | None, features: Mapping[str, pa.DataType], columns: FeatureColumns
) -> tuple[ColumnSpec, ...] | None:
    if entity is None:
        return None
    key = f"inputs.{source}"
    return (
        ColumnSpec(entity.id, "id", "id", f"{key}.id"),
        *_features("feature", f"a feature or label of {key}", features, columns.separators),
        *(
            [ColumnSpec(entity.embedding, VECTOR, "vector", f"{key}.embedding")]
            if columns.vectors and entity.embedding
            else []
        ),
    )


def _features(
    prefix: str, key: str, types: Mapping[str, pa.DataType], separators: Mapping[str, str]
) -> tuple[ColumnSpec, ...]:
    return tuple(
        ColumnSpec(column, f"{prefix}:{column}", _kind(kind), key, separators.get(column, "|"))
        for column, kind in types.items()
    )


def _kind(data_type: pa.DataType) -> Kind:
    if pa.types.is_list(data_type):
        return "texts"
    return "number" if pa.types.is_floating(data_type) else "text"
