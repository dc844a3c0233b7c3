"""Guess what the other columns of a users or items table could be to the model."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from recbatch.interactions.kinds import is_list, is_number, is_text
from recbatch.interactions.texts import to_text, to_texts
from recbatch.starter.names import fits_label, is_code
from recbatch.starter.sample import Column, Sample

_SEPARATORS = ("|", ";", ",", "/")
_UNMISTAKABLE = ("|", ";")
_FEW_NUMBERS = 20
_WORDS_OF_A_TEXT = 1.5
_WORDS_OF_A_SENTENCE = 6


@dataclass(frozen=True)
class Suggestion:
    """A feature for a column, or why there is none (``kind`` None)."""

    column: str
    kind: str | None
    why: str
    separator: str | None = None


def suggest_features(columns: list[Column]) -> list[Suggestion]:
    """One suggestion per column, in their order."""
    return [_suggest(column) for column in columns]


def guess_label(sample: Sample, taken: str) -> str | None:
    """The column with a readable name, if one is called so."""
    scores = {
        name: fits_label(name) for name, column in sample.columns.items() if name != taken and is_text(column.type)
    }
    best = max(scores, key=lambda name: scores[name], default=None)
    return best if best is not None and scores[best] else None


def _suggest(column: Column) -> Suggestion:
    name, values = column.name, column.values
    if values.null_count == len(values):
        return Suggestion(name, None, "without any value in the rows looked at")
    if types.is_boolean(values.type):
        return Suggestion(name, "category", "true or false")
    if is_number(values.type):
        return _number(column)
    if is_text(values.type):
        return _text(name, to_text(values).values.drop_null())
    if is_list(values.type) and (is_text(values.type.value_type) or types.is_integer(values.type.value_type)):
        return Suggestion(name, "multi_category", f"a list, {_different(to_texts(values, '|').values.flatten())}")
    if types.is_timestamp(values.type) or types.is_date(values.type):
        return Suggestion(name, None, "a time; a number made from it (an age, a year) could be a feature")
    return Suggestion(name, None, f"{values.type}, which no feature reads")


def _number(column: Column) -> Suggestion:
    distinct = pc.count_distinct(column.values).as_py()
    if distinct < 2:
        return Suggestion(column.name, None, "the same value in every row looked at")
    amounts = f"numbers from {_short(pc.min(column.values))} to {_short(pc.max(column.values))}"
    if types.is_floating(column.type) and (bad := pc.sum(pc.is_nan(column.values)).as_py()):
        amounts += f"; {bad:,} rows with NaN would be put aside, a null is read as the mean: write null"
    if types.is_integer(column.type) and (is_code(column.name) or distinct <= _FEW_NUMBERS):
        return Suggestion(column.name, "category", f"{amounts}, {distinct:,} different: codes, or make it a number")
    return Suggestion(column.name, "number", amounts)


def _text(name: str, strings: pa.StringArray) -> Suggestion:
    distinct = pc.count_distinct(strings).as_py()
    if distinct < 2:
        return Suggestion(name, None, "the same value in every row looked at")
    for separator in _SEPARATORS:
        lists = to_texts(strings, separator).values
        if _is_list_of_values(strings, lists, separator):
            return Suggestion(
                name, "multi_category", f"values with {separator} between, {_different(lists.flatten())}", separator
            )
    words_per_value = pc.mean(pc.list_value_length(pc.utf8_split_whitespace(strings))).as_py()
    mostly_different = distinct > max(len(strings) / 2, 1)
    if words_per_value >= _WORDS_OF_A_SENTENCE or (mostly_different and words_per_value >= _WORDS_OF_A_TEXT):
        return Suggestion(name, "text", f"free text, {words_per_value:.0f} words on average")
    if mostly_different:
        return Suggestion(name, None, f"{distinct:,} different values in {len(strings):,} rows: too many to learn from")
    return Suggestion(name, "category", _different(strings))


def _is_list_of_values(strings: pa.StringArray, lists: pa.Array, separator: str) -> bool:
    """Whether cutting gives short values that occur again and again, more often than the whole texts do."""
    share = pc.mean(pc.match_substring(strings, separator).cast(pa.float64())).as_py()
    parts = lists.flatten()
    different, before = pc.count_distinct(parts).as_py(), pc.count_distinct(strings).as_py()
    words = pc.mean(pc.list_value_length(pc.utf8_split_whitespace(parts))).as_py() or 0
    telling = separator in _UNMISTAKABLE or different < before
    return share > 0.2 and words < 3 and different * 3 <= len(parts) and telling


def _different(strings: pa.Array) -> str:
    return f"{pc.count_distinct(strings).as_py():,} different values in the rows looked at"


def _short(number: pa.Scalar) -> str:
    value = number.as_py()
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
