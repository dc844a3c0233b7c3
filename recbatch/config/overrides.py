"""``--set a.b=value``: change keys of a document after it was read."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from recbatch.config.document import Document, parse
from recbatch.config.keys import Key, default_of, dotted
from recbatch.config.nearest import did_you_mean, nearest_key
from recbatch.errors import ConfigError


def override(document: Document, assignments: Sequence[str], place: str | None = None) -> Document:
    """``document`` with every ``key=value`` of ``assignments`` applied in turn; the last one to name a key wins.

    A key is a dotted path, entries of lists are counted from 0 (``model.query.features.0.dim=64``); sections that the
    file does not have start from their defaults. A value is YAML: ``10``, ``true``, ``null``, ``[view, purchase]``.
    ``place`` is where the assignments were written, for messages; None: each of them was given to ``--set``.

    Raises:
        ConfigError: an assignment without ``=`` or key, a value that is not YAML, a path through something that is
            neither a section nor a list. (Whether key and value are valid is checked with all the others.)
    """
    for assignment in assignments:
        document = _apply(document, assignment, place or f"--set {assignment}")
    return document


def _apply(document: Document, assignment: str, place: str) -> Document:
    path, equals, text = assignment.partition("=")
    parts = path.strip().split(".")
    meant = nearest_key(tuple(parts))
    if not all(parts):
        raise ConfigError(f"{place}: {path!r} is not a key; write --set section.key=VALUE{did_you_mean(meant)}")
    if not equals:
        example = dotted(meant) if meant else path.strip()
        raise ConfigError(f"{place}: there is no '='; write --set {example}=VALUE")
    values = {} if document.values is None else copy.deepcopy(document.values)
    around, key = _descend(values, parts, place)
    around[key[-1]] = parse(text, place, one_place=True).values
    kept = {known: where for known, where in document.places.items() if known[: len(key)] != key}
    made = {key[:length]: place for length in range(1, len(key)) if key[:length] not in kept}
    return Document(document.name, values, kept | made | {key: place})


def _descend(values: Any, parts: list[str], place: str) -> tuple[Any, Key]:
    """The section or list that holds the last of ``parts``, and the whole key with numbers for list entries."""
    key: Key = ()
    around: Any = None
    for part in parts:
        if key:
            if isinstance(around, dict) and around.get(key[-1]) is None:
                # What the file does not have starts from its default, so that any key of that can be changed.
                around[key[-1]] = (None if key[-1] in around else default_of(key)) or {}
            values = around[key[-1]]
        if not isinstance(values, dict | list):
            meant = _other(nearest_key(tuple(parts)), parts)
            raise ConfigError(
                f"{place}: {dotted(key)} is {values!r}, neither a section nor a list: it has no {part}"
                f"{did_you_mean(meant)}"
            )
        around = values
        key = (*key, _entry(around, part, key, place) if isinstance(around, list) else part)
    return around, key


def _entry(values: list[Any], part: str, key: Key, place: str) -> int:
    if not part.isdecimal() or int(part) >= len(values):
        count = f"entries 0 to {len(values) - 1}" if values else "no entries"
        raise ConfigError(f"{place}: {dotted(key)} is a list with {count}, {part} is none of them")
    return int(part)


def _other(key: Key | None, parts: list[str]) -> Key | None:
    return None if key is None or dotted(key) == ".".join(parts) else key
