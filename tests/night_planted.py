"""A world with everything in it that a night has to get right, and the vectors that its towers are made to give."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from world import Row, Vectors, World, random_vectors

ZONE = "America/New_York"
MIDNIGHT_MS = int(datetime(2024, 3, 10, tzinfo=ZoneInfo(ZONE)).timestamp()) * 1000
"""The end of ``world.DS`` there: the first instant that the night must not know."""

ODD_IDS = [
    "with space",
    " leading",
    "trailing ",
    "quo\"te and 'apostrophe'",
    "sl/ash",
    "back\\slash",
    "..",
    "%41",
    "a=b&c",
    "tab\tnew\nline",
    "ds=2024-01-01",
    "🦊",
    "Ωmega",
    "\uffff after the surrogates of UTF-16",
    "𐀀 before them",
    "Z",
    "a",
    "1",
    "10",
    "9",
    "007",
    "null",
    "k" * 1024,
]


def ids_of(prefix: str, count: int) -> list[str]:
    """Odd ids first, then plain ones."""
    return [*ODD_IDS, *(f"{prefix}{number}" for number in range(count - len(ODD_IDS)))]


USERS = ids_of("user-", 40)
ITEMS = ids_of("item-", 55)
UNLISTED_USERS = ["ghost 1", "ghost 2"]
UNLISTED_ITEMS = ["stray/1", "stray 2"]
ONLY_LATER = "item of the future"

COLD, NAN, INFINITE, ZERO, ONLY_BIAS, TOO_LONG, LONG, TINY = range(24, 32)
"""Positions in USERS and ITEMS of the ids whose vectors are special."""
BIAS, DIM = 2, 6


def planted_vectors(ids: list[str], seed: int) -> Vectors:
    """Clusters, exact and parallel duplicates, and every kind of vector that cannot, or can just, be used."""
    vectors = random_vectors(ids, DIM, seed)
    for copy in (1, 5, 33):
        vectors[ids[copy]] = vectors[ids[0]]
    vectors[ids[34]] = 2 * vectors[ids[3]]
    del vectors[ids[COLD]]
    vectors[ids[NAN]][4] = np.nan
    vectors[ids[INFINITE]][:2] = np.inf, -np.inf
    vectors[ids[ZERO]] = np.zeros(DIM, np.float32)
    vectors[ids[ONLY_BIAS]] = np.eye(DIM, dtype=np.float32)[BIAS]
    vectors[ids[TOO_LONG]] *= np.float32(1e20)
    vectors[ids[LONG]] *= np.float32(1e8)
    vectors[ids[TINY]] *= np.float32(1e-30)
    return vectors


def planted_world() -> World:
    """Events of all kinds before and after as-of, some that must be put aside, tables with repeated and missing ids."""
    rng = np.random.default_rng(7)
    week_ms = 7 * 24 * 3_600_000
    events: list[Row] = [
        {
            "who": str(rng.choice(USERS[2:] + UNLISTED_USERS)),  # the first two never did anything
            "what": str(rng.choice(ITEMS[1:] + UNLISTED_ITEMS)),
            "at": int(MIDNIGHT_MS - rng.integers(week_ms)),
            "stars": [None, 1.0, 3.0, 3.5, 4.0, 5.0][rng.integers(6)],
            "kind": [None, "view", "view", "buy", "skip"][rng.integers(5)],
        }
        for _ in range(700)
    ]
    events += [dict(events[number], stars=5.0, kind="view") for number in range(40)]  # repeats, of equal times too
    # One who has seen all there is, and an item that all have seen.
    events += [event(USERS[36], item, -5_000_000) for item in ITEMS + UNLISTED_ITEMS]
    events += [event(user, ITEMS[36], -6_000_000) for user in USERS]
    events += [event(USERS[2], ITEMS[2], -1), event(USERS[2], ITEMS[3], 0), event(USERS[1], ITEMS[3], 1)]
    events += [event(USERS[3], ONLY_LATER, 10_000), event("user of the future", ITEMS[4], 10_000)]
    aside: list[Row] = [
        {"who": None},
        {"who": ""},
        {"who": "nul\0character"},
        {"who": "x" * 4097},
        {"what": None},
        {"what": "", "stars": float("nan")},
        {"at": None},
        {"at": -1},
        {"at": MIDNIGHT_MS * 1_000},
        {"stars": float("nan")},
        {"stars": float("-inf")},
        {"stars": 1e300},
    ]
    events += [event("quarantined user", "quarantined item", -100) | change for change in aside]
    shuffled = [events[number] for number in rng.permutation(len(events))]
    users: list[Row] = [{"uid": name, "full name": f"Mr {name}"} for name in USERS]
    users += [{"uid": USERS[4], "full name": "renamed"}, {"uid": None, "full name": "nobody"}]
    items: list[Row] = [{"code": name, "title": f"{name} (1999)"} for name in ITEMS]
    items += [{"code": ITEMS[0], "title": "first"}, {"code": ITEMS[0], "title": "renamed"}, {"code": "", "title": "?"}]
    return World(shuffled, users, items)


def event(user: str, item: str, after_ms: int) -> Row:
    """A purchase so long after midnight (negative: before)."""
    return {"who": user, "what": item, "at": MIDNIGHT_MS + after_ms, "stars": 4.0, "kind": "buy"}
