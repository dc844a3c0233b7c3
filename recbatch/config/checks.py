"""Combinations of keys that cannot work, though every single one is valid."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import combinations

from recbatch import storage
from recbatch.config.columns import feature_columns
from recbatch.config.models import Config, EventFilter, InteractionColumns
from recbatch.errors import ConfigError

_WILDCARDS = frozenset("*?[")


def contradictions(config: Config) -> Iterator[ConfigError]:
    """Everything in the configuration that contradicts something else in it; each error names its key."""
    columns = config.inputs.interactions.columns
    yield from _filter("positives", config.positives, columns)
    yield from _filter("seen", config.seen, columns)
    if config.inputs.interactions.timestamp_unit and columns.timestamp is None:
        yield ConfigError(
            f"inputs.interactions.timestamp_unit is {config.inputs.interactions.timestamp_unit!r}, but "
            f"inputs.interactions.columns.timestamp names no column; name it or remove the unit",
            "inputs.interactions.timestamp_unit",
        )
    yield from _vectors(config)
    yield from _columns(columns)
    yield from _repetitions(config)
    if not config.tables.enabled():
        yield ConfigError(
            "tables: every table is switched off; set tables.user2item.enabled (or another's) to true", "tables"
        )
    try:
        feature_columns(config, [config.model])
    except ConfigError as error:
        yield error


def _vectors(config: Config) -> Iterator[ConfigError]:
    tables = {"users": config.inputs.users, "items": config.inputs.items}
    given = [name for name, table in tables.items() if table is not None and table.embedding is not None]
    if len(given) == 1:
        other = "items" if given == ["users"] else "users"
        yield ConfigError(
            f"inputs.{given[0]}.embedding: vectors are given for {given[0]}, but not for {other}; name "
            f"inputs.{other}.embedding, too, or neither",
            f"inputs.{given[0]}.embedding",
        )


def check_output(config: Config, output: str) -> None:
    """That a night can be written to ``output``: it and the inputs must lie apart, local or on ``gs://`` alike.

    Links and ``..`` are followed. An input pattern counts as the places that it could match.

    Raises:
        ConfigError: the output is inside of an input or an input inside of the output, or the output is a file.
    """
    if not output:
        raise ConfigError("the output is empty; name a folder or gs://bucket/folder")
    if not storage.is_remote(output) and os.path.isfile(output):
        raise ConfigError(f"the output {output!r} is a file; name a folder")
    for key, paths in _paths(config).items():
        for path in paths:
            if relation := _relation(path, output):
                raise ConfigError(
                    f"{key} is {path!r}: {relation} the output {output!r}, so a night would read what nights write; "
                    f"choose an output folder beside the inputs",
                    key,
                )


def _filter(name: str, events: EventFilter, columns: InteractionColumns) -> Iterator[ConfigError]:
    for key, value, column in (
        ("min_weight", events.min_weight, "weight"),
        ("event_types", events.event_types, "event_type"),
    ):
        if value is not None and getattr(columns, column) is None:
            yield ConfigError(
                f"{name}.{key} is {value}, but inputs.interactions.columns.{column} names no column; name it or remove "
                f"{name}.{key}",
                f"{name}.{key}",
            )


def _columns(columns: InteractionColumns) -> Iterator[ConfigError]:
    """An id column is nothing else (weight and event type may well be one column)."""
    roles = columns.model_dump(exclude_none=True)
    for (role, column), (other, same) in combinations(roles.items(), 2):
        if column == same and role in ("user_id", "item_id"):
            yield ConfigError(
                f"inputs.interactions.columns.{other} and .{role} are both {column!r}; name the right column for each",
                f"inputs.interactions.columns.{other}",
            )


def _repetitions(config: Config) -> Iterator[ConfigError]:
    """Lists in which an entry may stand only once: a path listed twice would double its rows."""
    lists = {key: [_normal(path) for path in paths] for key, paths in _paths(config).items()}
    lists["inputs.interactions.context"] = config.inputs.interactions.context
    lists["positives.event_types"] = config.positives.event_types or []
    lists["seen.event_types"] = config.seen.event_types or []
    lists["gate.worse_than"] = [*config.gate.worse_than]
    for key, entries in lists.items():
        for place, entry in enumerate(entries):
            if entry in entries[:place]:
                yield ConfigError(f"{key}.{place}: {entry!r} is listed twice; remove one", f"{key}.{place}")


def _paths(config: Config) -> dict[str, list[str]]:
    """Key and paths of every input."""
    inputs = {"interactions": config.inputs.interactions, "users": config.inputs.users, "items": config.inputs.items}
    return {
        f"inputs.{name}.path": [source.path] if isinstance(source.path, str) else source.path
        for name, source in inputs.items()
        if source is not None
    }


def _relation(path: str, output: str) -> str | None:
    """How an input path or pattern lies to ``output``, in words; None where they lie apart."""
    if storage.is_remote(path) != storage.is_remote(output):
        return None
    patterns, names = _components(path), _components(output)
    for place, name in enumerate(names):
        if place == len(patterns) or patterns[place] == "**":
            return "it has inside"
        if name != patterns[place] and not fnmatchcase(name, patterns[place]):
            return None
    return "it is" if len(patterns) == len(names) else "it lies inside"


def _components(uri: str) -> list[str]:
    return _normal(uri).split("/")


def _normal(uri: str) -> str:
    """One spelling per place: absolute, without ``..``, double slashes and local links."""
    if storage.is_remote(uri):
        scheme, _, path = uri.partition("://")
        return f"{scheme}://{posixpath.normpath(path)}"
    path = os.path.abspath(os.path.expanduser(uri))
    # Links can be followed as far as the first wildcard only; `a*/../b` never leaves what it could match.
    fixed = path.split("/")
    wild = next((place for place, name in enumerate(fixed) if _WILDCARDS & set(name)), len(fixed))
    if os.path.lexists(path):
        wild = len(fixed)
    return "/".join([os.path.realpath("/".join(fixed[:wild]) or "/").rstrip("/"), *fixed[wild:]])
