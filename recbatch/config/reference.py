"""The reference of all keys in ``docs/configuration.md``, written from the models.

``python -m recbatch.config.reference docs/configuration.md`` writes it anew, between the file's two marks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from recbatch.config.keys import (
    alternatives,
    describe,
    dotted,
    entries,
    full_annotation,
    is_nullable,
    is_section,
    kind_of,
    kinds,
)
from recbatch.config.models import Config
from recbatch.config.sections import Section

BEGIN = "<!-- Written by `python -m recbatch.config.reference`; change the models instead. -->"
END = "<!-- End of what is written. -->"


def reference() -> str:
    """Markdown: a table of keys for every section, and for every kind of feature."""
    sections = _sections()
    return "\n".join(line for section, paths in sections.items() for line in _table(section, paths))


def with_reference(page: str) -> str:
    """``page`` with the text between its two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _sections() -> dict[type[Section], list[str]]:
    """Every section with the keys under which it occurs, in the order of their declaration."""
    found: dict[type[Section], list[str]] = {}
    open_sections: list[tuple[type[Section], tuple[str, ...]]] = [(Config, ())]
    while open_sections:
        section, path = open_sections.pop(0)
        found.setdefault(section, []).append(dotted(path))
        inner = []
        for name, field in section.model_fields.items():
            for member in _sections_in(field.annotation):
                inner.append((member, (*path, name)))
        open_sections = inner + open_sections
    return found


def _sections_in(annotation: Any) -> list[type[Section]]:
    inside = annotation if entries(annotation) is None else entries(annotation)
    return list(kinds(inside).values()) or [member for member in alternatives(inside) if is_section(member)]


def _table(section: type[Section], paths: list[str]) -> Iterator[str]:
    kind = kind_of(section)
    if kind is not None:
        yield f"#### A feature of kind `{kind}`"
    elif section is Config:
        yield "### The sections"
    else:
        yield f"### {', '.join(f'`{path}`' for path in paths)}"
    yield ""
    if section is not Config:
        yield _text(section.__doc__)
        yield ""
    yield "| key | takes | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in section.model_fields.items():
        if name == "kind" and kind is not None:
            yield f"| `kind` | `{kind}` | required | |"
        else:
            yield f"| `{name}` | {_takes(field)} | {_default(field)} | {_text(field.description or _about(field))} |"
    yield ""


def _takes(field: FieldInfo) -> str:
    if any(is_section(member) for member in alternatives(field.annotation)):
        return "a section, see below" + (", or null" if is_nullable(field.annotation) else "")
    if kinds(entries(field.annotation)):
        return "a list of features, see below"
    return _text(describe(full_annotation(field)).replace("'", "`"))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return "see below"
    plain = to_jsonable_python(value)
    return _text("none" if plain is None else f"`{plain if isinstance(plain, str) else json.dumps(plain)}`")


def _about(field: FieldInfo) -> str | None:
    """What a section is, for a key that does not say more."""
    return next((member.__doc__ for member in alternatives(field.annotation) if is_section(member)), None)


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_reference(page.read_text(encoding="utf-8")), encoding="utf-8")
