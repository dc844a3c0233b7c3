"""Glob patterns over an object store's flat names, with the meaning that they have for local paths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

_WILDCARD = re.compile(r"[*?\[]")


def is_pattern(name: str) -> bool:
    """Whether ``name`` holds a wildcard."""
    return _WILDCARD.search(name) is not None


def fixed_prefix(pattern: str) -> str:
    """What every match begins with."""
    return _WILDCARD.split(pattern, maxsplit=1)[0]


def matches(name: str, pattern: str) -> bool:
    """Whether an object's name matches.

    ``*``, ``?`` and ``[..]`` stay within a folder, ``**`` alone crosses any number of them, and none of them matches a
    name that begins with a dot unless the pattern says the dot.
    """
    return _match(name.split("/"), pattern.split("/"))


def _match(names: Sequence[str], patterns: Sequence[str]) -> bool:
    if not names or not patterns:
        return not names and not patterns
    if patterns[0] != "**":
        return _match_one(names[0], patterns[0]) and _match(names[1:], patterns[1:])
    if len(patterns) > 1 and _match(names, patterns[1:]):  # `**` for no folder; at the end it stands for a file
        return True
    return not names[0].startswith(".") and (_match(names[1:], patterns) or (len(names) == 1 and len(patterns) == 1))


def _match_one(name: str, pattern: str) -> bool:
    if not is_pattern(pattern):
        return name == pattern
    return (pattern.startswith(".") or not name.startswith(".")) and fnmatchcase(name, pattern)
