"""A whole night in plain Python: from raw rows to histories and seen items, from published vectors to ranked tables.

Slow and meant to be obviously right: one dictionary per row, one Python loop per rule, nothing shared with the package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from world import Published, Row, Vectors, World

SIDES = {
    "user2item": ("user", "item"),
    "item2item": ("item", "item"),
    "user2user": ("user", "user"),
    "item2user": ("item", "user"),
}
"""Queries and candidates of every table."""

CROSS: Row = {"k": 100, "similarity": "dot", "exclude_seen": True, "exclude_self": False}
WITHIN: Row = {"k": 100, "similarity": "cosine", "exclude_seen": False, "exclude_self": True}
DEFAULTS = {"user2item": CROSS, "item2item": WITHIN, "user2user": WITHIN, "item2user": CROSS}
"""Settings of every table where the config says nothing."""

LONGEST_DOT = 1e18
SHORTEST_HISTORY = 10
LARGEST_FLOAT = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Rules:
    """What the config says.

    Attributes:
        as_of_ms: first instant that does not count; None: all count.
        positive_stars: least stars of a positive event, if any.
        positive_kinds: kinds of positive events (None: all), likewise ``seen_kinds``.
        unknown_users: ``drop`` or ``keep`` users that the table does not have; likewise ``unknown_items``.
    """

    as_of_ms: int | None = None
    positive_stars: float | None = None
    positive_kinds: tuple[str, ...] | None = None
    seen_kinds: tuple[str, ...] | None = None
    unknown_users: Literal["drop", "keep"] = "drop"
    unknown_items: Literal["drop", "keep"] = "drop"


@dataclass
class Clean:
    """Accepted events in input order, the numbers of the rows put aside with the column at fault, and counts."""

    events: list[Row] = field(default_factory=list)
    aside: list[tuple[int, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def clean(world: World, rules: Rules) -> Clean:
    """Judge every row."""
    result, late = Clean(), 0
    for number, row in enumerate(world.interactions):
        wrong = _column_at_fault(row, world.timestamps)
        if wrong is not None:
            result.aside.append((number, wrong))
        elif world.timestamps and rules.as_of_ms is not None and row["at"] >= rules.as_of_ms:
            late += 1
        else:
            result.events.append(row | {"positive": _is_positive(row, rules), "seen": _is_seen(row, rules)})
    result.counts = {
        "rows": len(world.interactions),
        "quarantined": len(result.aside),
        "accepted": len(result.events),
        "positive": sum(event["positive"] for event in result.events),
        "seen": sum(event["seen"] for event in result.events),
    }
    if world.timestamps:
        result.counts["after_as_of"] = late
    return result


def is_id(value: str | None) -> bool:
    return value is not None and value != "" and "\0" not in value and len(value.encode()) <= 4096


def _column_at_fault(row: Row, timestamps: bool) -> str | None:
    if not is_id(row["who"]):
        return "who"
    if not is_id(row["what"]):
        return "what"
    if timestamps and (row["at"] is None or not 0 <= row["at"] < 4_102_444_800_000):  # 1970-2100
        return "at"
    if row["stars"] is not None and not abs(row["stars"]) <= LARGEST_FLOAT:
        return "stars"
    return None


def _is_positive(row: Row, rules: Rules) -> bool:
    if rules.positive_stars is not None and (row["stars"] is None or row["stars"] < rules.positive_stars):
        return False
    return rules.positive_kinds is None or row["kind"] in rules.positive_kinds


def _is_seen(row: Row, rules: Rules) -> bool:
    return rules.seen_kinds is None or row["kind"] in rules.seen_kinds


def profiles(world: World, events: list[Row], rules: Rules, entity: str) -> tuple[list[Row], dict[str, int]]:
    """The profiles of all users or items, sorted by the bytes of their ids, and what is counted about them."""
    own, other = ("who", "what") if entity == "user" else ("what", "who")
    table, key = (world.users, "uid") if entity == "user" else (world.items, "code")
    policy = rules.unknown_users if entity == "user" else rules.unknown_items
    rows: dict[str, Row] = {}  # of equal ids the last row stays
    listed = [row for row in table or [] if is_id(row[key])]
    for row in listed:
        rows[row[key]] = row
    active = {event[own] for event in events}
    unknown = active - set(rows) if table is not None else set()
    ids = set(rows) | (active - unknown) | (unknown if policy == "keep" else set())
    counts = {
        f"{entity}s": len(ids),
        "events": sum(event[own] in ids for event in events),
        f"{entity}s_without_events": len(ids - active),
        f"duplicate_{entity}s": len(listed) - len(rows),
        f"unknown_{entity}s": len(unknown),
        f"unknown_{entity}_events": sum(event[own] in unknown for event in events),
    }
    result = []
    for name in sorted(ids, key=str.encode):
        mine = [event for event in events if event[own] == name]
        profile: Row = {"id": name}
        if entity == "item" and world.items is not None:
            profile["feature:title"] = rows[name]["title"] if name in rows else None
        if entity == "user":
            liked = [event for event in mine if event["positive"]]
            if world.timestamps:
                liked.sort(key=lambda event: event["at"])
            newest = liked[-SHORTEST_HISTORY:]
            profile["history"] = [event[other] for event in newest]
            if world.timestamps:
                profile["history_timestamps"] = [1_000 * event["at"] for event in newest]
        profile["seen"] = sorted({event[other] for event in mine if event["seen"]}, key=str.encode)
        result.append(profile | {"events": len(mine)})
    return result, counts


def is_usable(vector: np.ndarray, similarity: str, bias: int | None) -> bool:
    """Whether a finite vector can be compared."""
    if similarity == "dot":
        return math.hypot(*vector.astype(float)) <= LONGEST_DOT
    return bool(np.any(_without(vector, bias) != 0))


def _without(vector: np.ndarray, bias: int | None) -> np.ndarray:
    return vector if bias is None else np.delete(vector, bias)


def unit(vector: np.ndarray, bias: int | None) -> np.ndarray:
    """The direction of a vector, as float32."""
    wide = _without(vector, bias).astype(np.float64)
    return (wide / math.sqrt(np.dot(wide, wide))).astype(np.float32)


def ranked(query: np.ndarray, candidates: Mapping[str, np.ndarray], k: int) -> list[tuple[str, np.float32]]:
    """The k best (id, score) by score, ties by the bytes of the id."""
    scores = {name: np.float32(np.dot(query.astype(float), v.astype(float))) for name, v in candidates.items()}
    return sorted(scores.items(), key=lambda item: (-item[1], item[0].encode()))[:k]


@dataclass
class Table:
    """An expected table: rows (query, rank, candidate, source), their scores, and how many ids are not in it, why."""

    rows: list[tuple[str, int, str, str]]
    scores: np.ndarray
    not_served: dict[str, int]


def top_k(
    queries: Vectors,
    candidates: Vectors,
    settings: Mapping[str, Any],
    *,
    seen: Mapping[str, list[str]],
    bias: int | None,
) -> Table:
    """A table from the published vectors.

    Args:
        queries: vectors by id.
        candidates: vectors by id.
        settings: ``k``, ``similarity``, ``exclude_seen``, ``exclude_self`` of the table.
        seen: what each query has seen (or been seen by).
        bias: coordinate that cosine passes over.
    """
    cosine = settings["similarity"] == "cosine"
    usable = [
        {name: unit(v, bias) if cosine else v for name, v in side.items() if is_usable(v, settings["similarity"], bias)}
        for side in (queries, candidates)
    ]
    rows, scores, nothing = [], [], 0
    for query in sorted(usable[0], key=str.encode):
        excluded = set(seen.get(query, [])) if settings["exclude_seen"] else set()
        if settings["exclude_self"]:
            excluded.add(query)
        eligible = {name: vector for name, vector in usable[1].items() if name not in excluded}
        best = ranked(usable[0][query], eligible, settings["k"])
        assert len(best) == min(settings["k"], len(eligible))
        nothing += not best
        for rank, (candidate, score) in enumerate(best, 1):
            rows.append((query, rank, candidate, "model"))
            scores.append(score)
    left_out = len(queries) - len(usable[0])
    not_served = {
        "zero_vector": left_out if cosine else 0,
        "too_long_vector": 0 if cosine else left_out,
        "nothing_eligible": nothing,
    }
    return Table(rows, np.array(scores, np.float32), not_served)


def check_table(
    published: Published, table: str, world: World, rules: Rules, settings: Mapping[str, Any], bias: int | None = None
) -> None:
    """Assert that a published table is, row by row, what the inputs and the published vectors make it.

    Args:
        published: the night.
        table: one of the four.
        world: its inputs.
        rules: what the config says of events.
        settings: what the config says of the table, where it is not as in :data:`DEFAULTS`.
        bias: coordinate that cosine passes over.
    """
    queries, candidates = SIDES[table]
    known, _ = profiles(world, clean(world, rules).events, rules, queries)
    expected = top_k(
        published.vectors(f"{queries}_embeddings"),
        published.vectors(f"{candidates}_embeddings"),
        {**DEFAULTS[table], **settings},
        seen={profile["id"]: profile["seen"] for profile in known},
        bias=bias,
    )
    assert published.rows(table) == expected.rows
    scores = published.scores(table)
    assert (np.abs(scores - expected.scores) <= 1e-6 * np.maximum(1, np.abs(expected.scores))).all()
    entry = published.manifest["tables"][table]
    assert entry["rows"] == len(expected.rows)
    assert entry["queries"] == len({row[0] for row in expected.rows})
    assert expected.not_served.items() <= entry["not_served"].items()
    assert entry["queries"] + sum(entry["not_served"].values()) == len(known)


def true_score(query: np.ndarray, candidate: np.ndarray, similarity: str, bias: int | None) -> float:
    """In float64 throughout."""
    left, right = query.astype(np.float64), candidate.astype(np.float64)
    if similarity == "dot":
        return float(np.dot(left, right))
    left, right = _without(left, bias), _without(right, bias)
    left, right = left / np.abs(left).max(), right / np.abs(right).max()
    return float(np.dot(left, right) / math.sqrt(np.dot(left, left) * np.dot(right, right)))
