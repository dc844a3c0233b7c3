"""Timestamps of any usable type as microseconds since the epoch (UTC)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from recbatch.errors import InputError
from recbatch.interactions.kinds import Column, Converted, is_text, one_array, true_rows
from recbatch.interactions.texts import strings_of

Numbers: TypeAlias = NDArray[np.int64] | NDArray[np.float64]

UNITS = ("s", "ms", "us", "ns")

# Unit -> (multiplier, divisor) that make it microseconds.
_MICROSECONDS: dict[str, tuple[int, int]] = {
    "s": (1_000_000, 1),
    "ms": (1_000, 1),
    "us": (1, 1),
    "ns": (1, 1_000),
    "day": (86_400_000_000, 1),
}
_YEAR_1980_US = 315_532_800_000_000
_YEAR_2100_US = 4_102_444_800_000_000
# Today's seconds, read as milliseconds, all lie in the first seven weeks of 1970; and so on for finer units.
_FIRST_WEEKS_US = 50 * 86_400_000_000

_ISO = (
    r"^[1-9]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"([T ]([01]\d|2[0-3])(:[0-5]\d(:[0-5]\d([.]\d+)?)?)?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?$"
)
_OFFSET = r"[T ].*(Z|[+-]\d\d(:?\d\d)?)$"


def end_of_day_us(ds: date, zone: ZoneInfo) -> int:
    """The first microsecond after the day ``ds`` in ``zone``: events before it are the last that a night knows."""
    next_day = ds + timedelta(days=1)
    return int(datetime(next_day.year, next_day.month, next_day.day, tzinfo=zone).timestamp()) * 1_000_000


def fitting_unit(value: float) -> str | None:
    """The unit under which a number is a time between 1980 and 2100, if there is one."""
    for unit in UNITS:
        low, high = _bounds(unit, _YEAR_1980_US)
        if low <= value < high:
            return unit
    return None


def to_times(values: Column, unit: str | None, zone: str, place: str) -> Converted:
    """Times as int64 microseconds since the epoch.

    Timestamps with a zone, numbers, and text with an offset are instants; timestamps without a zone, dates and text
    without an offset are local times of ``zone``.

    Args:
        values: timestamps, dates, numbers or text.
        unit: what numbers or text mean (``iso``, or the unit of digits).
        zone: name of a time zone.
        place: column and file, for messages.

    Raises:
        InputError: text with and without an offset is mixed.
    """
    values = one_array(values)
    missing = values.is_null().to_numpy(zero_copy_only=False)
    local, counts, unparseable = False, {}, np.zeros(len(values), bool)
    numbers: Numbers
    candidates: tuple[str, ...] = ()
    if types.is_timestamp(values.type):
        unit, local = values.type.unit, values.type.tz is None
        numbers = _integers(values.cast(pa.timestamp(unit)).view(pa.int64()) if local else values.view(pa.int64()))
    elif types.is_date(values.type):
        unit, local = ("day", True) if types.is_date32(values.type) else ("ms", True)
        numbers = _integers(values.view(pa.int32() if unit == "day" else pa.int64()))
    elif is_text(values.type) and unit == "iso":
        strings, _ = strings_of(values)
        parsed, offset = _parse_iso(strings, place)
        numbers, unit, local = _integers(parsed), "us", not offset
        unparseable = parsed.is_null().to_numpy(zero_copy_only=False) & ~missing
        counts["times_with_offset" if offset else "times_without_offset"] = int((~unparseable & ~missing).sum())
    else:
        numbers, unparseable = _numbers(values, missing)
        candidates = UNITS
    known = ~(missing | unparseable)
    microseconds, inside = _scaled(numbers, unit or "us", known)
    counts |= _fits(numbers, unit or "us", known, inside, candidates)
    if local and zone != "UTC":
        microseconds = _from_local(microseconds, zone)
    problems = {"is null": missing, "cannot be parsed": unparseable, "is outside 1970-2100": known & ~inside}
    return Converted(
        pa.array(microseconds, mask=~inside),
        {reason: rows for reason, rows in problems.items() if rows.any()},
        counts,
    )


def check_times(counts: Mapping[str, int], unit: str | None) -> None:
    """Refuse times most of which cannot be meant so.

    Args:
        counts: as :func:`to_times` gives them, added up.
        unit: the configured ``timestamp_unit``.

    Raises:
        InputError: most lie outside 1970-2100 (it suggests the unit which would fit), or text with and without an
            offset is mixed.
    """
    if counts.get("times_with_offset") and counts.get("times_without_offset"):
        raise InputError(
            f"inputs.interactions.columns.timestamp: {counts['times_with_offset']} times have an offset and "
            f"{counts['times_without_offset']} have none; write all with one, or all without"
        )
    total, misfits = counts.get("timestamps", 0), counts.get("timestamps_misfit", 0)
    if misfits * 2 <= total:
        return
    fits = {other: counts.get(f"timestamps_fit_{other}", 0) for other in UNITS if other != unit}
    best = max(fits, key=lambda other: fits[other])
    advice = (
        f"read as {best}, {fits[best]} of them would lie between 1980 and 2100: "
        f"set inputs.interactions.timestamp_unit: {best}"
        if fits[best]
        else "no unit would fit; check the column, or how it was written"
    )
    said = f" when read as {unit}" if unit in UNITS else ""
    raise InputError(
        f"inputs.interactions.columns.timestamp: {misfits} of {total} timestamps lie outside 1970-2100 or in the first "
        f"weeks of 1970{said}; {advice}"
    )


def _bounds(unit: str, start_us: int) -> tuple[int, int]:
    multiplier, divisor = _MICROSECONDS[unit]
    return start_us * divisor // multiplier, _YEAR_2100_US * divisor // multiplier


def _integers(values: pa.Array) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(values, 0).to_numpy(zero_copy_only=False), np.int64)


def _numbers(values: pa.Array, missing: NDArray[np.bool_]) -> tuple[Numbers, NDArray[np.bool_]]:
    """Numbers of a numeric or text column, and which rows have none."""
    none = np.zeros(len(values), bool)
    if types.is_null(values.type):
        return np.zeros(len(values), np.int64), none
    if is_text(values.type):
        strings, _ = strings_of(values)
        digits = pc.match_substring_regex(strings, r"^-?(\d{1,18}|[1-8]\d{18})$")
        kept = pc.if_else(digits, strings, pa.scalar(None, pa.string()))
        return _integers(kept.cast(pa.int64())), kept.is_null().to_numpy(zero_copy_only=False) & ~missing
    if types.is_integer(values.type):
        return _integers(values.cast(pa.int64(), safe=False)), none
    floats = np.asarray(pc.fill_null(values.cast(pa.float64()), 0).to_numpy(zero_copy_only=False))
    return np.nan_to_num(floats, posinf=0, neginf=0), ~np.isfinite(floats)


def _scaled(numbers: Numbers, unit: str, known: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Microseconds, and which rows lie between 1970 and 2100; the others are 0."""
    multiplier, divisor = _MICROSECONDS[unit]
    low, high = _bounds(unit, 0)
    inside = known & (numbers >= low) & (numbers < high)
    numbers = np.where(inside, numbers, 0)
    if numbers.dtype.kind == "f":
        return np.rint(numbers * (multiplier / divisor)).astype(np.int64), inside
    return np.asarray(numbers * multiplier // divisor, np.int64), inside


def _fits(
    numbers: Numbers,
    unit: str,
    known: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    candidates: tuple[str, ...],
) -> dict[str, int]:
    """How many times cannot be meant so, and how many of these another unit would explain."""
    doubtful = known & (~inside | (numbers < _FIRST_WEEKS_US * _MICROSECONDS[unit][1] // _MICROSECONDS[unit][0]))
    counts, explained = {"timestamps": int(known.sum())}, np.zeros(len(numbers), bool)
    if doubtful.any():
        for other in candidates:
            low, high = _bounds(other, _YEAR_1980_US)
            fits = doubtful & (numbers >= low) & (numbers < high)
            counts[f"timestamps_fit_{other}"] = int(fits.sum())
            explained |= fits
        counts["timestamps_misfit"] = int((doubtful & (explained | ~inside)).sum())
    return counts


def _parse_iso(strings: pa.StringArray, place: str) -> tuple[pa.Array, bool]:
    """ISO 8601 text as int64 microseconds (null where it cannot be parsed), and whether it has an offset from UTC."""
    well_formed = pc.match_substring_regex(strings, _ISO)
    offset = true_rows(pc.match_substring_regex(strings, _OFFSET)) & true_rows(well_formed)
    plain = ~offset & true_rows(well_formed)
    if offset.any() and plain.any():
        raise InputError(
            f"{place}: times with and without an offset from UTC are mixed, such as "
            f"{_example(strings, offset)} and {_example(strings, plain)}; write all with one, or all without"
        )
    kept = pc.if_else(well_formed, strings, pa.scalar(None, pa.string()))
    kept = pc.replace_substring_regex(kept, r"([.]\d{6})\d+", r"\1")  # no unit is finer than a microsecond here
    target = pa.timestamp("us", "UTC" if offset.any() else None)
    try:
        parsed = kept.cast(target)
    except pa.ArrowInvalid:  # a 30th of February is well-formed
        kept = pc.if_else(pa.array(_in_calendar(kept)), kept, pa.scalar(None, pa.string()))
        parsed = kept.cast(target)
    return parsed.view(pa.int64()), bool(offset.any())


def _example(strings: pa.StringArray, rows: NDArray[np.bool_]) -> str:
    return repr(strings[int(np.argmax(rows))].as_py())


def _in_calendar(dates: pa.StringArray) -> NDArray[np.bool_]:
    """Whether the day of ``YYYY-MM-DD...`` is one of its month."""
    slices = (pc.utf8_slice_codeunits(dates, start, stop) for start, stop in ((0, 4), (5, 7), (8, 10)))
    year, month, day = (_integers(digits.cast(pa.int64())) for digits in slices)
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    length = (months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")
    return np.asarray(day <= length.astype(np.int64))


def _from_local(microseconds: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Local times of a zone as instants; of a repeated hour the first, of a skipped one its end."""
    naive = pa.array(microseconds).cast(pa.timestamp("us"))
    try:
        aware = pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="latest")
    except pa.ArrowInvalid as error:
        raise InputError(
            f"time_zone: {zone!r} is not in this machine's time zone database ({error}); install the tzdata package"
        ) from error
    return np.asarray(aware.view(pa.int64()).to_numpy(zero_copy_only=False))
