"""A YAML text as plain values, with the place (``file:line:column``) of every key."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from recbatch.config.keys import Key
from recbatch.errors import ConfigError

_MERGE = "tag:yaml.org,2002:merge"
_DATE = "tag:yaml.org,2002:timestamp"

# What YAML's reader says, and what to do about it.
_REMEDIES = (
    (r"character '\t'", "indent with spaces, not with tabs"),
    ("undefined alias", "put a value that begins with * in quotes"),
    ("that cannot start any token", "put a value that begins with this character in quotes"),
    ("mapping values are not allowed here", "check the indentation, and put a value that holds ': ' in quotes"),
    ("found another document", "keep one document per file: remove the line ---"),
    ("could not determine a constructor for the tag", "remove the tag, or put a value that begins with ! in quotes"),
    ("special characters are not allowed", "remove the control character"),
)


@dataclass(frozen=True)
class Document:
    """Values and where they were written.

    ``places`` holds the place of every key and list entry; a key of :data:`Key` form that was not written has the place
    of the section around it.
    """

    name: str
    values: Any
    places: Mapping[Key, str]

    def place(self, key: Key) -> str:
        """Where ``key`` was written, or the nearest key above it."""
        return self.places.get(self.written(key), self.name)

    def written(self, key: Key) -> Key:
        """``key`` if it was written, else the nearest key above it that was (the empty one stands for the file)."""
        return next((key[:length] for length in range(len(key), 0, -1) if key[:length] in self.places), ())

    def value(self, key: Key) -> Any:
        """The value of ``key``; None where it was not written."""
        value = self.values
        for part in key:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def parse(text: str, name: str, *, one_place: bool = False) -> Document:
    """Read YAML 1.2. Dates stay text; of the values only text, numbers, true/false, null, lists and mappings remain.

    Args:
        text: the YAML.
        name: what to call it in messages: the file.
        one_place: name every place just ``name``, without line and column.

    Raises:
        ConfigError: it is not YAML, or a key is written twice; the message names line and column.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(io.StringIO(text))
        reader = _Reader(name, one_place, YAML(typ="safe", pure=True).constructor)
        values = None if node is None else reader.read(node, ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark and not one_place else name
        raise ConfigError(f"{place}: this is not YAML: {_said(str(error.problem or error.context))}") from None
    except YAMLError as error:
        raise ConfigError(f"{name}: this is not YAML: {_said(str(error).splitlines()[0])}") from None
    except RecursionError:
        raise ConfigError(f"{name}: this YAML is nested too deeply") from None
    return Document(name, values, {(): name} | reader.places)


def _said(problem: str) -> str:
    remedy = next((remedy for said, remedy in _REMEDIES if said in problem), None)
    return f"{problem}; {remedy}" if remedy else problem


class _Reader:
    """Turns the nodes of one YAML text into values and notes their places."""

    def __init__(self, name: str, one_place: bool, constructor: Any) -> None:
        self._name = name
        self._one_place = one_place
        self._constructor = constructor
        self._open: list[Node] = []
        self.places: dict[Key, str] = {}

    def read(self, node: Node, key: Key) -> Any:
        self.places.setdefault(key, self._place(node))
        if isinstance(node, ScalarNode):
            return node.value if node.tag == _DATE else self._constructor.construct_object(node, deep=True)
        if any(node is outer for outer in self._open):
            raise ConfigError(f"{self._place(node)}: an alias (*name) stands inside of what it names; remove it")
        self._open.append(node)
        try:
            if isinstance(node, SequenceNode):
                return [self.read(entry, (*key, place)) for place, entry in enumerate(node.value)]
            assert isinstance(node, MappingNode), "YAML has three kinds of nodes"
            return self._read_mapping(node, key)
        finally:
            self._open.pop()

    def _read_mapping(self, node: MappingNode, key: Key) -> dict[str, Any]:
        values: dict[str, Any] = {}
        written: dict[str, str] = {}
        merged: list[Node] = []
        for name_node, value_node in node.value:
            if name_node.tag == _MERGE:
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            place = self._place(name_node)
            if not isinstance(name_node, ScalarNode):
                raise ConfigError(
                    f"{place}: a key has to be a word, not a list or a mapping; put text with {{ in quotes"
                )
            name = str(name_node.value)
            if name in written:
                raise ConfigError(f"{place}: key {name} is written twice, first at {written[name]}; remove one of them")
            written[name] = self.places[(*key, name)] = place
            values[name] = self.read(value_node, (*key, name))
        for base in merged:
            for name, value in self._merge(base, key).items():
                values.setdefault(name, value)
        return values

    def _merge(self, base: Node, key: Key) -> dict[str, Any]:
        """What ``<<: *base`` brings in; keys that are written beside it win, so does their place."""
        if not isinstance(base, MappingNode):
            raise ConfigError(f"{self._place(base)}: <<: takes a mapping; name the anchor of a section")
        before = dict(self.places)
        values: dict[str, Any] = self.read(base, key)
        self.places.update(before)
        return values

    def _place(self, node: Node) -> str:
        if self._one_place:
            return self._name
        return f"{self._name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
