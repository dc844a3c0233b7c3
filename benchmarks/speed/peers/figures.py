"""What follows from the runs of both sides: queries per second, start-up, recall, and the table that is printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed.facts import line, median

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""``night`` and ``peer``: each run with ``users``, ``seconds``, ``steps``, and its recall."""

_RANKING = ("search", "write", "search and write")
"""Steps of a peer that are not its start-up."""


def figures(runs: Runs) -> dict[str, Any]:
    """Figures of both sides; a rate is None where more users took no longer, so that nothing can be said.

    ``queries_per_second`` come from the slopes of whole processes' seconds over users, medians at each number of users;
    ``fixed_seconds`` are what the same lines say for no users. ``start_steps`` are the peer's own, medians.
    """
    result: dict[str, Any] = {"queries_per_second": {}, "fixed_seconds": {}}
    for side, each in runs.items():
        users = sorted({ran["users"] for ran in each})
        seconds = [median([ran["seconds"] for ran in each if ran["users"] == size]) for size in users]
        fixed, slope = line(users, seconds)
        result["fixed_seconds"][side] = fixed
        result["queries_per_second"][side] = 1 / slope if slope > 0 else None
    night, peer = (result["queries_per_second"][side] for side in ("night", "peer"))
    last = runs["peer"][-1]
    names = [name for name in last["steps"] if name not in _RANKING]
    return {
        "ratio": night / peer if night and peer else None,
        **result,
        "start_steps": {name: median([ran["steps"][name] for ran in runs["peer"]]) for name in names},
        "recall_at_k": {
            "night": min(ran["index_recall_at_k"] for ran in runs["night"]),
            "peer": min(ran["recall_at_k_of_the_first"] for ran in runs["peer"]),
        },
        "versions": last["versions"],
        "blas": last["blas"],
    }


def index_parameters(index: Mapping[str, Any], items: int, k: int) -> dict[str, int]:
    """The parameters of the night's ScaNN index, for a peer that needs some; where it has none, generous ones.

    Args:
        index: of the table, in the night's manifest.
        items: candidates.
        k: rows of a query.
    """
    if index["kind"] == "scann":
        shard = index["shards"][0]
        built, search = shard["built"], shard["search"]
        chosen = {"leaves": built["leaves"], "dims_per_block": built["dims_per_block"]}
        return chosen | {"search_leaves": search["leaves"], "reorder": search["reorder"]}
    leaves = max(1, math.isqrt(items))
    reorder = min(items, 4 * k)
    return {"leaves": leaves, "dims_per_block": 2, "search_leaves": max(1, leaves // 2), "reorder": reorder}


def table(compared: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each peer."""
    rows = [("peer", "items", "night q/s", "peer q/s", "ratio", "wanted", "start night/peer", "recall night/peer")]
    for each in compared.values():
        rate, fixed, recall = (each[name] for name in ("queries_per_second", "fixed_seconds", "recall_at_k"))
        rows.append(
            (
                each["label"],
                f"{each['items']:,}",
                _number(rate["night"], ",.0f"),
                _number(rate["peer"], ",.0f"),
                _number(each["ratio"], ",.1f"),
                f"{each['wanted']:.0f}",
                f"{fixed['night']:.1f} s / {fixed['peer']:.1f} s",
                f"{recall['night']:.3f} / {recall['peer']:.3f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (
            text.ljust(width) if not place else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]))
    return "\n".join(lines)


def _number(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
