"""Dates on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from recbatch.errors import InputError


def parse_date(text: str, option: str = "--ds") -> date:
    """``YYYY-MM-DD``, the value of an option, as a date.

    Raises:
        InputError: it is not one.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option}: {text!r} is not a date; write it as YYYY-MM-DD, such as 1998-04-23") from None
    if day.isoformat() != text:
        raise InputError(f"{option}: {text!r} is not written as YYYY-MM-DD; write {day.isoformat()}")
    return day


def days(first: date, last: date) -> Iterator[date]:
    """Every date from ``first`` to ``last``, both included.

    Raises:
        InputError: ``last`` is before ``first``.
    """
    if last < first:
        raise InputError(f"--to {last} is before --from {first}; swap them")
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)
