"""The words of a command, sorted into its own and those of Apache Beam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recbatch.errors import InputError

CONFIG = "--config"


def split_words(words: Sequence[str], options: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """The command's own words, its CONFIG first, and the others, which are for Beam.

    Args:
        words: ``--name=value`` and ``--name value`` in any order; what is behind ``--`` is all Beam's. CONFIG is a word
            by itself, or a scheduler's ``--config``.
        options: the command's options; whether each is a flag, which takes no value.

    Raises:
        InputError: an option has no value, or CONFIG is given twice.
    """
    end = words.index("--") if "--" in words else len(words)
    rest, beam = list(words[:end]), list(words[end + 1 :])
    own: list[str] = []
    configs: list[str] = []
    others: list[str] = []
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name != CONFIG and name not in options:
            if word.startswith("-"):
                others.append(word)
                if not equals and rest and not rest[0].startswith("-"):
                    others.append(rest.pop(0))
            else:
                configs.append(word)
        elif options.get(name):
            own += [name] if not equals or _is_yes(name, value) else []
        elif not equals and not rest:
            raise InputError(f"{name} has no value; write {name}=VALUE")
        elif name == CONFIG:
            configs.append(value if equals else rest.pop(0))
        else:
            own += [word] if equals else [word, rest.pop(0)]
    if len(configs) > 1:
        raise InputError(f"{configs[1]!r} is one configuration too many, after {configs[0]!r}; give one")
    return [*configs, *own], [*others, *beam]


def _is_yes(flag: str, value: str) -> bool:
    """The value of a flag, for schedulers that can pass nothing but ``--name=value``."""
    if value.lower() not in ("true", "false"):
        raise InputError(f"{flag}={value}: write {flag}, {flag}=true or {flag}=false")
    return value.lower() == "true"
