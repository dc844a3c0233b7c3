"""Guess which column of the interactions is the user, the item, the time, the weight and the event type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow.compute as pc
from pyarrow import types

from recbatch.errors import InputError
from recbatch.interactions.kinds import is_number, is_text
from recbatch.interactions.texts import to_ids
from recbatch.starter.choices import Choice, pick
from recbatch.starter.names import fits_event, fits_id, fits_weight, words
from recbatch.starter.sample import Column, Sample
from recbatch.starter.times import Time, guess_time, unread_times

_MOST_EVENT_TYPES = 50


@dataclass
class Roles:
    """The columns found, and those that are left over."""

    user: Choice
    item: Choice
    time: Time | None = None
    weight: Choice | None = None
    event: Choice | None = None
    others: list[Column] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Sentences about columns that look usable and are not."""


def guess_roles(sample: Sample, users: Column | None = None, items: Column | None = None) -> Roles:
    """Roles of the columns of the interactions.

    Args:
        sample: the interactions.
        users: the id column of the users table: the user column holds its values.
        items: the id column of the items table.

    Raises:
        InputError: there are not two columns that could be ids.
    """
    left = dict(sample.columns)
    user, item = _by_name(left, "user", users), _by_name(left, "item", items)
    if user is not None and item is not None and user.column == item.column:
        item = None
    for choice in (user, item):
        if choice is not None:
            del left[choice.column]
    time = guess_time(left)
    remarks = [] if time else unread_times(left)
    if time is not None:
        del left[time.choice.column]
    event = _best(left, fits_event, _may_be_event)
    if event is not None:
        del left[event.column]
    weight = _best(left, fits_weight, lambda column: is_number(column.type))
    if weight is not None:
        del left[weight.column]
    user = user or _by_elimination(left, sample, "user", users)
    left.pop(user.column, None)
    item = item or _by_elimination(left, sample, "item", items)
    left.pop(item.column, None)
    return Roles(user, item, time, weight, event, list(left.values()), remarks)


def guess_id(sample: Sample, entity: str, option: str) -> Choice:
    """The id column of a users or items table.

    Raises:
        InputError: no column could be an id.
    """
    scored = {
        name: 2000 if name.lower() == "id" else fits_id(name, entity)
        for name, column in sample.columns.items()
        if may_be_id(column)
    }
    named = {name: score for name, score in scored.items() if score}
    if named:
        return Choice(max(named, key=lambda name: named[name]), "by its name")
    if not scored:
        raise InputError(f"{option}: no column of {sample.path} can be an id; it has {_listed(sample)}")
    distinct = {name: pc.count_distinct(sample.columns[name].values).as_py() for name in scored}
    best = max(distinct, key=lambda name: distinct[name])
    return Choice(best, "the column with the most different values; none is named like an id", doubtful=True)


def may_be_id(column: Column) -> bool:
    """Whether the values can be ids: text, or whole numbers."""
    if not (is_text(column.type) or is_number(column.type)) or types.is_fixed_size_binary(column.type):
        return False
    try:
        ids = to_ids(column.values, column.name).values
    except InputError:
        return False
    return len(ids) == 0 or ids.null_count < len(ids)


def overlap(values: Column, ids: Column) -> float:
    """Share of the different values of one column that occur in another, both as ids."""
    found, known = (to_ids(column.values, column.name).values.dictionary.drop_null() for column in (values, ids))
    return float(pc.mean(pc.is_in(found, known)).as_py() or 0.0) if len(found) else 0.0


def _by_name(columns: dict[str, Column], entity: str, ids: Column | None) -> Choice | None:
    usable = {name: column for name, column in columns.items() if may_be_id(column)}
    if ids is not None and ids.name in usable and ids.name.lower() != "id" and fits_id(ids.name, entity):
        return Choice(ids.name, f"called like the id of the {entity}s table")
    scores = {name: fits_id(name, entity) for name in usable}
    # A stock code is an item, a customer number a user, whatever else in the name would fit the other.
    named = {name: score for name, score in scores.items() if score and score >= fits_id(name, _other(entity))}
    return pick(named, "by its name")


def _by_elimination(columns: dict[str, Column], sample: Sample, entity: str, ids: Column | None) -> Choice:
    usable = {name: column for name, column in columns.items() if may_be_id(column)}
    if not usable:
        raise InputError(
            f"INTERACTIONS: no column of {sample.path} can be the {entity} id (text or whole numbers); it has "
            f"{_listed(sample)}. Write one row per event, with a column for the user's and one for the item's id"
        )
    if ids is not None:
        shared = {name: overlap(column, ids) for name, column in usable.items()}
        best = max(shared, key=lambda name: shared[name])
        if shared[best] > 0:
            return Choice(best, f"{shared[best]:.0%} of its values are ids of the {entity}s table", shared[best] < 0.5)
    usable = dict(sorted(usable.items(), key=lambda pair: _unlike_an_id(pair[1])))
    candidates = ", ".join(usable)
    why = f"no column is named like a{'n' if entity == 'item' else ''} {entity} id; could be: {candidates}"
    return Choice(next(iter(usable)), why, doubtful=True)


def _unlike_an_id(column: Column) -> int:
    """Ids of users and items repeat, but differ; a number with decimals is rather an amount."""
    distinct, rows = pc.count_distinct(column.values).as_py(), len(column.values)
    one_per_row = distinct == rows or "".join(words(column.name)) in ("id", "index", "row", "eventid", "indexlevel0")
    return 2 * (distinct < 2 or one_per_row) + types.is_floating(column.type)


def _may_be_event(column: Column) -> bool:
    if not (is_text(column.type) or types.is_integer(column.type)):
        return False
    return int(pc.count_distinct(column.values).as_py()) <= _MOST_EVENT_TYPES


def _best(columns: dict[str, Column], fit: Callable[[str], int], usable: Callable[[Column], bool]) -> Choice | None:
    return pick({name: fit(name) for name, column in columns.items() if usable(column)}, "by its name")


def _other(entity: str) -> str:
    return "item" if entity == "user" else "user"


def _listed(sample: Sample) -> str:
    return ", ".join(f"{column.name} ({column.type})" for column in sample.columns.values()) or "no columns"
