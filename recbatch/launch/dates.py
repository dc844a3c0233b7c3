"""Dates on the command line, and the instant at which a date ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from recbatch.errors import InputError


def parse_date(text: str) -> date:
    """``YYYY-MM-DD`` as a date.

    Raises:
        InputError: it is not one.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is not a date; write it as YYYY-MM-DD, such as 1998-04-23") from None
    if day.isoformat() != text:
        raise InputError(f"{text!r} is not written as YYYY-MM-DD; write {day.isoformat()}")
    return day


def end_of(day: date, zone: ZoneInfo) -> int:
    """The first instant after ``day`` in ``zone``, microseconds since the epoch: events before it count."""
    midnight = datetime.combine(day + timedelta(days=1), time(), zone)
    return int((midnight.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def days(first: date, last: date) -> Iterator[date]:
    """Every date from ``first`` to ``last``, both included.

    Raises:
        InputError: ``last`` is before ``first``.
    """
    if last < first:
        raise InputError(f"--to {last} is before --from {first}; swap them")
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)
