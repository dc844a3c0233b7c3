"""What a search costs, counted and never timed, so that every machine makes the same choice.

The unit is about a nanosecond of one core. The rates are fixed: measured once for the kinds of work there are
(single thread, 32 to 128 columns, 100 thousand to a million candidates) and rounded. They need to be right relative to
each other only, and only about: settings are compared by the amount of work, which is what the formulas count.
"""

from __future__ import annotations

import math

from recbatch.index import IndexParameters, SearchParameters

_CALL = 6_000.0
"""Of one query of an index, whatever it looks at."""
_CENTROID_VALUE = 0.05
"""One value of one leaf's centre."""
_CODE_DIM = 0.017
"""One column of one candidate, scored by its code."""
_REORDER, _REORDER_VALUE = 20.0, 0.3
"""One candidate fetched from somewhere in memory for its exact score, and one value of it."""
_PRODUCT, _PRODUCT_VALUE = 1.2, 0.016
"""One candidate in a blocked matrix product, with the look for the best, and one value of it."""
_TRAINING_VALUE, _CODING_VALUE = 0.08, 50.0
"""Building: one value of one candidate against one leaf's centre, and one value made into codes."""


def exact_cost(candidates: int, width: int, k: int) -> float:
    """Cost of one query searched exactly."""
    survivors = k * (1 + math.log(max(1.0, candidates / 4096)))
    return candidates * (_PRODUCT + _PRODUCT_VALUE * width) + survivors * (_REORDER + _REORDER_VALUE * width)


def index_cost(candidates: int, width: int, index: IndexParameters, search: SearchParameters, survivors: int) -> float:
    """Cost of one query of an index, of which ``survivors`` candidates are scored in the end."""
    scored = candidates * min(1.0, search.leaves / index.leaves)
    exact_scores = min(search.reorder, scored) + survivors
    return (
        _CALL
        + _CENTROID_VALUE * index.leaves * width
        + _CODE_DIM * scored * width
        + (_REORDER + _REORDER_VALUE * width) * exact_scores
    )


def build_cost(candidates: int, width: int, index: IndexParameters) -> float:
    """Cost of building an index."""
    compared = candidates + index.training_iterations * min(candidates, index.training_sample)
    return width * (_TRAINING_VALUE * compared * index.leaves + _CODING_VALUE * candidates)
