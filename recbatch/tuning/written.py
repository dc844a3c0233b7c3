"""The best values as a configuration: the one that was searched from, with its comments, and those values in it."""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.util import load_yaml_guess_indent

from recbatch import storage
from recbatch.config.document import parse
from recbatch.config.dump import dump_config
from recbatch.config.keys import Key, alternatives, bare, below, default_of, is_section, key_of
from recbatch.config.load import resolve
from recbatch.config.models import Config
from recbatch.errors import ConfigError, InputError

_FIRST = "# Written by `recbatch tune`"
_LAST = "# sha256 of what follows: "
_WIDTH = 118


def require_ours(uri: str, config: str) -> None:
    """See that ``uri`` may be written: nothing is there, or what a search wrote and nobody has changed since.

    Raises:
        InputError: it may not.
    """
    if storage.absolute(uri) == storage.absolute(config):
        raise InputError(f"--output: {uri} is the configuration that the search starts from; name another file")
    there = _read(uri)
    if there is not None and not is_ours(there):
        raise InputError(
            f"--output: {uri} is there, and not as a search wrote it; name another file, or move that one away"
        )


def is_ours(data: bytes) -> bool:
    """Whether a search wrote this, and nobody changed it."""
    if not data.startswith(_FIRST.encode()):
        return False
    _, found, rest = data.partition(_LAST.encode())
    checksum, _, body = rest.partition(b"\n")
    return bool(found) and checksum.decode(errors="replace") == _checksum(body)


def write_config(uri: str, text: str, expected: Config, values: Mapping[str, Any], facts: Sequence[str]) -> None:
    """Write the configuration.

    Args:
        uri: where to; see :func:`require_ours`.
        text: the configuration that was searched from, as its file has it.
        expected: what the written file has to mean.
        values: by dotted key, what differs from ``text``.
        facts: how it was found, a line each.

    Raises:
        InputError: somebody else wrote there meanwhile.
    """
    body = _body(text, expected, values).encode()
    wrapped = [line for fact in facts for line in textwrap.wrap(fact, _WIDTH, subsequent_indent="  ")]
    header = "".join(f"{line}\n" for line in [_FIRST + ".", *(f"# {line}" for line in wrapped)])
    data = f"{header}{_LAST}{_checksum(body)}\n".encode() + body
    there = _read(uri)
    if there != data and ((there is not None and not is_ours(there)) or not storage.compare_and_swap(uri, there, data)):
        raise InputError(f"--output: {uri} was written by somebody else meanwhile; name another file")


def _read(uri: str) -> bytes | None:
    try:
        return storage.read_bytes(uri)
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise InputError(f"--output: {uri} is a folder; name a YAML file") from None


def _checksum(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _body(text: str, expected: Config, values: Mapping[str, Any]) -> str:
    """``text`` with the values; all keys without comments where that would not mean what is expected."""
    edited = _edited(text, values)
    try:
        if resolve(parse(edited, "the edited configuration")).config == expected:
            return edited
    except ConfigError:
        pass
    # Such as a section that is an alias of another one: a change in one of them would be one in both.
    return dump_config(expected)


def _edited(text: str, values: Mapping[str, Any]) -> str:
    if not values:
        return text.removeprefix("\ufeff")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.allow_unicode = True
    yaml.width = 1 << 16
    # Lines that stay shall look as they did.
    document, sequence, dash = load_yaml_guess_indent(text.removeprefix("\ufeff"), yaml=yaml)
    if document is None:
        document = CommentedMap()
    depths = [len(found[1]) for found in re.finditer(r"^( +)[^\s#-]", text, re.MULTILINE)]
    yaml.indent(mapping=min(depths, default=2), sequence=sequence or 2, offset=dash or 0)
    for key, value in values.items():
        _set(document, key_of(key), value)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _set(document: CommentedMap, key: Key, value: Any) -> None:
    """Set one key; sections and lists on the way that are not there are made."""
    around: Any = document
    part: Any
    for place, part in enumerate(key[:-1]):
        there = around[part] if isinstance(around, list) else around.get(part)
        if there is None:
            is_written = not isinstance(around, list) and part in around  # as null: then it has no default
            there = _put(around, part, {} if is_written else _start(key[: place + 1]))
        around = there
    _put(around, key[-1], value)


def _start(key: Key) -> Any:
    """What a section or list that is not written begins with: nothing, where that means the defaults."""
    default, annotation = default_of(key), Config
    for part in key:
        annotation = below(annotation, part)
    section = next((bare(member) for member in alternatives(annotation) if is_section(bare(member))), None)
    if section is None:
        return default
    try:
        return {} if section.model_validate({}).model_dump(mode="json") == default else default or {}
    except ValidationError:
        return default or {}


def _put(around: Any, part: str | int, value: Any) -> Any:
    """Set one entry, lists and sections on one line; returns it as it is in ``around``."""
    if isinstance(value, list | dict):
        value = CommentedSeq(value) if isinstance(value, list) else CommentedMap(value)
        value.fa.set_flow_style()
    if isinstance(around, CommentedMap) and part not in around and around and not around.fa.flow_style():
        # At the front: behind the last key stand comments and empty lines that belong to what comes after it.
        around.insert(0, part, value)
    else:
        around[part] = value
    return value
