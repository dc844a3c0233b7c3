"""Write a commented configuration to start from, after a look at the data."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, StrictUndefined

from recbatch.config.document import parse
from recbatch.errors import ConfigError, InputError
from recbatch.interactions.texts import to_text
from recbatch.starter.choices import Choice
from recbatch.starter.features import Suggestion, guess_label, suggest_features
from recbatch.starter.roles import Roles, guess_id, guess_roles, overlap
from recbatch.starter.sample import Column, Sample, take_sample
from recbatch.starter.template import MODEL, TEMPLATE

log = logging.getLogger(__name__)

_UNITS = {
    "s": "whole seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "iso": "ISO 8601 text",
}


@dataclass(frozen=True)
class _Entity:
    """A users or items table: its columns and what is suggested for them."""

    sample: Sample
    id: Choice
    label: str | None
    features: list[Suggestion]


def starter_config(interactions: str, users: str | None = None, items: str | None = None) -> str:
    """A configuration (YAML with comments) that reads these files; it can be loaded as it is.

    Columns are guessed by their names, types and values; each line says why, and doubtful ones are marked ``CHECK`` and
    logged as warnings. Features of the users and items tables are suggested as comments.

    Args:
        interactions: Parquet file, folder or glob, local or ``gs://``; of each a bounded number of rows is read.
        users: the same for the users table, if there is one.
        items: the same for the items table, if there is one.

    Raises:
        InputError: a path leads nowhere, a file is not Parquet, has no columns that could be ids, or there is no
            interaction.
    """
    events = take_sample(interactions, "INTERACTIONS")
    if not events.rows:
        raise InputError(
            f"INTERACTIONS: the files of {interactions} hold no rows, so there is nothing to look at; name others"
        )
    tables = {
        "users": None if users is None else take_sample(users, "--users"),
        "items": None if items is None else take_sample(items, "--items"),
    }
    ids = {name: None if table is None else guess_id(table, name[:-1], f"--{name}") for name, table in tables.items()}
    roles = guess_roles(events, _column(tables["users"], ids["users"]), _column(tables["items"], ids["items"]))
    chosen = {"users": roles.user, "items": roles.item}
    entities = {
        name: None if table is None else _entity(table, ids[name], events.columns[chosen[name].column], name)
        for name, table in tables.items()
    }
    for name, choice in _doubts(roles, entities):
        log.warning("%s: %s is a guess (%s); look at the line marked CHECK", name, choice.column, choice.why)
    for remark in roles.remarks:
        log.warning("%s", remark)
    return _render(events, roles, entities)


def _column(sample: Sample | None, choice: Choice | None) -> Column | None:
    return None if sample is None or choice is None else sample.columns[choice.column]


def _entity(sample: Sample, choice: Choice | None, used: Column, name: str) -> _Entity:
    assert choice is not None, "a table that was given has an id column"
    shared = overlap(used, sample.columns[choice.column])
    why = f"{choice.why}; {shared:.0%} of the {name[:-1]} ids in the interactions looked at occur in the rows looked at"
    checked = Choice(choice.column, why, choice.doubtful or shared == 0)
    label = guess_label(sample, choice.column)
    others = [column for column in sample.columns.values() if column.name != choice.column]
    return _Entity(sample, checked, label, suggest_features(others))


def _doubts(roles: Roles, entities: dict[str, _Entity | None]) -> list[tuple[str, Choice]]:
    choices = [("user_id", roles.user), ("item_id", roles.item), ("weight", roles.weight), ("event_type", roles.event)]
    choices += [("timestamp", roles.time.choice if roles.time else None)]
    choices += [(f"{name}.id", entity.id) for name, entity in entities.items() if entity is not None]
    return [(name, choice) for name, choice in choices if choice is not None and choice.doubtful]


def _render(events: Sample, roles: Roles, entities: dict[str, _Entity | None]) -> str:
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    environment.filters |= {"yaml": _yaml, "reason": _reason, "line": _line}
    context = [suggestion for suggestion in suggest_features(roles.others) if suggestion.kind]
    weight = events.columns[roles.weight.column].values if roles.weight else None
    times = roles.time.unit if roles.time else None
    return environment.from_string(TEMPLATE).render(
        samples=[events, *(entity.sample for entity in entities.values() if entity)],
        interactions=events,
        roles=roles,
        entities=entities,
        context=context,
        day=(roles.time and roles.time.newest) or datetime.now(UTC).date().isoformat(),
        unit_reason=f"the values look like {_UNITS[times]}" if times else "",
        weight_problem=_weight_problem(weight),
        weight_range=_range(weight),
        weight_example=_middle(weight),
        event_types=_event_types(events.columns[roles.event.column]) if roles.event else [],
        model=_model(entities, context),
    )


def _model(entities: dict[str, _Entity | None], context: list[Suggestion]) -> str:
    users, items = entities["users"], entities["items"]
    query = _features("the users table", users.features if users else [], "")
    query += _features("the interactions", context, ", needs it in inputs.interactions.context")
    candidate = _features("the items table", items.features if items else [], "")
    return MODEL.replace("{query_features}\n", "".join(query)).replace("{candidate_features}\n", "".join(candidate))


def _features(source: str, suggestions: list[Suggestion], needs: str) -> list[str]:
    """Comment lines, one per column."""
    lines = [f"      # What else {source} could tell; take the # away from what is useful:\n"] if suggestions else []
    for suggestion in suggestions:
        column = _yaml(suggestion.column)
        if suggestion.kind is None:
            lines.append(f"      #   (not {column}: {suggestion.why})\n")
            continue
        separator = f", separator: {_yaml(suggestion.separator)}" if suggestion.separator else ""
        lines.append(f"      # - {{kind: {suggestion.kind}, column: {column}{separator}}}  # {suggestion.why}{needs}\n")
    return lines


def _reason(choice: Choice) -> str:
    return _line(f"CHECK: {choice.why}" if choice.doubtful else choice.why)


def _weight_problem(weight: pa.Array | None) -> str | None:
    """Rows without a number would be put aside, so such a column is not mapped unasked."""
    if weight is None:
        return None
    bad = pc.sum(pc.invert(pc.fill_null(pc.is_finite(weight), False))).as_py() or 0
    return f"not used: {bad:,} of {len(weight):,} rows looked at have no number here" if bad else None


def _range(weight: pa.Array | None) -> str:
    if weight is None or weight.null_count == len(weight):
        return "no values in the rows looked at"
    bounds = pc.min_max(weight).as_py()
    return f"{bounds['min']:g} to {bounds['max']:g} in the rows looked at"


def _middle(weight: pa.Array | None) -> str:
    middle = None if weight is None else pc.quantile(weight.cast(pa.float64(), safe=False), 0.5)[0].as_py()
    return "1" if middle is None else f"{middle:g}"


def _event_types(column: Column) -> list[str]:
    """The types as text, the most frequent one first."""
    counts = pc.value_counts(to_text(column.values).values.drop_null())
    table = pa.table({"type": counts.field("values"), "count": counts.field("counts")})
    return table.sort_by([("count", "descending"), ("type", "ascending")])["type"].to_pylist()


def _line(text: str) -> str:
    """Text for a comment: one line, whatever a column is called."""
    return " ".join(text.split())


def _yaml(value: str | None) -> str:
    """Text as a YAML scalar on one line, plain where YAML reads it as the same text."""
    text = value or ""
    if re.fullmatch(r"[\w./:-][\w./ :-]*", text, re.ASCII):
        try:
            if parse(text, "").values == text:
                return text
        except ConfigError:
            pass
    return json.dumps(text, ensure_ascii=not text.isprintable())
