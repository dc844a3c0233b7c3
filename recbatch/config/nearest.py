"""What somebody may have meant who wrote a key or a value that is not valid."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from recbatch.config.keys import Key, all_keys, alternatives, below, dotted, entries, is_section
from recbatch.config.models import Config


def closest(word: str, options: Iterable[str]) -> str | None:
    """The option most like ``word``, whatever their case and hyphens; None where none is like it."""
    plain = {_plain(option): option for option in options}
    found = get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    return plain[found[0]] if found else None


def names_below(annotation: Any) -> list[str]:
    """The keys that may be written below a section (or below any section of a union)."""
    sections = [member for member in alternatives(annotation) if is_section(member)]
    return list(dict.fromkeys(name for section in sections for name in section.model_fields))


def nearest_key(key: Key) -> Key | None:
    """The valid key most like ``key``: each part corrected in its place, else the same name in another section."""
    annotation: Any = Config
    path: Key = ()
    for place, part in enumerate(key):
        if entries(annotation) is not None and str(part).isdigit():
            part = int(part)
        inner = below(annotation, part)
        if inner is None:
            meant = closest(str(part), names_below(annotation))
            if meant is None:
                return _elsewhere(key, str(key[-1])) or (_elsewhere(key, str(part)) if place else None)
            part, inner = meant, below(annotation, meant)
        path, annotation = (*path, part), inner
    return path


def did_you_mean(key: Key | None) -> str:
    """``; did you mean tables.user2item.k?``, or nothing."""
    return f"; did you mean {dotted(key)}?" if key else ""


def _elsewhere(key: Key, name: str) -> Key | None:
    """A key called ``name`` in any section, the one whose path is most like that of ``key``."""
    meant = closest(name, {str(known[-1]) for known in all_keys()})
    known = [known for known in all_keys() if known[-1] == meant]
    written = dotted(key)
    return max(known, key=lambda k: SequenceMatcher(None, written, dotted(k)).ratio(), default=None)


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")
