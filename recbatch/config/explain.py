"""pydantic's validation errors as sentences: key, value, place, what is allowed and what was probably meant."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from recbatch.config.document import Document
from recbatch.config.keys import Key, alternatives, bare, below, describe, dotted, either, entries, is_section, kinds
from recbatch.config.models import Config
from recbatch.config.nearest import closest, did_you_mean, names_below, nearest_key

_LONGEST_VALUE = 80
_ABOUT = re.compile(r"([a-z0-9_]+(?:\.[a-z0-9_]+)*): (.*)", re.DOTALL)
_YES_NO = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: the key that it is about and a sentence. ``meant`` is the key that was misspelt."""

    key: Key
    text: str
    meant: Key | None = None
    is_missing: bool = False


@dataclass(frozen=True)
class _Spot:
    """Where an error is: its key, what may be written there, and the section around it."""

    key: Key
    annotation: Any
    around: Any


def explain(error: ValidationError, document: Document) -> list[Finding]:
    """One finding per mistake, in the order in which they were written."""
    findings: dict[tuple[Key, Any], Finding] = {}
    for detail in error.errors(include_url=False):
        spot = _locate(detail["loc"], document)
        if spot is not None:
            # A union reports once per branch that was tried; the first says it all.
            once = (spot.key, repr(spot.annotation) if len(alternatives(spot.annotation)) > 1 else detail["type"])
            findings.setdefault(once, _find(spot, detail["type"], detail["msg"], document))
    # Whoever misspelt a required key need not hear that it is missing as well.
    meant = {finding.meant for finding in findings.values()}
    told = [finding for finding in findings.values() if not (finding.is_missing and finding.key in meant)]
    order = list(document.places)
    return sorted(told, key=lambda finding: order.index(document.written(finding.key)))


def show(value: Any) -> str:
    """A value as it stands in YAML, shortened."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _locate(loc: tuple[str | int, ...], document: Document) -> _Spot | None:
    """The spot of pydantic's ``loc``, in which the names of tried union branches stand between the keys.

    None: the error is from a branch that the value was not written for (text, where a list was written).
    """
    key: Key = ()
    annotation: Any = Config
    around: Any = None
    for part in loc:
        options = alternatives(annotation)
        if len(options) == 1:
            key, around, annotation = (*key, part), annotation, below(annotation, part)
        elif (tagged := kinds(annotation)).get(str(part)):
            annotation = tagged[str(part)]
        elif (meant := _branch(options, document.value(key))) is None:
            break  # No branch is meant in particular: say what all of them allow.
        elif not _is_called(meant, str(part)):
            return None
        else:
            annotation = meant
    return _Spot(key, annotation, around)


def _branch(options: tuple[Any, ...], value: Any) -> Any:
    """The union's branch for lists if a list was written, that for sections if a mapping was, else None."""
    if isinstance(value, list):
        return next((option for option in options if get_origin(bare(option)) is list), None)
    return next((option for option in options if is_section(option)), None) if isinstance(value, dict) else None


def _is_called(option: Any, name: str) -> bool:
    """Whether pydantic means ``option`` by ``name``, which is ``list[str]`` or the name of a class."""
    return name == option.__name__ if is_section(option) else name.startswith("list[")


def _find(spot: _Spot, kind: str, message: str, document: Document) -> Finding:
    key, value = spot.key, document.value(spot.key)
    if kind == "extra_forbidden":
        return _unknown(spot, value)
    if kind == "missing":
        about = _description(spot)
        return Finding(key, f"{dotted(key)} is missing; it takes {describe(spot.annotation)}{about}", is_missing=True)
    if tagged := kinds(spot.annotation):
        return _kind(key, value, tagged)
    if kind == "value_error":
        return _told_by_validator(spot, message.removeprefix("Value error, "))
    if kind == "string_too_short":
        return Finding(key, f"{dotted(key)} is empty; it takes {describe(spot.annotation)}")
    hint = _hint(spot.annotation, value)
    return Finding(key, f"{dotted(key)} is {show(value)}, but has to be {describe(spot.annotation)}{hint}")


def _unknown(spot: _Spot, value: Any) -> Finding:
    names = names_below(spot.around)
    sibling = closest(str(spot.key[-1]), names)
    meant = (*spot.key[:-1], sibling) if sibling else nearest_key(spot.key)
    if meant == spot.key:  # a key of another kind of feature
        meant = None
    section = f"the keys of {dotted(spot.key[:-1])}" if len(spot.key) > 1 else "the sections"
    return Finding(
        spot.key,
        f"unknown key {dotted(spot.key)} (its value: {show(value)}){did_you_mean(meant)}"
        f"{' (' if meant else '; '}{section} are {', '.join(names)}{')' if meant else ''}",
        meant=meant,
    )


def _kind(key: Key, value: Any, tagged: dict[str, Any]) -> Finding:
    allowed = either(repr(tag) for tag in tagged)
    if not isinstance(value, dict):
        return Finding(key, f"{dotted(key)} is {show(value)}, but has to be a mapping such as {{kind: id}}")
    if value.get("kind") is None:
        misspelt = next((name for name in value if closest(name, ["kind"])), None)
        instead = f" (there is {misspelt}: did you mean kind?)" if misspelt and misspelt != "kind" else ""
        return Finding((*key, "kind"), f"{dotted(key)}.kind is missing{instead}; it takes {allowed}")
    kind = value["kind"]
    meant = closest(str(kind), tagged)
    hint = f"; did you mean {meant!r}?" if meant else ""
    return Finding((*key, "kind"), f"{dotted(key)}.kind is {show(kind)}, but has to be {allowed}{hint}")


def _told_by_validator(spot: _Spot, message: str) -> Finding:
    """A validator may begin its message with the key that it is about, relative to its section."""
    key, annotation = spot.key, spot.annotation
    if found := _ABOUT.fullmatch(message):
        for part in found[1].split("."):
            step: str | int = int(part) if entries(annotation) is not None and part.isdecimal() else part
            key, annotation = (*key, step), below(annotation, step)
        if annotation is not None:
            return Finding(key, f"{dotted(key)}: {found[2]}")
    return Finding(spot.key, f"{dotted(spot.key)}: {message}" if spot.key else message)


def _description(spot: _Spot) -> str:
    section = next((option for option in alternatives(spot.around) if is_section(option)), None)
    field = section.model_fields.get(str(spot.key[-1])) if section else None
    return f" ({' '.join(field.description.split())})" if field is not None and field.description else ""


def _hint(annotation: Any, value: Any) -> str:
    """What to write instead, where the value shows what was meant."""
    options = [bare(option) for option in alternatives(annotation)]
    if isinstance(value, str):
        texts = [text for option in options for text in get_args(option) if isinstance(text, str)]
        if meant := closest(value, texts):
            return f"; did you mean {meant!r}?"
        if bool in options and value.casefold() in _YES_NO:
            return f"; write {_YES_NO[value.casefold()]}"
        if {int, float} & set(options) and re.fullmatch(r"[-+]?\d+(\.\d*)?", value):
            return "; write it without quotes"
    elif isinstance(value, float) and int in options and value.is_integer():
        return f"; write {value:.0f}"
    elif str in options and isinstance(value, bool | int | float):
        return f"; put it in quotes: '{show(value)}'"
    return ""
