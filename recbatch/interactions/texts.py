"""Values of any usable type as strings: ids, categories, free text and lists of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from recbatch.errors import InputError
from recbatch.interactions.coding import encode, numeric_lists
from recbatch.interactions.kinds import Column, Converted, is_list, is_text, one_array, true_rows, value_type

MAX_ID_BYTES = 4096

_EXACT_FLOAT = 2.0**53  # above it, neighbouring whole numbers are one float
# Well-formed UTF-8, as bytes (Unicode 15, table 3-7). Arrow matches binary values byte by byte.
_UTF8 = (
    r"(?s)\A(?:[\x00-\x7F]|[\xC2-\xDF][\x80-\xBF]|\xE0[\xA0-\xBF][\x80-\xBF]|[\xE1-\xEC\xEE\xEF][\x80-\xBF]{2}"
    r"|\xED[\x80-\x9F][\x80-\xBF]|\xF0[\x90-\xBF][\x80-\xBF]{2}|[\xF1-\xF3][\x80-\xBF]{3}"
    r"|\xF4[\x80-\x8F][\x80-\xBF]{2})*\z"
)


def to_ids(values: Column, place: str) -> Converted:
    """Ids as dictionary-coded strings: whole numbers become their decimal text.

    Args:
        values: a column of a type that :func:`recbatch.interactions.checks.check_footers` lets pass.
        place: column and file, for messages.

    Raises:
        InputError: a number is not whole, or too large to be exact.
    """
    encoded = encode(values)
    raw = encoded.dictionary
    counts = {}
    if types.is_floating(raw.type):
        raw = _whole_numbers(raw, place)
        counts["float_ids"] = len(encoded) - encoded.null_count
    elif types.is_decimal(raw.type):
        raw = _whole_decimals(raw, place)
    strings, not_utf8 = strings_of(raw)
    wrong = {
        "is not UTF-8": not_utf8,
        "is empty": true_rows(pc.equal(pc.binary_length(strings), 0)),
        "holds a NUL character": true_rows(pc.match_substring(strings, "\0")),
        f"is longer than {MAX_ID_BYTES} bytes": true_rows(pc.greater(pc.binary_length(strings), MAX_ID_BYTES)),
    }
    problems = {reason: _rows(encoded, bad) for reason, bad in wrong.items() if bad.any()}
    anything = np.logical_or.reduce(list(wrong.values()))
    strings = pc.if_else(pa.array(~anything), strings, pa.scalar(None, pa.string()))
    again = encode(strings)  # different raw values may be one text, such as 0.0 and -0.0
    coded = pa.DictionaryArray.from_arrays(again.indices.take(encoded.indices), again.dictionary)
    missing = true_rows(coded.is_null())
    for bad in problems.values():
        missing &= ~bad
    if missing.any():
        problems["is null"] = missing
    return Converted(coded, problems, counts)


def to_text(values: Column) -> Converted:
    """Categories and free text as strings; a NaN is a missing value."""
    encoded = encode(values)
    strings, not_utf8 = strings_of(encoded.dictionary)
    problems = {"is not UTF-8": _rows(encoded, not_utf8)} if not_utf8.any() else {}
    return Converted(strings.take(encoded.indices), problems)


def to_texts(values: Column, separator: str) -> Converted:
    """Lists of strings, from lists or from text cut at ``separator``; trimmed, empty and null elements dropped."""
    if is_list(value_type(values.type)):
        return _cleaned_lists(one_array(values))
    encoded = encode(values)
    strings, not_utf8 = strings_of(encoded.dictionary)
    lists = _cleaned_lists(pc.split_pattern(strings, separator)).values
    problems = {"is not UTF-8": _rows(encoded, not_utf8)} if not_utf8.any() else {}
    return Converted(lists.take(encoded.indices), problems)


def _cleaned_lists(lists: pa.Array) -> Converted:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    encoded = encode(pc.list_flatten(lists))
    strings, not_utf8 = strings_of(encoded.dictionary)
    strings = pc.utf8_trim_whitespace(strings)
    elements = strings.take(encoded.indices)
    keep = true_rows(pc.greater(pc.binary_length(elements), 0))
    cleaned = numeric_lists(np.concatenate([[0], np.cumsum(keep)])[offsets], elements.filter(pa.array(keep)))
    cleaned = pc.if_else(lists.is_valid(), cleaned, pa.scalar(None, cleaned.type))
    problems = {}
    if not_utf8.any():
        before = np.concatenate([[0], np.cumsum(_rows(encoded, not_utf8))])
        problems["is not UTF-8"] = before[offsets[1:]] > before[offsets[:-1]]
    return Converted(cleaned, problems)


def strings_of(values: pa.Array) -> tuple[pa.StringArray, NDArray[np.bool_]]:
    """Values as strings (null where missing or wrong), and which are not UTF-8."""
    fine = np.zeros(len(values), bool)
    if types.is_null(values.type):
        return values.cast(pa.string()), fine
    if types.is_floating(values.type):
        return _float_strings(values), fine
    if not is_text(values.type):
        return values.cast(pa.string()), fine
    if types.is_fixed_size_binary(values.type):
        values = values.cast(pa.binary())
    binary = values.cast(pa.binary())
    try:
        return binary.cast(pa.string()), fine
    except pa.ArrowInvalid:  # at least one is not UTF-8; look closer
        well_formed = pc.match_substring_regex(binary, _UTF8)
        kept = pc.if_else(well_formed, binary, pa.scalar(None, pa.binary()))
        return kept.cast(pa.string()), ~true_rows(pc.fill_null(well_formed, True))


def _float_strings(values: pa.Array) -> pa.StringArray:
    """Whole numbers without a decimal point (an integer column with nulls comes as floats), NaN as null."""
    values = values.cast(pa.float64())
    numbers = values.to_numpy(zero_copy_only=False)
    whole = np.abs(numbers) < _EXACT_FLOAT
    whole &= np.trunc(numbers) == numbers
    integers = pa.array(np.where(whole, numbers, 0).astype(np.int64)).cast(pa.string())
    others = pc.if_else(pa.array(np.isnan(numbers)), pa.scalar(None, pa.float64()), values).cast(pa.string())
    return pc.if_else(pa.array(whole), integers, others)


def _whole_numbers(values: pa.Array, place: str) -> pa.Array:
    numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    missing = np.isnan(numbers)
    with np.errstate(invalid="ignore"):
        wrong = ~missing & ~((np.trunc(numbers) == numbers) & (np.abs(numbers) <= _EXACT_FLOAT))
    if wrong.any():
        value = float(numbers[wrong][0])
        raise InputError(
            f"{place}: ids are floating-point numbers and {value!r} is not a whole number below 2**53, so it has no "
            f"one text; write the ids as text or integers"
        )
    return pa.array(np.where(missing, 0, numbers).astype(np.int64), mask=missing)


def _whole_decimals(values: pa.Array, place: str) -> pa.Array:
    try:
        return values.cast(pa.decimal256(76, 0))
    except pa.ArrowInvalid as error:
        raise InputError(f"{place}: ids are decimals that are not whole ({error}); write them as text") from error


def _rows(encoded: pa.DictionaryArray, of_values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows have one of the marked dictionary values."""
    return true_rows(pa.array(of_values).take(encoded.indices))
