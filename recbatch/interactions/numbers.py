"""Weights and number features."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyarrow import types

from recbatch.errors import InputError
from recbatch.interactions.kinds import Column, Converted, is_text, one_array


def to_numbers(values: Column, place: str) -> Converted:
    """Numbers as float64, null where missing; those that are not finite as float32 are a problem.

    Args:
        values: numbers, booleans, or the text of a folder name.
        place: column and file, for messages.

    Raises:
        InputError: a folder's name is no number.
    """
    values = one_array(values)
    plain = values.type
    if types.is_boolean(plain):
        values = values.cast(pa.uint8())
    try:
        numbers = values.cast(pa.float64(), safe=is_text(plain))
    except pa.ArrowInvalid as error:
        raise InputError(f"{place}: a folder name that must be a number is not one ({error})") from error
    missing = numbers.is_null().to_numpy(zero_copy_only=False)
    array = numbers.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        bad = ~missing & ~np.isfinite(array.astype(np.float32))
    return Converted(
        pa.array(array, mask=missing | bad),
        {"is not a finite number": bad} if bad.any() else {},
    )
