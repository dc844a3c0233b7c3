"""The keys of the configuration, read off the models: what lies below which key, and what may be written there."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from recbatch.config.models import Config
from recbatch.config.sections import Section

Key = tuple[str | int, ...]
"""A key's path, such as ``("model", "query", "features", 0, "dim")``."""

_WORDS: dict[Any, tuple[str, str]] = {
    str: ("text", "texts"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
}


def dotted(key: Key) -> str:
    """``model.query.features.0.dim``, as ``--set`` wants it."""
    return ".".join(str(part) for part in key)


def key_of(path: str) -> Key:
    """The key that :func:`dotted` writes as ``path``."""
    return tuple(int(part) if part.isdecimal() else part for part in path.split("."))


def is_section(annotation: Any) -> bool:
    """Whether ``annotation`` is a class of :class:`Section`."""
    return isinstance(annotation, type) and issubclass(annotation, Section)


def full_annotation(field: FieldInfo) -> Any:
    """A field's annotation together with its constraints, which pydantic keeps apart."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, without ``None``; ``(annotation,)`` for anything else."""
    if _is_union(annotation):
        return tuple(member for member in get_args(bare(annotation)) if member is not type(None))
    return (annotation,)


def is_nullable(annotation: Any) -> bool:
    """Whether ``null`` may be written."""
    return _is_union(annotation) and type(None) in get_args(bare(annotation))


def _is_union(annotation: Any) -> bool:
    return get_origin(bare(annotation)) in (Union, types.UnionType)


def below(annotation: Any, part: str | int) -> Any:
    """The annotation of the key or list entry ``part`` of a value of type ``annotation``; None where nothing is."""
    for member in alternatives(annotation):
        if is_section(member) and part in member.model_fields:
            return full_annotation(member.model_fields[str(part)])
        if get_origin(bare(member)) is list and isinstance(part, int):
            return get_args(bare(member))[0]
    return None


def kind_of(section: type[Section]) -> str | None:
    """The value of ``kind`` that picks this section out of a union of features."""
    field = section.model_fields.get("kind")
    values = get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


def kinds(annotation: Any) -> dict[str, type[Section]]:
    """The sections of a union that ``kind`` tells apart, by kind; empty for anything else."""
    members = [bare(member) for member in alternatives(annotation)]
    if len(members) < 2 or not all(is_section(member) and kind_of(member) for member in members):
        return {}
    return {str(kind_of(member)): member for member in members}


def entries(annotation: Any) -> Any:
    """The annotation of the entries where a list may be written, else None."""
    return next(
        (get_args(bare(member))[0] for member in alternatives(annotation) if get_origin(bare(member)) is list), None
    )


def section_keys(section: type[Section], prefix: Key = ()) -> Iterator[Key]:
    """Every key below a section, depth first; the entries of lists are left out."""
    for name, field in section.model_fields.items():
        yield (*prefix, name)
        for member in alternatives(field.annotation):
            if is_section(bare(member)):
                yield from section_keys(bare(member), (*prefix, name))


def default_of(key: Key) -> Any:
    """The plain default of a key (as YAML would hold it); None where it has none."""
    section: Any = Config
    for place, part in enumerate(key):
        field = section.model_fields.get(part) if is_section(section) else None
        if field is None:
            return None
        if not field.is_required():
            value = to_jsonable_python(field.get_default(call_default_factory=True))
            for inner in key[place + 1 :]:
                value = value.get(inner) if isinstance(value, dict) else None
            return value
        section = field.annotation
    return None


@cache
def all_keys() -> tuple[Key, ...]:
    """Every key of the configuration that is not in a list."""
    return tuple(section_keys(Config))


def describe(annotation: Any, *, plural: bool = False) -> str:
    """What may be written, in words: ``a whole number greater than 0``, ``'drop', 'keep' or 'fail'``."""
    if tags := kinds(annotation):
        return f"{'features' if plural else 'a feature'} of kind {either(repr(tag) for tag in tags)}"
    options = [word for member in alternatives(annotation) for word in _options(member, plural=plural)]
    return either(options + (["null"] if is_nullable(annotation) else []))


def either(options: Iterable[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    words = list(options)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _options(annotation: Any, *, plural: bool) -> list[str]:
    plain, bounds = bare(annotation), _bounds(annotation)
    if get_origin(plain) is Literal:
        return [json.dumps(value) if isinstance(value, bool) else repr(value) for value in get_args(plain)]
    if get_origin(plain) is list:
        return [f"a list of {describe(get_args(plain)[0], plural=True)}{bounds}"]
    if is_section(plain):
        return [f"a section with the keys {', '.join(plain.model_fields)}"]
    return [_WORDS[plain][plural] + bounds]


def _bounds(annotation: Any) -> str:
    words = []
    for bound in _constraints(annotation):
        match bound:
            case annotated_types.Gt(gt=least):
                words.append(f"greater than {least}")
            case annotated_types.Ge(ge=least):
                words.append(f"at least {least}")
            case annotated_types.Lt(lt=most):
                words.append(f"less than {most}")
            case annotated_types.Le(le=most):
                words.append(f"at most {most}")
            case annotated_types.MinLen():
                words.append("with at least one entry")
    return f" {' and '.join(words)}" if words else ""


def _constraints(annotation: Any) -> Iterator[Any]:
    for entry in getattr(annotation, "__metadata__", ()):
        if isinstance(entry, FieldInfo):  # Annotated[int, Field(gt=0)] in a list keeps its Field as it is.
            yield from entry.metadata
        else:
            yield entry


def bare(annotation: Any) -> Any:
    """The annotation without its constraints."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
