"""The words of a scheduler's job, sorted into the command's own and those of Apache Beam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recbatch.errors import InputError

CONFIG = "--config"


def split_words(words: Sequence[str], options: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """The command's own words, its CONFIG first, and the others, which are for Beam.

    Args:
        words: ``--name=value`` and ``--name value`` in any order; CONFIG as ``--config``, or as the first word.
        options: the command's options; whether each is a flag, which takes no value.

    Raises:
        InputError: there is no CONFIG, or an option has no value.
    """
    rest = list(words)
    config = rest.pop(0) if rest and not rest[0].startswith("-") else None
    own: list[str] = []
    beam: list[str] = []
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            continue  # as on the command line, where Beam's options go after it
        if name != CONFIG and name not in options:
            beam.append(word)
        elif options.get(name):
            own.append(word)
        elif not equals and not rest:
            raise InputError(f"{name} has no value; write {name}=VALUE")
        elif name == CONFIG:
            config = value if equals else rest.pop(0)
        else:
            own += [word] if equals else [word, rest.pop(0)]
    if config is None and "--help" not in own:
        raise InputError(f"{CONFIG} is missing; write {CONFIG}=URI, the configuration file")
    return [*([] if config is None else [config]), *own], beam
