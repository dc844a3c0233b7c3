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


def feature_columns(config: Config, models: Iterable[Model]) -> FeatureColumns:
    """The union of the columns that ``models`` read, labels included.

    Raises:
        ConfigError: a feature's column has no source, or is declared with two types.
    """
    users: dict[str, pa.DataType] = {}
    items: dict[str, pa.DataType] = {}
    context: dict[str, pa.DataType] = {}
    separators: dict[str, str] = {}
    history = 0
    for model in models:
        for feature in model.query.features:
            if feature.kind == "history":
                history = max(history, feature.length)
            in_context = getattr(feature, "column", None) in config.inputs.interactions.context
            _add(feature, context if in_context else users, separators, "query", has_table=config.inputs.users is not None or in_context)
        for feature in model.candidate.features:
            _add(feature, items, separators, "candidate", has_table=config.inputs.items is not None)
    for entity, columns in ((config.inputs.users, users), (config.inputs.items, items)):
        if entity is not None and entity.label is not None:
            columns.setdefault(entity.label, pa.string())
    return FeatureColumns(users, items, context, separators, history)


def _add(
    feature: Feature, columns: dict[str, pa.DataType], separators: dict[str, str], tower: str, *, has_table: bool
) -> None:
    column = getattr(feature, "column", None)
    if column is None:
        return
    if not has_table:
        source = "inputs.users (or inputs.interactions.context)" if tower == "query" else "inputs.items"
        raise ConfigError(
            f"model.{tower}: the {feature.kind} feature reads column {column!r}, but the config names no {source}; "
            f"name it there or remove the feature"
        )
    kind = _TYPES[feature.kind]
    if columns.setdefault(column, kind) != kind:
        raise ConfigError(
            f"model.{tower}: column {column!r} is declared as {columns[column]} and as {kind}; use one kind per column"
        )
    if feature.kind == "multi_category":
        separators[column] = feature.separator
