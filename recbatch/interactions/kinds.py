"""Small tests of Arrow types, and what a conversion gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

Column: TypeAlias = pa.Array | pa.ChunkedArray

_TEXT = (
    types.is_string,
    types.is_large_string,
    types.is_string_view,
    types.is_binary,
    types.is_large_binary,
    types.is_binary_view,
    types.is_fixed_size_binary,
)
_LISTS = (
    types.is_list,
    types.is_large_list,
    types.is_fixed_size_list,
    types.is_list_view,
    types.is_large_list_view,
)


@dataclass(frozen=True)
class Converted:
    """A column in its clean type.

    Attributes:
        values: one per row; null where the value is missing or wrong.
        problems: reason -> which rows have it.
        counts: what else is worth counting.
    """

    values: pa.Array
    problems: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def value_type(data_type: pa.DataType) -> pa.DataType:
    """The type of the values, whether they are dictionary-coded or not."""
    return data_type.value_type if types.is_dictionary(data_type) else data_type


def is_text(data_type: pa.DataType) -> bool:
    """Whether values are strings or bytes, in any layout."""
    return any(test(data_type) for test in _TEXT)


def is_list(data_type: pa.DataType) -> bool:
    """Whether values are lists, in any layout."""
    return any(test(data_type) for test in _LISTS)


def is_number(data_type: pa.DataType) -> bool:
    """Whether values are integers, floats or decimals."""
    return bool(types.is_integer(data_type) or types.is_floating(data_type) or types.is_decimal(data_type))


def one_array(values: Column) -> pa.Array:
    """A column as one array of plain values."""
    if isinstance(values, pa.ChunkedArray):
        chunks = values.unify_dictionaries().chunks
        values = pa.concat_arrays(chunks) if chunks else pa.array([], values.type)
    return values.cast(values.type.value_type) if types.is_dictionary(values.type) else values


def true_rows(mask: Column) -> NDArray[np.bool_]:
    """Where a boolean column is true (not null)."""
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), bool)
