"""Guess which column says when an event happened, and in which unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from recbatch.errors import InputError
from recbatch.interactions.kinds import is_number, is_text
from recbatch.interactions.times import UNITS, fitting_unit, to_times
from recbatch.starter.choices import Choice, pick
from recbatch.starter.names import fits_time
from recbatch.starter.sample import Column


@dataclass(frozen=True)
class Time:
    """The time column and its unit (None: its type carries it); ``newest`` is the newest day of the sample."""

    choice: Choice
    unit: str | None
    newest: str | None


def guess_time(columns: dict[str, Column]) -> Time | None:
    """The column that says when the event happened, by type, name and values."""
    scores: dict[str, int] = {}
    units: dict[str, str | None] = {}
    for name, column in columns.items():
        # The day of a folder says less than any time in the files: all its events would be at midnight.
        score = min(fits_time(name), 2) if column.of_folder else fits_time(name)
        if types.is_timestamp(column.type) or types.is_date(column.type):
            scores[name], units[name] = score + 2000, None  # the type says more than any name
        elif score > 1 and (unit := _unit(column)):
            scores[name], units[name] = score, unit
    choice = pick(scores, "by its name")
    if choice is None:
        return None
    column, unit = columns[choice.column], units[choice.column]
    if unit is None:
        choice = Choice(choice.column, f"its type is {column.type}", choice.doubtful)
    return Time(choice, unit, _newest_day(column, unit))


def unread_times(columns: dict[str, Column]) -> list[str]:
    """What to say about columns that are called like a time and cannot be read as one."""
    remarks = []
    for name, column in columns.items():
        if fits_time(name) > 1 and column.values.null_count < len(column.values):
            if _is_day_number(column):
                remarks.append(
                    f"{name} looks like days written as numbers (20240131), which are not read; make it a date"
                )
            elif is_text(column.type):
                remarks.append(
                    f"{name} looks like a time, but is not ISO 8601 text (2024-01-31T12:00:00) and so is not read; "
                    f"write it as such, or as a timestamp"
                )
    return remarks


def _unit(column: Column) -> str | None:
    """The unit under which nearly all values are times of our age; None where there is none."""
    if is_number(column.type):
        numbers = column.values.cast(pa.float64(), safe=False).drop_null().to_numpy(zero_copy_only=False)
        middle = float(np.median(numbers)) if len(numbers) else 0.0
        return fitting_unit(middle)
    if not is_text(column.type):
        return None
    for unit in ("iso", *UNITS):
        try:
            times = to_times(column.values, unit, "UTC", column.name)
        except InputError:
            continue
        if len(column.values) > column.values.null_count and times.values.null_count <= len(times.values) // 10:
            middle = pc.quantile(times.values, 0.5).to_pylist()[0]
            if unit == "iso" or fitting_unit(middle / {"s": 1e6, "ms": 1e3, "us": 1, "ns": 1e-3}[unit]) == unit:
                return unit
    return None


def _is_day_number(column: Column) -> bool:
    if not types.is_integer(column.type):
        return False
    bounds = pc.min_max(column.values).as_py()
    return bool(bounds["min"] >= 19_000_101 and bounds["max"] <= 21_001_231)


def _newest_day(column: Column, unit: str | None) -> str | None:
    """The newest day as ``YYYY-MM-DD``: of the files looked at if their footers know it, else of the rows."""
    for values in (column.greatest, column.values):
        if values is not None:
            newest = pc.max(to_times(values, unit, "UTC", column.name).values)
            if newest.is_valid:
                return str(newest.cast(pa.timestamp("us")).as_py().date())
    return None
