"""Which columns the towers need, from which input, and as what Arrow type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from recbatch.config.models import Config, Feature, Model
from recbatch.errors import ConfigError

_TYPES: dict[str, pa.DataType] = {
    "category": pa.string(),
    "text": pa.string(),
    "multi_category": pa.list_(pa.string()),
    "number": pa.float32(),
}


@dataclass(frozen=True)
class FeatureColumns:
    """Feature columns by their source, each ``{column: Arrow type}``; the order is that of the declaration.

    ``separators`` says how the text of a multi-category column is cut into values.
    """

    users: dict[str, pa.DataType]
    items: dict[str, pa.DataType]
    context: dict[str, pa.DataType]
    separators: dict[str, str]
    history_length: int
    """Longest history that a tower wants (0: none)."""
    vectors: bool = False
    """Whether the vectors that are given are read."""


def feature_columns(config: Config, models: Iterable[Model], *, vectors: bool = False) -> FeatureColumns:
    """The union of the columns that ``models`` read, labels included, and with ``vectors`` those that are given.

    Raises:
        ConfigError: a feature's column has no source, or is declared with two types.
    """
    users: dict[str, pa.DataType] = {}
    items: dict[str, pa.DataType] = {}
    context: dict[str, pa.DataType] = {}
    separators: dict[str, str] = {}
    history = 0
    for model in models:
        # A place in the config can be named only for the config's own model, not for that of another bundle.
        here = "model." if model is config.model else ""
        for place, feature in enumerate(model.query.features):
            if feature.kind == "history":
                history = max(history, feature.length)
            if model.query_entity == "item":
                source = None if config.inputs.items else "inputs.items"
                _add(feature, items, separators, f"{here}query.features.{place}", missing_source=source)
                continue
            in_context = getattr(feature, "column", None) in config.inputs.interactions.context
            source = None if in_context or config.inputs.users else "inputs.users (or inputs.interactions.context)"
            key = f"{here}query.features.{place}"
            _add(feature, context if in_context else users, separators, key, missing_source=source)
        for place, feature in enumerate(model.candidate.features):
            source = None if config.inputs.items else "inputs.items"
            _add(feature, items, separators, f"{here}candidate.features.{place}", missing_source=source)
    for entity, columns in ((config.inputs.users, users), (config.inputs.items, items)):
        if entity is not None and entity.label is not None:
            columns.setdefault(entity.label, pa.string())
    return FeatureColumns(users, items, context, separators, history, vectors)


def _add(
    feature: Feature,
    columns: dict[str, pa.DataType],
    separators: dict[str, str],
    key: str,
    *,
    missing_source: str | None,
) -> None:
    column = getattr(feature, "column", None)
    if column is None:
        return
    if missing_source:
        raise ConfigError(
            f"{key}: the {feature.kind} feature reads column {column!r}, but the config names no {missing_source}; "
            f"name it there or remove the feature",
            key,
        )
    kind = _TYPES[feature.kind]
    if columns.setdefault(column, kind) != kind:
        raise ConfigError(
            f"{key}: column {column!r} is declared as {columns[column]} and as {kind}; use one kind per column", key
        )
    if feature.kind == "multi_category" and separators.setdefault(column, feature.separator) != feature.separator:
        raise ConfigError(
            f"{key}: column {column!r} is cut at {separators[column]!r} and at {feature.separator!r}; "
            f"use one separator per column name",
            key,
        )
