"""Vectors that are given with the users and items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch.errors import InputError
from recbatch.interactions.kinds import Column, Converted, one_array

_WIDTH = "width/"


def to_vectors(values: Column) -> Converted:
    """Lists of float32; null and empty ones, and those with a null among their values, are a problem.

    A value that is not finite is none: such a vector is counted where it would be used. ``width/<n>`` counts vectors by
    their width.
    """
    values = one_array(values)
    lists = values.cast(pa.list_(pa.float32()), safe=False)
    widths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    flat = pc.list_flatten(lists)
    holes = np.zeros(len(lists), bool)
    if flat.null_count:
        row = np.repeat(np.arange(len(lists)), widths)
        holes[row[flat.is_null().to_numpy(zero_copy_only=False)]] = True
    missing = widths == 0
    bad = missing | holes
    counted = zip(*np.unique(widths[~bad], return_counts=True), strict=True)
    problems = {"is null or empty": missing, "has a null among its values": holes & ~missing}
    return Converted(
        pc.if_else(pa.array(~bad), lists, pa.scalar(None, lists.type)) if bad.any() else lists,
        {reason: rows for reason, rows in problems.items() if rows.any()},
        {f"{_WIDTH}{width}": int(count) for width, count in counted},
    )


def widths_of(counts: Mapping[str, int]) -> list[int]:
    """The widths of all vectors that were counted, the most frequent first."""
    found = {int(name.removeprefix(_WIDTH)): count for name, count in counts.items() if name.startswith(_WIDTH)}
    return sorted(found, key=lambda width: (-found[width], width))


def check_widths(source: str, counts: Mapping[str, int]) -> int | None:
    """The one width of an input's vectors; None if it gives none.

    Raises:
        InputError: there are several.
    """
    widths = widths_of(counts)
    if len(widths) > 1:
        said = ", ".join(f"{counts[f'{_WIDTH}{width}']:,} of width {width}" for width in widths[:3])
        raise InputError(
            f"inputs.{source}.embedding: vectors must be of one width, but there are {said}"
            f"{' and others' if len(widths) > 3 else ''}; write them by one model"
        )
    return widths[0] if widths else None
